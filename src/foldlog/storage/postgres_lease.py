"""Leases on a server: one writer a session, by an advisory lock that dies with its holder's connection.

The lock's key is made from the session and a generation. Who pushes a holder aside raises the generation: the
old lock, which its holder may keep, then stands for nothing. The table `leases` has the generation and the
holder's name, for the refusal; it is not logged, for after a crash of the server nobody holds anything. That a
writer can be overtaken all the same is caught by the unique event id in the journal.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from foldlog.core.errors import StaleWriterError
from foldlog.storage.lease import in_use
from foldlog.storage.postgres_driver import Server, ServerError

if TYPE_CHECKING:
    from foldlog.storage.postgres import PostgresDatabase

_TAKE: Final = "SELECT pg_try_advisory_lock(?)"
_NAME_HOLDER: Final = "UPDATE leases SET holder = ? WHERE session_id = ? AND generation = ?"
_GENERATION: Final = "SELECT generation, holder FROM leases WHERE session_id = ?"
# How often somebody may push the last holder aside between our look and our lock.
_TRIES_MAX: Final = 10


class ServerLease:
    """The right to write one session, held until released or until the connection that holds it ends."""

    def __init__(self, database: "PostgresDatabase", session_id: str, generation: int, holder: str) -> None:
        self._database = database
        self.session_id = session_id
        self.generation = generation
        self.holder = holder
        self.is_locked = True

    @property
    def is_held(self) -> bool:
        """Whether this still is the lease: not released, and not taken over."""
        if not self.is_locked:
            return False
        row = self._database.look(
            lambda connection: connection.exec_driver_sql(_GENERATION, (self.session_id,)).first()
        )
        # A server that crashed forgot them all; who takes the session then gives a name.
        return row is None or (row[0] == self.generation and row[1] == self.holder)

    def release(self) -> None:
        """Give the lease back; releasing twice is fine."""
        if self.is_locked:
            self._database.let_go(self)


class Leases:
    """The leases that one handle holds, all on its writer connection; used under its lock."""

    def __init__(self, database: "PostgresDatabase", space: str) -> None:
        self._database = database
        self._space = space
        self._held: dict[str, ServerLease] = {}

    def acquire(self, server: Server, session_id: str, holder: dict[str, Any]) -> ServerLease:
        """Take a session's lease; raises `SessionInUseError` naming who has it."""
        # The lock would be given to the same connection twice.
        mine = self._held.get(session_id)
        text = json.dumps(holder)
        for _ in range(_TRIES_MAX):
            server.execute(
                "INSERT INTO leases (session_id, generation, holder) VALUES (?, 0, '') ON CONFLICT DO NOTHING",
                (session_id,),
            )
            generation, current = server.execute(_GENERATION, (session_id,)).fetchone()
            if mine is not None and mine.is_locked and mine.generation == generation:
                raise in_use(session_id, json.loads(mine.holder))
            key = self.key_of(session_id, generation)
            if not server.execute(_TAKE, (key,)).fetchone()[0]:
                raise in_use(session_id, json.loads(current or "{}"))
            if server.execute(_NAME_HOLDER, (text, session_id, generation)).rowcount == 1:
                lease = self._held[session_id] = ServerLease(self._database, session_id, generation, text)
                return lease
            server.execute("SELECT pg_advisory_unlock(?)", (key,))
        raise in_use(session_id, {})

    def release(self, server: Server, lease: ServerLease) -> None:
        """Give a lease back."""
        lease.is_locked = False
        if self._held.get(lease.session_id) is lease:
            del self._held[lease.session_id]
        # First the name: who takes the lock next is not to be called by it until it has written its own.
        with contextlib.suppress(ServerError):
            server.execute(_NAME_HOLDER, ("", lease.session_id, lease.generation))
        with contextlib.suppress(ServerError):  # a lost connection has let go of it
            server.execute("SELECT pg_advisory_unlock(?)", (self.key_of(lease.session_id, lease.generation),))

    def take_again(self, server: Server) -> None:
        """On a new connection take the leases again; those that somebody else has by now are lost.

        The connection that held them is over on the server's side, so no lock is our own.
        """
        for lease in list(self._held.values()):
            server.execute(
                "INSERT INTO leases (session_id, generation, holder) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (lease.session_id, lease.generation, lease.holder),
            )  # a server that crashed forgot them all
            row = server.execute(_GENERATION, (lease.session_id,)).fetchone()
            is_ours = tuple(row) == (lease.generation, lease.holder)
            if (
                not is_ours
                or not server.execute(_TAKE, (self.key_of(lease.session_id, lease.generation),)).fetchone()[0]
            ):
                lease.is_locked = False
                del self._held[lease.session_id]

    def check(self, session_ids: Iterable[str]) -> None:
        """Raise `StaleWriterError` where the lease of one of the sessions was lost with a connection."""
        for session_id in session_ids:
            if session_id not in self._held:
                raise StaleWriterError(
                    f"session {session_id!r}: the connection was lost, and another writer has had the session since",
                    hint="close this handle and open the session again",
                )

    def push_aside(self, server: Server, session_id: str) -> None:
        """Make the current holder's lock stand for nothing."""
        server.execute("UPDATE leases SET generation = generation + 1 WHERE session_id = ?", (session_id,))

    def leased(self, server: Server, session_ids: set[str]) -> set[str]:
        """Those of the sessions whose lock somebody holds."""
        rows = server.execute("SELECT session_id, generation FROM leases").fetchall()
        keys = {self.key_of(*row): row[0] for row in rows if row[0] in session_ids}
        sql = "SELECT classid::bigint << 32 | objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1"
        return {keys[row[0]] for row in server.execute(sql) if row[0] in keys}

    def key_of(self, session_id: str, generation: int) -> int:
        """The advisory lock of a session in one generation."""
        return advisory_key(f"{self._space}/{session_id}/{generation}")


def advisory_key(text: str) -> int:
    """A key of an advisory lock, which all programs of a database share: so it is a hash."""
    return int.from_bytes(hashlib.sha256(f"foldlog/{text}".encode()).digest()[:8], "big", signed=True)
