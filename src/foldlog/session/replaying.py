"""Folding a journal in bulk: as fast as reading it allows.

Reads what the fold needs and nothing else, a page at a time. Python's garbage collector rests meanwhile:
folding makes rows, all of which stay, and looking through them again and again takes longer than making
them. What events mean is in `foldlog.core.fold`.
"""

import gc
import threading
from collections.abc import Container, Iterator
from contextlib import contextmanager

from foldlog.core.chain import digest_of
from foldlog.core.codec import decode
from foldlog.core.errors import CorruptJournalError
from foldlog.core.fold import advance
from foldlog.core.ids import parent_id
from foldlog.core.rows import Change
from foldlog.core.view import View
from foldlog.session.events import event_of
from foldlog.session.lineage import session_row
from foldlog.storage import quarantine, stream_pages
from foldlog.storage.damage import damaged
from foldlog.storage.database import Database
from foldlog.storage.driver import Driver
from foldlog.storage.journal import StoredEvent, Stream

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

    An event that is set apart changes nothing; where it is the one that starts the session, a bare row
    stands in. Raises `CorruptJournalError` at a gap, or at what cannot be read.
    """
    without = stream_pages.set_apart(database, stream)
    pages = stream_pages.read(database, stream, after=view.counter("event"), through=through, without=without)
    return _fold_pages(pages, stream, view, without, through)


def fold_on_connection(connection: Driver, stream: Stream) -> View:
    """A session's view, folded from what a connection sees of its journal in its own transaction."""
    without = quarantine.event_ids(connection, stream.key)
    pages = stream_pages.read_on(connection, stream, without=without)
    return _fold_pages(pages, stream, View(), without, None)


def _fold_pages(
    pages: Iterator[list[stream_pages.EventRow]],
    stream: Stream,
    view: View,
    without: Container[int],
    through: int | None,
) -> View:
    with collector_resting():
        if without:
            begin_without(view, stream.session_id, without)
        for page in pages:
            for position, event_id, event_type, at, data, digest in page:
                if type(data) is str and digest_of(data.encode()) != digest:
                    raise damaged(stream.session_id, event_id, position, "the data is not what was written")
                try:
                    event = {"id": event_id, "type": event_type, "at": at, **decode(data)}
                except (CorruptJournalError, TypeError):
                    # Says which event it is that cannot be read.
                    stored = StoredEvent(position, stream.session_id, event_id, event_type, at, data, b"", b"", None)
                    event = event_of(stored)
                advance(view, event)
        if without:
            end_without(view, without, through)
    return view


def begin_without(view: View, session_id: str, without: Container[int]) -> None:
    """Start a view whose first event is set apart, so that the others fold: with what is known of any session."""
    if view.counter("event") == 0 and 1 in without:
        kind = "root" if parent_id(session_id) is None else "child"
        row = session_row(session_id, kind=kind, provider=None, parent=None, cache_id=None, created_at="", extra={})
        advance(view, {"id": 1, "type": "session.started", "at": "", "session": row})


def end_without(view: View, without: Container[int], through: int | None = None) -> None:
    """Count the last events that are set apart as seen."""
    event_id = view.counter("event") + 1
    while event_id in without and (through is None or event_id <= through):
        view.carry_out(Change(event_id))
        event_id += 1
