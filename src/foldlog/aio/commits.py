"""Commits for an event loop: one thread waits for the disk, and wakes all whose events are durable at once.

The loop's tasks submit their events; what came in one turn of the loop is handed to the thread together,
which commits it, with what other threads have submitted, through the store's one
`foldlog.storage.committer`. Neither the loop nor its tasks ever lead a commit.
"""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from foldlog.storage.committer import Append, Committer

_Waiter: TypeAlias = tuple[Append, asyncio.Future[None]]


class Commits:
    """The appends of one store's tasks, on their way to being durable."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="foldlog-commit")
        self._new: list[_Waiter] = []  # of this turn of the loop
        self._latest: asyncio.Future[None] | None = None
        self._watching: list[asyncio.Future[None]] = []

    def durable(self, append: Append) -> asyncio.Future[None]:
        """What to await until an append, submitted on this loop, is durable or has failed: `append.check()` says.

        A task that is cancelled there changes nothing about the append.
        """
        loop = asyncio.get_running_loop()
        future = self._latest = loop.create_future()
        new = self._new
        new.append((append, future))
        if len(new) == 1:
            # After every task that can run now has submitted its own: one commit for all, one thread awake.
            loop.call_soon(self.hand_over)
        return future

    async def settled(self) -> bool:
        """Wait for the commits that are under way; False where there are none."""
        loop = asyncio.get_running_loop()
        if self._latest is None or self._latest.done() or self._latest.get_loop() is not loop:
            return False
        future: asyncio.Future[None] = loop.create_future()
        if not self._watching:
            self._latest.add_done_callback(self._wake)
        self._watching.append(future)
        await future
        return True

    def _wake(self, _: asyncio.Future[None]) -> None:
        watching, self._watching = self._watching, []
        _resolve(watching)

    def hand_over(self) -> None:
        """Give the thread what was submitted since the last time."""
        waiters, self._new = self._new, []
        if not waiters:
            return
        self._committer.hurry()
        try:
            self._thread.submit(self._commit, waiters)
        except RuntimeError:  # the store is being closed, which commits everything, or the interpreter ends
            self._commit(waiters)

    def _commit(self, waiters: list[_Waiter]) -> None:
        while waiters:
            # Appends are committed in the order of submission, so that the last one done is nearly always
            # all done; where another thread leads, or some have failed, it may be before others.
            with contextlib.suppress(Exception):  # each append has its own error
                self._committer.wait(waiters[-1][0])
            _tell([future for append, future in waiters if append.is_done])
            waiters = [waiter for waiter in waiters if not waiter[0].is_done]

    def close(self) -> None:
        """End the thread, once it has done what it has."""
        self._thread.shutdown()


def _tell(futures: list[asyncio.Future[None]]) -> None:
    loops = {future.get_loop() for future in futures}
    for loop in loops:
        own = futures if len(loops) == 1 else [future for future in futures if future.get_loop() is loop]
        with contextlib.suppress(RuntimeError):  # it is closed: nobody waits
            loop.call_soon_threadsafe(_resolve, own)


def _resolve(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
