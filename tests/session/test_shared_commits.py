"""Callers that share commits: order, what each is told, and what the view shows, when it goes well and when not."""

import contextlib
import json
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import foldlog
from foldlog.storage import journal

WAIT_S = 10


def run_all(*works: Callable[[], Any]) -> list[Any]:
    """Run functions at once, each in a thread; their results or errors, in order."""
    outcomes: list[Any] = [None] * len(works)
    barrier = threading.Barrier(len(works))

    def run(index: int) -> None:
        barrier.wait(WAIT_S)
        try:
            outcomes[index] = works[index]()
        except BaseException as error:  # noqa: BLE001  (the test looks at it)
            outcomes[index] = error

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive(), "somebody was left waiting"
    return outcomes


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def check(store: foldlog.Store, session: foldlog.Session) -> list[dict[str, Any]]:
    """What holds at any moment of rest; the session's events."""
    events = list(store.events(session.id))
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert session.view == foldlog.fold(events)
    assert session.view.counters["event"] == len(events)
    return events


def test_threads_of_one_session_and_of_many_get_gap_free_ids_in_order(store: foldlog.Store) -> None:
    sessions = [store.start_session(id=f"s{number}") for number in range(3)]

    def work(number: int) -> list[int]:
        return [
            sessions[(number + turn) % 3].emit("step", who=number, turn=turn)["id"] if turn % 3 else
            sessions[number % 3].add_call("leaf", who=number)["id"]
            for turn in range(40)
        ]  # fmt: skip

    outcomes = run_all(*(lambda number=number: work(number) for number in range(8)))
    assert all(isinstance(outcome, list) for outcome in outcomes)
    for session in sessions:
        events = check(store, session)
        for number in range(8):
            turns = [event["turn"] for event in events if event["type"] == "step" and event["who"] == number]
            assert turns == sorted(turns), "a caller's own events keep their order"
    assert store.verify().problems == []


