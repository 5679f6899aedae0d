"""A session's events in bulk, as the fold needs them: no digests, no chain, no join.

Everything else that reads events goes through `foldlog.storage.journal`.
"""

from collections.abc import Iterator
from typing import Final

from foldlog.core.errors import CorruptJournalError
from foldlog.storage.journal import Stream, check_kept
from foldlog.storage.sqlite import Database, driver_of

_PAGE_ROWS: Final = 2000
_SELECT: Final = (
    "SELECT position, event_id, type, at, data FROM events "
    "WHERE session_key = ? AND event_id > ? AND event_id <= ? ORDER BY event_id LIMIT ?"
)


# Of each event: position, event id, type, at, data.
EventRow = tuple[int, int, str, str, str]


def read(database: Database, stream: Stream, *, after: int = 0, through: int | None = None) -> Iterator[list[EventRow]]:
    """A session's events in order, after one event id and through another, in pages.

    Each page is a transaction of its own, so that a slow reader never keeps the write-ahead log from
    shrinking. Raises `CorruptJournalError` at a gap, `UnknownSessionError` where the session was deleted
    meanwhile.
    """
    last = 2**62 if through is None else through
    while True:
        with database.read() as connection:
            rows = driver_of(connection).execute(_SELECT, (stream.key, after, last, _PAGE_ROWS)).fetchall()
            if len(rows) < _PAGE_ROWS:
                check_kept(connection, stream)
        whole = _through_gap(rows, after)
        if whole:
            yield rows[:whole]
        if whole < len(rows):
            raise CorruptJournalError(
                f"session {stream.session_id!r}: event {after + whole + 1} is missing before position {rows[whole][0]}",
                hint="run `foldlog verify` on the store, or restore a backup",
                position=rows[whole][0],
            )
        after += whole
        if len(rows) < _PAGE_ROWS:
            return


def _through_gap(rows: list[EventRow], after: int) -> int:
    """How many rows there are before the first that is not the next event."""
    if not rows or rows[-1][1] == after + len(rows):
        return len(rows)
    return next(place for place, row in enumerate(rows) if row[1] != after + place + 1)
