"""The journal: appended whole or not at all, and read back in order."""

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines import be_impatient, change, locked
from foldlog.core.errors import (
    AlreadyExistsError,
    CommitUncertainError,
    CorruptJournalError,
    MissingBlobError,
    StaleWriterError,
    StoreBusyError,
    StoreError,
    UnknownSessionError,
)
from foldlog.storage import blobs, event_feed, journal
from foldlog.storage.database import Database
from foldlog.storage.faults import is_constraint
from foldlog.storage.journal import Stream, append


def count(database: Database, table: str = "events") -> int:
    with database.read() as connection:
        found: int = connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
        return found


def ids(database: Database, session_id: str = "demo", **where: Any) -> list[int]:
    return [
        one.event_id for one in event_feed.read_stream(database, Stream(session_id, key(database, session_id)), **where)
    ]


def key(database: Database, session_id: str = "demo") -> int | None:
    return journal.find_stream(database, session_id).key


# Appending.


def test_what_is_appended_is_read_back(database: Database, line: Any) -> None:
    stamped = line.next({"text": "é"}, key="once")
    append(database, [stamped])
    (found,) = event_feed.read_feed(database)
    assert found == (
        1, "demo", 1, "note", stamped.at, stamped.data.decode(), stamped.digest, stamped.chain, "once",
    )  # fmt: skip


def test_the_first_event_begins_the_stream(database: Database, line: Any) -> None:
    assert line.stream.key is None
    append(database, [line.next()])
    assert line.stream.key == key(database)
    append(database, [line.next()])
    assert ids(database) == [1, 2]


def test_another_handle_sees_an_event_as_soon_as_it_is_appended(new_database: Any, line: Any) -> None:
    writer, reader = new_database(), new_database(read_only=True)
    append(writer, [line.next()])
    assert ids(reader) == [1]


def test_events_of_several_sessions_are_committed_together(database: Database, new_line: Any) -> None:
    left, right = new_line("left"), new_line("right")
    append(database, [left.next(), right.next(), left.next()])
    assert [(one.session_id, one.event_id) for one in event_feed.read_feed(database)] == [
        ("left", 1), ("right", 1), ("left", 2),
    ]  # fmt: skip


def test_more_statements_are_committed_with_the_events(database: Database, line: Any) -> None:
    append(database, [line.next()], lambda connection: connection.execute("INSERT INTO streams (id) VALUES ('also')"))
    assert journal.stream_ids(database) == ["demo", "also"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, UnknownSessionError])
def test_when_the_other_statements_fail_nothing_is_written(
    database: Database, line: Any, error: type[BaseException]
) -> None:
    raised = error("no", hint="none") if error is UnknownSessionError else error()  # type: ignore[call-arg]

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO streams (id) VALUES ('also')")
        raise raised

    with pytest.raises(error):
        append(database, [line.next()], fail)
    assert (count(database), count(database, "streams"), line.stream.key) == (0, 0, None)


def test_a_constraint_of_the_other_statements_is_not_called_a_stale_writer(database: Database, line: Any) -> None:
    def twice(connection: sqlite3.Connection) -> None:
        for _ in range(2):
            connection.execute("INSERT INTO blobs (hash, bytes, data) VALUES ('x', 1, 'x')")

    with pytest.raises(StoreError) as caught:
        append(database, [line.next()], twice)
    assert not isinstance(caught.value, StaleWriterError)


def test_one_refused_event_takes_the_whole_append_with_it(database: Database, new_line: Any) -> None:
    append(database, [new_line("taken").next()])
    fresh = new_line("fresh")
    first = fresh.next()
    with pytest.raises(AlreadyExistsError):
        append(database, [first, new_line("taken").next()])
    assert journal.stream_ids(database) == ["taken"]
    append(database, [first])
    assert ids(database, "fresh") == [1]


def test_an_id_that_is_taken_is_refused(database: Database, new_line: Any) -> None:
    append(database, [new_line().next()])
    with pytest.raises(AlreadyExistsError, match="demo"):
        append(database, [new_line().next()])
    assert count(database) == 1


def test_a_stale_writer_can_never_interleave(new_database: Any, new_line: Any) -> None:
    first, second = new_database(), new_database()
    line = new_line()
    append(first, [line.next()])
    stale = new_line(stream=Stream("demo", line.stream.key))
    stale.event_id = 1
    append(first, [line.next()])
    late = stale.next()
    for many in ([late], [late, stale.next()]):
        with pytest.raises(StaleWriterError, match="event 2"):
            append(second, many)
    assert ids(second) == [1, 2]


