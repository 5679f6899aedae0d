"""The events of a store by position, of one session or all: what the feed reads.

A session's own events in order are read by `foldlog.storage.journal`.
"""

from collections.abc import Iterator
from typing import Final

from foldlog.core.errors import CorruptJournalError
from foldlog.storage import quarantine
from foldlog.storage.damage import fetch
from foldlog.storage.journal import SELECT, StoredEvent, Stream, check_kept
from foldlog.storage.sqlite import Database, driver_of

_PAGE_ROWS: Final = 1000


def read_feed(
    database: Database, *, after: int = 0, stream: Stream | None = None, types: tuple[str, ...] | None = None
) -> Iterator[StoredEvent]:
    """Events by position, after a position, of one session or all, of some types or all; in pages.

    Without those set apart.
    """
    where, values = ["position > ?"], list[object]()
    if stream is not None:
        where.append("events.session_key = ?")
        values.append(stream.key)
    if types is not None:
        where.append(f"type IN ({', '.join('?' * len(types))})")
        values += types
    sql, order = f"{SELECT} WHERE {' AND '.join(where)}", f"ORDER BY position LIMIT {_PAGE_ROWS}"
    while True:
        with database.read() as connection:
            driver = driver_of(connection)
            kept = f" AND {quarantine.IS_KEPT}" if quarantine.is_any(driver) else ""
            rows, error = fetch(driver, f"{sql}{kept} {order}", (after, *values))
            if stream is not None and error is None and len(rows) < _PAGE_ROWS:
                check_kept(connection, stream)
        for row in rows:
            after = row[0]
            yield StoredEvent(*row)
        if error is not None:
            raise CorruptJournalError(
                f"{database.path}: an event after position {after} cannot be read",
                hint="run `foldlog verify` on the store, or go on after it: store.events(after=<its position>)",
                position=after + 1,
            ) from error
        if len(rows) < _PAGE_ROWS:
            return
