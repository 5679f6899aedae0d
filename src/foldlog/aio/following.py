"""Following the feed from coroutines: looks in worker threads, pauses on the loop.

What a look is, and how long a pause, is the synchronous feed's (`foldlog.store.feed`).
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterator

from foldlog.aio.workers import Workers, paged
from foldlog.core.errors import StoreClosedError
from foldlog.storage.database import Database
from foldlog.store import feed
from foldlog.store.feed import RecordedEvent


async def follow(
    workers: Workers,
    database: Database,
    looks: Callable[[], Iterator[RecordedEvent | None]],
    idle_timeout_s: float | None,
) -> AsyncGenerator[RecordedEvent, None]:
    """The events that looks find, until the store is closed or none has come for so long."""
    quiet_since = time.monotonic()
    async with contextlib.aclosing(paged(workers, looks)) as found:
        try:
            async for event in found:
                if event is not None:
                    yield event
                    quiet_since = time.monotonic()
                    continue
                quiet_s = time.monotonic() - quiet_since
                if idle_timeout_s is not None and quiet_s >= idle_timeout_s:
                    return
                await asyncio.sleep(feed.pause_s(database, quiet_s))
        except StoreClosedError:
            if not database.is_closed or database.is_inherited:
                raise
