"""A server that is killed and started again under load, and writers that are killed: what was acknowledged stays."""

import random
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from forks import Line, forked
from killed_writer import assert_kept, run_and_kill
from killed_writer import assert_whole as assert_whole_batches
from on_server import FULL, NORMAL, assert_whole
from sizes import Size

import foldlog
from postgres_server import PostgresServer

BIG = "x" * 9000
PROCESSES, THREADS, SESSIONS = 3, 8, 3
# A store is killed in so many times, then the next one is begun: their histories grow, and so do the checks.
KILLS_A_STORE = 10


def load(url: str, number: int, seed: int, durability: Any) -> Callable[[Line], None]:
    """Eight threads on some sessions, until told to end; says each event that was acknowledged, and each loss told."""

    def work(line: Line) -> None:
        store = foldlog.open(url, config=foldlog.Config(durability=durability))
        sessions = [store.start_session(id=f"p{number}-{place}") for place in range(SESSIONS)]
        calls = [session.add_call("leaf", tries=0)["id"] for session in sessions]
        line.say("ready")
        stop = threading.Event()

        def one(thread: int) -> None:
            chance = random.Random(f"{seed} {number} {thread}")
            try:
                while not stop.is_set():
                    place = chance.randrange(SESSIONS)
                    say_loss(line, sessions[place], lambda at=place: step(chance, line, sessions[at], calls[at]))
            except BaseException as error:  # noqa: BLE001
                line.say({"failed": f"{type(error).__name__}: {error}"[:2000]})

        threads = [threading.Thread(target=one, args=(thread,)) for thread in range(THREADS)]
        for thread in threads:
            thread.start()
        line.hear()
        stop.set()
        for thread in threads:
            thread.join()
        for session in sessions:
            say_loss(line, session, lambda session=session: session.add_event("end"))  # it is told with the next event
            assert session.view == foldlog.fold(store.events(session.id))
            session.close()
        store.close()

    return work


def say_loss(line: Line, session: foldlog.Session, work: Callable[[], Any]) -> None:
    """Do something; what was lost, or is not known, is told and read again, as an application does."""
    try:
        work()
    except foldlog.CommitUncertainError as error:
        line.say({"told": session.id, "lost": "has lost" in error.message})
        session.reload()
    except foldlog.StoreError as error:
        if "lost" not in error.message:
            raise
        line.say({"error": str(error)[:600]})


def step(chance: random.Random, line: Line, session: foldlog.Session, call: Any) -> None:
    what, mark = chance.randrange(5), chance.randrange(2**60)
    if what == 0:
        with session.batch():
            ids = [session.add_event("batched", mark=mark, place=place) for place in range(3)]
    elif what == 1:
        ids = [session.add_event("blob", mark=mark, value=session.value_ref(BIG + str(chance.randrange(5))))]
    elif what == 2 and chance.random() < 0.2:
        session.update_call(call, lambda row: {"tries": row["tries"] + 1})
        session.checkpoint()
        return
    elif what == 3:
        ids = [session.emit("keyed", mark=mark, idempotency_key=f"k{mark}")["id"]]
    else:
        ids = [session.add_event("step", mark=mark)]
    line.say({"session": session.id, "ids": ids, "mark": mark})


def crash_under_load(
    server: PostgresServer, url: str, seed: int, durability: str, restarts: int
) -> tuple[list[Any], float]:
    """Restart a server so many times under load; what was said, and the longest that a writer then was silent."""
    chance, silent = random.Random(seed), 0.0
    with forked(*(load(url, number, seed, durability) for number in range(PROCESSES))) as processes:
        for process in processes:
            assert process.hear() == "ready"
        for _ in range(restarts):
            for process in processes:
                process.listen(chance.uniform(0.05, 0.4))
            server.restart(signal.SIGQUIT)
            since = time.monotonic()
            for process in processes:
                before = len(process.said)
                while len(process.said) == before:
                    process.listen(0.02)
                    assert time.monotonic() - since < 60, "a writer does not go on"
            silent = max(silent, time.monotonic() - since)
        for process in processes:
            process.say("end")
        for process in processes:
            process.check()
            assert process.failure() is None, process.failure()
        return [line for process in processes for line in process.said if isinstance(line, dict)], silent


def test_what_was_acknowledged_outlives_a_server_that_crashes_under_load(
    crashing: PostgresServer, crashing_url: str, size: Size, seed: int, tell: Callable[[str], None]
) -> None:
    restarts = size.rounds(quick=2, full=30)
    said, silent = crash_under_load(crashing, crashing_url, seed, "full", restarts)
    acknowledged = [line for line in said if "ids" in line]
    told = [line for line in said if "told" in line or "error" in line]
    with foldlog.open(crashing_url, config=FULL) as store:
        events = {row["id"]: {event["id"]: event for event in store.events(row["id"])} for row in store.sessions()}
        for line in acknowledged:
            assert [events[line["session"]][event_id]["mark"] for event_id in line["ids"]] == [line["mark"]] * len(
                line["ids"]
            )
        marks = [event["mark"] for own in events.values() for event in own.values() if "mark" in event]
        singles = [event["mark"] for own in events.values() for event in own.values() if event["type"] == "step"]
        assert len(set(singles)) == len(singles), "nothing is there twice"
        assert len(marks) >= sum(len(line["ids"]) for line in acknowledged)
    assert not any(line.get("lost") for line in told)
    assert_whole(crashing_url)
    tell(
        f"{restarts} crashes, {len(acknowledged)} acknowledged, 0 lost, {len(told)} told, "
        f"writers went on within {silent:.2f} s"
    )


