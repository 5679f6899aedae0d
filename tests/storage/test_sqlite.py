"""SQLite: files opened safely, connections set as they must be."""

import os
import sqlite3
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foldlog.core.errors import FoldlogError, NotAStoreError, StoreBusyError, StoreClosedError, StoreError
from foldlog.storage import event_feed, journal, migrate
from foldlog.storage import sqlite as sqlite_module
from foldlog.storage.driver import driver_of
from foldlog.storage.schema import APPLICATION_ID, SCHEMA_NUMBER
from foldlog.storage.sqlite import SqliteDatabase as Database
from foldlog.storage.sqlite import check_file, create, probe

pytestmark = pytest.mark.sqlite("how its file is opened and written")


def pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


# Making a file.


def test_a_new_store_is_marked_private_and_of_4096_byte_pages_in_wal(path: Path) -> None:
    create(path, migrate.make_schema)
    assert probe(path) == SCHEMA_NUMBER
    assert path.stat().st_mode & 0o777 == 0o600
    connection = sqlite3.connect(path)
    names = ("application_id", "page_size", "journal_mode")
    assert [pragma(connection, name) for name in names] == [APPLICATION_ID, 4096, "wal"]
    connection.close()


def test_making_a_store_leaves_nothing_else_behind(path: Path) -> None:
    create(path, migrate.make_schema)
    assert names(path.parent) == [path.name]


def test_a_store_that_is_already_there_is_left_alone(path: Path) -> None:
    create(path, migrate.make_schema)
    before = path.read_bytes()
    create(path, lambda connection: connection.execute("CREATE TABLE other (a)"))
    assert path.read_bytes() == before
    assert names(path.parent) == [path.name]


@pytest.mark.parametrize("error", [sqlite3.OperationalError, RuntimeError, KeyboardInterrupt])
def test_a_store_that_could_not_be_filled_is_not_there(path: Path, error: type[BaseException]) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE half (a)")
        raise error

    with pytest.raises(StoreError if error is sqlite3.OperationalError else error):
        create(path, fail)
    assert names(path.parent) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no folder"):
        create(tmp_path / "missing" / "h.db", migrate.make_schema)


@pytest.mark.parametrize(
    "name", ["a b.db", "a?b#c.db", "100%20.db", "é'\".db", "a&mode=memory.db", "-x.db", "\udcff.db"]
)
def test_any_file_name_is_that_file(tmp_path: Path, name: str) -> None:
    create(tmp_path / name, migrate.make_schema)
    opened = Database(tmp_path / name)
    assert probe(tmp_path / name) == SCHEMA_NUMBER
    opened.close()
    assert names(tmp_path) == sorted([name, f"{name}-leases"])


def test_a_relative_path_is_from_where_we_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    create(Path("h.db"), migrate.make_schema)
    assert probe(tmp_path / "h.db") == SCHEMA_NUMBER


# Looking at a file.


def test_a_missing_file_is_no_store(path: Path) -> None:
    with pytest.raises(NotAStoreError, match="there is no store"):
        probe(path)
    assert names(path.parent) == []


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(NotAStoreError, match="directory"):
        check_file(tmp_path)


def test_a_pipe_is_no_store_and_is_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(NotAStoreError, match="regular"):
        probe(path)


@pytest.mark.parametrize(
    "content", [b"", b"x", b"hello " * 1000, b"\0" * 4096, b"SQLite format 3\0", b"SQLite format 3\0" + b"x" * 4096]
)
def test_what_is_not_a_database_is_refused_untouched(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(NotAStoreError):
        probe(path)
    assert path.read_bytes() == content
    assert names(path.parent) == [path.name]


def test_another_programs_database_is_refused_untouched(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(NotAStoreError, match="another program"):
        probe(path)
    assert path.read_bytes() == before
    assert names(path.parent) == [path.name]


def test_a_symlink_to_a_store_is_that_store(path: Path) -> None:
    create(path, migrate.make_schema)
    link = path.with_name("link.db")
    link.symlink_to(path)
    assert probe(link) == SCHEMA_NUMBER


# Connections.


@pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("normal", 1)])
def test_the_writer_is_set_as_it_must_be(
    new_database: Callable[..., Database], durability: str, synchronous: int
) -> None:
    with new_database(durability=durability).write() as connection:
        assert {
            name: pragma(connection, name)
            for name in (
                "synchronous", "journal_mode", "busy_timeout", "foreign_keys", "mmap_size", "journal_size_limit",
                "trusted_schema", "page_size", "wal_autocheckpoint",
            )
        } == {
            "synchronous": synchronous, "journal_mode": "wal", "busy_timeout": 30_000, "foreign_keys": 1,
            "mmap_size": 0, "journal_size_limit": 4 * 1024 * 1024, "trusted_schema": 0, "page_size": 4096,
            "wal_autocheckpoint": 0,
        }  # fmt: skip
        assert connection.isolation_level is None


