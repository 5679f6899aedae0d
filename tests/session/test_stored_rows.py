"""A session opened from its tables: what is read when, and what is shown when the tables have moved on."""

import random
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import engines
import foldlog
from foldlog.session import checkpoint
from foldlog.storage import journal, stream_pages, tables


@pytest.fixture
def filled(store: foldlog.Store) -> str:
    """A session with a turn that has calls, messages and an eval, closed."""
    with store.start_session(id="demo") as session:
        turn = session.add_turn()["id"]
        session.add_message("assistant", "hello", turn_id=turn)
        session.add_message("tool", "out", turn_id=turn)
        for number in range(3):
            session.add_call("leaf", turn_id=turn, status="ok", n=number)
        session.add_eval(turn_id=turn, code="1")
        session.start_child(query="part").close()
    return "demo"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the functions that read rows of tables, as they are called."""
    seen: list[str] = []

    def watch(name: str) -> None:
        function = getattr(tables, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            seen.append(name)
            return function(*args, **kwargs)

        monkeypatch.setattr(tables, name, watched)

    for name in ("read_row", "read_rows", "read_edge_calls", "read_joined"):
        watch(name)
    return seen


def test_opening_to_read_reads_no_row(store: foldlog.Store, filled: str, reads: list[str]) -> None:
    view = store.view(filled)
    assert (view.session["status"], len(view.calls), view.counters["call"]) == ("stopped", 4, 4)
    assert "4 calls" in repr(view)
    assert reads == []


def test_opening_to_write_and_adding_reads_nothing_but_what_runs(
    store: foldlog.Store, filled: str, reads: list[str]
) -> None:
    session = store.open_session(filled)
    session.add_call("leaf")
    session.add_message("user", "more")
    session.checkpoint()
    # The final document names what the last turn says; nothing else was looked at.
    assert reads == ["read_row"]
    assert session.usage()["child_calls"] == {"call_count": 1}
    assert reads == ["read_row", "read_edge_calls"]


def test_a_turn_is_read_with_its_lists_when_it_is_asked_for(store: foldlog.Store, filled: str) -> None:
    session = store.open_session(filled)
    session.add_call("leaf", turn_id=1)
    row = session.view.turns[1]
    assert (row["assistant_message_ids"], row["observation_message_ids"], row["eval_ids"]) == ([1], [2], [1])
    assert row["call_ids"] == [1, 2, 3, 5]
    session.add_turn_ids(1, "call_ids", [2, 9])
    assert session.view.turns[1]["call_ids"] == [1, 2, 3, 5, 9]
    assert session.view == store.view(filled, at=session.view.counters["event"])


def test_what_was_not_read_before_the_store_closed_is_told(path: Path, filled: str) -> None:
    with foldlog.open(path, read_only=True) as reader:
        view = reader.view(filled)
        known = view.calls[1]
    assert view.calls[1] == known
    assert view.session["id"] == filled
    for ask in (
        lambda: view.calls[2],
        lambda: list(view.messages),
        lambda: view.turns[1],
        view.document,
        lambda: view.running_ids("call"),
        view.edge_calls,
    ):
        with pytest.raises(foldlog.StoreClosedError, match="not read before the store was closed") as caught:
            ask()
        assert "view.load()" in caught.value.hint


def test_a_view_that_was_loaded_outlives_its_store(path: Path, filled: str) -> None:
    with foldlog.open(path, read_only=True) as reader:
        view = reader.view(filled).load()
        expected = reader.view(filled).document()
    assert view.document() == expected
    assert (view.running_ids("call"), [row["id"] for row in view.edge_calls()]) == ([4], [4])


@pytest.fixture
def moved(path: Path, store: foldlog.Store, filled: str) -> Iterator[tuple[foldlog.View, Callable[[], foldlog.View]]]:
    """A reader's view whose tables a writer has moved on, and the same by replay."""
    with foldlog.open(path, read_only=True) as reader:
        view = reader.view(filled)
        at = view.counters["event"]
        session = store.open_session(filled)
        session.update_call(1, status="changed")
        session.emit("turn.put", turn={"id": 1, "call_ids": []})
        session.emit("session.restored", messages=[], counters={}, session_patch={})
        session.add_call("leaf", turn_id=1)
        session.checkpoint()
        yield view, lambda: store.view(filled, at=at)


@pytest.mark.parametrize(
    "read",
    [
        lambda view: view.calls[1],
        lambda view: view.calls.get(5),
        lambda view: view.turns[1],
        lambda view: list(view.messages.values()),
        lambda view: view.running_ids("call"),
        lambda view: [row["id"] for row in view.edge_calls()],
        lambda view: view.document(),
    ],
)
def test_a_reader_keeps_its_moment_while_a_writer_moves_the_tables_on(
    moved: tuple[foldlog.View, Callable[[], foldlog.View]], read: Callable[[foldlog.View], Any]
) -> None:
    view, replayed = moved
    assert read(view) == read(replayed())
    assert view == replayed()


