"""Reading events back: a store's by position, or one session's in its own order; in pages.

How they got there is `foldlog.storage.journal`'s; what a fold needs of them is read by
`foldlog.storage.stream_pages`.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection

from foldlog.core.chain import digest_of
from foldlog.core.errors import CorruptJournalError
from foldlog.storage import quarantine
from foldlog.storage.damage import damaged, fetch, missing, unreadable
from foldlog.storage.database import NO_POSITION, Database
from foldlog.storage.driver import driver_of
from foldlog.storage.journal import SELECT, StoredEvent, Stream, check_kept

_PAGE_ROWS: Final = 1000


def read_feed(
    database: Database,
    *,
    after: int = 0,
    through: int | None = None,
    stream: Stream | None = None,
    types: tuple[str, ...] | None = None,
) -> Iterator[StoredEvent]:
    """Events by position, after a position, of one session or all, of some types or all; in pages.

    Without those set apart. `through`: a position before which none can appear any more, as the caller knows.
    Else that is asked, for events of all sessions: those of one have a writer, who gives positions in order.
    """
    where, values = ["position > ?", "position <= ?"], list[object]()
    if stream is not None:
        where.append("events.session_key = ?")
        values.append(stream.key)
    if types is not None:
        where.append(f"type IN ({', '.join('?' * len(types))})" if types else "FALSE")
        values += types
    sql, order = f"{SELECT} WHERE {' AND '.join(where)}", f"ORDER BY position LIMIT {_PAGE_ROWS}"

    def page(connection: Connection, last: int) -> tuple[list[Any], Exception | None]:
        driver = driver_of(connection)
        kept = f" AND {quarantine.IS_KEPT}" if quarantine.is_any(driver) else ""
        rows, error = fetch(driver, f"{sql}{kept} {order}", (after, last, *values))
        if stream is not None and error is None and len(rows) < _PAGE_ROWS:
            check_kept(connection, stream)
        return rows, error

    while True:
        last = through
        if last is None:
            last = database.settled_position() if stream is None else NO_POSITION
        rows, error = database.look(partial(page, last=last))
        for row in rows:
            after = row[0]
            yield _as_written(StoredEvent(*row))
        if error is not None:
            raise CorruptJournalError(
                f"{database.name}: an event after position {after} cannot be read",
                hint="`foldlog verify STORE` says more; what is behind it is read by going on after its position",
                position=after + 1,
            ) from error
        if len(rows) < _PAGE_ROWS:
            return


def read_stream(
    database: Database, stream: Stream, *, after: int = 0, through: int | None = None
) -> Iterator[StoredEvent]:
    """A session's events in order, after one event id and through another, without those set apart.

    Read in pages of their own, so that a slow reader never keeps the write-ahead log from shrinking.
    Raises `CorruptJournalError` at a gap.
    """
    last, expected = 2**62 if through is None else through, after + 1
    while True:
        with database.read() as connection:
            driver = driver_of(connection)
            set_apart = quarantine.event_ids(driver, stream.key)
            kept = f" AND {quarantine.IS_KEPT}" if set_apart else ""
            rows, error = fetch(
                driver,
                f"{SELECT} WHERE events.session_key = ? AND event_id > ? AND event_id <= ?{kept} "
                "ORDER BY event_id LIMIT ?",
                (stream.key, expected - 1, last, _PAGE_ROWS),
            )
            at = rows[-1][2] if rows else expected - 1
            failure = error and unreadable(driver, stream.session_id, stream.key, at)
            if error is None and len(rows) < _PAGE_ROWS:
                check_kept(connection, stream)
        for row in rows:
            event = _as_written(StoredEvent(*row))
            while expected in set_apart:
                expected += 1
            if event.event_id != expected:
                raise missing(stream.session_id, expected, event.position)
            expected += 1
            yield event
        if failure is not None:
            raise failure from error
        if len(rows) < _PAGE_ROWS:
            return


def _as_written(event: StoredEvent) -> StoredEvent:
    """An event whose data is what was written; raises `CorruptJournalError`, with its position, for others."""
    if type(event.data) is str and digest_of(event.data.encode()) != event.digest:
        raise damaged(event.session_id, event.event_id, event.position, "the data is not what was written")
    return event
