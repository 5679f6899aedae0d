"""The write-ahead log: copied back in time, and not at every commit."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from foldlog.storage import journal, wal
from foldlog.storage.sqlite import SqliteDatabase as Database

pytestmark = pytest.mark.sqlite("its write-ahead log")

MIB = 1024 * 1024


@contextmanager
def copies(database: Database) -> Iterator[list[str]]:
    """The statements by which the log is copied back meanwhile."""
    seen: list[str] = []
    with database.write() as connection:
        connection.set_trace_callback(lambda sql: seen.append(sql) if "wal_checkpoint" in sql else None)
    yield seen
    with database.write() as connection:
        connection.set_trace_callback(None)


def append(database: Database, line: Any, count: int, value: object = "x" * 100) -> None:
    for _ in range(count):
        journal.append(database, [line.next(value)])


def size(path: Path) -> int:
    return Path(f"{path}-wal").stat().st_size


@pytest.fixture
def slow_reader(database: Database) -> Iterator[sqlite3.Connection]:
    reader = database.new_reader()
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM events").fetchone()
    yield reader
    reader.close()


@pytest.mark.parametrize("value", ["x", "x" * 2000, "x" * 50_000])
def test_it_is_copied_about_every_thousand_pages(database: Database, path: Path, line: Any, value: str) -> None:
    with copies(database) as seen:
        append(database, line, 2000, value)
    assert size(path) < 8 * MIB
    pages = len(value) * 2000 / 4096 + 2.6 * 2000
    assert pages / 2000 <= len(seen) <= pages / 500


def test_it_shrinks_soon_after_a_long_reader_leaves(
    database: Database, path: Path, line: Any, slow_reader: sqlite3.Connection
) -> None:
    append(database, line, 2500, "x" * 4000)
    assert size(path) > 16 * MIB
    slow_reader.execute("COMMIT")
    append(database, line, 200)
    assert size(path) <= 8 * MIB


def test_callers_that_share_commits_see_it_shrink_as_soon(
    database: Database, path: Path, line: Any, slow_reader: sqlite3.Connection
) -> None:
    append(database, line, 2500, "x" * 4000)
    slow_reader.execute("COMMIT")
    for _ in range(20):
        journal.append(database, [line.next() for _ in range(10)])
    assert size(path) <= 8 * MIB


def test_a_blocked_copy_is_not_tried_at_every_commit(
    database: Database, path: Path, line: Any, slow_reader: sqlite3.Connection
) -> None:
    append(database, line, 2500, "x" * 4000)
    with copies(database) as seen:
        append(database, line, 1000)
    assert 8 <= len(seen) <= 11


def test_it_shrinks_while_readers_come_and_go(database: Database, path: Path, line: Any) -> None:
    readers = [database.new_reader() for _ in range(3)]
    for number in range(1500):
        reader = readers[number % 3]
        if reader.in_transaction:
            reader.execute("COMMIT")
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM streams").fetchone()
        append(database, line, 1, "x" * 4000)
    for reader in readers:
        reader.close()
    append(database, line, 200)
    assert size(path) <= 8 * MIB


def test_a_copy_that_fails_does_not_fail_the_commit(
    database: Database, line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(action: int, name: str | None, *_: object) -> int:
        is_copy = action == sqlite3.SQLITE_PRAGMA and name == "wal_checkpoint"
        return sqlite3.SQLITE_DENY if is_copy else sqlite3.SQLITE_OK

    with database.write() as connection:
        connection.set_authorizer(refuse)
    append(database, line, 400)
    with database.write() as connection:
        connection.set_authorizer(None)
    append(database, line, 100)
    with database.read() as reading:
        assert reading.exec_driver_sql("SELECT max(event_id) FROM events").scalar() == 500


def test_a_close_leaves_nothing_in_it_where_others_stay(
    new_database: Callable[..., Database], path: Path, line: Any
) -> None:
    first, second = new_database(), new_database()
    append(first, line, 50)
    assert size(path) > 0
    first.close()
    assert size(path) == 0
    append(second, line, 1)


def test_a_close_does_not_wait_for_a_reader(
    new_database: Callable[..., Database], path: Path, line: Any, slow_reader: sqlite3.Connection
) -> None:
    database = new_database()
    append(database, line, 50)
    database.close()
    assert size(path) > 0


def test_settling_is_a_commit_that_changes_nothing(database: Database) -> None:
    with database.write() as connection:
        before = [
            connection.execute(f"PRAGMA {name}").fetchone()
            for name in ("user_version", "data_version", "application_id")
        ]
        changes = connection.total_changes
    size = Path(f"{database.path}-wal").stat().st_size
    with database.transaction() as transaction:
        wal.settle(transaction)
    with database.write() as connection:
        assert [
            connection.execute(f"PRAGMA {name}").fetchone()
            for name in ("user_version", "data_version", "application_id")
        ] == before
        assert connection.total_changes == changes
    assert Path(f"{database.path}-wal").stat().st_size > size
