"""A session for coroutines: the verbs of `foldlog.Session`, awaited.

Small events are checked and stamped here on the loop, without waiting for anything, and committed by the
store's thread (`foldlog.aio.commits`). What is large, reads the database, or meets a thread that holds the
session runs as the synchronous verb in a worker thread (`foldlog.aio.workers`).
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

from foldlog.aio.batch import Batch
from foldlog.aio.opening import Opening
from foldlog.aio.scopes import CallScope, TurnScope
from foldlog.aio.weight import is_light
from foldlog.aio.workers import finish
from foldlog.core.errors import FoldlogError
from foldlog.core.fold import FOLDED_TYPES, Event
from foldlog.core.ids import RowId
from foldlog.core.rows import Row
from foldlog.core.view import View
from foldlog.session import scopes
from foldlog.session import session as synchronous
from foldlog.session.line import LineAppend
from foldlog.session.recorder import acting_for
from foldlog.session.verbs import ChangeFunction

if TYPE_CHECKING:
    from foldlog.aio.store import Store

T = TypeVar("T")

# What a verb returned, and what it left to wait for and to do then.
_Held: TypeAlias = tuple[T, LineAppend | None, list[Callable[[], None]]]
# So many events wait for one commit at most: stamping or folding more at once would hold the loop.
_PENDING_MAX = 512


class Session:
    """One session, open for writing; for as many tasks as you like, and threads through `.sync`.

    Made by `store.start_session()`, `store.open_session()` and their kin. `async with` leaves it as
    "stopped", or as "error" with the exception, a cancellation included.

    A task that is cancelled while it awaits a verb leaves no event half done: it is committed, or it is
    not there at all.

    >>> async def main():
    ...     async with foldlog.aio.open(folder / "history.db") as store:
    ...         async with store.start_session(id="demo") as session:
    ...             async with session.turn() as turn:
    ...                 await turn.message("user", "What is 6 x 7?")
    ...                 async with turn.call("root", model="m-1") as call:
    ...                     await call.ok(usage={"input_tokens": 9, "output_tokens": 1})
    ...                 await turn.final({"answer": 42})
    ...         return (await store.final("demo"))["value_preview"]
    >>> asyncio.run(main())
    {'answer': 42}
    """

    def __init__(self, store: "Store", session: synchronous.Session) -> None:
        self.store = store
        self.sync = session
        self.owns_store = False  # set by new_state(): the store closes with the session
        self.recorder = session._recorder  # for `foldlog.aio` alone

    @property
    def id(self) -> str:
        """The session's id; a child's is its address."""
        return self.sync.id

    @property
    def view(self) -> View:
        """The folded state, live: it shows committed events."""
        return self.sync.view

    @property
    def is_writer(self) -> bool:
        """Whether this handle is open and has not been pushed aside by another."""
        return self.sync.is_writer

    def __repr__(self) -> str:
        return f"<Session {self.id!r} at event {self.recorder.event_id}, for asyncio>"

    # How verbs run.

    async def record(self, verb: Callable[[], T], light: bool) -> T:
        """Run a verb that records, here if it is `light` and nobody holds the session, else in a thread."""
        self.store.check_loop()
        recorder = self.recorder
        while len(recorder.pending.events) >= _PENDING_MAX and recorder.reserved_for is None:
            if not await self.store.commits.settled():
                light = False  # a thread's, which holds the session
                break
        reserved_for = recorder.reserved_for
        if reserved_for is None:
            held = self._record_here(verb) if light else None
        elif reserved_for is (owner := self.store.owner()):
            held = self._record_in_batch(verb, owner) if light else None
        else:
            async with self.store.place_of(recorder):
                held = self._record_here(verb) if light else None
                if held is None:
                    return await self.run(verb)
        if held is None:
            return await self.run(verb)
        found, append, after = held
        if append is not None:
            await self.store.commits.durable(append)
            append.check()
        else:
            await self.store.breathe()
        if after:
            await self.run(partial(recorder.run_after, after))
        return found

    def _record_here(self, verb: Callable[[], T]) -> "_Held[T] | None":
        """What a verb returns, and what it left to wait for; None where it would have had to wait."""
        hold = self.recorder.hold()
        if not hold.try_enter():
            return None
        try:
            found = verb()
        except BaseException as error:
            hold.leave(error)
            raise
        append, after = hold.leave(None)
        return found, append, after

    def _record_in_batch(self, verb: Callable[[], T], owner: object) -> "_Held[T] | None":
        token = acting_for.set(owner)
        try:
            return self._record_here(verb)
        finally:
            acting_for.reset(token)

    async def run(self, verb: Callable[[], T], dispose: Callable[[T], object] | None = None) -> T:
        """Run a verb in a worker thread, as soon as no other task's batch is in the way."""
        owner = self.store.owner()
        if dispose is not None or self.recorder.reserved_for is owner:
            # In a batch of its own a task goes on, or takes it back, when the thread is done with it.
            return await self.store.in_order(lambda: self.store.workers.run_through(verb, owner, dispose))
        return await self.store.in_order(lambda: self.store.workers.run(verb, owner))

    # Events.

    async def emit(
        self,
        type: str,
        /,
        *,
        idempotency_key: str | None = None,
        expected_id: int | None = None,
        **fields: Any,
    ) -> Event:
        """Append one event and fold it; returns it with its `id`, `type` and `at`. As `foldlog.Session.emit`."""
        verb = partial(self.sync.emit, type, idempotency_key=idempotency_key, expected_id=expected_id, **fields)
        # A key is looked up in the database, and so may be the rows that an event changes.
        here = idempotency_key is None and (type not in FOLDED_TYPES or self.view.is_whole)
        return await self.record(verb, here and is_light(fields))

    async def add_event(self, type: str, /, **fields: Any) -> int:
        """Append an annotation: kept in the journal, changes no row; returns its event id."""
        return await self.record(partial(self.sync.add_event, type, **fields), is_light(fields))

    def batch(self) -> Batch:
        """Several events, one transaction: all of them or none. Owned by the task that enters it.

        Verbs of other tasks, and of threads, wait until the block ends. So do tasks started inside, such as
        those of `asyncio.gather`: inside a batch, await one verb after another. A batch is taken back when
        its block raises or is cancelled; a cancellation that comes while its commit is awaited does not.

        >>> async def main():
        ...     async with foldlog.aio.new_state(folder / "batch.db", id="demo") as session:
        ...         async with session.batch():
        ...             turn = await session.add_turn()
        ...             await session.add_call("leaf", turn_id=turn["id"])
        ...         return session.view.turns[1]["call_ids"]
        >>> asyncio.run(main())
        [1]
        """
        return Batch(self)

    # Rows.

    async def add_message(self, role: str, content: Any, *, turn_id: RowId | None = None, **extra: Any) -> Row:
        """Append a message and link it to its turn; returns its row."""
        verb = partial(self.sync.add_message, role, content, turn_id=turn_id, **extra)
        return await self.record(verb, is_light(content, extra))

    async def add_turn(self, **fields: Any) -> Row:
        """Start a turn; returns its row."""
        return await self.record(partial(self.sync.add_turn, **fields), is_light(fields))

    async def add_call(self, type: str, *, turn_id: RowId | None = None, **fields: Any) -> Row:
        """Start a call; returns its row."""
        return await self.record(partial(self.sync.add_call, type, turn_id=turn_id, **fields), is_light(fields))

    async def add_eval(self, *, turn_id: RowId | None = None, **fields: Any) -> Row:
        """Append an eval, a piece of code that was run; returns its row."""
        return await self.record(partial(self.sync.add_eval, turn_id=turn_id, **fields), is_light(fields))

    async def add_snapshot(self, **fields: Any) -> Row:
        """Append a snapshot row of your own making; `snapshot()` captures variables for you."""
        return await self.record(partial(self.sync.add_snapshot, **fields), is_light(fields))

    async def update_turn(self, turn_id: RowId, change: ChangeFunction | None = None, /, **fields: Any) -> Row:
        """Change keys of a turn; returns the new row.

        `change` is a plain function, given the row; it runs under the session's lock, on the loop's thread
        or a worker's, so it must be quick and must not wait.
        """
        return await self.record(
            partial(self.sync.update_turn, turn_id, change, **fields), self._is_light_row("turn", turn_id, fields)
        )

    async def update_call(self, call_id: RowId, change: ChangeFunction | None = None, /, **fields: Any) -> Row:
        """Change keys of a call; returns the new row. `change` as in `update_turn`.

        >>> async def main():
        ...     async with foldlog.aio.new_state(folder / "update.db", id="demo") as session:
        ...         call = await session.add_call("leaf", tries=1)
        ...         return await session.update_call(call["id"], lambda row: {"tries": row["tries"] + 1})
        >>> asyncio.run(main())["tries"]
        2
        """
        return await self.record(
            partial(self.sync.update_call, call_id, change, **fields), self._is_light_row("call", call_id, fields)
        )

    def _is_light_row(self, kind: str, row_id: Any, fields: Row) -> bool:
        """Whether a row, which an update gives back, and what changes of it are in memory and cheap to copy."""
        known = self.view.is_whole and isinstance(row_id, int | str) and is_light(fields)
        return known and is_light(self.view.row(kind, row_id))

    async def add_turn_id(self, turn_id: RowId | None, key: str, value: RowId) -> None:
        """Add an id to one of a turn's lists unless it is there; a turn of None is nobody's, and ignored."""
        await self.record(partial(self.sync.add_turn_id, turn_id, key, value), self.view.is_whole and is_light(value))

    async def add_turn_ids(self, turn_id: RowId | None, key: str, values: Iterable[RowId]) -> None:
        """Add ids to one of a turn's lists; those already there are left out."""
        await self.record(
            partial(self.sync.add_turn_ids, turn_id, key, values), self.view.is_whole and is_light(values)
        )

    # What becomes of the session.

    async def update_status(self, status: str) -> None:
        """Set the session's status (running, stopped or error) and checkpoint; "running" reopens it."""
        await self.record(partial(self.sync.update_status, status), light=True)

    async def mark_final(self, value: Any) -> None:
        """Record the session's final value; its status stays, and no checkpoint is made."""
        await self.record(partial(self.sync.mark_final, value), is_light(value))

    async def mark_error(self, error: Any) -> None:
        """End the session in error and checkpoint; an exception is recorded as its type and message."""
        await self.record(partial(self.sync.mark_error, error), is_light(error))

    async def checkpoint(self) -> None:
        """Write the view's changes into the tables, in one transaction; export if the store is told to."""
        await self.run(self.sync.checkpoint)

    async def reload(self) -> None:
        """Read the journal again: what `CommitUncertainError` asks for; what it finds then is final."""
        await self.run(self.sync.reload)

    # Values.

    async def value_ref(self, value: Any, *, inline_bytes_max: int | None = None) -> dict[str, Any]:
        """A reference to a value: the value itself while it is small, else a blob's hash."""
        verb = partial(self.sync.value_ref, value, inline_bytes_max=inline_bytes_max)
        return await self._read(verb, is_light(value))

    async def read_ref(self, ref: dict[str, Any]) -> Any:
        """The value a reference stands for; raises `MissingBlobError`, `InvalidEventError`."""
        is_inline = isinstance(ref, dict) and ref.get("kind") == "inline"
        return await self._read(partial(self.sync.read_ref, ref), is_inline and is_light(ref))

    async def _read(self, verb: Callable[[], T], light: bool) -> T:
        if not light:
            return await self.run(verb)
        await self.store.breathe()
        return verb()

    async def snapshot(self, values: Mapping[str, Any], *, turn_id: RowId | None = None) -> Row:
        """Capture variables, so that `restore`, `resume_session` and `fork_session` can give them back."""
        return await self.record(partial(self.sync.snapshot, values, turn_id=turn_id), is_light(values))

    async def restore(self) -> dict[str, Any]:
        """The variables of the newest snapshot: this session's own, or the one it was made from."""
        return await self.run(self.sync.restore)

    # Children and scopes.

    def start_child(
        self, *, turn_id: RowId | None = None, type: str = "child", **call_fields: Any
    ) -> "Opening[Session]":
        """Start a session below this one; its id is its address. As `foldlog.Session.start_child`.

        >>> async def main():
        ...     async with foldlog.aio.new_state(folder / "child.db", id="demo") as session:
        ...         async with session.start_child(query="part one") as child:
        ...             await child.mark_final(2)
        ...         return child.id, session.view.calls[1]["status"]
        >>> asyncio.run(main())
        ('demo/child-0001', 'final')
        """
        return self._open_below(partial(self.sync.start_child, turn_id=turn_id, type=type, **call_fields))

    def attach_child(
        self, source: "str | Session", *, turn: RowId | None = None, **call_fields: Any
    ) -> "Opening[Session]":
        """Start a session below this one that inherits a snapshot of another; `demo/attached-0001`."""
        found = source.sync if isinstance(source, Session) else source
        return self._open_below(partial(self.sync.attach_child, found, turn=turn, **call_fields))

    def _open_below(self, verb: Callable[[], synchronous.Session]) -> "Opening[Session]":
        async def begin() -> Session:
            return Session(self.store, await self.run(verb, dispose=synchronous.Session.close))

        return Opening(begin)

    def turn(self, **fields: Any) -> Opening[TurnScope]:
        """Start a turn; `async with` ends it."""

        async def begin() -> TurnScope:
            return TurnScope(self, scopes.TurnScope(self.sync, await self.add_turn(**fields)))

        return Opening(begin)

    def call(self, type: str, **fields: Any) -> Opening[CallScope]:
        """Start a call; `async with` ends it."""

        async def begin() -> CallScope:
            return CallScope(self, scopes.CallScope(self.sync, await self.add_call(type, **fields)))

        return Opening(begin)

    # Documents.

    async def usage(self) -> dict[str, Any]:
        """Tokens, cost and cache of this session and all below it."""
        return await self.run(self.sync.usage)

    async def tree(self) -> dict[str, Any]:
        """This session and, nested, the sessions below it."""
        return await self.run(self.sync.tree)

    async def final(self) -> dict[str, Any]:
        """What has become of the session: counts, usage, value or error."""
        return await self.run(self.sync.final)

    async def fingerprint(self) -> str:
        """A hash over the journals of this session and of all below it: any new event changes it."""
        return await self.run(self.sync.fingerprint)

    # Ending.

    async def close(self) -> None:
        """Give the handle and its lease back, tables up to date; writes no event, and closing twice is fine.

        A task that is cancelled meanwhile goes on when it is closed.
        """
        if not self.store.sync.database.is_inherited:
            await finish(self._close(), self.store.owner())

    async def _close(self) -> None:
        if not self.recorder.is_closed:
            await self.run(self.sync.close)
        if self.owns_store:
            await self.store.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await finish(self._end(error), self.store.owner())
        except FoldlogError as second:
            if error is None:
                raise
            error.add_note(f"foldlog could not record this error: {second}")

    async def _end(self, error: BaseException | None) -> None:
        if self.recorder.is_closed:
            return
        try:
            if self.view.session_row().get("status") == "running":
                if error is None:
                    await self.update_status("stopped")
                else:
                    await self.mark_error(error)
            if self.view.session_row().get("parent") is not None:
                await self.run(self.sync._end_call_of_parent)
        finally:
            await self._close()
