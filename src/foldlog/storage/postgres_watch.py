"""What a feed of a store on a server waits for: new events, and the end of those transactions that may bring one.

Writers tell seldom by NOTIFY, `postgres._TELL_EVERY_S` apart; who was told looks by itself for longer than that,
and everybody looks each second. What was committed is read by `foldlog.storage.event_feed`.
"""

import time
from typing import TYPE_CHECKING, Any, Final

import psycopg

from foldlog.core.errors import StoreBusyError, StoreError
from foldlog.storage.faults import translate
from foldlog.storage.postgres_driver import Server, ServerError

if TYPE_CHECKING:
    from foldlog.storage.postgres import PostgresDatabase

_AWAKE_S: Final = 0.6
_LOOK_EVERY_S: Final = 0.015
_LOOK_ASLEEP_EVERY_S: Final = 1.0
# How long a lost server is waited for.
_WAIT_S: Final = 30.0


# A statement sees what was committed before it began; the locks are looked at after that.
_LAST: Final = (
    "SELECT coalesce((SELECT max(position) FROM events), 0), pg_is_in_recovery(), "
    "ARRAY(SELECT DISTINCT virtualtransaction FROM pg_locks WHERE locktype = 'relation' "
    "AND mode = 'RowExclusiveLock' AND granted AND relation = 'events'::regclass "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
)
_PAUSE_S: Final = 0.0005
_PAUSE_S_MAX: Final = 0.02


def settled_position(database: "PostgresDatabase", *, wait_s: float) -> int:
    """The last position, once every transaction is over that may have been given one before it.

    Such a transaction holds its lock on `events` from before it is given a position until after it is visible.
    So those that hold it after the last position was read, and no others, may still bring an event in front of
    that.
    """
    last, is_standby, writers = _look(database)
    if is_standby:
        raise StoreError(
            f"{database.name}: a standby does not tell which transactions are under way, so events of several "
            "sessions cannot be read in order of position",
            hint="read the events of one session, or follow the primary",
        )
    deadline, pause_s, waited_for = time.monotonic() + wait_s, _PAUSE_S, set(writers)
    while waited_for:
        if time.monotonic() > deadline:
            raise StoreBusyError(
                f"{database.name}: a transaction has been writing for more than {wait_s:.0f} s",
                hint="end it (pg_stat_activity names it), then read on",
            )
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, _PAUSE_S_MAX)
        waited_for &= set(_look(database)[2])
    return int(last)


def _look(database: "PostgresDatabase") -> tuple[int, bool, list[str]]:
    """The last position, whether this is a standby, and who may be writing."""
    last, is_standby, writers = database.look(lambda connection: connection.exec_driver_sql(_LAST).one())
    return last, is_standby, writers


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
        connection = None
        try:
            connection = self._database.connect()
            Server(connection).execute(f"LISTEN {self._database.channel}")
        except ServerError as error:
            if connection is not None:
                connection.close()
            now = time.monotonic()
            self._lost_at = self._lost_at or now
            if not error.is_lost or now - self._lost_at > _WAIT_S:
                raise translate(error, f"following {self._database.name}") from error
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
