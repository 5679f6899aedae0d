"""SQLite: opening a database safely, its one writer connection, its read connections.

The statements of the journal and of checkpoints are in the modules beside it.

A store's file is made whole under another name and linked into place: never seen half-made. No code here
opens the database file outside SQLite while it may be open elsewhere in the process:
closing any descriptor would drop the process's POSIX locks on it.
"""

import contextlib
import os
import secrets
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_UN, flock
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Final
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool, QueuePool

from foldlog.core.errors import NotAStoreError, StoreError
from foldlog.storage import forking, lease, lease_files, marks, wal
from foldlog.storage.database import Arguments, Database, Found, Watch
from foldlog.storage.faults import translated
from foldlog.storage.files import make_private, sync_folder
from foldlog.storage.gate import Gate
from foldlog.storage.schema import APPLICATION_ID

if TYPE_CHECKING:
    from foldlog.storage.journal import Stream

BUSY_TIMEOUT_S: Final = 30.0
PAGE_BYTES: Final = 4096
READ_CONNECTIONS_MAX: Final = 16


class SqliteDatabase(Database):
    """One SQLite file: a held writer connection under a lock, and a pool of read-only ones.

    Whoever writes holds `lock`, as the only one of this process, and the gate, as the only one of all.
    """

    def __init__(self, path: Path, *, name: str = "", durability: str = "full", read_only: bool = False) -> None:
        """`name`: what messages call it by: the path as its user gave it."""
        super().__init__(durability=durability, read_only=read_only)
        self.path: Path = path
        self.name, self.short_name, self.url = name or str(path), path.name, f"sqlite:///{path}"
        forking.know(self)
        self._writer: Connection | None = None
        self._driver: sqlite3.Connection | None = None
        self._readers = self._engine(self._connect_reader, "BEGIN", READ_CONNECTIONS_MAX)
        self._writers = self._engine(self._connect_writer, "BEGIN IMMEDIATE", 1)
        self.marks: marks.Marks = marks.Marks(path)
        self._wal = wal.WalKeeper(path)
        if not read_only:
            self._gate = Gate(lease.folder_of(path), self.lock, BUSY_TIMEOUT_S, name=self.name)
            with translated(f"opening {self.name}"), self._gate.held():
                self._open_writer()

    def _open_writer(self) -> None:
        try:
            self._writer = self._writers.connect()
            self._driver = self._writer.connection.driver_connection
            self._check_writable()
        except BaseException:
            self._close_writer()
            raise

    @staticmethod
    def _engine(connect: Callable[[], sqlite3.Connection], begin: str, size: int) -> Engine:
        # hide_parameters: an error's text must not print what users said.
        pool: dict[str, Any] = {"poolclass": NullPool}
        if size:
            pool = {"poolclass": QueuePool, "pool_size": size, "max_overflow": 0}
        engine = create_engine("sqlite+pysqlite://", creator=connect, hide_parameters=True, **pool)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
        return engine

    def _connect_writer(self) -> sqlite3.Connection:
        connection = _connect(self.path, "rw")
        _use_wal(connection)
        connection.execute(f"PRAGMA journal_size_limit = {wal.SIZE_LIMIT_BYTES}")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA foreign_keys = ON")
        return self._made_durable(connection)

    def _connect_reader(self) -> sqlite3.Connection:
        connection = _connect(self.path, reading_mode(self.path))
        connection.execute("PRAGMA query_only = ON")
        return self._made_durable(connection)

    def _made_durable(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        connection.execute(f"PRAGMA synchronous = {self.durability.upper()}")
        if connection.execute("PRAGMA synchronous").fetchone()[0] != {"full": 2, "normal": 1}[self.durability]:
            connection.close()
            what = f"{self.name}: SQLite did not take durability {self.durability!r}"
            raise StoreError(what, hint="another build of SQLite is needed")
        return connection

    def _check_writable(self) -> None:
        # Found out now, not at the first event. Root may write what its mode forbids; we do not.
        if not self.path.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
            raise StoreError(f"{self.name} is read-only", hint="it can be read; to write, make the file writable")
        with self._alive().begin() as transaction:
            wal.settle(self._alive())  # BEGIN alone succeeds where SQLite could open the file for reading only
            transaction.rollback()

    def _alive(self) -> Connection:
        self.check_open()
        if self._writer is None:
            raise StoreError(f"{self.name} was opened read-only", hint="open it to write, not read-only")
        return self._writer

    def check_writable(self) -> None:
        """Raise unless this handle may write."""
        self._alive()

    def writer(self) -> sqlite3.Connection:
        """The driver's writer connection, for statements that commit by themselves; only while `lock` is held."""
        if self._driver is None or self._closed or self.is_inherited:
            self.check_writable()
        return self._driver  # type: ignore[return-value]  # check_writable() has raised where it is None

    def run(
        self,
        work: Callable[Concatenate[sqlite3.Connection, Arguments], Found],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Found:
        """What `work` returns, called with the writer connection, held: for work that commits by itself.

        As `write`, for the path of every event: a signal that raises in here cannot leave anything held.
        """
        self.check_open()  # before the lock is touched: in a forked child it may be taken for ever
        with self.lock:
            connection = self.writer()
            gate = self._gate
            if gate.is_taken:
                return work(connection, *arguments, **named)
            try:
                gate.take()
                if connection.in_transaction:
                    connection.execute("ROLLBACK")  # a signal kept somebody from it
                found = work(connection, *arguments, **named)
                self._wal.after_commit(connection)
                return found
            finally:
                gate.is_taken = False
                if gate.descriptor >= 0:
                    flock(gate.descriptor, LOCK_UN)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """The driver's writer connection, held."""
        self.check_open()
        with self.lock:
            connection = self.writer()
            with self._gate.held():
                yield connection
                self._wal.after_commit(connection)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One write transaction: committed when the block ends, rolled back when it raises."""
        with self.write(), translated(f"writing {self.name}"), self._alive().begin() as transaction:
            yield transaction.connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only connection that sees one moment."""
        self.check_open()
        # A connection that takes the file for unchanging must not outlive this look at it.
        is_live = reading_mode(self.path) == "ro"
        engine = self._readers if is_live else self._engine(self._connect_reader, "BEGIN", 0)
        with translated(f"reading {self.name}"), engine.connect() as connection:
            if self._closed:
                connection.invalidate()  # closed meanwhile: nothing is to be left open
                self.check_open()
            yield connection

    def new_reader(self) -> sqlite3.Connection:
        """A read-only driver connection of the caller's own, to be closed by it."""
        self.check_open()
        with translated(f"opening {self.name}"):
            return self._connect_reader()

    def acquire(self, session_id: str, holder: dict[str, Any]) -> lease.Lease:
        """Take a session's lease."""
        return lease.acquire(lease.folder_of(self.path), session_id, holder)

    def push_aside(self, session_id: str) -> None:
        """Take a session's lease from its holder."""
        lease.push_aside(lease.folder_of(self.path), session_id)

    def noted(self, stream: "Stream") -> int:
        """The last event of a session that was noted as committed."""
        return marks.noted(self, stream)

    def lost(self) -> list[marks.Lost]:
        """Every session of which events were noted as committed that are not there."""
        return marks.lost(self)

    def leased(self, session_ids: Iterable[str]) -> set[str]:
        """Those of the sessions that somebody may be writing."""
        folder = lease.folder_of(self.path)
        held = {found.path for found in lease_files.read(folder) if found.is_held is not False}
        return {one for one in session_ids if lease.path_of(folder, one) in held}

    @property
    def file_mode(self) -> int:
        """That of the database."""
        return self.path.stat().st_mode & 0o666

    def settle(self) -> None:
        """Write a page where a commit whose sync failed may have left what it wrote."""
        with self.transaction() as connection:
            wal.settle(connection)

    def watch(self) -> Watch:
        """What to ask whether anything was committed."""
        from foldlog.storage.sqlite_watch import FileWatch  # noqa: PLC0415  (it looks through this module)

        return FileWatch(self)

    def close(self) -> None:
        """Close every connection; closing twice is fine."""
        if self._closed or self.is_inherited:
            return
        with self.lock:
            self._closed = True
            # The writer last: the last connection to close takes the -wal file away, if it may write.
            self._readers.dispose()
            if self._driver is None:
                return
            try:
                with self._gate.held():
                    self._wal.at_close(self._driver)
                    self._close_writer()
            except StoreError:
                self._close_writer()  # not the last one, then: nothing is copied back
            self._gate.close()
            self.marks.close()

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = self._driver = None
        self._writers.dispose()


def sqlite_of(database: Database, doing: str) -> SqliteDatabase:
    """A database as the SQLite file that it is; raises `StoreError` for one that a server has."""
    database.check_open()
    if isinstance(database, SqliteDatabase):
        return database
    what = f"{database.name}: {doing} is for stores in SQLite"
    raise StoreError(what, hint="copy the store into a file first: `foldlog copy STORE history.db`")


def _connect(path: Path, mode: str, wait_s: float | None = None) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(os.fsencode(path.absolute()))}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_TIMEOUT_S if wait_s is None else wait_s,
        cached_statements=256,
    )
    # A schema from elsewhere may call functions from its views and triggers; ours do not need to.
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    if sys.version_info >= (3, 12):  # earlier drivers cannot say it
        connection.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, True)
    connection.execute("PRAGMA mmap_size = 0")
    return connection


