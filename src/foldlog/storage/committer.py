"""Group commit: callers that append at the same time share one transaction, and so one disk sync.

A caller submits its events and waits. Whoever finds nobody leading leads: it takes all that was
submitted, commits it, tells each line of events what became of its own, and hands the lead to one of
those who came meanwhile. A caller alone commits at once. What a line does with committed events (it
folds them) is its own business, in `Append.settle`; how events are stored is `foldlog.storage.journal`'s.

Locks are taken in this order: a session's, a line's state (its view), the queue's. Who leads takes no
session's lock, so a caller may hold one while it waits.
"""

import contextlib
import copy
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from foldlog.core.errors import FoldlogError
from foldlog.storage import journal
from foldlog.storage.database import Database
from foldlog.storage.driver import Driver
from foldlog.storage.faults import concerns_all
from foldlog.storage.journal import Stamped

# Who is to lead waits for the callers that the last commit let go no longer than that commit took, nor than this.
_GATHER_S_MAX: Final = 0.001
# How often those who wait look whether anybody leads. Only a signal makes that necessary.
_LOOK_AGAIN_S: Final = 0.05


class Append(ABC):
    """One caller's events on their way into the journal: all of them or none.

    `line` is the session's line of events that they continue. `also`: more statements for the same
    transaction; they are run again where a shared transaction has to be repeated.
    """

    __slots__ = ("also", "error", "is_done", "line", "stamped", "turnstile")

    def __init__(self, line: object, stamped: list[Stamped], also: Callable[[Driver], None] | None = None) -> None:
        self.line = line
        self.stamped = stamped
        self.also = also
        self.is_done = False
        self.error: FoldlogError | None = None
        self.turnstile: threading.Lock | None = None  # where its caller waits, once it does

    def check(self) -> None:
        """Raise the error that kept it from being committed, if one did."""
        if self.error is not None:
            error = copy.copy(self.error)  # several callers may get it, each in its own thread
            raise error from self.error.__cause__

    @abstractmethod
    def settle(self) -> None:
        """Hear that the events are committed, in order; runs in the thread that led."""

    @abstractmethod
    def give_up(self, error: FoldlogError) -> None:
        """Hear that they are not, so nothing behind them can be: withdraw the line, and start over."""