def test_the_journal_is_folded_once_for_tables_that_moved_on(
    moved: tuple[foldlog.View, Callable[[], foldlog.View]], monkeypatch: pytest.MonkeyPatch
) -> None:
    view, _ = moved
    count = []
    replay = checkpoint.replay
    monkeypatch.setattr(checkpoint, "replay", lambda *args, **kwargs: count.append(1) or replay(*args, **kwargs))
    for ask in (lambda: view.calls[1], lambda: view.turns[1], view.document):
        ask()
    assert count == [1]


@pytest.mark.parametrize(("times", "replays"), [(1, 0), (5, 0), (6, 1)])
def test_opening_begins_again_where_a_writer_was_quicker(
    store: foldlog.Store, path: Path, filled: str, monkeypatch: pytest.MonkeyPatch, times: int, replays: int
) -> None:
    session = store.open_session(filled)
    session.update_call(1, status="changed")
    read, replay = stream_pages.read, checkpoint.replay
    looks, replayed = list[int](), list[int]()

    def read_and_be_late(*args: Any, **kwargs: Any) -> Any:
        pages = list(read(*args, **kwargs))
        if "through" not in kwargs or kwargs["through"] is None:
            looks.append(1)
            if len(looks) <= times:
                session.update_call(2, n=len(looks))
                session.checkpoint()
                session.update_call(1, n=len(looks))
        return pages

    def count_replays(*args: Any, **kwargs: Any) -> Any:
        replayed.append(1)
        return replay(*args, **kwargs)

    with foldlog.open(path, read_only=True) as reader:
        with monkeypatch.context() as patch:
            patch.setattr(stream_pages, "read", read_and_be_late)
            patch.setattr(checkpoint, "replay", count_replays)
            view = reader.view(filled)
        assert (len(looks), len(replayed)) == (times + 1 - replays, replays)
        assert view == store.view(filled, at=view.counters["event"])


def test_a_view_reads_on_after_checkpoints_of_its_own_session(
    store: foldlog.Store, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = store.open_session(filled)
    for number in range(3):
        session.add_call("leaf", turn_id=1)
        session.update_call(number + 1, status="again")
        session.checkpoint()
    monkeypatch.setattr(checkpoint, "replay", None)
    assert [row["id"] for row in session.view.calls.values()] == [1, 2, 3, 4, 5, 6, 7]
    assert session.view.turns[1]["call_ids"] == [1, 2, 3, 5, 6, 7]
    assert len(session.view.messages) == len(list(session.view.messages)) == 2


def test_tables_that_are_gone_are_replaced_by_the_journal(path: Path, store: foldlog.Store, filled: str) -> None:
    view, expected = store.view(filled), store.view(filled).document()
    with store.database.write() as connection:
        connection.execute("DELETE FROM sessions")
    assert view.document() == expected


def test_a_damaged_row_is_told_when_it_is_read(store: foldlog.Store, filled: str) -> None:
    view = store.view(filled)
    with store.database.write() as connection:
        connection.execute("UPDATE calls SET data = '{' WHERE id = 2")
    assert view.calls[1]["n"] == 0
    with pytest.raises(foldlog.CorruptJournalError):
        view.calls[2]


@pytest.mark.sqlite("a column of numbers holds text")
def test_a_row_without_its_place_is_told_when_lists_are_read(store: foldlog.Store, filled: str) -> None:
    engines.change(store, "UPDATE calls SET first_event_id = 'x' WHERE id = 2")
    with pytest.raises(foldlog.CorruptJournalError, match="the tables are damaged"):
        list(store.view(filled).turns.values())


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE usage SET data = '{}'",
        "DELETE FROM usage",
        "UPDATE sessions SET folded = '{}'",
        "UPDATE sessions SET folded = replace(folded, 'snapshot', 'snapshop')",
        """UPDATE sessions SET folded = replace(folded, '"turn":1}', '"turn":"many"}')""",
        'UPDATE sessions SET folded = replace(folded, \'"last_row_ids":{\', \'"last_row_ids":{},"other":{\')',
    ],
)
def test_damaged_facts_are_told_at_once(store: foldlog.Store, filled: str, change: str) -> None:
    engines.change(store, change)
    with pytest.raises(foldlog.CorruptJournalError, match="the tables are damaged"):
        store.view(filled)