def test_what_is_on_its_way_is_seen_by_updates_and_not_by_the_view(store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    call = session.add_call("leaf", tries=0)["id"]

    def add_one() -> Any:
        return session.update_call(call, lambda row: {"tries": row["tries"] + 1})["tries"]

    with store.database.write():
        threads = [threading.Thread(target=add_one, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        until(lambda: len(session._recorder.pending.events) == 8)
        assert session.view.calls[call]["tries"] == 0
    for thread in threads:
        thread.join(WAIT_S)
    assert session.view.calls[call]["tries"] == 8
    check(store, session)


def test_a_key_that_is_on_its_way_is_waited_for(store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    ids: list[int] = []

    def emit() -> None:
        ids.append(session.emit("paid", idempotency_key="k")["id"])

    with store.database.write():
        threads = [threading.Thread(target=emit, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        # Who leads may have taken more than its own with it.
        until(lambda: len(store.committer._queue) + len(store.committer._group) == 4)
        assert ids == []
    for thread in threads:
        thread.join(WAIT_S)
    assert ids == [2, 2, 2, 2]
    assert len(check(store, session)) == 2


def failing(code: int) -> Callable[..., None]:
    def fail(_: Any, stamped: list[Any], __: Any = None) -> None:
        error = sqlite3.OperationalError("provoked")
        error.sqlite_errorcode, error.sqlite_errorname = code, "PROVOKED"
        raise journal._refusal(error, stamped[0] if stamped else None) from error

    return fail


def test_a_full_disk_fails_every_caller_and_leaves_no_trace(
    store: foldlog.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = [store.start_session(id=name) for name in ("a", "b")]
    before = [session.view.document() for session in sessions]
    with monkeypatch.context() as patch:
        patch.setattr(journal, "append", failing(sqlite3.SQLITE_FULL))
        outcomes = run_all(*(lambda n=n: sessions[n % 2].emit("step") for n in range(8)))
    assert {type(outcome) for outcome in outcomes} == {foldlog.StoreError}
    assert [session.view.document() for session in sessions] == before
    assert [session.emit("step")["id"] for session in sessions] == [2, 2]
    for session in sessions:
        check(store, session)


def test_an_uncertain_commit_stops_every_session_in_it_until_each_is_reloaded(
    store: foldlog.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = [store.start_session(id=name) for name in ("a", "b")]
    bystander = store.start_session(id="c")
    with monkeypatch.context() as patch:
        patch.setattr(journal, "append", failing(sqlite3.SQLITE_IOERR_FSYNC))
        outcomes = run_all(*(lambda n=n: sessions[n % 2].emit("step") for n in range(6)))
    assert {type(outcome) for outcome in outcomes} == {foldlog.CommitUncertainError}
    assert bystander.emit("step")["id"] == 2
    for session in sessions:
        with pytest.raises(foldlog.CommitUncertainError, match="reload"):
            session.emit("step")
        session.reload()
        assert session.emit("step")["id"] == 2
        check(store, session)


def test_a_batch_that_is_recorded_behind_a_failure_hears_of_it(
    store: foldlog.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = store.start_session(id="demo")
    inside, failed = threading.Event(), threading.Event()

    def fail(*arguments: Any) -> None:
        assert inside.wait(WAIT_S)
        failing(sqlite3.SQLITE_FULL)(*arguments)

    def emit() -> None:
        try:
            session.emit("step")
        finally:
            failed.set()

    def batch() -> None:
        until(lambda: bool(session._recorder.pending.events))
        with session.batch():
            session.emit("in-the-batch")
            inside.set()
            assert failed.wait(WAIT_S)
            with pytest.raises(foldlog.StoreError, match="full"):
                session.emit("too-late")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "append", fail)
        outcomes = run_all(emit, batch)
    assert [type(outcome) for outcome in outcomes] == [foldlog.StoreError] * 2
    assert len(check(store, session)) == 1
    assert session.emit("step")["id"] == 2


@contextlib.contextmanager
def a_message_on_its_way(store: foldlog.Store, session: foldlog.Session, behind: Callable[[], None]) -> Iterator[None]:
    """A message whose commit waits until the block ends, and `behind` running since; both have ended afterwards."""
    threads = [threading.Thread(target=lambda: session.add_message("user", "hello"), daemon=True)]
    threads.append(threading.Thread(target=behind, daemon=True))
    with store.database.write():
        threads[0].start()
        until(lambda: bool(session._recorder.pending.events))
        threads[1].start()
        yield
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()


def test_a_checkpoint_waits_for_what_is_on_its_way(store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    with a_message_on_its_way(store, session, session.checkpoint):
        until(lambda: len(store.committer._queue) == 1)
    assert [json.loads(row["data"])["content"] for row in store.query("SELECT data FROM messages")] == ["hello"]
    check(store, session)


def test_closing_waits_for_what_is_on_its_way(store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    with a_message_on_its_way(store, session, session.close):
        until(lambda: len(store.committer._queue) == 1)
    assert store.view("demo").messages[1]["content"] == "hello"
    assert [row["n"] for row in store.query("SELECT count(*) AS n FROM messages")] == [1]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_fails_everybody_is_told_the_truth(
    store: foldlog.Store, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Commits that fail at random: acknowledged is stored, once; refused is not."""
    chance = random.Random(seed)
    append = journal.append

    def sometimes(database: Any, stamped: list[Any], also: Any = None) -> None:
        if chance.random() < 0.2:
            failing(chance.choice([sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY]))(database, stamped)
        append(database, stamped, also)

    sessions = [store.start_session(id=name) for name in ("a", "b")]
    acknowledged: list[list[tuple[str, int]]] = [[] for _ in range(6)]
    refused: list[list[tuple[int, int]]] = [[] for _ in range(6)]

    def work(number: int) -> None:
        own = random.Random(seed * 100 + number)
        for step in range(60):
            session = own.choice(sessions)
            try:
                if own.random() < 0.2:
                    with session.batch():
                        turn = session.add_turn(who=number, step=step)
                        session.add_call("leaf", turn_id=turn["id"], who=number)
                elif own.random() < 0.1:
                    session.checkpoint()
                    continue
                else:
                    session.emit("step", who=number, step=step)
                acknowledged[number].append((session.id, step))
            except foldlog.StoreError:
                refused[number].append((number, step))

    monkeypatch.setattr(journal, "append", sometimes)
    outcomes = run_all(*(lambda number=number: work(number) for number in range(6)))
    monkeypatch.setattr(journal, "append", append)
    assert outcomes == [None] * 6, f"seed {seed}"
    assert any(refused)
    found: set[tuple[int, str, int]] = set()
    for session in sessions:
        for event in check(store, session):
            row = event.get("turn", event)
            if isinstance(row, dict) and "step" in row:
                assert (row["who"], session.id, row["step"]) not in found, "stored twice"
                found.add((row["who"], session.id, row["step"]))
    assert found == {(number, *one) for number in range(6) for one in acknowledged[number]}, f"seed {seed}"
    assert store.verify().problems == []


def test_a_reopened_session_is_shared_by_writers_readers_and_checkpoints(
    store: foldlog.Store, reopen: Callable[[], foldlog.Store]
) -> None:
    with store.start_session(id="demo") as session:
        for _ in range(5):
            turn = session.add_turn()["id"]
            for _ in range(20):
                session.add_call("leaf", turn_id=turn, tries=0)
            session.add_message("assistant", "done", turn_id=turn)
    other = reopen()
    session = other.open_session("demo")
    session.update_status("running")
    torn: list[str] = []

    def write(number: int) -> None:
        own = random.Random(number)
        for _ in range(60):
            call = own.randint(1, 100)
            session.update_call(call, lambda row: {"tries": row["tries"] + 1})
            if own.random() < 0.2:
                session.add_call("leaf", turn_id=own.randint(1, 5), tries=0)

    def read() -> None:
        for _ in range(30):
            calls, turns = dict(session.view.calls), dict(session.view.turns)
            listed = [call for turn in turns.values() for call in turn["call_ids"]]
            if not set(calls) <= set(listed) or list(calls) != sorted(calls):
                torn.append("rows")

    def checkpoint() -> None:
        for _ in range(30):
            session.checkpoint()

    outcomes = run_all(*(lambda number=number: write(number) for number in range(4)), read, read, checkpoint)
    assert outcomes == [None] * 7
    assert torn == []
    events = check(other, session)
    assert sum(row["tries"] for row in session.view.calls.values()) == 240
    session.checkpoint()
    assert other.verify().problems == []
    assert reopen().view("demo") == foldlog.fold(events)


# What a verb concluded from events that were on their way, and then were not committed.


def with_first_failing(
    session: foldlog.Session,
    monkeypatch: pytest.MonkeyPatch,
    first: Callable[[], Any],
    second: Callable[[Callable[[], None]], Any],
) -> list[Any]:
    """Run `first`, whose commit will fail, and `second` while it is on its way; `second` is given what lets it fail."""
    let, failed = threading.Event(), threading.Event()
    append, once = journal.append, iter([True])

    def fail(*arguments: Any) -> None:
        if next(once, False):
            assert let.wait(WAIT_S)
            failing(sqlite3.SQLITE_FULL)(*arguments)
        append(*arguments)

    def run_first() -> Any:
        try:
            return first()
        finally:
            failed.set()

    def let_it_fail() -> None:
        let.set()
        assert failed.wait(WAIT_S)

    def run_second() -> Any:
        until(lambda: bool(session._recorder.pending.events))
        try:
            return second(let_it_fail)
        finally:
            let.set()

    with monkeypatch.context() as patch:
        patch.setattr(journal, "append", fail)
        return run_all(run_first, run_second)


def test_a_key_whose_event_fails_is_acknowledged_to_nobody(
    store: foldlog.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = store.start_session(id="demo")

    def again(let_it_fail: Callable[[], None]) -> Any:
        with session.batch():
            session.emit("paid", idempotency_key="k")
            let_it_fail()

    outcomes = with_first_failing(session, monkeypatch, lambda: session.emit("paid", idempotency_key="k"), again)
    assert [type(outcome) for outcome in outcomes] == [foldlog.StoreError] * 2
    assert len(check(store, session)) == 1
    assert session.emit("paid", idempotency_key="k")["id"] == 2


def test_a_change_made_from_a_row_that_fails_fails_with_it(
    store: foldlog.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = store.start_session(id="demo")
    call = session.add_call("leaf", n=0)["id"]

    def add_one(let_it_fail: Callable[[], None]) -> Any:
        def change(row: dict[str, Any]) -> dict[str, Any]:
            let_it_fail()
            return {"n": row["n"] + 1}

        return session.update_call(call, change)

    outcomes = with_first_failing(session, monkeypatch, lambda: session.update_call(call, n=1), add_one)
    assert [type(outcome) for outcome in outcomes] == [foldlog.StoreError] * 2
    assert session.view.calls[call]["n"] == 0
    assert session.update_call(call, lambda row: {"n": row["n"] + 1})["n"] == 1
    check(store, session)


@pytest.mark.parametrize("what", ["row", "list"])
def test_nothing_to_change_is_said_once_that_is_durable(
    store: foldlog.Store, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    session = store.start_session(id="demo")
    turn, call = session.add_turn()["id"], session.add_call("leaf")["id"]

    def same(_: Callable[[], None] | None = None) -> Any:
        if what == "row":
            return session.update_call(call, lambda _row: {"status": "ok"})
        return session.add_turn_ids(turn, "mine", [7])

    def wait_behind(let_it_fail: Callable[[], None]) -> Any:
        releasing = threading.Thread(
            target=lambda: (until(lambda: bool(store.committer._queue)), let_it_fail()), daemon=True
        )
        releasing.start()
        try:
            return same()
        finally:
            releasing.join(WAIT_S)

    outcomes = with_first_failing(session, monkeypatch, same, wait_behind)
    assert [type(outcome) for outcome in outcomes] == [foldlog.StoreError] * 2
    assert session.view.calls[call]["status"] == "running"
    assert "mine" not in session.view.turns[turn]
    same()
    check(store, session)


def test_a_child_whose_start_fails_is_in_nobodys_way(store: foldlog.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    session = store.start_session(id="demo")
    append, chance = journal.append, random.Random(5)

    def sometimes(database: Any, stamped: list[Any], also: Any = None) -> None:
        if chance.random() < 0.4:
            failing(sqlite3.SQLITE_FULL)(database, stamped)
        append(database, stamped, also)

    def work() -> list[str]:
        found: list[str] = []
        while len(found) < 6:
            try:
                child = session.start_child()
            except foldlog.SessionInUseError:
                raise
            except foldlog.StoreError:
                continue
            found.append(child.id)
        return found

    monkeypatch.setattr(journal, "append", sometimes)
    outcomes = run_all(*[work] * 4)
    monkeypatch.setattr(journal, "append", append)
    ids = [child for outcome in outcomes for child in outcome]
    assert len(set(ids)) == 24
    assert {row["child_session_id"] for row in session.view.calls.values()} == set(ids)
    check(store, session)


def test_a_hold_that_was_never_left_is_cleared_up_and_reloading_is_enough(store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    hold = session._recorder.hold()
    hold.__enter__().record("half.done", {})
    del hold  # as a signal leaves it that strikes in the instant it is to be left
    with pytest.raises(foldlog.CommitUncertainError):
        session.emit("step")
    session.reload()
    assert session.emit("step")["id"] == 2
    assert run_all(lambda: session.emit("step")["id"]) == [3], "the lock is free for other threads"
    check(store, session)