def test_a_stale_writer_keeps_the_stream_it_knew(new_database: Any, new_line: Any) -> None:
    first = new_database()
    line = new_line()
    append(first, [line.next()])
    stale = new_line(stream=Stream("demo", line.stream.key))
    with pytest.raises(StaleWriterError):
        append(first, [stale.next()])
    assert stale.stream.key == line.stream.key


def test_an_idempotency_key_is_taken_once_a_session(database: Database, new_line: Any) -> None:
    left, right = new_line("left"), new_line("right")
    append(database, [left.next(key="k"), right.next(key="k"), left.next(), left.next()])
    with pytest.raises(StaleWriterError):
        append(database, [left.next(key="k")])
    assert count(database) == 4


def test_an_idempotency_key_finds_its_event(database: Database, line: Any) -> None:
    append(database, [line.next("first", key="k"), line.next("second")])
    found = journal.find_key(database, line.stream, "k")
    assert found is not None
    assert found.event_id == 1
    assert journal.find_key(database, line.stream, "other") is None


def test_the_journal_refuses_to_be_changed(database: Database, line: Any) -> None:
    append(database, [line.next()])
    for statement in ("UPDATE events SET data = '{}'", "DELETE FROM events", "UPDATE events SET position = 9"):
        with database.write() as connection, pytest.raises(sqlite3.DatabaseError) as caught:
            connection.execute(statement)
        assert is_constraint(caught.value)
    assert count(database) == 1


# What can go wrong, and that the next append works once it no longer does.


@pytest.mark.parametrize("whose", ["another handle's", "another program's"])
def test_a_lock_held_elsewhere_refuses_and_leaves_nothing(
    engine: str, new_database: Any, monkeypatch: pytest.MonkeyPatch, line: Any, whose: str
) -> None:
    if engine == "postgres" and whose == "another handle's":
        pytest.skip("two handles write side by side")
    be_impatient(engine, monkeypatch)
    handle, database = new_database(), new_database()

    def held() -> contextlib.AbstractContextManager[Any]:
        return handle.write() if whose == "another handle's" else locked(handle)

    first, second = line.next(), line.next()
    with held():
        for many in ([first], [first, second]):
            with pytest.raises(StoreBusyError, match="demo" if whose == "another program's" else "has been writing"):
                append(database, many)
    append(database, [first])
    with held(), pytest.raises(StoreBusyError):
        append(database, [second])
    append(database, [second])
    assert ids(database) == [1, 2]


@pytest.mark.sqlite("a limit to its file")
@pytest.mark.parametrize("many", [1, 3])
def test_a_full_disk_refuses_and_leaves_nothing(database: Database, line: Any, many: int) -> None:
    append(database, [line.next()])
    with database.write() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
    large = [line.next("x" * 100_000) for _ in range(many)]
    with pytest.raises(StoreError, match="disk is full"):
        append(database, large)
    assert ids(database) == [1]
    with database.write() as connection:
        connection.execute("PRAGMA max_page_count = 100000")
    append(database, large)
    assert ids(database) == list(range(1, many + 2))


class _Driver:
    """A connection whose disk fails at one statement."""

    def __init__(self, connection: sqlite3.Connection, at: str, code: int) -> None:
        self._connection, self._at, self._code = connection, at, code

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *values: Any) -> Any:
        if statement.startswith(self._at):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode, error.sqlite_errorname = self._code, "SQLITE_IOERR_FSYNC"
            raise error
        return self._connection.execute(statement, *values)

    def executemany(self, statement: str, values: Any) -> Any:
        return self._connection.executemany(statement, values)


class _FailingDisk:
    def __init__(self, database: Database, at: str, code: int) -> None:
        self._database, self._at, self._code = database, at, code
        self.marks = database.marks
        self.resumed_count = 0

    def run(self, work: Any, *arguments: Any) -> None:
        with self._database.write() as connection:
            work(_Driver(connection, self._at, self._code), *arguments)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR, sqlite3.SQLITE_IOERR | 4 << 8])
def test_a_commit_the_disk_fails_in_is_uncertain(database: Database, line: Any, code: int) -> None:
    with pytest.raises(CommitUncertainError, match="demo") as caught:
        append(_FailingDisk(database, "COMMIT", code), [line.next()])  # type: ignore[arg-type]
    assert "reload" in caught.value.hint
    with database.write() as connection:
        assert not connection.in_transaction