def reading_mode(path: Path) -> str:
    """How to open a database for reading: `ro`, or with nothing made beside it where nothing can be.

    Even a reader needs SQLite's own files beside a database in WAL mode. Where they are not there and we
    may not make them, the database file is all there is.
    """
    alone = not os.path.lexists(f"{path}-wal") and not os.access(path.parent, os.W_OK)
    return "ro&immutable=1" if alone else "ro"


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL and read the answer back: the switch ignores the busy timeout."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
            continue
        if mode == "wal":
            return
        raise StoreError(
            f"SQLite keeps journal_mode {mode!r} here",
            hint="WAL needs a local file system with shared memory",
        )


def probe(path: Path, *, wait_s: float | None = None) -> int:
    """The schema number of the store at `path`; raises `NotAStoreError` for anything else. Waits so long for a lock."""
    check_file(path)
    real = path.resolve()  # what SQLite keeps beside a database stands beside the file, not beside a link to it
    with translated(f"opening {path}"):
        # "immutable" first: another program's database gets no -wal and -shm files from our look at it.
        if _application_id(real, wait_s) != APPLICATION_ID:
            raise NotAStoreError(f"{path} is a SQLite database of another program", hint="give foldlog its own file")
        return _pragma(real, reading_mode(real), "user_version", wait_s)


