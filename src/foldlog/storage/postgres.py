"""PostgreSQL: reaching a server, the one writer connection of this process, its read connections.

One store is one schema of one database, the first of the connection's search path. What keeps several writers of
one store apart is the server's business: there is no gate, and transactions of different hosts commit side by
side. So positions, which a sequence gives out, may become visible out of order; `settled_position` is where a
feed may read to. Leases are in `postgres_lease`, waiting for events in `postgres_watch`, SQL in `postgres_sql`.
"""

import contextlib
import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Concatenate, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from foldlog.core.errors import StoreBusyError, StoreError
from foldlog.storage.database import Arguments, Database, Found, Watch
from foldlog.storage.faults import driver_error, translated
from foldlog.storage.postgres_driver import Server, ServerError, adapt, translate
from foldlog.storage.postgres_lease import Leases, ServerLease, advisory_key
from foldlog.storage.postgres_url import conninfo_of, name_of, unreachable

if TYPE_CHECKING:
    from foldlog.storage.journal import Stream
    from foldlog.storage.marks import Lost

READ_CONNECTIONS_MAX: Final = 16
# How long a lost server is waited for, and how long a lock of somebody else's.
WAIT_S: Final = 30.0
_TRY_AGAIN_S: Final = 0.05
_COLLISIONS_MAX: Final = 10
# How often followers are told at most: told once, they look by themselves for longer than this.
_TELL_EVERY_S: Final = 0.25
# A peer that is gone without a word is noticed on both sides; a transaction that its client left open is ended.
_DEFAULTS: Final = {
    "connect_timeout": "10",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "client_encoding": "utf8",
    "application_name": "foldlog",
}
_WRITER_SETTINGS: Final = (
    f"SET idle_in_transaction_session_timeout = '{WAIT_S:.0f}s'",
    f"SET lock_timeout = '{WAIT_S:.0f}s'",
    "SET client_connection_check_interval = '500ms'",
)
# What a reader asks between BEGIN and COMMIT is of one moment.
_READER_SETTINGS: Final = (
    "SET default_transaction_read_only = on; SET default_transaction_isolation = 'repeatable read'"
)
_WRITERS: Final = (
    "SELECT DISTINCT virtualtransaction FROM pg_locks "
    "WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted "
    "AND relation = 'events'::regclass AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)

_connections: "weakref.WeakSet[psycopg.Connection[Any]]" = weakref.WeakSet()


def _cut_off_child() -> None:
    """A forked child must not say a word on its parent's connections, not even goodbye."""
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for connection in list(_connections):
        with contextlib.suppress(psycopg.Error, OSError):
            os.dup2(nowhere, connection.fileno(), inheritable=False)
    os.close(nowhere)


os.register_at_fork(after_in_child=_cut_off_child)


class PostgresDatabase(Database):
    """One store on a server: a held writer connection under a lock, and a pool of read-only ones."""

    def __init__(self, url: URL, *, durability: str = "full", read_only: bool = False) -> None:
        super().__init__(durability=durability, read_only=read_only)
        self.url = self.name = name_of(url)
        self.short_name = url.database or self.name
        self._conninfo = conninfo_of(url)
        self.marks = NoMarks()
        self._writer: Connection | None = None
        self._server: Server | None = None
        self._told_at = 0.0
        self._readers = self._engine(
            self.connect, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", READ_CONNECTIONS_MAX
        )
        self._writers = self._engine(self._connect_writer, "BEGIN", 1)
        try:
            first = Server(self.connect())
        except psycopg.Error as error:
            raise unreachable(self.name, error) from ServerError(error, is_cut=True)
        with translated(f"opening {self.name}"), contextlib.closing(first) as server:
            self.schema, database, encoding = server.execute(
                "SELECT current_schema(), current_database(), current_setting('server_encoding')"
            ).fetchone()
            if encoding != "UTF8":
                raise StoreError(f"{self.name}: the database's encoding is {encoding}", hint="use one made with UTF8")
            if self.schema is None:
                raise StoreError(
                    f"{self.name}: no schema of the search path is there", hint="CREATE SCHEMA, or give another one"
                )
        self.space = f"{database}/{self.schema}"
        self.channel = f"foldlog_{advisory_key(self.space) & 0xFFFFFFFFFFFF:012x}"
        self.leases = Leases(self, self.space)
        if not read_only:
            with translated(f"opening {self.name}"):
                self._open_writer()

    def _engine(self, connect: Callable[[], psycopg.Connection[Any]], begin: str, size: int) -> Engine:
        # hide_parameters: an error's text must not print what users said.
        engine = create_engine(
            "postgresql+psycopg://",
            creator=connect,
            hide_parameters=True,
            use_native_hstore=False,
            poolclass=QueuePool,
            pool_size=size,
            max_overflow=0,
        )
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
        event.listen(engine, "connect", lambda found, record: record.info.update(server=Server(found)))
        event.listen(engine, "before_cursor_execute", translate, retval=True)
        return engine

    def connect(self, *, to_read: bool = True) -> psycopg.Connection[Any]:
        """A connection that commits by itself."""
        return self._connect(*([_READER_SETTINGS] if to_read else []))

    def _connect_writer(self) -> psycopg.Connection[Any]:
        # At "full" a setting that waits for replicas too is left as it is.
        level = (
            "off" if self.durability == "normal" else "CASE WHEN setting = 'remote_apply' THEN setting ELSE 'on' END"
        )
        value = f"'{level}'" if level == "off" else level
        return self._connect(
            *_WRITER_SETTINGS,
            f"SELECT set_config(name, {value}, false) FROM pg_settings WHERE name = 'synchronous_commit'",
        )

    def _connect(self, *settings: str) -> psycopg.Connection[Any]:
        given = conninfo_to_dict(self._conninfo)
        added: dict[str, Any] = {key: value for key, value in _DEFAULTS.items() if key not in given}
        connection = psycopg.connect(self._conninfo, autocommit=True, **added)
        _connections.add(connection)
        adapt(connection.adapters)
        try:
            for setting in settings:
                connection.execute(setting)
        except BaseException:
            connection.close()
            raise
        return connection

    def _open_writer(self) -> None:
        self._writer = self._writers.connect()
        self._server = self._writer.info["server"]

    def _alive(self) -> Connection:
        self.check_open()
        if self._writer is None:
            raise StoreError(f"{self.name} was opened read-only", hint="open it for writing, not read-only")
        return self._writer

    def check_writable(self) -> None:
        """Raise unless this handle may write."""
        self.check_open()
        if self.read_only:
            self._alive()

    def writer(self) -> Server:
        """The writer connection, for statements that commit by themselves; only while `lock` is held."""
        if self._server is None or self._closed or self.is_inherited:
            self._alive()
        return self._server  # type: ignore[return-value]  # _alive() has raised where it is None

    def run(
        self,
        work: Callable[Concatenate[Any, Arguments], Found],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Found:
        """What `work` returns, called with the writer connection, held."""
        self.check_open()
        with self.lock:
            for attempt in range(_COLLISIONS_MAX + 1):
                try:
                    found = work(self.writer(), *arguments, **named)
                    break
                except ServerError as error:
                    if attempt == _COLLISIONS_MAX or not (error.is_collision or (error.is_lost and self.resume())):
                        raise
            self._tell()
        return found

    @contextmanager
    def write(self) -> Iterator[Server]:
        """The writer connection, held."""
        self.check_open()
        with self.lock:
            yield self.writer()
            self._tell()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One write transaction: committed when the block ends, rolled back when it raises."""
        with self.lock, translated(f"writing {self.name}"):
            if self.writer().is_cut:
                self.resume()
            with self._alive().begin() as transaction:
                yield transaction.connection
            self._tell()

    def _tell(self) -> None:
        """Wake those who follow the store; they look by themselves for a while then."""
        now = time.monotonic()
        if now - self._told_at >= _TELL_EVERY_S:
            self._told_at = now
            with contextlib.suppress(ServerError):  # what was committed stands; they look every second anyway
                self.writer().execute(f"NOTIFY {self.channel}")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read-only connection that sees one moment."""
        self.check_open()
        with translated(f"reading {self.name}"):
            connection = self._begun()
            try:
                if self._closed:
                    connection.invalidate()  # closed meanwhile: nothing is to be left open
                    self.check_open()
                yield connection
            finally:
                connection.close()

    def _begun(self) -> Connection:
        """A connection with a transaction; where the server went away meanwhile, a new one."""
        deadline = time.monotonic() + WAIT_S
        while True:
            connection = None
            try:
                connection = self._readers.connect()
                connection.begin()
            except DBAPIError as error:
                if connection is not None:
                    connection.invalidate()
                    connection.close()
                found = driver_error(error)
                if not (isinstance(found, ServerError) and found.is_lost) or time.monotonic() > deadline:
                    raise
                self._readers.dispose()
                time.sleep(_TRY_AGAIN_S)
            else:
                return connection

    def new_reader(self) -> Server:
        """A read-only connection of the caller's own, to be closed by it."""
        self.check_open()
        try:
            return Server(self.connect())
        except psycopg.Error as error:
            raise StoreError(
                f"{self.name}: the server cannot be reached", hint="see that it runs, then try again"
            ) from ServerError(error, is_cut=True)

    def close(self) -> None:
        """Close every connection; closing twice is fine."""
        if self._closed or self.is_inherited:
            return
        with self.lock:
            self._closed = True
            self._readers.dispose()
            if self._writer is not None:
                self._writer.close()
                self._writer = self._server = None
            self._writers.dispose()

    # Writers.

    def resume(self) -> bool:
        """After a lost connection: whether there is a new one, with the leases of the old, waiting for it."""
        deadline = time.monotonic() + WAIT_S
        with self.lock:
            writer = self._alive()
            server = self.writer()
            if not server.is_cut:
                return True
            old_pid = server.connection.info.backend_pid if server.connection.pgconn.status == 0 else 0
            while time.monotonic() < deadline:
                writer.invalidate()
                writer.close()
                try:
                    self._open_writer()
                    self.leases.take_again(self.writer(), old_pid)
                except (DBAPIError, psycopg.Error, ServerError):
                    time.sleep(_TRY_AGAIN_S)
                    continue
                self.resumed_count += 1
                return True
        return False

    def acquire(self, session_id: str, holder: dict[str, Any]) -> ServerLease:
        """Take a session's lease."""
        with translated(f"session {session_id!r}: taking the lease"):
            return self.run(self.leases.acquire, session_id, holder)

    def let_go(self, lease: ServerLease) -> None:
        """Give a lease back."""
        if self._closed or self.is_inherited:
            lease.is_locked = False
            return
        with self.lock:
            self.leases.release(self.writer(), lease)

    def push_aside(self, session_id: str) -> None:
        """Take a session's lease from its holder."""
        with translated(f"session {session_id!r}: taking the lease"):
            self.run(self.leases.push_aside, session_id)

    def leased(self, session_ids: Iterable[str]) -> set[str]:
        """Those of the sessions that somebody may be writing."""
        with self.read() as connection:
            return self.leases.leased(connection.info["server"], set(session_ids))

    def noted(self, stream: "Stream") -> int:  # noqa: ARG002  (a file's marks need it)
        """Nothing: what the server has committed is its own to keep."""
        return 0

    def lost(self) -> "list[Lost]":
        """Nothing is noted outside the server."""
        return []

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep everybody else from taking a session's lease."""
        from foldlog.storage import postgres_bulk  # noqa: PLC0415  (rarely asked for)

        with postgres_bulk.alone(self):
            yield

    def settle(self) -> None:
        """Nothing is to be settled: a server that comes back has settled what it has."""
        if not self.resume():
            raise StoreError(f"{self.name}: the server cannot be reached", hint="see that it runs, then try again")

    @property
    def file_mode(self) -> int:
        """As a store in a file has it when it is made."""
        return 0o600

    # Readers.

    def watch(self) -> Watch:
        """What to ask whether anything was committed."""
        from foldlog.storage.postgres_watch import ServerWatch  # noqa: PLC0415  (it looks through this module)

        return ServerWatch(self)

    def settled_position(self) -> int:
        """The last position, once every transaction is over that may have been given one before it.

        Such a transaction holds its lock on `events` from before it is given a position until after it is
        visible. So those that hold it after the last position was read, and no others, may still bring an event
        in front of that.
        """
        deadline = time.monotonic() + WAIT_S
        with self.read() as connection:
            last = connection.exec_driver_sql("SELECT max(position) FROM events").scalar() or 0
            writers = set(connection.exec_driver_sql(_WRITERS).scalars())
            pause_s = 0.0005
            while writers:
                if time.monotonic() > deadline:
                    raise StoreBusyError(
                        f"{self.name}: a transaction has been writing for more than {WAIT_S:.0f} s",
                        hint="end it (pg_stat_activity names it), then read on",
                    )
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, 0.02)
                writers &= set(connection.exec_driver_sql(_WRITERS).scalars())
        return int(last)


class NoMarks:
    """What a server has committed is its own to keep: nothing is noted beside it."""

    def note(self, connection: object, stream: object, event_id: int) -> None:
        """Note nothing."""
