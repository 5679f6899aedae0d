"""A session's line of events: what is committed, what is on its way, and what becomes of it.

Here events get their ids, times and places in the chain, are queued to be committed together with other
callers' (`foldlog.storage.committer`), and are folded into the view once they are. All of that happens
under the view's lock, in whatever thread. Whose turn it is to add to the line is the recorder's business
(`foldlog.session.recorder`).
"""

import contextlib
import copy
from collections.abc import Callable

from foldlog.core.chain import digest_of, first_chain, next_chain
from foldlog.core.clock import format_time
from foldlog.core.codec import Encoded
from foldlog.core.errors import CommitUncertainError, ExpectedIdError, FoldlogError, LimitError, StoreClosedError
from foldlog.core.fold import Event, plan
from foldlog.core.handles import Handle
from foldlog.core.limits import BATCH_EVENTS_MAX
from foldlog.core.view import View
from foldlog.session.host import Host
from foldlog.session.pending import Pending, PendingEvent
from foldlog.storage import journal
from foldlog.storage.committer import Append
from foldlog.storage.driver import Driver
from foldlog.storage.journal import Head, Stamped, Stream


class LineAppend(Append):
    """What one hold recorded: its own events, and the first ones of a child that it started."""

    __slots__ = ("_events", "_joined")

    line: "Line"

    def __init__(
        self,
        line: "Line",
        events: list[PendingEvent],
        joined: "Line | None" = None,
        also: Callable[[Driver], None] | None = None,
    ) -> None:
        stamped = [pending.stamped for pending in events]
        if joined is not None:
            stamped += [pending.stamped for pending in joined.pending.events]
        super().__init__(line, stamped, also)
        self._events = events
        self._joined = joined

    def settle(self) -> None:
        """Fold the events; a reader sees all of a commit or nothing of it."""
        line, events = self.line, self._events
        if events:
            with line._state:
                for pending in events:
                    line.view.carry_out(pending.change)
                line._head = events[-1].head
                line.pending.drop_through(line._head.event_id)
        if self._joined is not None:
            self._joined._settle_unseen()

    def give_up(self, error: FoldlogError) -> None:
        """Forget the events, and those behind them."""
        self.line._give_up(error)


class Line(Handle):
    """One session's line of events: the part of a recorder that does not ask who may add to it."""

    def __init__(self, host: Host, stream: Stream) -> None:
        self.host = host
        # Looked up once: every event passes here.
        self.database, self.committer, self.clock = host.database, host.committer, host.config.clock
        self.stream = stream
        self._closed = False
        self._uncertain: FoldlogError | None = None
        # Of the hold under way: whether it has read what was still on its way, and why it cannot be committed.
        self._relies = False
        self._lost: FoldlogError | None = None
        self._look_at(View())
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

    @property
    def is_closed(self) -> bool:
        """Whether the handle was given back."""
        return self._closed

    @property
    def is_uncertain(self) -> bool:
        """Whether only `reload` is of use."""
        return self._uncertain is not None

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

    # Recording.

    def _stamp(self, event_type: str, encoded: Encoded, idempotency_key: str | None, expected_id: int | None) -> Event:
        """Give an event its place behind the last one, and plan what it will change."""
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
            if tip.event_id - self._submitted_id >= BATCH_EVENTS_MAX:
                raise LimitError(
                    f"session {self.stream.session_id!r}: a batch of more than {BATCH_EVENTS_MAX:,} events",
                    hint="make several batches of them",
                )
            at = max(format_time(self.clock()), tip.at)
            event = {"id": event_id, "type": event_type, "at": at, **encoded.value}
            change = plan(self.pending.state(), event)
            chain = next_chain(tip.chain, event_id, event_type, at, digest)
            stamped = Stamped(
                self.stream, event_id, event_type, at, encoded.data, digest, chain, idempotency_key, encoded.refs
            )
            self._tip = Head(event_id, at, chain)
            self.pending.events.append(PendingEvent(stamped, event, change, self._tip))
        return event

    def rely(self) -> None:
        """Let the hold stand or fall with what is on its way; before a verb reads that and draws conclusions."""
        with self._state:
            if self.pending.events:
                self._relies = True

    def _check_hold(self) -> None:
        """Raise where what this hold recorded, or may record, cannot be committed."""
        if self._lost is not None:
            raise copy.copy(self._lost) from self._lost.__cause__
        if self._uncertain is not None:
            self._check_usable()

    # Committing.

    def _submit(self, joined: "Line | None", also: Callable[[Driver], None] | None) -> LineAppend | None:
        """Queue what was recorded; None where nothing was, and nothing relied on that is still on its way."""
        if self.database.is_inherited:  # forked meanwhile: no lock may be touched
            self.database.check_open()
        with self._state:
            if self._lost is not None or self._uncertain is not None:
                self._check_hold()
            count = self._tip.event_id - self._submitted_id
            if not (count or joined or self._relies):
                return None
            try:
                append = LineAppend(self, self.pending.events[-count:] if count else [], joined, also)
                self.committer.submit(append)
                self._submitted_id = self._tip.event_id
            except BaseException:  # interrupted: whether they are queued is not known
                self._give_up(journal.interrupted(self.stream.session_id))
                raise
        return append

    def _settle_unseen(self) -> None:
        """Go on from the first events of a session: they were folded before they were committed."""
        self._stand_at(self._tip)
        self.pending.drop_through(self._tip.event_id)

    def _give_up(self, error: FoldlogError) -> None:
        """Forget every event that is not committed: the next one follows the last that is."""
        with self._state:
            if isinstance(error, CommitUncertainError):
                self._uncertain = error
            if self._tip.event_id > self._submitted_id or self._relies:
                self._lost = error  # a hold goes on from them, and has to hear of it
            self.pending.cut_after(self._head.event_id)
            self._stand_at(self._head)
            self.committer.withdraw(self, error)

    def _take_back(self, start: int) -> None:
        """Forget the events that a hold recorded after this one, as if they had never been."""
        if self.database.is_inherited:
            return
        with self._state:
            self.pending.cut_after(max(start, self._submitted_id))
            self._tip = self.pending.events[-1].head if self.pending.events else self._head

    def drain(self) -> None:
        """Wait until nothing of this session is on its way, for a holder who has recorded nothing."""
        append = LineAppend(self, [])
        self.committer.submit(append)
        with contextlib.suppress(FoldlogError):  # those whose events they are hear of it
            self.committer.wait(append)
