"""A store for coroutines: `foldlog.Store` with its methods awaited, and the threads that serve its sessions.

What a store does is done by the synchronous one, `.sync`, in worker threads. Recording is
`foldlog.aio.session`'s.
"""

import asyncio
import contextlib
import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from foldlog.aio import following
from foldlog.aio.batch import Batch
from foldlog.aio.commits import Commits
from foldlog.aio.opening import Opening
from foldlog.aio.session import Session
from foldlog.aio.workers import Workers, finish, paged
from foldlog.core.errors import FoldlogError, StoreClosedError, StoreError
from foldlog.core.handles import Handle
from foldlog.core.ids import RowId
from foldlog.core.view import View
from foldlog.session import session as synchronous
from foldlog.session.config import Config
from foldlog.session.recorder import Recorder, ReservedError, acting_for
from foldlog.store import feed, searching
from foldlog.store import store as synchronous_store

if TYPE_CHECKING:
    import sqlite_utils

    from foldlog.outlets.deletion import Deletion
    from foldlog.outlets.findings import Report
    from foldlog.outlets.repair import Repairs
    from foldlog.outlets.verify import Progress

T = TypeVar("T")

# Verbs that wait for nothing let the loop's other tasks run at least this often.
_BREATH_S: Final = 0.002


def open(  # noqa: A001
    path_or_url: str | Path, *, read_only: bool = False, config: Config | None = None
) -> Opening["Store"]:
    """Open the store at a path, or at a `sqlite:///` URL; makes it if there is none. As `foldlog.open`.

    >>> async def main():
    ...     async with foldlog.aio.open(folder / "open.db") as store:
    ...         return [row async for row in store.sessions()]
    >>> asyncio.run(main())
    []
    """

    async def begin() -> Store:
        workers = Workers()
        opening = partial(synchronous_store.open, path_or_url, read_only=read_only, config=config)
        try:
            return Store(await workers.run_through(opening, dispose=synchronous_store.Store.close), workers)
        except BaseException:
            workers.close(wait=False)
            raise

    return Opening(begin)


