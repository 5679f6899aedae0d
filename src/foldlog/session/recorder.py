"""Holding a session and recording into it: whose turn it is, and what one turn amounts to.

Verbs hold the recorder, record events, and let go. When the outermost hold ends its events are submitted,
the session's lock is let go of, and only then the caller waits for the commit, so that callers share
one. What happens to the events on the way is in `foldlog.session.line`, what they look like is the verbs'
business (`foldlog.session.verbs`), how they are stored the journal's.
"""

import re
import threading
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Final
from weakref import ref

from foldlog.core.codec import encode
from foldlog.core.errors import (
    FoldlogError,
    InvalidEventError,
    StaleWriterError,
    StoreClosedError,
    StoreError,
)
from foldlog.core.fold import Event
from foldlog.core.handles import Handle
from foldlog.core.ids import check_event_type
from foldlog.core.limits import ENVELOPE_NESTING, IDEMPOTENCY_KEY_CHARS_MAX
from foldlog.core.view import View
from foldlog.session.events import event_of
from foldlog.session.host import Host
from foldlog.session.line import Line, LineAppend
from foldlog.session.scrubbing import scrubbed_event
from foldlog.storage import journal
from foldlog.storage.database import Lease
from foldlog.storage.driver import Driver
from foldlog.storage.faults import is_uncertain
from foldlog.storage.journal import Head, Stream

_RESERVED = frozenset({"id", "type", "at"})
_KEY = re.compile(rf"[ -~]{{1,{IDEMPOTENCY_KEY_CHARS_MAX}}}")

# For whom this thread acts: the task that has reserved a recorder, when it runs a verb of its own.
acting_for: Final[ContextVar[object]] = ContextVar("acting_for", default=None)


class _Extras:
    """What goes with the commit of a hold, beside its events."""

    __slots__ = ("after", "also", "joined")

    def __init__(self) -> None:
        self.after: list[Callable[[], None]] = []
        self.joined: Line | None = None
        self.also: Callable[[Driver], None] | None = None


_NOTHING: Final = _Extras()


class ReservedError(Exception):
    """A task's verb met another task's batch in a worker thread; never leaves `foldlog.aio`.

    The task waits on its event loop instead: worker threads that waited for a batch could be all there
    are, and the batch may need one.
    """

    def __init__(self, recorder: "Recorder") -> None:
        super().__init__()
        self.recorder = recorder


class Hold:
    """One level of holding a session: `with recorder.hold()`.

    A signal may raise anywhere, even where this is about to be left. The next hold of the thread then finds
    that the outermost one is gone, and clears up behind it.
    """

    __slots__ = ("__weakref__", "_depth", "_recorder", "_start")

    def __init__(self, recorder: "Recorder") -> None:
        self._recorder = recorder
        self._depth: int | None = None  # how many levels there are around it, once it holds
        self._start = 0  # the last event when it began

    def __enter__(self) -> "Recorder":
        recorder = self._recorder
        recorder.database.check_open()
        lock = recorder._lock
        with lock:
            if recorder._depth or recorder.reserved_for is not None:
                recorder._wait_until_free()
            self._begin(recorder)
        return recorder

    def try_enter(self) -> bool:
        """Hold the session if that needs no waiting."""
        recorder = self._recorder
        recorder.database.check_open()
        if not recorder._lock.acquire(blocking=False):
            return False
        try:
            if not recorder._may_hold():
                return False
            self._begin(recorder)
        finally:
            recorder._lock.release()
        return True

    def _begin(self, recorder: "Recorder") -> None:
        if recorder._closed or recorder._uncertain is not None:
            recorder._check_usable()
        depth = recorder._depth
        if not depth:
            recorder._outermost = ref(self)
        self._start = recorder._tip.event_id
        # In this order: a signal can strike only once acquire() is done, and all of it is then to be found.
        self._depth = depth
        recorder._depth = depth + 1
        recorder._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        append, after = self.leave(error)
        if append is not None:
            self._recorder.committer.wait(append)
        if after:
            self._recorder.run_after(after)

    def leave(self, error: BaseException | None) -> tuple[LineAppend | None, list[Callable[[], None]]]:
        """Let go. When that was the outermost hold: what to wait for, and what to run after it."""
        recorder = self._recorder
        try:
            if error is not None:
                recorder._take_back(self._start)
                return None, []
            if self._depth:
                return None, []
            extras = recorder._extras or _NOTHING
            return recorder._submit(extras.joined, extras.also), extras.after
        except FoldlogError:
            raise
        except BaseException:
            recorder._interrupted()
            raise
        finally:
            depth, self._depth = self._depth, None
            if depth is not None:
                levels, recorder._depth = recorder._depth - depth, depth
                if depth == 0:
                    recorder._extras = recorder._lost = None
                    recorder._relies = False
                recorder._lock.release()
                while levels > 1:  # of holds inside that were never left
                    levels -= 1
                    recorder._lock.release()

    def reserve(self, owner: object, *, blocking: bool = False) -> bool:
        """Hold the session beyond this thread, for whoever acts for `owner`; False where others hold it now."""
        if blocking:
            self.__enter__()
        elif not self.try_enter():
            return False
        self._recorder.reserved_for = owner
        self._recorder._lock.release()
        return True

    def end_reservation(self, error: BaseException | None) -> tuple[LineAppend | None, list[Callable[[], None]]]:
        """Let go of what `reserve` holds, as `leave`."""
        recorder = self._recorder
        recorder._lock.acquire()
        if self._depth == 0:
            recorder.reserved_for = None
            recorder._free.notify_all()
        return self.leave(error)