class Committer:
    """The queue of one database's appends, and whose turn it is to commit it.

    A signal may raise anywhere in a leader, so those who wait do not trust it to be there: they look after
    a while whether it holds `_lead`, and what it left behind is settled by the next one.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lead = threading.Lock()
        self._mutex = threading.Lock()  # guards the queue and the turnstiles
        self._queue: list[Append] = []
        self._group: list[Append] = []  # being committed
        self._leader: Append | None = None  # whose caller leads, or was told to
        # For gathering: how many callers there were at the last commit, how long it took, whether they are awaited.
        self._expected_count = 0
        self._commit_s = 0.0
        self._is_gathering = False

    def submit(self, append: Append) -> None:
        """Queue an append: its place here is its place in the journal. `wait` must follow."""
        with self._mutex:
            self._queue.append(append)

    def hurry(self) -> None:
        """Let who gathers go on if nobody is missing; for those who submit and leave the waiting to another."""
        with self._mutex:
            if self._is_gathering and self._leader is not None and len(self._queue) >= self._expected_count:
                _wake(self._leader)

    def wait(self, append: Append) -> None:
        """Return when an append is durable, committing for everybody if nobody else does; one caller each.

        Raises the error that kept it from being committed.
        """
        try:
            while self._must_lead(append):
                with self._lead:
                    if self._leader is append:
                        self._commit_queue()
                if append.is_done and self._leader is not append:
                    break
        except BaseException:  # interrupted
            append.turnstile = None
            if self._leader is append:
                with self._lead:
                    self._settle_left_behind()
            raise
        append.check()

    def withdraw(self, line: object, error: FoldlogError) -> None:
        """Take a line's appends out of the queue, failed."""
        with self._mutex:
            gone = [append for append in self._queue if append.line is line]
            self._queue = [append for append in self._queue if append.line is not line]
            for append in gone:
                append.error = error
                append.is_done = True
                _wake(append)

    def _must_lead(self, append: Append) -> bool:
        """Wait until an append is done (False), or until it is its caller's turn to lead.

        Who is to lead gives those whom the last commit let go the moment they need to come back, and no
        more; the last of them goes on in its place, being awake. Without that they come just too late for
        the next commit, each time, and every second commit is nearly empty.
        """
        while True:
            with self._mutex:
                is_whole = len(self._queue) >= self._expected_count
                if not append.is_done and (self._leader is None or (self._is_gathering and is_whole)):
                    self._leader = append
                leader = self._leader
                if leader is append:
                    if is_whole or self._is_gathering:
                        self._is_gathering = False
                        append.turnstile = None
                        return True
                    self._is_gathering = True
                elif append.is_done:
                    return False
                turnstile = append.turnstile = _closed_lock()
            if leader is append:
                turnstile.acquire(timeout=min(_GATHER_S_MAX, self._commit_s))
            else:
                self._sleep(append, turnstile, leader)
                if append.is_done and self._leader is not append:
                    return False

    def _sleep(self, append: Append, turnstile: threading.Lock, leader: Append | None) -> None:
        """Wait for whoever leads."""
        while not turnstile.acquire(timeout=_LOOK_AGAIN_S):
            if append.is_done or self._leader is append:
                return  # and was not woken
            if self._leader is leader and not self._lead.locked():
                with self._mutex:
                    if self._leader is leader:
                        self._leader, self._is_gathering = None, False
                return  # it was to lead, and does not
            leader = self._leader

    # Leading.

    def _commit_queue(self) -> None:
        """Commit what is queued, tell everybody, and let one of those who came meanwhile lead next."""
        if self._group:
            self._settle_left_behind()
        with self._mutex:
            group = self._group = self._queue
            self._queue = []
        started = time.perf_counter()
        self._commit(group)
        self._commit_s = time.perf_counter() - started
        self._release(group)

    def _settle_left_behind(self) -> None:
        """What a leader that was interrupted left: whether it is committed, only the journal knows."""
        for append in self._group:
            if not append.is_done:
                _fail([append], journal.interrupted(append.stamped[0].stream.session_id if append.stamped else None))
        self._release(self._group)

    def _release(self, group: list[Append]) -> None:
        """Wake those whose appends are done, and the first of those who wait: it leads next."""
        with self._mutex:
            self._expected_count = len(group) + len(self._queue)
            self._leader, self._is_gathering = None, False
            waiting = [append for append in group if append.turnstile is not None]
            for append in self._queue:
                if append.turnstile is not None:
                    self._leader = append
                    waiting.append(append)
                    break
        for append in waiting:  # not under the mutex, or the first to wake would wait for it
            _wake(append)
        self._group = []

    def _commit(self, group: list[Append]) -> None:
        """Commit a group; where the events of one line are refused, the others' without them."""
        if len(group) == 1:
            stamped, also = group[0].stamped, group[0].also
        else:
            stamped = [event for append in group for event in append.stamped]
            also = _all([append.also for append in group if append.also is not None])
        try:
            if stamped or also is not None:
                journal.append(self._database, stamped, also)
        except FoldlogError as error:
            self._sort_out(group, error)
            return
        for append in group:
            append.settle()
            append.is_done = True

    def _sort_out(self, group: list[Append], error: FoldlogError) -> None:
        """Fail those whom an error concerns, and commit the others."""
        lines = list({id(append.line): append.line for append in group}.values())
        for line in lines:
            own = [append for append in group if append.line is line]
            if len(lines) == 1 or concerns_all(error):
                _fail(own, error if len(lines) == 1 else journal.in_words_of(error, own[0].stamped))
            else:
                self._commit(own)


def _fail(own: list[Append], error: FoldlogError) -> None:
    """Fail some appends of one line."""
    own[0].give_up(error)
    for append in own:
        append.error = error
        append.is_done = True


def _wake(append: Append) -> None:
    """Let an append's caller look again, if it waits."""
    if append.turnstile is not None:
        with contextlib.suppress(RuntimeError):  # open already
            append.turnstile.release()
        append.turnstile = None


def _closed_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


def _all(also: list[Callable[[Driver], None]]) -> Callable[[Driver], None] | None:
    if not also:
        return None

    def run(connection: Driver) -> None:
        for statements in also:
            statements(connection)

    return run
