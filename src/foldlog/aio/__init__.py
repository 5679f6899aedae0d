"""foldlog for asyncio: the verbs of `Store` and `Session`, awaited.

    import foldlog.aio

    async with foldlog.aio.open("history.db") as store:
        async with store.start_session(id="demo") as session:
            await session.add_message("user", "hello")

A verb checks and stamps its event on the event loop, which takes microseconds and touches no disk; a
thread of the store commits what the loop's tasks have recorded meanwhile, together, and wakes them once.
What reads or writes the database otherwise runs in worker threads. The rules of recording are not here:
everything ends in the synchronous `foldlog.Store` and `foldlog.Session`, which are `.sync` of these.
"""

from pathlib import Path
from typing import Any

from foldlog.aio.batch import Batch
from foldlog.aio.opening import Opening
from foldlog.aio.scopes import CallScope, TurnScope
from foldlog.aio.session import Session
from foldlog.aio.store import Store, open
from foldlog.session.config import Config

__all__ = ["open", "new_state", "Store", "Session", "TurnScope", "CallScope", "Batch", "Opening"]


def new_state(path: str | Path, *, config: Config | None = None, **fields: Any) -> Opening[Session]:
    """Open a store and start a session in it, in one call; closing the session closes the store.

    `fields` are those of `Store.start_session`.

    >>> async def main():
    ...     async with new_state(folder / "history.db", id="demo") as session:
    ...         return (await session.add_message("user", "hello"))["id"]
    >>> asyncio.run(main())
    1
    """

    async def begin() -> Session:
        store = await open(path, config=config)
        try:
            session = await store.start_session(**fields)
        except BaseException:
            await store.close()
            raise
        session.owns_store = True
        return session

    return Opening(begin)