def test_at_normal_a_crash_leaves_a_clean_prefix_and_the_loss_is_told(
    crashing: PostgresServer, crashing_url: str, size: Size, seed: int, tell: Callable[[str], None]
) -> None:
    restarts = size.rounds(quick=2, full=30)
    said, _ = crash_under_load(crashing, crashing_url, seed, "normal", restarts)
    acknowledged = [line for line in said if "ids" in line]
    with foldlog.open(crashing_url, config=NORMAL) as store:
        events = {row["id"]: {event["id"]: event for event in store.events(row["id"])} for row in store.sessions()}
    lost: dict[str, int] = {}
    for line in acknowledged:
        found = [events[line["session"]].get(event_id, {}).get("mark") for event_id in line["ids"]]
        whole = [line["mark"]] * len(line["ids"])
        if found != whole:
            assert line["mark"] not in found, "a batch is there whole or not at all"
            lost[line["session"]] = lost.get(line["session"], 0) + 1
    told = {line["told"] for line in said if line.get("lost")}
    assert lost.keys() <= told, "each session that lost events was told so"
    assert_whole(crashing_url)
    tell(f"{restarts} crashes, {len(acknowledged)} acknowledged, {sum(lost.values())} lost and told")


def test_killed_writers_lose_nothing_and_tear_nothing(
    new_url: Callable[[], str], size: Size, seed: int, tell: Callable[[str], None]
) -> None:
    chance, url = random.Random(seed), ""
    kills, acknowledged, slowest = size.rounds(quick=8, full=300), 0, 0.0
    for number in range(kills):
        url = new_url() if number % KILLS_A_STORE == 0 else url
        said = run_and_kill(url, chance)
        acknowledged += len(said)
        since = time.monotonic()
        with foldlog.open(url) as store:
            for row in list(store.sessions()):
                if "/" not in row["id"]:
                    _opened(store, row["id"])
            slowest = max(slowest, time.monotonic() - since)
            assert_kept(store, said)
            assert_whole_batches(store)
        assert_whole(url)
    tell(f"{kills} kills, {acknowledged} acknowledgements, 0 lost, 0 torn, reopened within {slowest:.2f} s")


def _opened(store: foldlog.Store, session_id: str) -> foldlog.Session:
    """Open a session as soon as the server has seen that its writer is gone."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return store.open_session(session_id)
        except foldlog.SessionInUseError:
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_a_checkpoint_does_not_hide_a_loss(crashing: PostgresServer, crashing_url: str) -> None:
    with foldlog.open(crashing_url, config=NORMAL) as store:
        session = store.start_session(id="demo")
        session.add_event("kept")
        with foldlog.open(crashing_url, config=FULL) as other, other.start_session(id="sync") as synced:
            synced.add_event("sync")  # what was committed before it is on the disk with it
        crashing.execute("ALTER SYSTEM SET wal_writer_delay = '10s'", "SELECT pg_reload_conf()")
        try:
            acknowledged = [session.add_event("lost") for _ in range(20)]
            crashing.restart(signal.SIGQUIT)
            there = {event["id"] for event in store.events("demo")}
            assert not there.issuperset(acknowledged), "the crash came too late to lose anything"
            for verb in (session.checkpoint, session.checkpoint, lambda: session.add_event("on")):
                with pytest.raises(foldlog.CommitUncertainError, match="has lost events"):
                    verb()
            session.reload()
            assert session.view == foldlog.fold(store.events("demo"))
            session.add_event("on")
            session.close()
        finally:
            crashing.execute("ALTER SYSTEM RESET wal_writer_delay", "SELECT pg_reload_conf()")
    assert_whole(crashing_url)


def test_a_checkpoint_is_on_the_disk_when_it_returns(crashing: PostgresServer, crashing_url: str) -> None:
    with foldlog.open(crashing_url, config=NORMAL) as store:
        crashing.execute("ALTER SYSTEM SET wal_writer_delay = '10s'", "SELECT pg_reload_conf()")
        try:
            session = store.start_session(id="demo")
            session.add_call("leaf", note="kept")
            with foldlog.open(crashing_url, config=FULL) as other, other.start_session(id="sync") as synced:
                synced.add_event("sync")  # what was committed before it is on the disk with it
            session.checkpoint()
            crashing.restart(signal.SIGQUIT)
            # Its events are there, so it goes on, and writes only what changed since.
            session.add_call("leaf", note="later")
            session.close()
        finally:
            crashing.execute("ALTER SYSTEM RESET wal_writer_delay", "SELECT pg_reload_conf()")
    assert_whole(crashing_url)
    with foldlog.open(crashing_url, read_only=True) as store:
        assert store.verify().ok
