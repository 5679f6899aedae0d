"""The hot path: stamp, commit, fold, under the session's lock.

A recorder owns what makes one session's journal one line of events: the next event id, the head of the
chain, the last time, the lease. Verbs hold it, record events, and let go; when the outermost hold ends
its events are committed together and only then folded into the view. What events look like is the
verbs' business (`foldlog.session.verbs`), how they are stored the journal's.
"""

import re
import sqlite3
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from foldlog.core.chain import digest_of, first_chain, next_chain
from foldlog.core.clock import format_time
from foldlog.core.codec import decode, encode
from foldlog.core.errors import (
    CommitUncertainError,
    CorruptJournalError,
    ExpectedIdError,
    FoldlogError,
    InvalidEventError,
    StaleWriterError,
    StoreClosedError,
    StoreError,
)
from foldlog.core.fold import Event, plan
from foldlog.core.ids import check_event_type
from foldlog.core.limits import ENVELOPE_NESTING
from foldlog.core.refs import copy_value
from foldlog.core.view import View
from foldlog.session.host import Host
from foldlog.session.pending import Pending, PendingEvent
from foldlog.storage import journal
from foldlog.storage.journal import Head, Stamped, StoredEvent, Stream
from foldlog.storage.lease import Lease

_RESERVED = frozenset({"id", "type", "at"})
_KEY = re.compile(r"[ -~]{1,512}")


