"""Quarantine: the events that a repair found damaged or gone, and that every reader goes on without.

A note names an event of a session, says what is wrong with it and, where a row of it is left, at which
position. Rows of `events` are never changed: what is left of a damaged one stays where it is. Which
events are set apart is decided by `foldlog.outlets.repair`; what a fold makes of them is in
`foldlog.session.replaying`.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from foldlog.storage.driver import Driver, sql_of

# A condition for rows of `events`: they are not set apart. It is tested before their columns are read.
IS_KEPT: Final = (
    "NOT EXISTS (SELECT 1 FROM quarantine "
    "WHERE quarantine.session_key = events.session_key AND quarantine.event_id = events.event_id)"
)


class Note(NamedTuple):
    """One event that is set apart; `position` is None where no row of it is left."""

    session_key: int
    event_id: int
    position: int | None
    what: str
    at: str


def event_ids(connection: Driver, session_key: int | None) -> frozenset[int]:
    """The ids of a session's events that are set apart; none but after a repair."""
    rows = connection.execute("SELECT event_id FROM quarantine WHERE session_key = ?", (session_key,))
    return frozenset(row[0] for row in rows)


def is_any(connection: Driver) -> bool:
    """Whether any event of the store is set apart."""
    return bool(connection.execute("SELECT EXISTS (SELECT 1 FROM quarantine)").fetchone()[0])


def add(connection: Driver, notes: Iterable[Note]) -> None:
    """Set events apart, inside the caller's transaction; those that are stay as they were noted."""
    connection.executemany(
        "INSERT INTO quarantine (session_key, event_id, position, what, at) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (session_key, event_id) DO NOTHING",
        list(notes),
    )


def remove(connection: Driver, session_key: int, event_id: int) -> None:
    """Take back a note that is itself damage: the event is whole."""
    connection.execute("DELETE FROM quarantine WHERE session_key = ? AND event_id = ?", (session_key, event_id))


def last_ids(connection: Driver, session_key: int | None, through: int | None) -> tuple[int, bytes, str]:
    """Where a session with events set apart goes on: the last id, chain value and time, as of an event or now.

    The id is the last there was, row or note; the chain the last that a row still holds; the time that of
    the last event that is not set apart. An empty chain or time where there is none.
    """
    through = 2**62 if through is None else through
    ids = "SELECT max(event_id) FROM {} WHERE session_key = ? AND event_id <= ?"
    values = (session_key, through)
    last = [connection.execute(ids.format(table), values).fetchone()[0] or 0 for table in ("events", "quarantine")]
    where = "FROM events WHERE session_key = ? AND event_id <= ? AND {} ORDER BY event_id DESC LIMIT 1"
    chain = connection.execute(f"SELECT chain {where.format(sql_of(connection).IS_WHOLE_CHAIN)}", values).fetchone()
    at = connection.execute(f"SELECT at {where.format(IS_KEPT)}", values).fetchone()
    return max(last), chain[0] if chain else b"", at[0] if at else ""


def is_session(name: object) -> bool:
    """Whether a stream may be a session's, by its name: those that begin with a dot are the store's own."""
    return not (isinstance(name, str) and name.startswith("."))
