"""Reading past what is damaged: the rows before it, and an error that says where it is.

Nothing is repaired or left out here; events that are set apart are in `foldlog.storage.quarantine`, rows of
a damaged file, read one by one, in `foldlog.storage.rows_left`.
"""

import contextlib
import sqlite3
from collections.abc import Iterable
from typing import Any, Final

from foldlog.core.errors import CorruptJournalError
from foldlog.storage.driver import Driver
from foldlog.storage.faults import DRIVER_ERRORS, is_damage, is_undecodable

_HINT: Final = "run `foldlog verify STORE`; restore a backup, or run `foldlog repair STORE` to go on without it"


def damaged(session_id: str, event_id: int, position: int, why: str) -> CorruptJournalError:
    """The error for an event that cannot be read."""
    return CorruptJournalError(
        f"session {session_id!r}: event {event_id} at position {position} is damaged: {why}",
        hint=_HINT,
        position=position,
    )


def missing(session_id: str, event_id: int, position: int) -> CorruptJournalError:
    """The error for a gap, found at the position of the event behind it."""
    return CorruptJournalError(
        f"session {session_id!r}: event {event_id} is missing before position {position}",
        hint=_HINT,
        position=position,
    )


def unreadable(connection: Driver, session_id: str, session_key: int | None, after: int) -> CorruptJournalError:
    """The error for what stands behind an event, in a row or page that cannot be read."""
    sql = "SELECT event_id, position FROM events WHERE session_key = ? AND event_id > ? ORDER BY event_id LIMIT 1"
    found, _ = fetch(connection, sql, (session_key, after))  # of the index alone
    event_id, position = found[0] if found else (after + 1, None)
    where = "" if position is None else f" at position {position}"
    return CorruptJournalError(
        f"session {session_id!r}: event {event_id}{where} cannot be read",
        hint=_HINT,
        position=position,
    )


def fetch(connection: Driver, sql: str, values: Iterable[object]) -> tuple[list[Any], Exception | None]:
    """The rows of a SELECT up to the first that cannot be read, and why it cannot."""
    rows: list[Any] = []
    bound = tuple(values)
    try:
        rows.extend(connection.execute(sql, bound))  # keeps what came before the error
    except DRIVER_ERRORS as error:
        if not is_damage(error):
            raise
        # But for the last of them: the driver looks for the next row before it hands one out.
        with contextlib.suppress(*DRIVER_ERRORS):
            rows += connection.execute(f"SELECT * FROM ({sql}) LIMIT 1 OFFSET {len(rows)}", bound).fetchall()
        # The driver's words about text that is none are that text, which no error of ours prints.
        return rows, sqlite3.DataError("text that is not UTF-8") if is_undecodable(error) else error
    return rows, None
