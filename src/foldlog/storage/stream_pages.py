"""A session's events in bulk, as the fold needs them, each held to its digest: no chain, no join.

Everything else that reads events goes through `foldlog.storage.journal`.
"""

from collections.abc import Callable, Iterator
from typing import Final

from foldlog.core.errors import CorruptJournalError
from foldlog.storage import quarantine
from foldlog.storage.damage import fetch, missing, unreadable
from foldlog.storage.database import Database
from foldlog.storage.driver import Driver, driver_of
from foldlog.storage.journal import Stream, check_kept

_PAGE_ROWS: Final = 2000
_SELECT: Final = (
    "SELECT position, event_id, type, at, data, digest FROM events "
    "WHERE session_key = ? AND event_id > ? AND event_id <= ?{} ORDER BY event_id LIMIT ?"
)
_ALL: Final = _SELECT.format("")
_KEPT: Final = _SELECT.format(f" AND {quarantine.IS_KEPT}")


# Of each event: position, event id, type, at, data, digest.
EventRow = tuple[int, int, str, str, str, bytes]


def set_apart(database: Database, stream: Stream) -> frozenset[int]:
    """The ids of a session's events that are set apart."""
    with database.read() as connection:
        return quarantine.event_ids(driver_of(connection), stream.key)


def read(
    database: Database,
    stream: Stream,
    *,
    after: int = 0,
    through: int | None = None,
    without: frozenset[int] = frozenset(),
) -> Iterator[list[EventRow]]:
    """A session's events in order, after one event id and through another, in pages, `without` those set apart.

    Each page is a transaction of its own, so that a slow reader never keeps the write-ahead log from
    shrinking. Raises `CorruptJournalError` at a gap, `UnknownSessionError` where the session was deleted
    meanwhile.
    """

    def page(after: int) -> _Page:
        with database.read() as connection:
            found = _page(driver_of(connection), stream, after, through, without)
            if len(found[0]) < _PAGE_ROWS:
                check_kept(connection, stream)
            return found

    return _pages(page, stream, after, without)


def read_on(connection: Driver, stream: Stream, *, without: frozenset[int]) -> Iterator[list[EventRow]]:
    """All of a session's events but those set apart, in pages, on a connection and in its transaction."""
    return _pages(lambda after: _page(connection, stream, after, None, without), stream, 0, without)


# Rows, and why there are no more of the page.
_Page = tuple[list[EventRow], CorruptJournalError | None]


def _page(connection: Driver, stream: Stream, after: int, through: int | None, without: frozenset[int]) -> _Page:
    last = 2**62 if through is None else through
    rows, error = fetch(connection, _KEPT if without else _ALL, (stream.key, after, last, _PAGE_ROWS))
    if error is None:
        return rows, None
    raise_after = unreadable(connection, stream.session_id, stream.key, rows[-1][1] if rows else after)
    raise_after.__cause__ = error
    return rows, raise_after


def _pages(
    page: Callable[[int], _Page], stream: Stream, after: int, without: frozenset[int]
) -> Iterator[list[EventRow]]:
    while True:
        rows, error = page(after)
        whole = _through_gap(rows, after, without)
        if whole:
            yield rows[:whole]
        if whole < len(rows):
            before = rows[whole - 1][1] if whole else after
            raise missing(stream.session_id, _next(before, without), rows[whole][0])
        if error is not None:
            raise error
        if len(rows) < _PAGE_ROWS:
            return
        after = rows[-1][1]


def _next(event_id: int, without: frozenset[int]) -> int:
    event_id += 1
    while event_id in without:
        event_id += 1
    return event_id


def _through_gap(rows: list[EventRow], after: int, without: frozenset[int]) -> int:
    """How many rows there are before the first that is not the next event."""
    if not rows or rows[-1][1] == after + len(rows):
        return len(rows)
    for place, row in enumerate(rows):
        if row[1] != (after := _next(after, without)):
            return place
    return len(rows)