def test_a_checkpoint_written_twice_is_written_once(store: foldlog.Store, filled: str) -> None:
    session = store.open_session(filled)
    session.add_call("child", child_session_id="demo/child-0002")
    session.emit("call.put", call={"id": 4, "type": "leaf"})
    session.emit("session.restored", messages=[{"id": 1, "role": "user", "content": 1}], counters={}, session_patch={})
    prepared = checkpoint.prepare("demo", session.view, writer=None)
    stream = journal.find_stream(store.database, "demo")
    for _ in range(2):
        checkpoint.save(store.database, stream, prepared, lambda: session.view.counter("event"))
    assert store.verify().problems == []
    assert [row["id"] for row in store.view("demo").edge_calls()] == [5]


def test_what_could_not_be_prepared_is_written_next_time(
    store: foldlog.Store, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = store.open_session(filled)
    session.add_call("leaf")

    def fail(*_: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "final_columns", fail)
        with pytest.raises(MemoryError):
            session.checkpoint()
    session.checkpoint()
    assert store.verify().problems == []


def test_opening_a_long_session_takes_no_memory_for_its_rows(path: Path, config: foldlog.Config) -> None:
    with foldlog.open(path, config=config) as store, store.start_session(id="long") as session, session.batch():
        for _ in range(2000):
            session.add_call("leaf", status="ok", text="x" * 500)
    with foldlog.open(path, config=config) as store:
        store.open_session("long").close()  # what is made once
        tracemalloc.start()
        try:
            session = store.open_session("long")
            session.add_call("leaf", status="ok")
            session.checkpoint()
            few = tracemalloc.get_traced_memory()[0]
            assert len(list(session.view.calls)) == 2001
            all_of_them = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
    assert few < 200_000
    assert all_of_them > 2_000_000


def test_readers_of_a_session_that_is_written_see_one_moment(
    store: foldlog.Store, path: Path, config: foldlog.Config
) -> None:
    with store.start_session(id="demo") as session:
        turn = session.add_turn()["id"]
        for _ in range(100):
            session.add_call("leaf", turn_id=turn, status="ok", n=0)
    session = store.open_session("demo")
    done, failures = threading.Event(), list[BaseException]()

    def read(choose: random.Random) -> None:
        try:
            while not done.is_set():
                with foldlog.open(path, read_only=True, config=config) as reader:
                    # Now and then a view of an earlier opening, else the one that is written.
                    view = choose.choice([session.view, store.view("demo"), reader.view("demo")])
                    for _ in range(5):
                        check_moment(view, choose)
        except BaseException as error:  # noqa: BLE001  (told below)
            failures.append(error)

    readers = [threading.Thread(target=read, args=(random.Random(seed),)) for seed in range(3)]
    for reader in readers:
        reader.start()
    for number in range(1, 101):
        with session.batch():
            session.update_call(number, n=1)
            session.add_call("leaf", turn_id=turn, status="ok", n=1)
        if number % 10 == 0:
            session.checkpoint()
        if number % 25 == 0:
            session.close()
            session = store.open_session("demo")
    done.set()
    for reader in readers:
        reader.join(60)
        assert not reader.is_alive()
    assert failures == []
    assert session.view == store.view("demo", at=session.view.counters["event"])
    assert store.verify().problems == []


def check_moment(view: foldlog.View, choose: random.Random) -> None:
    """Each batch changes one call and adds one: as many are new as have changed."""
    what = choose.randrange(3)
    if what == 0:
        rows = list(view.calls.values())
        assert sum(row["n"] for row in rows) == 2 * (len(rows) - 100)
        assert [row["id"] for row in rows] == list(range(1, len(rows) + 1))
    elif what == 1:
        ids = view.turns[1]["call_ids"]
        assert ids == list(range(1, len(ids) + 1))
    else:
        assert view.calls[choose.randrange(1, 101)]["status"] == "ok"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE usage SET data = replace(data, 'output_tokens', 'output_tokenz')",
        "UPDATE usage SET data = replace(data, '0x0', '4x0')",
        "UPDATE final SET data = '[]'",
        "UPDATE sessions SET data = '7'",
        """UPDATE sessions SET folded = replace(folded, '"message"', '"massage"')""",
        """UPDATE sessions SET folded = replace(folded, '"row_counts":{"call":4', '"row_counts":{"call":"many"')""",
    ],
)
def test_documents_from_damaged_tables_are_refused_in_our_words(store: foldlog.Store, filled: str, change: str) -> None:
    engines.change(store, change)
    refused = 0
    for ask in (store.usage, store.tree, store.final, lambda one: store.view(one).document()):
        try:
            ask(filled)
        except foldlog.CorruptJournalError as error:
            assert "damaged" in error.message  # noqa: PT017  (some of the four need not read what is damaged)
            refused += 1
    assert refused
    assert not store.verify().ok