class Recorder:
    """One session's line of events, and the only way to add to it."""

    def __init__(self, host: Host, stream: Stream, lease: Lease) -> None:
        self.host = host
        self.stream = stream
        self.view = View()
        self.pending = Pending(self.view)
        self._lease = lease
        self._lock = threading.RLock()
        self._holds: list[int] = []
        self._joined: list[Recorder] = []
        self._also: list[Callable[[sqlite3.Connection], None]] = []
        self._after: list[Callable[[], None]] = []
        self._closed = False
        self._uncertain: FoldlogError | None = None
        self._stand_at(None)

    def _stand_at(self, head: Head | None) -> None:
        """Go on after this event."""
        self._head = head or Head(0, "", first_chain(self.stream.session_id))
        self._tip = self._head

    @property
    def event_id(self) -> int:
        """The id of the last committed event."""
        return self._head.event_id

    # Holding.

    def __enter__(self) -> "Recorder":
        self.host.database.check_open()
        self._lock.acquire()
        try:
            self._check_usable()
        except BaseException:
            self._lock.release()
            raise
        self._holds.append(len(self.pending.events))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        after: list[Callable[[], None]] = []
        try:
            start = self._holds.pop()
            if error is not None:
                self._cut(start)
                if not self._holds:
                    self._give_up()
            elif not self._holds:
                self._settle()
                after, self._after = self._after, []
        finally:
            self._lock.release()
        self._run_after(after)

    def _run_after(self, callbacks: list[Callable[[], None]]) -> None:
        first: FoldlogError | None = None
        for callback in callbacks:
            try:
                callback()
            except FoldlogError as error:
                first = first or error
        if isinstance(first, StaleWriterError | StoreClosedError):
            raise first
        if first is not None:
            raise StoreError(
                f"session {self.stream.session_id!r}: recorded through event {self.event_id}, but the tables or files "
                f"were not written: {first.message}",
                hint="do not repeat the call; call checkpoint() once the cause is gone",
            ) from first

    @property
    def is_nested(self) -> bool:
        """Whether the caller's hold is inside another, so that nothing is committed when it ends."""
        return len(self._holds) > 1

    def _check_usable(self) -> None:
        """Raise unless events can be recorded."""
        if self._closed:
            raise StoreClosedError(
                f"session {self.stream.session_id!r} is closed",
                hint="open it again with store.open_session(id)",
            )
        if self._uncertain is not None:
            raise CommitUncertainError(
                f"session {self.stream.session_id!r}: the outcome of an earlier commit is not known",
                hint="call reload() to read the journal again, then go on",
            ) from self._uncertain

    def close(self) -> None:
        """Refuse further events and give the lease back."""
        self._closed = True
        self._lease.release()

    @property
    def is_closed(self) -> bool:
        """Whether the handle was given back."""
        return self._closed

    @property
    def holds_lease(self) -> bool:
        """Whether this handle is the one that may write."""
        return self._lease.is_held

    @property
    def is_uncertain(self) -> bool:
        """Whether only `reload` is of use."""
        return self._uncertain is not None

    # Recording, while held.

    def record(
        self,
        event_type: str,
        fields: dict[str, Any],
        *,
        idempotency_key: str | None = None,
        expected_id: int | None = None,
    ) -> Event:
        """Check and stamp one event; it is committed when the outermost hold ends.

        The event that is returned is shared with the fold: not to be changed, nor handed to users.
        """
        check_event_type(event_type)
        if idempotency_key is not None:
            known = self._find_key(idempotency_key)
            if known is not None:
                return known
        event_id = self._tip.event_id + 1
        if expected_id is not None and expected_id != event_id:
            raise ExpectedIdError(
                f"session {self.stream.session_id!r}: the event would get id {event_id}, not {expected_id}",
                hint="look at what happened since in session.view, then try again",
            )
        if not _RESERVED.isdisjoint(fields):
            raise InvalidEventError(
                f"{event_type}: id, type and at are given by the session",
                hint="use other names in the payload",
            )
        limits = self.host.config.limits
        encoded = encode(
            fields,
            what=event_type,
            nesting_max=limits.nesting_max + ENVELOPE_NESTING,
            bytes_max=limits.event_bytes_max,
        )
        at = max(format_time(self.host.config.clock()), self._tip.at)
        event = {"id": event_id, "type": event_type, "at": at, **encoded.value}
        change = plan(self.pending if self.pending.events else self.view, event)
        digest = digest_of(encoded.data)
        chain = next_chain(self._tip.chain, event_id, event_type, at, digest)
        stamped = Stamped(
            self.stream, event_id, event_type, at, encoded.data, digest, chain, idempotency_key, encoded.refs
        )
        self.pending.add(PendingEvent(stamped, event, change))
        self._tip = Head(event_id, at, chain)
        return event

    def _find_key(self, idempotency_key: str) -> Event | None:
        if type(idempotency_key) is not str or not _KEY.fullmatch(idempotency_key):
            raise InvalidEventError(
                "an idempotency key is a str of 1 to 512 printable ASCII characters", hint="use a short unique str"
            )
        pending = self.pending.find_key(idempotency_key)
        if pending is not None:
            return pending
        if self.stream.key is None:
            return None
        stored = journal.find_key(self.host.database, self.stream, idempotency_key)
        return event_of(stored) if stored is not None else None

    def commit_unseen(self, also: Callable[[sqlite3.Connection], None], parent: "Recorder | None" = None) -> None:
        """Commit the first events of a session that nobody has seen yet, with more statements.

        They are folded first, so that `also` can write the session's tables. With a `parent` (held by the
        caller) they are committed together with the parent's events, when that hold ends.
        """
        for pending in self.pending.events:
            self.view.carry_out(pending.change)
        if parent is not None:
            parent._joined.append(self)
            parent._also.append(also)
            return
        journal.append(self.host.database, [pending.stamped for pending in self.pending.events], also)
        self._stand_at(self._tip)
        self.pending.cut(0)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Run something once the outermost hold has committed and let go of the lock."""
        if callback not in self._after:
            self._after.append(callback)

    # Committing, when the outermost hold ends.

    def _settle(self) -> None:
        events, joined, also = self.pending.events, self._joined, self._also
        if events or joined:
            stamped = [pending.stamped for recorder in (self, *joined) for pending in recorder.pending.events]
            try:
                journal.append(self.host.database, stamped, _all(also) if also else None)
                self._fold(events, joined)
            except FoldlogError as error:
                self._uncertain = error if isinstance(error, CommitUncertainError) else None
                self._give_up()
                raise
            except BaseException:
                # Interrupted between the commit and the fold: only the journal knows.
                self._uncertain = CommitUncertainError("the commit was interrupted", hint="call reload()")
                self._give_up()
                raise

    def _give_up(self) -> None:
        self._cut(0)
        self._joined, self._also, self._after = [], [], []

    def _fold(self, events: list[PendingEvent], joined: "list[Recorder]") -> None:
        with self.view.held():  # a reader sees all of a commit or nothing of it
            for pending in events:
                self.view.carry_out(pending.change)
        for recorder in (self, *joined):
            recorder._stand_at(recorder._tip)
            recorder.pending.cut(0)
        self._joined, self._also = [], []

    def _cut(self, length: int) -> None:
        """Forget events that will not be committed, as if they had never been recorded."""
        self.pending.cut(length)
        events = self.pending.events
        if events:
            last = events[-1].stamped
            self._tip = Head(last.event_id, last.at, last.chain)
        else:
            self._tip = self._head

    def reload(self, load: Callable[[], tuple[View, Head | None]]) -> None:
        """Read the journal again: at opening, and after an uncertain commit."""
        self.host.database.check_open()
        with self._lock:
            if self._closed:
                self._check_usable()
            if self._holds:
                raise InvalidEventError("reload() inside a batch", hint="leave the batch first")
            if not self._lease.is_held:
                raise StaleWriterError(
                    f"session {self.stream.session_id!r}: this handle was pushed aside by another",
                    hint="close this handle and open the session again",
                )
            self.view, head = load()
            self.pending = Pending(self.view)
            self._stand_at(head)
            self._uncertain = None


def event_of(stored: StoredEvent) -> Event:
    """A stored event as the dict that folds."""
    try:
        payload = decode(stored.data)
    except CorruptJournalError as error:
        raise _damaged(stored, error.message) from error
    if type(payload) is not dict:
        raise _damaged(stored, "its data is no map")
    return {"id": stored.event_id, "type": stored.type, "at": stored.at, **payload}


def _damaged(stored: StoredEvent, why: str) -> CorruptJournalError:
    return CorruptJournalError(
        f"session {stored.session_id!r}: event {stored.event_id} at position {stored.position} is damaged: {why}",
        hint="run `foldlog verify` on the store; restore a backup, or go on after this position",
        position=stored.position,
    )


def own_copy(event: Event) -> Event:
    """An event for the user to keep."""
    copied: Event = copy_value(event)
    return copied


def _all(also: list[Callable[[sqlite3.Connection], None]]) -> Callable[[sqlite3.Connection], None]:
    def run(connection: sqlite3.Connection) -> None:
        for statement in also:
            statement(connection)

    return run
