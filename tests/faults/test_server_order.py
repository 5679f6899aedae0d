"""Positions on a server become visible out of order; a reader that follows them misses nothing all the same."""

import json
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from forks import Line, forked
from on_server import NORMAL, assert_whole, backend_pid, held_before_commit, thread, until
from sizes import Size

import foldlog
import foldlog.aio
from foldlog.storage import postgres_watch
from postgres_server import PostgresServer

BIG = "x" * 9000


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often somebody has looked who is writing."""
    count, plain = [0], postgres_watch._look

    def look(database: Any) -> Any:
        found = plain(database)
        count[0] += bool(found[2])
        return found

    monkeypatch.setattr(postgres_watch, "_look", look)
    return lambda: count[0]


@pytest.fixture
def stores(url: str) -> Iterator[list[foldlog.Store]]:
    """Two handles of one store: two writers."""
    with foldlog.open(url, config=NORMAL) as one, foldlog.open(url, config=NORMAL) as two:
        yield [one, two]


READERS: dict[str, Callable[[foldlog.Store, dict[str, Any]], list[Any]]] = {
    "events": lambda store, which: list(store.events(**which)),
    "follow": lambda store, which: list(store.follow(idle_timeout=1.5, **which)),
}
ENDS = ("committed", "rolled back", "cut")


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("types", [None, ["late", "other"]])
@pytest.mark.parametrize("reader", READERS)
def test_nothing_is_handed_out_in_front_of_what_may_still_come(
    server: PostgresServer,
    stores: list[foldlog.Store],
    looks: Callable[[], int],
    reader: str,
    types: list[str] | None,
    end: str,
) -> None:
    one, two = stores
    late, quick = one.start_session(id="late"), two.start_session(id="quick")
    after = [event.position for event in two.events()][-1]
    error = foldlog.StoreError("refused by the test", hint="") if end == "rolled back" else None
    with held_before_commit(one, error=error) as held:  # noqa: SIM117  (which ends first matters)
        # A value of its own is stored with it, so it is several statements.
        with thread(lambda: late.add_event("late", value=late.value_ref(BIG))) as written:
            assert held.here.wait(60)
            quick.add_event("other")
            quick.add_event("other")
            with thread(lambda: READERS[reader](two, {"after": after, "types": types})) as read:
                until(lambda: read or looks() >= 2)
                assert not read, "an event was handed out before it was settled what stands in front of it"
                if end == "cut":
                    server.execute(f"SELECT pg_terminate_backend({backend_pid(one.database)}, 5000)")
                held.go_on.set()
    [found] = read
    [outcome] = written
    names = [event["type"] for event in found]
    everything = [event.position for event in two.events(after=after)]
    if end == "committed":
        assert names == ["late", "other", "other"]
    elif end == "rolled back":
        assert str(outcome) == str(error)
        assert names == ["other", "other"]
    else:
        # Cut off before it could be kept: it was written again, behind the others.
        assert isinstance(outcome, int)
        assert [event["type"] for event in two.events(after=after)] == ["other", "other", "late"]
        assert names[:2] == ["other", "other"]
        assert names[2:] in ([], ["late"])
    assert [event.position for event in found] == everything[: len(found)]


def test_a_follower_of_one_session_misses_nothing_that_is_committed_behind_others(
    stores: list[foldlog.Store], looks: Callable[[], int]
) -> None:
    one, two = stores
    late, quick = one.start_session(id="late"), two.start_session(id="quick")
    with held_before_commit(one) as held, thread(lambda: late.add_event("late", value=late.value_ref(BIG))):
        assert held.here.wait(60)
        quick.add_event("other")
        assert [event["type"] for event in two.events("quick")] == ["session.started", "other"]
        assert [event["type"] for event in two.events("late")] == ["session.started"]
        with thread(lambda: list(two.follow("late", idle_timeout=1.5))) as of_late:
            until(lambda: looks() >= 2)
            held.go_on.set()
    assert [event["type"] for event in of_late[0]] == ["session.started", "late"]


def test_a_closed_store_ends_who_waits_for_a_transaction(url: str, stores: list[foldlog.Store], looks: Any) -> None:
    one, _ = stores
    late = one.start_session(id="late")
    reader = foldlog.open(url, read_only=True)
    with held_before_commit(one) as held, thread(lambda: late.add_event("late", value=late.value_ref(BIG))):
        assert held.here.wait(60)
        with thread(lambda: list(reader.follow())) as found:
            until(lambda: looks() >= 2)
            reader.close()
        assert [event["type"] for event in found[0]] in ([], ["session.started"])
        held.go_on.set()


def test_a_transaction_that_does_not_end_is_told(stores: list[foldlog.Store], monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = stores
    late = one.start_session(id="late")
    monkeypatch.setattr("foldlog.storage.postgres._SETTLE_S", 0.1)
    with held_before_commit(one) as held, thread(lambda: late.add_event("late", value=late.value_ref(BIG))):
        assert held.here.wait(60)
        with pytest.raises(foldlog.StoreBusyError, match="a transaction has been writing"):
            list(two.events())
        assert [event["type"] for event in two.events("late")] == ["session.started"]
        held.go_on.set()


# Chance.


class _ChangedError(Exception):
    """Somebody thought better of it."""


def _change_mind() -> None:
    raise _ChangedError


WRITERS, THREADS = 4, 3

PRINTED = """
import sys, foldlog
from foldlog.cli import arguments, main
url = sys.argv.pop(1)
arguments.open_to_read = lambda _: foldlog.open(url, read_only=True)
main.main()
"""


def write(url: str, seed: int, number: int, rounds: int) -> Callable[[Line], None]:
    """Batches of any size from several threads, some of them given up."""

    def work(line: Line) -> None:
        with foldlog.open(url, config=NORMAL) as store:
            sessions = [store.start_session(id=f"p{number}-{place}") for place in range(2)]
            line.say("ready")
            line.hear()

            def run(place: int) -> None:
                chance = random.Random(f"{seed} {number} {place}")
                for _ in range(rounds):
                    session = sessions[chance.randrange(2)]
                    try:
                        with session.batch():
                            for _ in range(chance.choice((1, 1, 2, 5, 70))):
                                session.add_event("step", value=session.value_ref(BIG) if chance.random() < 0.1 else 0)
                            if chance.random() < 0.1:
                                _change_mind()
                    except _ChangedError:
                        line.say("changed")

            threads = [threading.Thread(target=run, args=(place,)) for place in range(THREADS)]
            for one in threads:
                one.start()
            for one in threads:
                one.join()
            for session in sessions:
                session.let_go()

    return work


def roll_back(url: str, seed: int) -> Callable[[Line], None]:
    """Take positions, hold them for a while, give them up."""

    def work(line: Line) -> None:
        chance = random.Random(f"{seed} rolled back")
        with foldlog.open(url, config=NORMAL) as store:
            session = store.start_session(id="given-up")
            line.say("ready")
            line.hear()
            server: Any = store.database.writer()
            key = session._recorder.stream.key
            while line_is_quiet(line):
                server.execute("BEGIN")
                server.execute(
                    "INSERT INTO events (session_key, event_id, type, at, data, digest, chain) "
                    "VALUES (?, 2, 'no', '', '', '', '')",
                    (key,),
                )
                threading.Event().wait(chance.uniform(0, 0.02))
                server.execute("ROLLBACK")
            session.let_go()

    return work


def line_is_quiet(line: Line) -> bool:
    import select  # noqa: PLC0415

    return not select.select([line._incoming], [], [], 0)[0]


def follow(url: str, after: int, last: str) -> Callable[[Line], None]:
    """Follow in a process of its own until the event of this type."""

    def work(line: Line) -> None:
        with foldlog.open(url, read_only=True) as store:
            line.say("ready")
            line.hear()
            for event in store.follow(after=after):
                line.say(event.position)
                if event["type"] == last:
                    return

    return work


def test_every_follower_sees_each_committed_event_once_and_in_order(
    url: str, size: Size, seed: int, tell: Callable[[str], None]
) -> None:
    with foldlog.open(url, config=NORMAL) as store:
        end = store.start_session(id="end")
        for _ in range(20):
            end.add_event("before")
        chance = random.Random(seed)
        starts = [0, *(chance.randrange(25) for _ in range(2))]
        end.close()
    rounds = size.rounds(quick=15, full=300)
    writers = [write(url, seed, number, rounds) for number in range(WRITERS)]
    followers = [follow(url, after, "end") for after in starts]
    command = [sys.executable, "-c", PRINTED, url, "events", "store", "--follow", "--json", "--after", "3"]
    with (
        forked(*followers) as reading,
        forked(*writers, roll_back(url, seed)) as writing,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as printing,
        foldlog.open(url, config=NORMAL) as store,
        thread(lambda: in_loop(url, 5)) as awaited,
        thread(lambda: positions_until(store.follow(after=7), "end")) as in_thread,
    ):
        try:
            for process in (*reading, *writing):
                assert process.hear() == "ready"
                process.say("go")
            for process in writing[:-1]:
                process.check()
            writing[-1].say("end")
            writing[-1].check()
            with store.open_session("end") as session:
                session.add_event("end")
            for process in reading:
                process.check()
            assert printing.stdout is not None
            printed = [json.loads(line) for line in until_line(printing.stdout, b'"type":"end"')]
        finally:
            printing.kill()
    with foldlog.open(url, read_only=True) as store:
        everything = list(store.events())
        events = [event.position for event in everything]
        events = events[: next(place for place, event in enumerate(everything) if event["type"] == "end") + 1]
    gaps = events[-1] - len(events)
    assert gaps > 0
    for process, after in zip(reading, starts, strict=True):
        assert process.said == [position for position in events if position > after]
    assert awaited == [[position for position in events if position > 5]]
    assert in_thread == [[position for position in events if position > 7]]
    assert [one["position"] for one in printed] == [position for position in events if position > 3]
    assert_whole(url)
    tell(f"{len(events)} events, {gaps} positions given up, 6 followers saw each once and in order")


def positions_until(events: Any, last: str) -> list[int]:
    found = []
    for event in events:
        found.append(event.position)
        if event["type"] == last:
            break
    return found


def in_loop(url: str, after: int) -> list[int]:
    import asyncio  # noqa: PLC0415

    async def read() -> list[int]:
        found = []
        async with await foldlog.aio.open(url, read_only=True) as store:
            async for event in store.follow(after=after):
                found.append(event.position)
                if event["type"] == "end":
                    break
        return found

    return asyncio.run(read())


def until_line(stream: Any, mark: bytes) -> Iterator[bytes]:
    for line in stream:
        yield line
        if mark in line.replace(b": ", b":"):
            return