def test_a_reader_is_set_as_it_must_be(database: Database) -> None:
    with database.read() as connection:
        driver = driver_of(connection)
        names = ("query_only", "busy_timeout", "mmap_size", "trusted_schema", "journal_mode")
        assert [pragma(driver, name) for name in names] == [1, 30_000, 0, 0, "wal"]


@pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("normal", 1)])
def test_every_connection_has_the_stores_durability(
    new_database: Callable[..., Database], durability: str, synchronous: int
) -> None:
    database = new_database(durability=durability)
    own = database.new_reader()
    with database.read() as connection, database.write() as writer:
        found = [pragma(one, "synchronous") for one in (driver_of(connection), own, writer)]
    own.close()
    assert found == [synchronous] * 3


@pytest.mark.parametrize("read_only", [True, False])
def test_a_build_that_does_not_take_the_durability_is_refused(
    new_database: Callable[..., Database], monkeypatch: pytest.MonkeyPatch, read_only: bool
) -> None:
    def connect(*arguments: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = original(*arguments)
        connection.set_authorizer(
            lambda action, name, value, *_: (
                sqlite3.SQLITE_IGNORE
                if (action, name) == (sqlite3.SQLITE_PRAGMA, "synchronous") and value is not None
                else sqlite3.SQLITE_OK
            )
        )
        return connection

    original: Callable[..., sqlite3.Connection] = sqlite_module._connect
    monkeypatch.setattr(sqlite_module, "_connect", connect)
    with pytest.raises(StoreError, match="did not take durability"):
        new_database(durability="normal", read_only=read_only).new_reader()


def test_the_log_does_not_grow_for_ever(new_database: Callable[..., Database], path: Path, line: Any) -> None:
    database = new_database()
    for _ in range(60):
        journal.append(database, [line.next("x" * 4000) for _ in range(100)])
    assert Path(f"{path}-wal").stat().st_size < 12 * 1024 * 1024
    assert path.stat().st_size > 12 * 1024 * 1024


def test_closing_the_last_handle_leaves_nothing_of_sqlites(
    new_database: Callable[..., Database], path: Path, line: Any
) -> None:
    database = new_database()
    journal.append(database, [line.next()])
    database.close()
    assert names(path.parent) == [path.name, f"{path.name}-leases", f"{path.name}-marks"]
    assert names(path.parent / f"{path.name}-leases") == ["gate", "line"]


@pytest.mark.parametrize(
    "statement", ["INSERT INTO streams (id) VALUES ('x')", "CREATE TABLE t (a)", "PRAGMA user_version = 9"]
)
def test_a_reader_cannot_write(database: Database, statement: str) -> None:
    with pytest.raises(StoreError), database.read() as connection:
        connection.exec_driver_sql(statement)
    own = database.new_reader()
    with pytest.raises(sqlite3.OperationalError):
        own.execute(statement)
    own.close()


def test_a_reader_sees_one_moment(database: Database, line: Any) -> None:
    journal.append(database, [line.next()])
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM events").scalar() == 1
        journal.append(database, [line.next()])
        assert connection.exec_driver_sql("SELECT count(*) FROM events").scalar() == 1
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM events").scalar() == 2


def test_a_transaction_is_committed_or_rolled_back_as_a_whole(database: Database) -> None:
    insert = "INSERT INTO streams (id) VALUES (?)"
    with database.transaction() as connection:
        connection.exec_driver_sql(insert, ("kept",))
    with pytest.raises(RuntimeError), database.transaction() as connection:
        connection.exec_driver_sql(insert, ("gone",))
        raise RuntimeError
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT id FROM streams").scalars().all() == ["kept"]


def test_a_transaction_that_a_signal_left_open_takes_nothing_else_with_it(database: Database) -> None:
    insert = "INSERT INTO streams (id) VALUES (?)"

    def interrupted(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(insert, ("gone",))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        database.run(interrupted)
    database.run(lambda connection: connection.execute(insert, ("kept",)))
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT id FROM streams").scalars().all() == ["kept"]


def test_a_transaction_has_the_write_lock_from_its_beginning(database: Database, path: Path) -> None:
    program = sqlite3.connect(path, isolation_level=None, timeout=0)
    with database.transaction(), pytest.raises(sqlite3.OperationalError, match="locked"):
        program.execute("BEGIN IMMEDIATE")
    program.close()


def test_a_transaction_that_does_not_get_the_lock_is_refused_in_our_words(database: Database, path: Path) -> None:
    with database.write() as connection:
        connection.execute("PRAGMA busy_timeout = 0")
    program = sqlite3.connect(path, isolation_level=None)
    program.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusyError), database.transaction():
        raise AssertionError
    program.close()


def test_one_thread_writes_at_a_time(database: Database) -> None:
    entered = threading.Event()

    def write() -> None:
        with database.write():
            entered.set()

    other = threading.Thread(target=write)
    with database.write(), database.write():
        other.start()
        assert not entered.is_set()
    other.join()
    assert entered.is_set()


# Handles that cannot be used.


def _fork_with_threads() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def test_a_read_only_handle_reads_and_does_not_write(new_database: Callable[..., Database], line: Any) -> None:
    journal.append(new_database(), [line.next()])
    database = new_database(read_only=True)
    assert [one.event_id for one in event_feed.read_feed(database)] == [1]
    with pytest.raises(StoreError, match="read-only"), database.write():
        raise AssertionError
    with pytest.raises(StoreError, match="read-only"), database.transaction():
        raise AssertionError


def test_a_read_only_file_is_refused_when_it_is_opened_to_write(path: Path) -> None:
    create(path, migrate.make_schema)
    path.chmod(0o400)
    with pytest.raises(StoreError, match="read-only"):
        Database(path)


def test_a_file_that_could_be_opened_for_reading_only_just_then_is_refused_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite falls back to that without a word, when too many files are open; no event could ever be written."""
    create(path, migrate.make_schema)
    connect = sqlite_module._connect
    with monkeypatch.context() as patch:
        patch.setattr(sqlite_module, "_connect", lambda path, mode: connect(path, "ro"))
        with pytest.raises(StoreError, match="cannot be opened or written"):
            Database(path)
    Database(path).close()


def uses(database: Database) -> list[Callable[[], Any]]:
    return [
        lambda: database.write().__enter__(),
        lambda: database.transaction().__enter__(),
        lambda: database.read().__enter__(),
        database.new_reader,
        database.check_open,
    ]


def test_a_closed_handle_says_so(database: Database) -> None:
    database.close()
    database.close()
    assert database.is_closed
    for use in uses(database):
        with pytest.raises(StoreClosedError, match="closed"):
            use()


def test_a_reader_whose_store_is_closed_under_it_is_told(database: Database, line: Any) -> None:
    journal.append(database, [line.next() for _ in range(1001)])
    feed = event_feed.read_feed(database)
    next(feed)
    database.close()
    with pytest.raises(StoreClosedError):
        list(feed)


def test_a_handle_inherited_through_fork_refuses_before_it_touches_a_lock(database: Database) -> None:
    holding, done = threading.Event(), threading.Event()

    def hold() -> None:
        with database.write():
            holding.set()
            done.wait()

    other = threading.Thread(target=hold)
    other.start()
    holding.wait()
    # The lock is held by a thread the child does not have: waiting for it would be for ever.
    child = _fork_with_threads()
    if child == 0:
        refused = 0
        for use in uses(database):
            try:
                use()
            except StoreClosedError as error:
                refused += "fork" in str(error)
            except BaseException:  # noqa: BLE001  (counted as not refused)
                refused -= 100
        database.close()
        os._exit(refused)
    _, status = os.waitpid(child, 0)
    done.set()
    other.join()
    assert os.waitstatus_to_exitcode(status) == 5
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM events").scalar() == 0


def test_forking_leaves_the_parents_handle_usable(database: Database, line: Any) -> None:
    child = _fork_with_threads()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    journal.append(database, [line.next()])
    assert len(list(event_feed.read_feed(database))) == 1


def test_no_driver_error_leaves_a_read(database: Database) -> None:
    with pytest.raises(FoldlogError), database.read() as connection:
        connection.exec_driver_sql("SELECT nonsense FROM nowhere")
