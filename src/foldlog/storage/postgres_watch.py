"""Waiting for events of a store on a server: told by NOTIFY, looking every second all the same.

Writers tell seldom, `postgres._TELL_EVERY_S` apart; who was told looks by itself for longer than that. What was
committed is read by `foldlog.storage.event_feed`.
"""

import time
from typing import TYPE_CHECKING, Any, Final

import psycopg

from foldlog.core.errors import StoreError
from foldlog.storage.postgres_driver import ServerError

if TYPE_CHECKING:
    from foldlog.storage.postgres import PostgresDatabase

_AWAKE_S: Final = 0.6
_LOOK_EVERY_S: Final = 0.015
_LOOK_ASLEEP_EVERY_S: Final = 1.0
# How long a lost server is waited for.
_WAIT_S: Final = 30.0


class ServerWatch:
    """Whether there may be events that were not there at the last look."""

    def __init__(self, database: "PostgresDatabase") -> None:
        self._database = database
        self._connection: psycopg.Connection[Any] | None = None
        self._looked_at = 0.0
        self._awake_until = 0.0
        self._lost_at: float | None = None
        self._listen()

    def _listen(self) -> None:
        """Listen on a new connection; what was told meanwhile is seen by looking."""
        try:
            connection = self._database.connect()
            connection.execute(f"LISTEN {self._database.channel}")
        except psycopg.Error as error:
            now = time.monotonic()
            self._lost_at = self._lost_at or now
            if now - self._lost_at > _WAIT_S:
                raise StoreError(
                    f"{self._database.name}: the server cannot be reached",
                    hint="see that it runs, then follow from the last position again",
                ) from ServerError(error, is_cut=True)
            return
        self._connection, self._lost_at, self._looked_at = connection, None, 0.0
        self._awake_until = time.monotonic() + _AWAKE_S

    def is_new(self) -> bool:
        """Whether to look again."""
        if self._connection is None:
            self._listen()
            if self._connection is None:
                return False
        now = time.monotonic()
        try:
            for _ in self._connection.notifies(timeout=0):
                self._awake_until = now + _AWAKE_S
        except psycopg.Error:
            self.close()
            return False
        every_s = _LOOK_EVERY_S if now < self._awake_until else _LOOK_ASLEEP_EVERY_S
        if now - self._looked_at < every_s:
            return False
        self._looked_at = now
        return True

    def close(self) -> None:
        """Look no more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