class Store(Handle):
    """One database of sessions, for the tasks of one event loop at a time. Made by `foldlog.aio.open`.

    `.sync` is the `foldlog.Store` underneath, for threads; both may be used at once. Another loop may use
    the store when the first has ended, and gets a `StoreError` while that is running.

    >>> async def main():
    ...     async with foldlog.aio.open(folder / "store.db") as store:
    ...         async with store.start_session(id="demo") as session:
    ...             await session.add_message("user", "hello")
    ...         return [row["id"] async for row in store.sessions(status="stopped")]
    >>> asyncio.run(main())
    ['demo']
    """

    def __init__(self, store: synchronous_store.Store, workers: Workers) -> None:
        self.sync = store
        self.path, self.url = store.path, store.url
        self.workers = workers
        self.commits = Commits(store.committer)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.batches: set[Batch] = set()  # those that are open
        self._places: weakref.WeakKeyDictionary[Recorder, asyncio.Lock] = weakref.WeakKeyDictionary()
        self._breathed_at = 0.0
        self._is_closed = False

    @property
    def config(self) -> Config:
        """The store's settings."""
        return self.sync.config

    def __repr__(self) -> str:
        return f"<Store {self.url!r}, for asyncio>"

    # What sessions need.

    def check_loop(self) -> None:
        """Raise in another loop than the one that uses the store."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._use(loop)

    def owner(self) -> object:
        """For whom the caller acts: its task. Raises in another loop than the one that uses the store."""
        if self.sync.database.is_inherited:
            self.sync.database.check_open()
        self.check_loop()
        return acting_for.get() or asyncio.current_task() or self._loop

    def _use(self, loop: asyncio.AbstractEventLoop) -> None:
        if self.sync.database.is_inherited:
            self.sync.database.check_open()
        if self._loop is not None and self._loop.is_running():
            raise StoreError(
                f"{self.url} is used by another event loop",
                hint="use it from one loop, open it again in the other, or use store.sync in a thread",
            )
        self._loop = loop
        for batch in list(self.batches):  # of tasks that will not go on
            batch.abandon()
        self._places.clear()
        self.commits.hand_over()  # what the last loop did not come to

    def place_of(self, recorder: Recorder) -> asyncio.Lock:
        """Where tasks wait, in order, for a session that another task's batch has reserved."""
        return self._places.setdefault(recorder, asyncio.Lock())

    async def in_order(self, start: Callable[[], Awaitable[T]]) -> T:
        """Run something in a worker thread, as soon as no other task's batch is in its way."""
        while True:
            try:
                return await start()
            except ReservedError as reserved:
                place = self.place_of(reserved.recorder)
            async with place:
                # No batch of that session begins until this has run; another session's may be in the way.
                with contextlib.suppress(ReservedError):
                    return await start()

    async def breathe(self) -> None:
        """Let the loop's other tasks run, if a task has gone on for long without waiting for anything."""
        now = time.monotonic()
        if now - self._breathed_at > _BREATH_S:
            await asyncio.sleep(0)
            self._breathed_at = time.monotonic()

    async def _run(self, work: Callable[[], T]) -> T:
        self.owner()
        return await self.workers.run(work)

    # Sessions.

    def start_session(
        self,
        *,
        id: str | None = None,
        kind: str = "root",
        provider: Any = None,
        parent: Mapping[str, Any] | str | None = None,
        cache_id: Any = None,
        **extra: Any,
    ) -> Opening[Session]:
        """Start a session; more keywords become keys of its row. As `foldlog.Store.start_session`.

        A session that is being started when the task is cancelled is closed before the cancellation goes
        on; so with all verbs that open one.
        """
        start = self.sync.start_session
        return self._opening(
            partial(start, id=id, kind=kind, provider=provider, parent=parent, cache_id=cache_id, **extra)
        )

    def open_session(self, id: str, *, recover: bool = True, take_over: bool = False) -> Opening[Session]:
        """Go on with a session that is in the store, after a stop or a crash. As `foldlog.Store.open_session`."""
        return self._opening(partial(self.sync.open_session, id, recover=recover, take_over=take_over))

    def resume_session(
        self, source: str | Session, *, id: str | None = None, turn: RowId | None = None, **extra: Any
    ) -> Opening[Session]:
        """A new session that goes on from a snapshot of another: its messages, counters and variables."""
        return self._opening(partial(self.sync.resume_session, _sync(source), id=id, turn=turn, **extra))

    def fork_session(
        self, source: str | Session, *, id: str | None = None, turn: RowId | None = None, **extra: Any
    ) -> Opening[Session]:
        """A new session that branches off at a snapshot of another; as `resume_session`, but named a fork."""
        return self._opening(partial(self.sync.fork_session, _sync(source), id=id, turn=turn, **extra))

    def _opening(self, verb: Callable[[], synchronous.Session]) -> Opening[Session]:
        async def begin() -> Session:
            owner = self.owner()
            dispose = synchronous.Session.close
            return Session(self, await self.in_order(lambda: self.workers.run_through(verb, owner, dispose)))

        return Opening(begin)

    # Reading.

    async def view(self, id: str, *, at: int | None = None) -> View:
        """A session's folded state, read-only: as of now (live where it is open here), or at an event id."""
        return await self._run(partial(self.sync.view, id, at=at))

    async def find_session(self, text: str) -> str:
        """The id of the session that `text` means: an id, or enough of one that no other begins so."""
        return await self._run(partial(self.sync.find_session, text))

    async def read_ref(self, ref: dict[str, Any]) -> Any:
        """The value a reference stands for."""
        return await self._run(partial(self.sync.read_ref, ref))

    async def sessions(self, **where: Any) -> AsyncIterator[dict[str, Any]]:
        """The rows of all sessions, or of those with these values; in the order they were started."""
        self.owner()
        async with contextlib.aclosing(paged(self.workers, partial(self.sync.sessions, **where))) as rows:
            async for row in rows:
                yield row

    async def events(
        self, session: str | None = None, *, after: int = 0, types: Iterable[str] | None = None
    ) -> AsyncIterator[feed.RecordedEvent]:
        """Committed events in order of position, after one; of one session or all, of some types or all."""
        self.owner()
        reading = partial(self.sync.events, session, after=after, types=types)
        async with contextlib.aclosing(paged(self.workers, reading)) as events:
            async for event in events:
                yield event

    async def follow(
        self,
        session: str | None = None,
        *,
        after: int = 0,
        types: Iterable[str] | None = None,
        idle_timeout: float | None = None,
    ) -> AsyncIterator[feed.RecordedEvent]:
        """As `events`, then each new event as it is committed by any process.

        Ends when the store is closed, or after `idle_timeout` seconds without an event. Leave it early with
        `contextlib.aclosing`, or cancel the task.
        """
        self.owner()
        feed.check_idle_timeout(idle_timeout)
        (database := self.sync.database).check_open()

        def looks() -> Any:
            return feed.looks(database, feed.wanted(database, session, after, types))

        async with contextlib.aclosing(following.follow(self.workers, database, looks, idle_timeout)) as found:
            async for event in found:
                yield event

    async def search(
        self,
        text: str,
        *,
        session: str | None = None,
        role: str | None = None,
        kind: str | None = None,
        limit: int = 20,
    ) -> searching.Hits:
        """The texts that hold all these words, best first."""
        return await self._run(partial(self.sync.search, text, session=session, role=role, kind=kind, limit=limit))

    async def usage(self, id: str) -> dict[str, Any]:
        """Tokens, cost and cache of a session and of all below it, as of now."""
        return await self._run(partial(self.sync.usage, id))

    async def tree(self, id: str) -> dict[str, Any]:
        """A session and, nested, the sessions below it, as of now."""
        return await self._run(partial(self.sync.tree, id))

    async def final(self, id: str) -> dict[str, Any]:
        """What has become of a session: counts, usage, value or error, as of now."""
        return await self._run(partial(self.sync.final, id))

    # Outlets.

    async def query(self, sql: str, params: Any = (), *, timeout: float | None = None) -> AsyncIterator[dict[str, Any]]:
        """Rows of a SELECT over the tables and SQL views, as dicts; read-only and bounded.

        >>> async def main():
        ...     async with foldlog.aio.new_state(folder / "query.db", id="demo") as session:
        ...         return [row async for row in session.store.query("SELECT count(*) AS n FROM sessions")]
        >>> asyncio.run(main())
        [{'n': 1}]
        """
        self.owner()
        asking = partial(self.sync.query, sql, params, timeout=timeout)
        async with contextlib.aclosing(paged(self.workers, asking)) as rows:
            async for row in rows:
                yield row

    async def sqlite_utils(self) -> "sqlite_utils.Database":
        """A `sqlite_utils.Database` over the store, read-only and synchronous; close its connection when done."""
        return await self._run(self.sync.sqlite_utils)

    async def export(self, directory: str | Path, *, session: str | None = None) -> list[Path]:
        """Write every session, or one and all below it, as JSON files; the paths written anew."""
        return await self._run(partial(self.sync.export, directory, session=session))

    async def report(self, id: str, path: str | Path, *, format: str = "html") -> Path:
        """Write one session, with all below it, as one file to look at; replaces what is at `path`."""
        return await self._run(partial(self.sync.report, id, path, format=format))

    async def verify(
        self,
        *,
        deep: bool = True,
        exported: str | Path | None = None,
        progress: "Progress | None" = None,
    ) -> "Report":
        """Check the file, the journal, the blobs, and that folding gives what the tables say.

        `progress` is called in a worker thread.
        """
        return await self._run(partial(self.sync.verify, deep=deep, exported=exported, progress=progress))

    async def repair(self, *, progress: "Progress | None" = None) -> "Repairs":
        """Make the tables anew from the journal, and set damaged events apart so that all others can be read."""
        return await self._run(partial(self.sync.repair, progress=progress))

    async def backup(self, path: str | Path) -> None:
        """Copy the store to a new file while it is in use: complete, checked, and only then named `path`."""
        await self._run(partial(self.sync.backup, path))

    async def delete_session(
        self, id: str, *, reason: str | None = None, dry_run: bool = False, despite_descendants: bool = False
    ) -> "Deletion":
        """Delete a session and every session below it; as `foldlog.Store.delete_session`.

        Once it has begun it is carried out, whether or not the task is cancelled meanwhile.
        """
        delete = self.sync.delete_session
        return await self._run(
            partial(delete, id, reason=reason, dry_run=dry_run, despite_descendants=despite_descendants)
        )

    # Ending.

    async def checkpoint(self) -> None:
        """Checkpoint every session that is open here, and bring the search index up to date."""
        owner = self.owner()
        await self.in_order(lambda: self.workers.run(self.sync.checkpoint, owner))

    async def close(self) -> None:
        """Close every session open here, the database and the threads; closing twice is fine.

        A task that is cancelled meanwhile goes on when it is closed.
        """
        if not self._is_closed and not self.sync.database.is_inherited:
            await finish(self._close(), self.owner())

    async def _close(self) -> None:
        owner = self.owner()
        try:
            with contextlib.suppress(StoreClosedError):
                await self.in_order(lambda: self.workers.run(self.sync.close, owner))
        finally:
            await self._end_threads()

    async def _end_threads(self) -> None:
        """Wait for what the threads are at; in a thread, since they are to be gone when this returns."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def end() -> None:
            self.workers.close()
            with contextlib.suppress(FoldlogError):
                self.sync.close()  # once more: a session that was being opened is open now
            self.commits.close()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=end, name="foldlog-closing").start()
        await ended.wait()
        self._is_closed = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _sync(source: str | Session) -> str | synchronous.Session:
    """A session as the synchronous store takes it."""
    return source.sync if isinstance(source, Session) else source
