"""The hot path: stamp, submit, fold.

A recorder owns what makes one session's journal one line of events: the next event id, the head of the
chain, the last time, the lease. Verbs hold it, record events, and let go; when the outermost hold ends
its events are submitted, the session's lock is let go of, and only then the caller waits for the commit,
so that callers share one (`foldlog.storage.committer`). Whoever commits folds them into the view, under
the view's lock, which also guards what is pending. What events look like is the verbs' business
(`foldlog.session.verbs`), how they are stored the journal's.
"""

import contextlib
import copy
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
from foldlog.storage.committer import Append
from foldlog.storage.journal import Head, Stamped, StoredEvent, Stream
from foldlog.storage.lease import Lease

_RESERVED = frozenset({"id", "type", "at"})
_KEY = re.compile(r"[ -~]{1,512}")


class _Append(Append):
    """What one hold recorded: its own events, and the first ones of a child that it started."""

    __slots__ = ("_events", "_joined", "_recorder")

    def __init__(
        self,
        recorder: "Recorder",
        events: list[PendingEvent],
        joined: "Recorder | None" = None,
        also: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        stamped = [pending.stamped for pending in events]
        if joined is not None:
            stamped += [pending.stamped for pending in joined.pending.events]
        super().__init__(recorder, stamped, also)
        self._recorder = recorder
        self._events = events
        self._joined = joined

    def settle(self) -> None:
        self._recorder._settle(self._events)
        if self._joined is not None:
            self._joined._settle_unseen()

    def give_up(self, error: FoldlogError) -> None:
        self._recorder._give_up(error)


class Recorder:
    """One session's line of events, and the only way to add to it."""

    def __init__(self, host: Host, stream: Stream, lease: Lease) -> None:
        self.host = host
        self.stream = stream
        self._look_at(View())
        self._lease = lease
        self._lock = threading.RLock()
        # Of the hold under way: the last event when each of its levels began, and what goes with its commit.
        self._holds: list[int] = []
        self._joined: Recorder | None = None
        self._also: Callable[[sqlite3.Connection], None] | None = None
        self._after: list[Callable[[], None]] = []
        self._waits = False
        self._lost: FoldlogError | None = None  # why its events will not be committed
        self._closed = False
        self._uncertain: FoldlogError | None = None
        self._stand_at(None)

    def _look_at(self, view: View) -> None:
        self.view = view
        self.pending = Pending(view)
        self._state = view.held()  # guards the view, what is pending, and where the line stands

    def _stand_at(self, head: Head | None) -> None:
        """Go on after this event, the last one committed."""
        self._head = head or Head(0, "", first_chain(self.stream.session_id))
        self._tip = self._head
        self._submitted_id = self._head.event_id

    @property
    def event_id(self) -> int:
        """The id of the last committed event."""
        return self._head.event_id

    # Holding.

    def __enter__(self) -> "Recorder":
        self.host.database.check_open()
        self._lock.acquire()
        if self._closed or self._uncertain is not None:
            self._lock.release()
            self._check_usable()
        self._holds.append(self._tip.event_id)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        append: _Append | None = None
        after: list[Callable[[], None]] = []
        try:
            start = self._holds.pop()
            if error is not None:
                self._take_back(start)
            elif not self._holds:
                append, after = self._submit(), self._after
        finally:
            if not self._holds:
                self._joined, self._also, self._after, self._waits, self._lost = None, None, [], False, None
            self._lock.release()
        if append is not None:
            self.host.committer.wait(append)
        if after:
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
        if not _RESERVED.isdisjoint(fields):
            raise InvalidEventError(
                f"{event_type}: id, type and at are given by the session",
                hint="use other names in the payload",
            )
        config = self.host.config
        limits = config.limits
        encoded = encode(
            fields,
            what=event_type,
            nesting_max=limits.nesting_max + ENVELOPE_NESTING,
            bytes_max=limits.event_bytes_max,
        )
        digest = digest_of(encoded.data)
        with self._state:
            if self._lost is not None or self._uncertain is not None:
                self._check_hold()
            tip = self._tip
            event_id = tip.event_id + 1
            if expected_id is not None and expected_id != event_id:
                raise ExpectedIdError(
                    f"session {self.stream.session_id!r}: the event would get id {event_id}, not {expected_id}",
                    hint="look at what happened since in session.view, then try again",
                )
            at = max(format_time(config.clock()), tip.at)
            event = {"id": event_id, "type": event_type, "at": at, **encoded.value}
            change = plan(self.pending.state(), event)
            chain = next_chain(tip.chain, event_id, event_type, at, digest)
            stamped = Stamped(
                self.stream, event_id, event_type, at, encoded.data, digest, chain, idempotency_key, encoded.refs
            )
            self._tip = Head(event_id, at, chain)
            self.pending.events.append(PendingEvent(stamped, event, change, self._tip))
        return event

    def _check_hold(self) -> None:
        """Raise where what this hold recorded, or may record, cannot be committed."""
        if self._lost is not None:
            raise copy.copy(self._lost) from self._lost.__cause__
        if self._uncertain is not None:
            self._check_usable()

    def _find_key(self, idempotency_key: str) -> Event | None:
        if type(idempotency_key) is not str or not _KEY.fullmatch(idempotency_key):
            raise InvalidEventError(
                "an idempotency key is a str of 1 to 512 printable ASCII characters", hint="use a short unique str"
            )
        with self._state:
            pending = self.pending.find_key(idempotency_key)
        if pending is not None:
            self._waits = True  # it is somebody else's, and not durable yet
            return pending
        if self.stream.key is None:
            return None
        stored = journal.find_key(self.host.database, self.stream, idempotency_key)
        return event_of(stored) if stored is not None else None

    def commit_unseen(
        self, tables_writer: Callable[[], Callable[[sqlite3.Connection], None]], parent: "Recorder | None" = None
    ) -> None:
        """Commit the first events of a session that nobody has seen yet, with its tables.

        They are folded first, so that the tables can be written in the same transaction. With a `parent`
        (held by the caller) they are committed together with its events, when that hold ends.
        """
        for pending in self.pending.events:
            self.view.carry_out(pending.change)
        if parent is not None:
            parent._joined, parent._also = self, tables_writer()
            return
        append = _Append(self, [], self, tables_writer())
        self.host.committer.submit(append)
        self.host.committer.wait(append)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Run something once the outermost hold has committed and let go of the lock."""
        if callback not in self._after:
            self._after.append(callback)

    # Committing.

    def _submit(self) -> "_Append | None":
        """Queue what the hold recorded, in the order of the session's lock."""
        if self.host.database.is_inherited:  # forked meanwhile: no lock may be touched
            self.host.database.check_open()
        with self._state:
            if self._lost is not None or self._uncertain is not None:
                self._check_hold()
            count = self._tip.event_id - self._submitted_id
            if not (count or self._waits or self._joined):
                return None
            append = _Append(self, self.pending.events[-count:] if count else [], self._joined, self._also)
            self.host.committer.submit(append)
            self._submitted_id = self._tip.event_id
        return append

    def _settle(self, events: list[PendingEvent]) -> None:
        """Fold committed events; a reader sees all of a commit or nothing of it."""
        if events:
            with self._state:
                for pending in events:
                    self.view.carry_out(pending.change)
                self._head = events[-1].head
                self.pending.drop_through(self._head.event_id)

    def _settle_unseen(self) -> None:
        """Go on from the first events of a session: they were folded before they were committed."""
        self._stand_at(self._tip)
        self.pending.drop_through(self._tip.event_id)

    def _give_up(self, error: FoldlogError) -> None:
        """Forget every event that is not committed: the next one follows the last that is."""
        with self._state:
            if isinstance(error, CommitUncertainError):
                self._uncertain = error
            if self._tip.event_id > self._submitted_id:
                self._lost = error  # a hold is recording behind them, and has to hear of it
            self.pending.cut_after(self._head.event_id)
            self._stand_at(self._head)
            self.host.committer.withdraw(self, error)

    def _take_back(self, start: int) -> None:
        """Forget the events that a hold recorded after this one, as if they had never been."""
        if self.host.database.is_inherited:
            return
        with self._state:
            self.pending.cut_after(max(start, self._submitted_id))
            self._tip = self.pending.events[-1].head if self.pending.events else self._head

    def drain(self) -> None:
        """Wait until nothing of this session is on its way, for a holder who has recorded nothing."""
        if self.pending.events:
            append = _Append(self, [])
            self.host.committer.submit(append)
            with contextlib.suppress(FoldlogError):  # those whose events they are hear of it
                self.host.committer.wait(append)
        self._check_usable()

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
            if self._uncertain is None:
                self.drain()
            view, head = load()
            self._look_at(view)
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
