"""`async with session.batch()`: several events, one transaction, owned by the task that entered it."""

import asyncio
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from foldlog.session.recorder import acting_for, check_not_open

if TYPE_CHECKING:
    from foldlog.aio.session import Session


class Batch:
    """Several events, one transaction; made by `session.batch()`."""

    def __init__(self, session: "Session") -> None:
        self._session = session
        self._hold = session.recorder.hold()
        self._is_open = False
        self._place: asyncio.Lock | None = None

    async def __aenter__(self) -> None:
        check_not_open(self._is_open)
        store, recorder = self._session.store, self._session.recorder
        owner = store.owner()
        if recorder.reserved_for is not owner:
            place = store.place_of(recorder)
            await place.acquire()
            self._place = place
        self._is_open = True
        token = acting_for.set(owner)
        try:
            if not self._hold.reserve(owner):
                # A thread holds the session: wait for it elsewhere. The future's work is to be undone
                # where the task is cancelled meanwhile.
                await store.workers.run_through(
                    partial(self._hold.reserve, owner, blocking=True),
                    owner,
                    dispose=lambda _: self._hold.end_reservation(asyncio.CancelledError()),
                )
        except BaseException:
            self._release()
            raise
        finally:
            acting_for.reset(token)
        store.batches.add(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self not in self._session.store.batches:
            return  # its loop had ended, and another has taken it back
        recorder = self._session.recorder
        try:
            # Where the batch is taken back nothing is awaited, so that nothing comes between.
            append, after = self._hold.end_reservation(error)
        finally:
            self._release()
        if append is not None:
            await self._session.store.commits.durable(append)
            append.check()
        if after:
            await self._session.run(partial(recorder.run_after, after))

    def abandon(self) -> None:
        """Take the batch back: the loop of its task has ended."""
        self._place = None  # it was the ended loop's
        self._hold.end_reservation(asyncio.CancelledError())
        self._release()

    def _release(self) -> None:
        self._is_open = False
        self._session.store.batches.discard(self)
        if self._place is not None:
            self._place.release()
            self._place = None