class Batch(Handle):
    """Several events, one transaction; made by `session.batch()`."""

    def __init__(self, recorder: "Recorder") -> None:
        self._recorder = recorder
        self._hold: Hold | None = None

    def __enter__(self) -> None:
        check_not_open(self._hold is not None)
        hold = self._recorder.hold()
        hold.__enter__()
        self._hold = hold

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.__exit__(kind, error, trace)


def check_not_open(is_open: bool) -> None:
    """Raise where a batch that is open is entered again."""
    if is_open:
        raise InvalidEventError(
            "this batch is open already", hint="each `with` takes one of its own: with session.batch(): …"
        )


class Recorder(Line):
    """One session's line of events, and the only way to add to it."""

    def __init__(self, host: Host, stream: Stream, lease: Lease) -> None:
        super().__init__(host, stream)
        self._lease = lease
        self._lock = threading.RLock()
        self._depth = 0  # how many holds there are, one inside the other
        self._outermost: Callable[[], Hold | None] = lambda: None
        self._extras: _Extras | None = None
        self.reserved_for: object = None  # the task whose batch it is
        self._free = threading.Condition(self._lock)

    # Holding.

    def hold(self) -> Hold:
        """A hold on the session, for a `with` block: what it records is committed when the outermost one ends."""
        return Hold(self)

    def _may_hold(self) -> bool:
        return self.reserved_for is None or acting_for.get() is self.reserved_for

    def _wait_until_free(self) -> None:
        if self._depth and self._outermost() is None:
            self._clear_up()
        if not self._may_hold():
            if acting_for.get() is not None:
                raise ReservedError(self)
            self._free.wait_for(lambda: self.reserved_for is None)

    def _clear_up(self) -> None:
        """Give back what a hold has left behind that a signal kept from being left."""
        levels, self._depth = self._depth, 0
        self._extras, self._relies = None, False
        self._interrupted()
        self._lost = None  # the hold that had to hear of it is gone
        for _ in range(levels):
            self._lock.release()

    def _interrupted(self) -> None:
        """A signal raised in the middle of a hold: what it recorded may be half done."""
        if not self.database.is_inherited and self._tip.event_id > self._submitted_id:
            self._give_up(journal.interrupted(self.stream.session_id))

    def _go_with(self) -> _Extras:
        self._extras = self._extras or _Extras()
        return self._extras

    def run_after(self, callbacks: list[Callable[[], None]]) -> None:
        """Run what was left for when the hold's events are committed."""
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
        return self._depth > 1

    def close(self) -> None:
        """Refuse further events and give the lease back."""
        self._closed = True
        self._lease.release()

    @property
    def holds_lease(self) -> bool:
        """Whether this handle is the one that may write."""
        return self._lease.is_held

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
        if expected_id is not None and type(expected_id) is not int:
            raise InvalidEventError(
                f"{event_type}: expected_id is no int", hint="the id this event is to get: the last one's plus 1"
            )
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
        if config.scrub is not None:
            encoded = scrubbed_event(config, event_type, encoded)
        return self._stamp(event_type, encoded, idempotency_key, expected_id)

    def _find_key(self, idempotency_key: str) -> Event | None:
        if type(idempotency_key) is not str or not _KEY.fullmatch(idempotency_key):
            raise InvalidEventError(
                f"an idempotency key is a str of 1 to {IDEMPOTENCY_KEY_CHARS_MAX} printable ASCII characters",
                hint="use a short unique str",
            )
        self.rely()
        pending = self.pending.find_key(idempotency_key)
        if pending is not None:
            return pending
        if self.stream.key is None:
            return None
        stored = journal.find_key(self.database, self.stream, idempotency_key)
        return event_of(stored) if stored is not None else None

    def commit_unseen(
        self, tables_writer: Callable[[], Callable[[Driver], None]], parent: "Recorder | None" = None
    ) -> None:
        """Commit the first events of a session that nobody has seen yet, with its tables.

        They are folded first, so that the tables can be written in the same transaction. With a `parent`
        (held by the caller) they are committed together with its events, when that hold ends.
        """
        for pending in self.pending.events:
            self.view.carry_out(pending.change)
        if parent is not None:
            extras = parent._go_with()
            extras.joined, extras.also = self, tables_writer()
            return
        append = LineAppend(self, [], self, tables_writer())
        self.committer.submit(append)
        self.committer.wait(append)

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Run something once the outermost hold has committed and let go of the lock."""
        after = self._go_with().after
        if callback not in after:
            after.append(callback)

    def settle_down(self) -> None:
        """Wait until the view shows all there is, for a holder who has recorded nothing."""
        self.drain()
        self._check_usable()

    def reload(self, load: Callable[[], tuple[View, Head | None]]) -> None:
        """Read the journal again: at opening, and after an uncertain commit."""
        self.database.check_open()
        with self._lock:
            self._wait_until_free()
            if self._closed:
                self._check_usable()
            if self._depth:
                raise InvalidEventError("reload() inside a batch", hint="leave the batch first")
            if not self._lease.is_held:
                raise StaleWriterError(
                    f"session {self.stream.session_id!r}: this handle was pushed aside by another",
                    hint="close this handle and open the session again",
                )
            self.drain()
            if self._uncertain is not None and is_uncertain(self._uncertain.__cause__):
                self.database.settle()
            view, head = load()
            self._look_at(view)
            self._stand_at(head)
            self._uncertain = None
