"""Connections to a PostgreSQL server: how they are made, what they are set to, which of them may not be used.

What is done on them is in `foldlog.storage.postgres`; what they look like to the other modules in
`foldlog.storage.postgres_driver`.
"""

import contextlib
import os
import weakref
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict

from foldlog.core.errors import StoreError
from foldlog.storage.postgres_driver import Server, ServerError, adapt
from foldlog.storage.postgres_url import why_of

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
    "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3",
    "SET tcp_user_timeout = 10000; SET client_connection_check_interval = '500ms'",
    "SET idle_in_transaction_session_timeout = '{wait_s:.0f}s'; SET lock_timeout = '{wait_s:.0f}s'",
)
# What a reader asks between BEGIN and COMMIT is of one moment.
READER_SETTINGS: Final = "SET default_transaction_read_only = on; SET default_transaction_isolation = 'repeatable read'"
# At "full" a setting that waits for replicas too is left as it is.
_FULL: Final = "CASE WHEN setting = 'remote_apply' THEN setting ELSE 'on' END"
_SYNC: Final = "SELECT set_config(name, {}, false) FROM pg_settings WHERE name = 'synchronous_commit'"

_connections: "weakref.WeakSet[psycopg.Connection[Any]]" = weakref.WeakSet()


def _cut_off_child() -> None:
    """A forked child must not say a word on its parent's connections, not even goodbye."""
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for connection in list(_connections):
        with contextlib.suppress(psycopg.Error, OSError):
            os.dup2(nowhere, connection.fileno(), inheritable=False)
    os.close(nowhere)


os.register_at_fork(after_in_child=_cut_off_child)


def connect(conninfo: str, *settings: str, wait_s: float | None = None) -> psycopg.Connection[Any]:
    """A connection that commits by itself; raises `ServerError` where there is none to be had.

    `wait_s`: how long each host is waited for, where that is less than is set; whole seconds, two at least (libpq's).
    """
    given = conninfo_to_dict(conninfo)
    added: dict[str, Any] = {key: value for key, value in _DEFAULTS.items() if key not in given}
    if wait_s is not None:
        usual_s = float(given.get("connect_timeout") or _DEFAULTS["connect_timeout"])
        if not 0 < usual_s <= wait_s:  # 0 is for ever
            added["connect_timeout"] = max(2, int(wait_s))
    try:
        connection = psycopg.connect(conninfo, autocommit=True, **added)
    except psycopg.Error as error:
        raise ServerError(error, is_cut=True, unreachable=why_of(error)) from None
    _connections.add(connection)
    adapt(connection.adapters)
    server = Server(connection)
    try:
        for setting in settings:
            server.execute(setting)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_writer(conninfo: str, durability: str, *, wait_s: float) -> psycopg.Connection[Any]:
    """A connection to write on, which waits for others' locks no longer than so many seconds."""
    settings = [setting.format(wait_s=wait_s) for setting in _WRITER_SETTINGS]
    return connect(conninfo, *settings, _SYNC.format("'off'" if durability == "normal" else _FULL))


class Backend(NamedTuple):
    """A writer's session on the server, known by a lock that it holds as long as it is ours.

    A process id would not do: the process may be another's by now, and a pooler gives it to the next client.
    """

    key: int

    @classmethod
    def of(cls, server: Server) -> "Backend":
        """The one behind this connection."""
        key = int.from_bytes(os.urandom(8), "big", signed=True)
        server.execute("SELECT pg_advisory_lock(?)", (key,))
        return cls(key)

    def end(self, server: Server) -> bool:
        """See that it is gone, with its transaction and its locks: whether it is.

        The server may not have noticed yet that its client left it.
        """
        server.execute(_END, self).fetchall()
        is_gone = server.execute("SELECT pg_try_advisory_lock(?)", self).fetchone()[0]
        if is_gone:
            server.execute("SELECT pg_advisory_unlock(?)", self)
        return bool(is_gone)


_END: Final = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 "
    "AND (classid::bigint << 32 | objid::bigint) = ? "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def check_writable(server: Server, name: str) -> None:
    """Raise `StoreError` where nothing can be written on this connection, or not as a writer has to."""
    if server.execute("SHOW transaction_read_only").fetchone()[0] == "on":
        raise StoreError(
            f"{name}: the server takes no writes here: it is a standby, or set to be read only",
            hint="open the store only to read, or connect to the primary: libpq's target_session_attrs finds it",
        )


def check_session(server: Server, conninfo: str, name: str) -> None:
    """Raise `StoreError` where a pooler gives each transaction whichever of the server's sessions is free.

    Whoever else gets the session then has our lease, and our settings. Told by the process behind a connection:
    a pooler has made up the number that it gave its client; and in that mode the next client gets the process that
    this one has just used.
    """
    pid = _pid(server)
    if server.connection.info.backend_pid == pid:
        return
    with contextlib.closing(Server(connect(conninfo))) as other:
        other.execute("BEGIN")
        is_shared = _pid(other) == pid or _pid(server) != pid
    if is_shared:
        raise StoreError(
            f"{name}: a pooler in transaction mode stands before the server",
            hint="leases, settings and LISTEN need a session of their own: connect past it, or use session mode",
        )


def _pid(server: Server) -> int:
    return int(server.execute("SELECT pg_backend_pid()").fetchone()[0])