def test_a_single_event_that_commits_by_itself_is_uncertain_too(database: Database, line: Any) -> None:
    append(database, [line.next()])
    with pytest.raises(CommitUncertainError):
        append(_FailingDisk(database, "INSERT", sqlite3.SQLITE_IOERR), [line.next()])  # type: ignore[arg-type]


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY])
def test_a_commit_that_fails_otherwise_leaves_nothing(database: Database, line: Any, code: int) -> None:
    stamped = line.next()
    with pytest.raises(StoreError) as caught:
        append(_FailingDisk(database, "COMMIT", code), [stamped])  # type: ignore[arg-type]
    assert not isinstance(caught.value, CommitUncertainError)
    append(database, [stamped])
    assert ids(database) == [1]


def test_an_error_never_shows_what_was_said(database: Database, line: Any) -> None:
    append(database, [line.next("a secret")])
    again = line.next("a secret")._replace(event_id=1)
    with pytest.raises(StaleWriterError) as caught:
        append(database, [again])
    assert "secret" not in f"{caught.value!r} {caught.value} {caught.value.__cause__}"


# Blobs.


def test_a_blob_is_committed_with_the_event_that_refers_to_it(database: Database, line: Any, blob: Any) -> None:
    ref = blob("x" * 10_000)
    append(database, [line.next(refs=(ref,))])
    assert blobs.read(database, ref["hash"]) == ref.body
    assert blobs.read(database, "sha256:" + "0" * 64) is None


def test_the_same_blob_is_stored_once(database: Database, line: Any, blob: Any) -> None:
    append(database, [line.next(refs=(blob("x"), blob("x"))), line.next(refs=(blob("x"),))])
    assert count(database, "blobs") == 1


def test_the_parts_of_a_blob_are_stored_with_it(database: Database, line: Any, blob: Any) -> None:
    part = blob("part")
    whole = blob({"part": part}, part)
    append(database, [line.next(refs=(whole,))])
    assert blobs.read(database, part["hash"]) == part.body


def test_a_refused_event_leaves_no_blob(database: Database, line: Any, blob: Any) -> None:
    append(database, [line.next()])
    stale = line.next(refs=(blob("x"),))._replace(event_id=1)
    with pytest.raises(StaleWriterError):
        append(database, [stale])
    assert count(database, "blobs") == 0


@pytest.mark.parametrize("older", [0, 1])
def test_a_reference_never_dangles(database: Database, line: Any, blob: Any, new_line: Any, older: int) -> None:
    append(database, [line.next() for _ in range(older)] or [new_line("other").next()])
    missing = blob("x")
    missing.body = None
    stamped = line.next(refs=(missing,))
    with pytest.raises(MissingBlobError, match="sha256:"):
        append(database, [stamped])
    assert (count(database), journal.has_stream(database, "demo")) == (1, bool(older))
    missing.body = blob("x").body
    append(database, [stamped])
    assert ids(database)[-1] == older + 1


def test_a_reference_to_a_blob_that_is_there_needs_no_body(database: Database, line: Any, blob: Any) -> None:
    append(database, [line.next(refs=(blob("x"),))])
    again = blob("x")
    again.body = None
    append(database, [line.next(refs=(again,))])
    assert count(database) == 2


# Reading.


@pytest.mark.parametrize("length", [0, 1, 999, 1000, 1001, 2000, 2001])
def test_a_stream_of_any_length_is_read_whole_over_its_pages(database: Database, line: Any, length: int) -> None:
    append(database, [line.next() for _ in range(length + 1)])
    assert ids(database) == list(range(1, length + 2))
    assert [one.position for one in event_feed.read_feed(database)] == list(range(1, length + 2))


def test_a_stream_is_read_after_one_event_and_through_another(database: Database, line: Any) -> None:
    append(database, [line.next() for _ in range(10)])
    assert ids(database, after=3, through=6) == [4, 5, 6]
    assert ids(database, after=10) == []
    assert ids(database, through=0) == []
    assert ids(database, after=8, through=99) == [9, 10]


@pytest.mark.parametrize(("gone", "position"), [((1,), 2), ((2,), 3), ((1000,), 1001), ((1001, 1002), 1003)])
def test_a_gap_is_reported_where_it_is_and_what_was_before_it_is_read(
    database: Database, line: Any, gone: tuple[int, ...], position: int
) -> None:
    append(database, [line.next() for _ in range(1003)])
    change(database, f"DELETE FROM events WHERE event_id IN ({', '.join(map(str, gone))})")
    read: list[int] = []
    events = event_feed.read_stream(database, line.stream)
    with pytest.raises(CorruptJournalError) as caught:
        read.extend(one.event_id for one in events)
    assert caught.value.position == position
    assert read == list(range(1, gone[0]))


