"""The feed: events of a store by position, now and as they come.

A position is the global order of a store; an event id is the order within its session.
"""

import time
from collections.abc import Iterator
from typing import Any

from foldlog.session.recorder import event_of
from foldlog.storage import journal
from foldlog.storage.journal import StoredEvent
from foldlog.storage.sqlite import Database

POLL_INTERVAL_S = 0.02


class RecordedEvent(dict[str, Any]):
    """An event as the dict that folds, with its place in the store: `position` and `session_id`."""

    __slots__ = ("position", "session_id")

    def __init__(self, stored: StoredEvent) -> None:
        super().__init__(event_of(stored))
        self.position = stored.position
        self.session_id = stored.session_id


def read(
    database: Database, *, session_id: str | None, after: int, types: tuple[str, ...] | None
) -> Iterator[RecordedEvent]:
    """Events after a position, in order."""
    return map(RecordedEvent, journal.read_feed(database, after=after, session_id=session_id, types=types))


def follow(
    database: Database,
    *,
    session_id: str | None,
    after: int,
    types: tuple[str, ...] | None,
    idle_timeout_s: float | None,
) -> Iterator[RecordedEvent]:
    """Events after a position, then each new one as it is committed, by any process.

    Waits on SQLite's data version, which costs one page's look and no read of the tables. Ends when the
    store is closed, or after `idle_timeout_s` seconds without an event.
    """
    reader = database.new_reader()
    try:
        quiet_since = time.monotonic()
        version = None
        while not database.is_closed:
            seen = reader.execute("PRAGMA data_version").fetchone()[0]
            if seen != version:
                version = seen
                for event in read(database, session_id=session_id, after=after, types=types):
                    after = event.position
                    yield event
                    quiet_since = time.monotonic()
            elif idle_timeout_s is not None and time.monotonic() - quiet_since >= idle_timeout_s:
                return
            else:
                time.sleep(POLL_INTERVAL_S)
    finally:
        reader.close()
