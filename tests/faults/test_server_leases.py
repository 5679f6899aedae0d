"""Leases on a server: who holds a session, who is refused, and what becomes of it when the holder's connection ends."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from forks import PATIENCE_S, Line, forked
from on_server import NORMAL, assert_whole, backend_pid
from server_proxy import Cut, Proxy, proxied
from sizes import Size

import foldlog
from foldlog.storage import postgres
from postgres_server import PostgresServer

# Taking over is a lock, an append and a checkpoint; the figure aimed at is 1 s.
TAKE_OVER_S = 10.0


def race(url: str, seed: int, number: int, sessions: int, rounds: int) -> Callable[[Line], None]:
    """Open any of some sessions, write, give it back; say who was named where it was refused."""

    def work(line: Line) -> None:
        chance = random.Random(f"{seed} {number}")
        with foldlog.open(url, config=NORMAL) as store:
            line.say("ready")
            line.hear()
            for _ in range(rounds):
                name = f"s{chance.randrange(sessions)}"
                try:
                    session = store.open_session(name)
                except foldlog.SessionInUseError as error:
                    line.say({"refused": name, "holder": error.holder})
                    continue
                for _ in range(3):
                    session.add_event("step", by=number)
                session.close()
                line.say({"wrote": name})

    return work


@pytest.mark.parametrize("sessions", [1, 20])
def test_four_processes_race_for_sessions_and_one_at_a_time_has_each(
    url: str, size: Size, seed: int, sessions: int, tell: Callable[[str], None]
) -> None:
    with foldlog.open(url, config=NORMAL) as store:
        for number in range(sessions):
            store.start_session(id=f"s{number}").close()
    rounds = size.rounds(quick=15, full=300)
    with forked(*(race(url, seed, number, sessions, rounds) for number in range(4))) as processes:
        for process in processes:
            assert process.hear() == "ready"
            process.say("go")
        for process in processes:
            process.check()
        said = [line for process in processes for line in process.said]
        pids = {process.pid for process in processes}
    refused = [line["holder"] for line in said if "refused" in line]
    for holder in refused:
        # Who gives it back in this moment has a lock, and may have no name yet or any more.
        assert holder == {} or (holder["pid"] in pids and holder["host"] and holder["since"])
    assert len(said) == 4 * rounds
    wrote = len(said) - len(refused)
    with foldlog.open(url) as store:
        assert len(list(store.events(types=["step"]))) == 3 * wrote
        for number in range(sessions):
            by = [event["by"] for event in store.events(f"s{number}", types=["step"])]
            assert all(len(set(by[start : start + 3])) == 1 for start in range(0, len(by), 3)), "nobody interleaves"
    assert_whole(url)
    tell(f"{sessions} sessions: {wrote} opened and written, {len(refused)} refused")


def hold(url: str, *, inside: bool = False) -> Callable[[Line], None]:
    """Hold a session with a call under way; then, when told, write on."""

    def work(line: Line) -> None:
        store = foldlog.open(url, config=NORMAL)
        session = store.start_session(id="demo")
        session.add_call("leaf")
        if inside:
            server: Any = store.database.writer()
            server.execute("BEGIN")
            server.execute("SELECT 1 FROM streams WHERE id = 'demo' FOR UPDATE")
            server.execute("LOCK TABLE events IN ROW EXCLUSIVE MODE")
        line.say(backend_pid(store.database))
        line.hear()
        for _ in range(2):
            try:
                session.add_event("late")
                line.say("written")
            except foldlog.FoldlogError as error:
                line.say(type(error).__name__)
        session.let_go()
        store.close()

    return work


def taken_over(store: foldlog.Store, **how: Any) -> float:
    """Open the session, as soon as it is free, and write; how many seconds it took."""
    before = time.perf_counter()
    while True:
        try:
            session = store.open_session("demo", **how)
            break
        except foldlog.SessionInUseError:
            assert time.perf_counter() - before < PATIENCE_S
            time.sleep(0.002)
    session.add_event("mine")
    taken = time.perf_counter() - before
    assert session.view.calls[1]["status"] == "interrupted"
    assert taken < TAKE_OVER_S
    session.close()
    return taken


@pytest.mark.parametrize("inside", [False, True], ids=["idle", "in a transaction"])
def test_a_killed_holder_is_followed(
    new_url: Callable[[], str], size: Size, inside: bool, tell: Callable[[str], None]
) -> None:
    times = []
    for _ in range(size.rounds(quick=3, full=100)):
        url = new_url()
        with forked(hold(url, inside=inside)) as [holder]:
            holder.hear()
            with foldlog.open(url, config=NORMAL) as store:
                with pytest.raises(foldlog.SessionInUseError, match=f"process {holder.pid} on .* since 2"):
                    store.open_session("demo")
                holder.kill()
                times.append(taken_over(store))
        assert_whole(url)
    tell(f"{len(times)} take-overs of a killed writer, the slowest {max(times) * 1e3:.0f} ms")


def test_a_stopped_holder_is_pushed_aside_and_writes_nothing_when_it_goes_on(
    new_url: Callable[[], str], size: Size, tell: Callable[[str], None]
) -> None:
    times = []
    for _ in range(size.rounds(quick=3, full=100)):
        url = new_url()
        with forked(hold(url)) as [holder]:
            holder.hear()
            holder.kill(signal.SIGSTOP)
            with foldlog.open(url, config=NORMAL) as store:
                times.append(taken_over(store, take_over=True))
                before = list(store.events())
                holder.say("go on")
                holder.kill(signal.SIGCONT)
                assert holder.hear() == "StaleWriterError"
                holder.check()
                assert list(store.events()) == before
        assert_whole(url)
    tell(f"{len(times)} take-overs of a stopped writer, the slowest {max(times) * 1e3:.0f} ms")


def test_a_holder_whose_connection_ends_takes_its_leases_again_and_goes_on(
    url: str, server: PostgresServer, size: Size
) -> None:
    with foldlog.open(url, config=NORMAL) as store, foldlog.open(url, config=NORMAL) as other:
        sessions = [store.start_session(id=f"s{number}") for number in range(5)]
        for round_number in range(size.rounds(quick=3, full=50)):
            server.execute(f"SELECT pg_terminate_backend({backend_pid(store.database)}, 5000)")
            for session in sessions:
                session.add_event("step", number=round_number)
            for session in sessions:
                with pytest.raises(foldlog.SessionInUseError, match=f"{os.getpid()}|of this process"):
                    other.open_session(session.id)
                assert session.is_writer
        for session in sessions:
            numbers = [event["number"] for event in other.events(session.id, types=["step"])]
            assert numbers == [*range(len(numbers))]
    assert_whole(url)


@pytest.mark.parametrize("writes", [True, False])
def test_who_lost_its_session_with_its_connection_is_told_and_its_view_is_right(
    url: str, server: PostgresServer, writes: bool
) -> None:
    with foldlog.open(url, config=NORMAL) as store, foldlog.open(url, config=NORMAL) as other:
        session, kept = store.start_session(id="demo"), store.start_session(id="kept")
        session.add_event("first")
        server.execute(f"SELECT pg_terminate_backend({backend_pid(store.database)}, 5000)")
        rightful = other.open_session("demo")
        if writes:
            rightful.add_event("second")
        view = session.view.counters["event"]
        with pytest.raises(foldlog.StaleWriterError, match=r"another writer (has had|has appended)") as caught:
            session.add_event("late")
        assert "open the session again" in caught.value.hint
        assert session.view.counters["event"] == view
        assert not session.is_writer
        with pytest.raises(foldlog.StaleWriterError):
            session.add_event("later")
        kept.add_event("on")
        rightful.add_event("third")
        assert [event["type"] for event in other.events("demo")][-1] == "third"
        assert "late" not in {event["type"] for event in other.events()}
        session.let_go()
        rightful.close()
        with store.open_session("demo") as again:
            again.add_event("mine")
    assert_whole(url)


@pytest.fixture
def proxy(server: PostgresServer) -> Iterator[Proxy]:
    with proxied(server) as found:
        yield found


def test_a_lease_is_taken_again_from_a_connection_that_the_server_still_believes_in(
    url: str, server: PostgresServer, proxy: Proxy
) -> None:
    with foldlog.open(proxy.url(url, server), config=NORMAL) as store:
        session = store.start_session(id="demo")
        old = backend_pid(store.database)
        proxy.begin(Cut(0, "before", "INSERT INTO events", is_half=True))
        session.add_event("on")
        assert session.is_writer
        assert backend_pid(store.database) != old
        with foldlog.open(url, config=NORMAL) as other, pytest.raises(foldlog.SessionInUseError):
            other.open_session("demo")
    assert_whole(url)


def test_a_holder_in_the_same_process_is_named_so(url: str) -> None:
    with foldlog.open(url, config=NORMAL) as store, foldlog.open(url, config=NORMAL) as other:
        with store.start_session(id="demo") as session:
            for one in (store, other):
                with pytest.raises(foldlog.SessionInUseError, match="another handle of this process since 2"):
                    one.open_session("demo")
            taken = other.open_session("demo", take_over=True)
            with pytest.raises(foldlog.StaleWriterError):
                session.add_event("late")
            assert not session.is_writer
            taken.add_event("mine")
            taken.close()
            session.let_go()
        other.open_session("demo").close()
    assert_whole(url)


def test_a_server_that_does_not_come_back_is_an_error_and_reload_goes_on_when_it_does(
    url: str, server: PostgresServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with foldlog.open(proxy.url(url, server), config=NORMAL) as store:
        session = store.start_session(id="demo")
        session.add_event("first")
        monkeypatch.setattr(postgres, "WAIT_S", 0.3)
        proxy.refuse(True)
        with pytest.raises(foldlog.CommitUncertainError, match="connection to the server was lost") as caught:
            session.add_event("second")
        assert "reload()" in caught.value.hint
        with pytest.raises(foldlog.CommitUncertainError):
            session.add_event("third")
        with pytest.raises(foldlog.StoreError, match="cannot be reached"):
            session.reload()
        with pytest.raises(foldlog.StoreError, match=r"cannot be reached: .*failed"):
            list(store.events())
        proxy.refuse(False)
        session.reload()
        assert session.view == foldlog.fold(store.events("demo"))
        session.add_event("fourth")
        assert [event["type"] for event in store.events("demo")] == ["session.started", "first", "fourth"]
    assert_whole(url)
