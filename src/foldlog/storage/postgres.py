"""PostgreSQL: reaching a server, the one writer connection of this process, its read connections.

One store is one schema of one database, the first of the connection's search path. What keeps several writers of
one store apart is the server's business: there is no gate, and transactions of different hosts commit side by
side. So positions, which a sequence gives out, may become visible out of order; `settled_position` is where a
feed may read to. Leases are in `postgres_lease`, waiting for events in `postgres_watch`, SQL in `postgres_sql`.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Concatenate, Final

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool

from foldlog.core.errors import StoreError
from foldlog.storage.database import Arguments, Database, Found, Watch
from foldlog.storage.faults import driver_error, may_try_again, translated
from foldlog.storage.postgres_connect import (
    READER_SETTINGS,
    Backend,
    check_session,
    check_writable,
    connect,
    connect_writer,
)
from foldlog.storage.postgres_driver import Server, ServerError, translate
from foldlog.storage.postgres_lease import Leases, ServerLease, advisory_key
from foldlog.storage.postgres_url import conninfo_of, name_of

if TYPE_CHECKING:
    from foldlog.storage.journal import Stream
    from foldlog.storage.marks import Lost

READ_CONNECTIONS_MAX: Final = 16
# How long a lost server is waited for, and how long a lock of somebody else's.
WAIT_S: Final = 30.0
# Longer than the server lets a transaction stand that its client left open.
_SETTLE_S: Final = 2 * WAIT_S
TRY_AGAIN_S: Final = 0.05
_COLLISIONS_MAX: Final = 10
# How often followers are told at most: told once, they look by themselves for longer than this.
_TELL_EVERY_S: Final = 0.25


class PostgresDatabase(Database):
    """One store on a server: a held writer connection under a lock, and a pool of read-only ones."""

    look_every_idle_s = 0.02  # a look only asks whether anything was told

    def __init__(self, url: URL, *, durability: str = "full", read_only: bool = False) -> None:
        super().__init__(durability=durability, read_only=read_only)
        self.url = self.name = name_of(url)
        self.short_name = url.database or self.name
        self._conninfo = conninfo_of(url)
        self.marks = NoMarks()
        self._writer: Connection | None = None
        self._server: Server | None = None
        # Behind the writer connection and those before it, as far as they are not known to be gone.
        self._backends: list[Backend] = []
        self._told_at = 0.0
        self._pool_lock = threading.Lock()
        self._readers = self._engine(
            self.connect,
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            poolclass=QueuePool,
            pool_size=READ_CONNECTIONS_MAX,
            max_overflow=0,
        )
        self._writers = self._engine(self._connect_writer, "BEGIN", poolclass=NullPool)
        try:
            self.schema, database = self._look_around()
        except BaseException:
            self.close()
            raise
        self.space = f"{database}/{self.schema}"
        self.channel = f"foldlog_{advisory_key(self.space) & 0xFFFFFFFFFFFF:012x}"
        self.leases = Leases(self, self.space)

    def _look_around(self) -> tuple[str, str]:
        """The schema and the database that this leads to; raises `StoreError` where they will not do."""
        with translated(f"opening {self.name}"), self._readers.connect() as connection:
            server: Server = connection.info["server"]
            check_session(server, self._conninfo, self.name)
            schema, database, encoding = server.execute(
                "SELECT current_schema(), current_database(), current_setting('server_encoding')"
            ).fetchone()
        if encoding != "UTF8":
            raise StoreError(f"{self.name}: the database's encoding is {encoding}", hint="use one made with UTF8")
        if schema is None:
            raise StoreError(
                f"{self.name}: no schema of the search path is there", hint="CREATE SCHEMA, or give another one"
            )
        return schema, database

    def _engine(self, connect: Callable[[], psycopg.Connection[Any]], begin: str, **pool: Any) -> Engine:
        # hide_parameters: an error's text must not print what users said.
        engine = create_engine(
            "postgresql+psycopg://",
            creator=connect,
            hide_parameters=True,
            use_native_hstore=False,
            **pool,
        )
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
        event.listen(engine, "connect", lambda found, record: record.info.update(server=Server(found)))
        event.listen(engine, "before_cursor_execute", translate, retval=True)
        return engine

    def connect(self, *, to_read: bool = True, wait_s: float | None = None) -> psycopg.Connection[Any]:
        """A connection that commits by itself; a host that does not answer is waited for so long, or as is usual."""
        return connect(self._conninfo, *([READER_SETTINGS] if to_read else []), wait_s=wait_s)

    def _connect_writer(self) -> psycopg.Connection[Any]:
        return connect_writer(self._conninfo, self.durability, wait_s=WAIT_S)

    def open_writer(self) -> Server:
        """Connect to write; the store must be there."""
        self._writer = self._writers.connect()
        server: Server = self._writer.info["server"]
        self._server = server
        check_writable(server, self.name)
        self._backends.append(Backend.of(server))
        return server

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
            self._see_writer()
            yield self.writer()
            self._tell()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One write transaction: committed when the block ends, rolled back when it raises."""
        with self.lock, translated(f"writing {self.name}"):
            self._see_writer()
            with self._alive().begin() as transaction:
                yield transaction.connection
            self._tell()

    def _see_writer(self) -> None:
        """See that the writer connection is there, before work that is not run again."""
        if self.writer().is_cut and not self.resume():
            raise self._unreachable("see that it runs, then try again")

    def _unreachable(self, hint: str) -> StoreError:
        return StoreError(f"{self.name}: the server cannot be reached", hint=hint)

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
                self._give_back(connection)

    def look(self, work: Callable[[Connection], Found]) -> Found:
        """What `work` returns, called with a read-only connection; again where that was lost."""
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                return super().look(work)
            except StoreError as error:
                if not may_try_again(error.__cause__) or time.monotonic() > deadline:
                    raise
                time.sleep(TRY_AGAIN_S)

    def _give_back(self, connection: Connection) -> None:
        """Give a read connection back; what was read was read, whatever becomes of the transaction."""
        try:
            transaction = connection.get_transaction()
            if transaction is not None:
                transaction.rollback()
        except SQLAlchemyError:
            connection.invalidate()
        finally:
            with self._pool_lock:
                if self._closed:
                    connection.invalidate()  # its pool is gone: nobody would close it
                connection.close()

    def _begun(self) -> Connection:
        """A connection with a transaction; where the server went away meanwhile, a new one."""
        deadline = time.monotonic() + WAIT_S
        while True:
            connection = None
            try:
                connection = self._readers.connect()
                connection.begin()
            except (DBAPIError, ServerError) as error:
                if connection is not None:
                    connection.invalidate()
                    connection.close()
                found = driver_error(error)
                if not (isinstance(found, ServerError) and found.is_lost) or time.monotonic() > deadline:
                    raise
                self._readers.dispose()
                time.sleep(TRY_AGAIN_S)
            else:
                return connection

    def new_reader(self) -> Server:
        """A read-only connection of the caller's own, to be closed by it."""
        self.check_open()
        with translated(f"reading {self.name}"):
            return Server(self.connect())

    def close(self) -> None:
        """Close every connection; closing twice is fine."""
        if self._closed or self.is_inherited:
            return
        with self.lock:
            with self._pool_lock:
                self._closed = True
                self._readers.dispose()
            if self._writer is not None:
                self._writer.close()
                self._writer = self._server = None
            self._writers.dispose()

    # Writers.

    def resume(self) -> bool:
        """After a lost connection: whether there is a new one, with the leases of the old, waiting for it."""
        with self.lock:
            self._alive()
            if not self.writer().is_cut:
                return True
            deadline = time.monotonic() + WAIT_S
            while not self._is_resumed():
                if time.monotonic() > deadline:
                    return False
                time.sleep(TRY_AGAIN_S)
            self.resumed_count += 1
        return True

    def _is_resumed(self) -> bool:
        """Whether there is a new connection, all before it are over on the server's side too, and leases are taken."""
        assert self._writer is not None  # noqa: S101  (`resume` has looked)
        if not self._writer.closed:
            self._writer.invalidate()
            self._writer.close()
        try:
            server = self.open_writer()
            # What they were committing is kept or not, and their locks are free.
            while len(self._backends) > 1:
                if not self._backends[0].end(server):
                    return False
                del self._backends[0]
            self.leases.take_again(server)
        except (DBAPIError, ServerError, StoreError):
            return False
        return True

    def check_leases(self, session_ids: Iterable[str]) -> None:
        """Raise `StaleWriterError` where the lease of one of the sessions was lost with a connection."""
        self.leases.check(session_ids)

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
            raise self._unreachable("see that it runs, then try again")

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
        """The last position, once every transaction is over that may have been given one before it."""
        from foldlog.storage.postgres_watch import settled_position  # noqa: PLC0415  (it looks through this module)

        return settled_position(self, wait_s=_SETTLE_S)


class NoMarks:
    """What a server has committed is its own to keep: nothing is noted beside it."""

    def note(self, connection: object, stream: object, event_id: int) -> None:
        """Note nothing."""