@pytest.mark.sqlite("its write-ahead log")
def test_a_reader_does_not_hold_the_log_while_it_waits(database: Database, line: Any) -> None:
    append(database, [line.next() for _ in range(1500)])
    reader = event_feed.read_stream(database, line.stream)
    next(reader)
    append(database, [line.next()])
    with database.write() as connection:
        busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert busy == 0
    assert sum(1 for _ in reader) == 1500


def test_events_appended_while_the_feed_is_read_are_in_its_later_pages(database: Database, line: Any) -> None:
    append(database, [line.next() for _ in range(1000)])
    feed = event_feed.read_feed(database)
    next(feed)
    append(database, [line.next()])
    assert sum(1 for _ in feed) == 1000


def test_the_feed_is_by_position_after_one_and_of_what_is_asked_for(database: Database, new_line: Any) -> None:
    left, right = new_line("left"), new_line("right")
    append(database, [left.next(kind="a"), right.next(kind="a"), left.next(kind="b"), right.next(kind="c")])

    def positions(**where: Any) -> list[int]:
        return [one.position for one in event_feed.read_feed(database, **where)]

    assert positions() == [1, 2, 3, 4]
    assert positions(after=2) == [3, 4]
    assert positions(stream=journal.find_stream(database, "left")) == [1, 3]
    assert positions(types=("a", "c")) == [1, 2, 4]
    assert positions(types=()) == []
    assert positions(stream=journal.find_stream(database, "right"), types=("c",), after=3) == [4]


def test_a_session_there_is_not_is_unknown(database: Database) -> None:
    assert not journal.has_stream(database, "demo")
    with pytest.raises(UnknownSessionError, match="'demo'"):
        journal.find_stream(database, "demo")


def test_the_sessions_below_one_are_found_by_their_addresses(database: Database, new_line: Any) -> None:
    names = ["a", "a/child-0001", "a/child-0001/child-0001", "a-b", "a0", "ab/child-0001", "a.x", "b"]
    append(database, [new_line(name).next() for name in names])
    assert journal.stream_ids(database) == names
    assert journal.stream_ids(database, below="a") == names[1:3]
    assert journal.stream_ids(database, below="b") == []
    assert journal.has_stream(database, "a0")


def test_the_head_is_the_last_event(database: Database, line: Any) -> None:
    append(database, [line.next(), line.next()])
    head = journal.head_of(database, line.stream)
    assert head == (2, "2026-11-22T06:41:10.344131Z", line.chain)
    with pytest.raises(UnknownSessionError, match="'none' was deleted"):
        journal.head_of(database, Stream("none", 99))


def test_a_writer_that_is_not_at_the_last_event_is_stale(database: Database, line: Any) -> None:
    append(database, [line.next(), line.next()])
    with database.write() as connection:
        journal.check_last(connection, line.stream, 2)
        for stream, event_id in ((line.stream, 1), (line.stream, 3), (Stream("none", 99), 1)):
            with pytest.raises(StaleWriterError):
                journal.check_last(connection, stream, event_id)


def test_many_threads_append_each_their_own_session(database: Database, new_line: Any) -> None:
    def write(number: int) -> None:
        line = new_line(f"s{number}")
        for _ in range(25):
            append(database, [line.next()])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [ids(database, f"s{number}") for number in range(4)] == [list(range(1, 26))] * 4
    assert [one.position for one in event_feed.read_feed(database)] == list(range(1, 101))


def test_two_handles_that_write_different_sessions_do_not_get_in_each_others_way(
    new_database: Callable[..., Database], new_line: Any
) -> None:
    databases = [new_database(), new_database()]
    failures: list[BaseException] = []

    def write(number: int) -> None:
        line = new_line(f"s{number}")
        try:
            for _ in range(40):
                append(databases[number], [line.next(), line.next()])
        except BaseException as error:  # noqa: BLE001  (told to the test below)
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert count(databases[0]) == 160


@pytest.mark.sqlite("pages of its file")
def test_a_damaged_page_is_reported_as_damage(new_database: Any, path: Path, line: Any) -> None:
    database = new_database()
    append(database, [line.next("x" * 3000) for _ in range(50)])
    database.close()
    content = bytearray(path.read_bytes())
    for page in range(len(content) // 4096 - 30, len(content) // 4096):
        content[page * 4096 : page * 4096 + 4096] = b"\xff" * 4096
    path.write_bytes(content)
    with pytest.raises(CorruptJournalError):
        list(event_feed.read_feed(new_database(read_only=True)))
