"""Worker threads for what reads or writes the disk, or takes long; and waiting for them.

They are the store's own, bounded, started when they are needed and ended by `close`. Nothing that runs
in them waits for a task's batch (`foldlog.session.recorder.ReservedError`), so they cannot all be stuck.
"""

import asyncio
import contextlib
import contextvars
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, TypeVar

from foldlog.core.errors import FoldlogError, StoreClosedError
from foldlog.session.recorder import acting_for

T = TypeVar("T")

WORKERS_MAX: Final = 8
# A page of rows is handed to the loop when it has this many, or is this old.
_PAGE_ROWS: Final = 128
_PAGE_S: Final = 0.02


class Workers:
    """A bounded pool of threads."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(WORKERS_MAX, thread_name_prefix="foldlog-worker")

    def start(
        self, work: Callable[[], T], owner: object = None, dispose: Callable[[T], object] | None = None
    ) -> asyncio.Future[Callable[[], T]]:
        """Run something in a thread, acting for `owner`; the future's result returns or raises the work's own.

        Work that has not begun when the future is cancelled is left. `dispose` is given the result where
        the loop is gone when it comes.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Callable[[], T]] = loop.create_future()
        context = contextvars.copy_context()
        context.run(acting_for.set, owner)

        def run() -> None:
            if future.cancelled():
                return
            outcome = _outcome_of(lambda: context.run(work))
            try:
                loop.call_soon_threadsafe(_resolve, future, outcome)
            except RuntimeError:  # the loop is closed: nobody waits
                if dispose is not None:
                    with contextlib.suppress(Exception):
                        dispose(outcome())

        self._submit(run)
        return future

    async def run(self, work: Callable[[], T], owner: object = None) -> T:
        """Run something in a thread; a task that is cancelled goes on at once, and the work to its end."""
        return (await self.start(work, owner))()

    async def run_through(
        self, work: Callable[[], T], owner: object = None, dispose: Callable[[T], object] | None = None
    ) -> T:
        """Run something in a thread; a task that is cancelled goes on when the work has ended.

        `dispose`: what becomes of a result that nobody will have; it is run in a thread, and waited for.
        """
        future = self.start(work, owner, dispose)
        try:
            await outlast(future)
        except asyncio.CancelledError:
            if dispose is not None and not future.cancelled():
                with contextlib.suppress(Exception):
                    found = future.result()()
                    await outlast(self.start(lambda: dispose(found)))
            raise
        return future.result()()

    def leave(self, work: Callable[[], object]) -> None:
        """Run something in a thread, and hear no more of it; here and now where there are no threads any more."""
        try:
            self._submit(work)
        except StoreClosedError:
            work()

    def _submit(self, work: Callable[[], object]) -> None:
        try:
            self._pool.submit(work)
        except RuntimeError as error:  # shut down, by close() or because the interpreter ends
            raise StoreClosedError("the store is closed", hint="open the store again") from error

    def close(self, *, wait: bool = True) -> None:
        """End the threads, once they have done what they have."""
        self._pool.shutdown(wait=wait)


def _outcome_of(work: Callable[[], T]) -> Callable[[], T]:
    """What a function returns or raises, to be had later: not an exception that might never be fetched."""
    try:
        found = work()
    except BaseException as error:  # noqa: BLE001  (raised again for whoever waits)
        kept = error

        def fail() -> T:
            raise kept

        return fail
    return lambda: found


def _resolve(future: asyncio.Future[Callable[[], T]], outcome: Callable[[], T]) -> None:
    if not future.done():
        future.set_result(outcome)


async def outlast(future: asyncio.Future[Any]) -> None:
    """Wait for a future to its end, however often the task is cancelled meanwhile; cancellation comes then."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def finish(ending: Coroutine[Any, Any, None], owner: object) -> None:
    """Run something that must not be left half done to its end, acting for `owner`; cancellation comes then."""
    context = contextvars.copy_context()
    context.run(acting_for.set, owner)
    task = asyncio.get_running_loop().create_task(ending, context=context)
    try:
        await outlast(task)
    except asyncio.CancelledError as cancelled:
        error = None if task.cancelled() else task.exception()
        raise cancelled from error
    task.result()


class _Page(NamedTuple):
    rows: list[Any]
    ended: bool
    error: FoldlogError | None


class _Pages:
    """An iterator that is read in worker threads, one at a time."""

    def __init__(self, make: Callable[[], Iterator[Any]]) -> None:
        self._make = make
        self._rows: Iterator[Any] | None = None
        self._lock = threading.Lock()

    def read(self) -> _Page:
        """The next rows, and the error that came after them, if one did; None ends a page."""
        rows: list[Any] = []
        until = time.monotonic() + _PAGE_S
        with self._lock:
            try:
                if self._rows is None:
                    self._rows = self._make()
                for row in self._rows:
                    rows.append(row)
                    if row is None or len(rows) >= _PAGE_ROWS or time.monotonic() >= until:
                        return _Page(rows, ended=False, error=None)
            except FoldlogError as error:
                return _Page(rows, ended=True, error=error)
        return _Page(rows, ended=True, error=None)

    def close(self) -> None:
        """Let go of what the iterator holds, after a read that is under way."""
        with self._lock:
            close = getattr(self._rows, "close", None)
            if close is not None:
                close()
            self._rows = iter(())


async def paged(workers: Workers, make: Callable[[], Iterator[T]]) -> AsyncGenerator[T, None]:
    """The rows of an iterator that is made and read in worker threads, a page at a time."""
    pages = _Pages(make)
    try:
        page = _Page([], ended=False, error=None)
        while not page.ended:
            page = await workers.run(pages.read)
            for row in page.rows:
                yield row
        if page.error is not None:
            raise page.error
    finally:
        workers.leave(pages.close)