def _application_id(path: Path, wait_s: float | None) -> int:
    try:
        return _pragma(path, "ro&immutable=1", "application_id", wait_s)
    except (sqlite3.DatabaseError, UnicodeDecodeError):
        # A checkpoint is under way, or was cut off: the file alone is not whole, with its -wal it is.
        return _pragma(path, reading_mode(path), "application_id", wait_s)


def _pragma(path: Path, mode: str, name: str, wait_s: float | None) -> int:
    connection = _connect(path, mode, wait_s)
    try:
        found: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
        return found
    finally:
        connection.close()


def glance(path: Path) -> sqlite3.Connection:
    """A read-only connection to look at a file with, before it is used; to be closed by the caller."""
    with translated(f"opening {path}"):
        return _connect(path.resolve(), reading_mode(path.resolve()))


def check_file(path: Path) -> None:
    """Raise `NotAStoreError` unless a non-empty regular file is at `path`."""
    try:
        found = path.stat()
    except PermissionError as error:
        raise StoreError(
            f"{path} cannot be looked at ({error.strerror})", hint="check its folder's permissions"
        ) from error
    except OSError as error:
        raise NotAStoreError(f"there is no store at {path}", hint="check the path") from error
    if not stat.S_ISREG(found.st_mode):
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "not a regular file"
        raise NotAStoreError(f"{path} is {kind}", hint="give the path of a database file, such as history.db")
    if found.st_size == 0:
        raise NotAStoreError(
            f"{path} is an empty file",
            hint="remove it, and foldlog makes a store there; it fills no file it did not make",
        )


def create(path: Path, make: Callable[[sqlite3.Connection], Any]) -> None:
    """Make a store at `path` unless one appears there first: whole, or not at all.

    `make` fills the new database inside a transaction. The file's mode, as that of what is beside it, is 0600.
    """
    if not path.parent.is_dir():
        raise StoreError(f"there is no folder {path.parent}", hint="make the folder first, or check the path")
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(6)}.new")
    try:
        with translated(f"making {path}"):
            make_private(fresh)
            connection = _connect(fresh, "rw")
            try:
                connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
                _use_wal(connection)
                connection.execute("BEGIN IMMEDIATE")
                make(connection)
                connection.execute("COMMIT")
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # close() keeps it to itself where the disk fails
            finally:
                connection.close()
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)  # someone else's whole store is as good as ours
            marks.forget(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"cannot make a store at {path} ({error.strerror})", hint="check that the folder may be written"
        ) from error
    finally:
        for suffix in ("", "-wal", "-shm", "-journal"):
            with contextlib.suppress(OSError):
                os.unlink(f"{fresh}{suffix}")  # noqa: PTH108  (a suffix is no Path operation)
