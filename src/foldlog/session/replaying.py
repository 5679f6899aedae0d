"""Folding a journal in bulk: as fast as reading it allows.

Reads what the fold needs and nothing else, a page at a time. Python's garbage collector rests meanwhile:
folding makes rows, all of which stay, and looking through them again and again takes longer than making
them. What events mean is in `foldlog.core.fold`.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from foldlog.core.codec import decode
from foldlog.core.errors import CorruptJournalError
from foldlog.core.fold import advance
from foldlog.core.view import View
from foldlog.session.events import event_of
from foldlog.storage import stream_pages
from foldlog.storage.journal import StoredEvent, Stream
from foldlog.storage.sqlite import Database

_lock = threading.Lock()
_resting = 0
_was_enabled = False


@contextmanager
def collector_resting() -> Iterator[None]:
    """Keep Python's garbage collector from running; it runs again when the last such block has ended."""
    global _resting, _was_enabled  # noqa: PLW0603  (one collector a process, by its nature)
    with _lock:
        if _resting == 0:
            _was_enabled = gc.isenabled()
            gc.disable()
        _resting += 1
    try:
        yield
    finally:
        with _lock:
            _resting -= 1
            if _resting == 0 and _was_enabled:
                gc.enable()


def fold_on(database: Database, stream: Stream, view: View, *, through: int | None = None) -> View:
    """Fold a session's events after those a view has, through one or all, into it; returns the view.

    Raises `CorruptJournalError` at a gap, or at what cannot be read.
    """
    with collector_resting():
        for page in stream_pages.read(database, stream, after=view.counter("event"), through=through):
            for position, event_id, event_type, at, data in page:
                try:
                    event = {"id": event_id, "type": event_type, "at": at, **decode(data)}
                except (CorruptJournalError, TypeError):
                    # Says which event it is that cannot be read.
                    stored = StoredEvent(position, stream.session_id, event_id, event_type, at, data, b"", b"", None)
                    event = event_of(stored)
                advance(view, event)
    return view
