"""A session: how it begins, goes on, branches, checkpoints and ends.

The verbs that add to it are in `foldlog.session.verbs`, the path of an event to the disk in
`foldlog.session.recorder`, sessions of one database together in `foldlog.store`.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, Self

from foldlog.core.clock import format_time
from foldlog.core.errors import (
    AlreadyExistsError,
    CommitUncertainError,
    FoldlogError,
    InvalidEventError,
    SessionInUseError,
    StaleWriterError,
    StoreClosedError,
    StoreError,
)
from foldlog.core.ids import RowId, check_session_id, child_name, parent_id
from foldlog.core.rows import Row
from foldlog.session import checkpoint, lineage
from foldlog.session.host import Host
from foldlog.session.lineage import Source
from foldlog.session.recorder import Recorder
from foldlog.session.scopes import CallScope, TurnScope
from foldlog.session.verbs import Verbs
from foldlog.storage import journal, lease
from foldlog.storage.driver import Driver
from foldlog.storage.journal import Stream

# How often a writer that is pushed aside may be quicker than the one who does it.
_TAKE_OVERS_MAX: Final = 20
# How many numbers for a child are tried before the one who holds the last is named.
_NUMBERS_MAX: Final = 100


class Session(Verbs):
    """One session, open for writing; its only writer, for as many threads as you like.

    Made by `store.start_session()`, `store.open_session()` and their kin. As a context manager it leaves
    as "stopped", or as "error" with the exception. Every method raises `FoldlogError`s only.

    >>> with foldlog.open(folder / "history.db") as store:
    ...     with store.start_session(id="demo") as session:
    ...         with session.turn() as turn:
    ...             _ = turn.message("user", "What is 6 x 7?")
    ...             with turn.call("root", model="m-1") as call:
    ...                 call.ok(usage={"input_tokens": 9, "output_tokens": 1})
    ...             turn.final({"answer": 42})
    ...     store.final("demo")["value_preview"]
    {'answer': 42}
    """

    def __init__(self, host: Host, recorder: Recorder, writer: str) -> None:
        self._host = host
        self._recorder = recorder
        self._writer = writer
        self._checkpointed: tuple[int, str | None] | None = None
        self._left_by: str | None = None  # a writer that died, until what it left running is closed
        self.owns_store = False  # set by new_state(): the store closes with the session

    @property
    def is_writer(self) -> bool:
        """Whether this handle is open and has not been pushed aside by another."""
        return self._recorder.holds_lease

    @property
    def store(self) -> Any:
        """The store this session is in."""
        return self._host

    def __repr__(self) -> str:
        return f"<Session {self.id!r} at event {self._recorder.event_id}>"

    # Beginning.

    @classmethod
    def begin(cls, host: Host, row: Row, *, source: Source | None = None, kind: str = "") -> "Session":
        """Start a session with this row, inheriting from a source if one is given; in one commit."""
        session = cls._prepare(host, row, source, kind)
        with session._released_on_error(), lineage.without_handle():
            session._recorder.commit_unseen(session._tables_writer)
        session._announce()
        return session

    @classmethod
    def _prepare(cls, host: Host, row: Row, source: Source | None, kind: str) -> "Session":
        """A session with its first events recorded and none committed."""
        session_id = check_session_id(row["id"], depth_max=host.config.limits.tree_depth_max)
        if journal.has_stream(host.database, session_id):
            raise AlreadyExistsError(
                f"there already is a session {session_id!r}",
                hint="open it with open_session(id), or choose another id",
            )
        host.database.check_writable()
        holder = lease.holder_now(row["created_at"])
        held = host.database.acquire(session_id, holder)
        session = cls(host, Recorder(host, Stream(session_id), held), json.dumps(holder))
        with session._released_on_error():
            if source is not None:
                row = {**row, "lineage": lineage.lineage_of(source, kind, session_id, row["created_at"])}
                if kind != "attach":
                    row["resumed_from" if kind == "resume" else "forked_from"] = source.origin()
            session._recorder.record("session.started", {"session": row})
            if source is not None:
                session._recorder.record("session.restored", lineage.restored_fields(source, kind))
        return session

    @contextlib.contextmanager
    def _released_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._recorder.close()
            raise

    def _announce(self) -> None:
        try:
            self._host.register(self)
            self._host.checkpointed(self.id)
        except BaseException as error:
            # It is in the store with its tables, and nobody has this handle.
            with contextlib.suppress(FoldlogError):
                self._write_checkpoint(self._left_by)
            self.let_go()
            if not isinstance(error, FoldlogError):
                raise
            hint = "open it with open_session(id) once the cause is gone"
            raise StoreError(f"session {self.id!r} is stored, but not its files: {error.message}", hint=hint) from error

    @classmethod
    def reopen(cls, host: Host, session_id: str, *, recover: bool, take_over: bool) -> "Session":
        """Go on with a session that is in the store."""
        stream = journal.find_stream(host.database, session_id)
        host.database.check_writable()
        holder = lease.holder_now(format_time(host.config.clock()))
        overtaken: dict[str, Any] | None = None
        try:
            held = host.database.acquire(session_id, holder)
        except SessionInUseError as error:
            if not take_over:
                raise
            overtaken = error.holder
            host.database.push_aside(session_id)
            held = host.database.acquire(session_id, holder)
        session = cls(host, Recorder(host, stream, held), json.dumps(holder))
        with session._released_on_error(), lineage.without_handle():
            session._left_by = checkpoint.writer_of(host.database, session_id)
            crashed = session._left_by is not None or take_over
            for attempt in range(_TAKE_OVERS_MAX):
                noted = host.database.noted(stream)
                session.reload()
                lost = lineage.lost_events(session_id, session._recorder.event_id, noted, recover=recover)
                try:
                    session._take_up(recover=recover and crashed, take_over=take_over, overtaken=overtaken, lost=lost)
                    break
                except StaleWriterError:
                    # The writer that is pushed aside was quicker; look again at what it left.
                    if attempt == _TAKE_OVERS_MAX - 1:
                        raise
        session._announce()
        return session

    def _take_up(self, *, recover: bool, take_over: bool, overtaken: dict[str, Any] | None, lost: Row) -> None:
        """Close by events what a dead writer left running, and say who writes now."""
        if recover:
            self._left_by = None
        left = lineage.interrupted(self.view) if recover else {"turns": [], "calls": []}
        with self._recorder.hold() as recorder:
            if take_over or lost or any(left.values()):
                recorder.record("session.recovered", {"interrupted": left, "taken_over_from": overtaken, **lost})
            ending = {"status": "interrupted", "ended_at": self._now()}
            for call_id in left["calls"]:
                recorder.record("call.updated", {"call_id": call_id, "changes": ending})
            for turn_id in left["turns"]:
                recorder.record("turn.updated", {"turn_id": turn_id, "changes": ending})
        self._write_checkpoint(self._writer)

    # Children.

    def start_child(self, *, turn_id: RowId | None = None, type: str = "child", **call_fields: Any) -> "Session":
        """Start a session below this one; its id is its address, `demo/child-0001`.

        The call that leads to it (returned in its row's `parent`) and its first event are one commit. As a
        context manager the child also ends that call: final with the child's value, ok, or error.

        >>> with foldlog.new_state(folder / "child.db", id="demo") as session:
        ...     with session.start_child(query="part one") as child:
        ...         child.mark_final(2)
        ...     child.id, session.view.calls[1]["status"]
        ('demo/child-0001', 'final')
        """
        return self._start_below("spawned", type, turn_id, call_fields, None)

    def attach_child(self, source: "str | Session", *, turn: RowId | None = None, **call_fields: Any) -> "Session":
        """Start a session below this one that inherits a snapshot of another; `demo/attached-0001`.

        `turn`: the newest snapshot of that turn, else the newest of all. The source is not changed.
        """
        found = lineage.find_source(self._host, id_of(source), turn)
        turn_id = call_fields.pop("turn_id", None)
        return self._start_below("attached", "attached_child", turn_id, call_fields, found)

    def _start_below(
        self, edge_type: str, call_type: str, turn_id: RowId | None, call_fields: Row, source: Source | None
    ) -> "Session":
        with contextlib.ExitStack() as stack, self._recorder.hold() as recorder:
            if recorder.is_nested:
                raise InvalidEventError(
                    f"session {self.id!r}: a child cannot be started inside a batch",
                    hint="start it before or after: its call and its first event are a commit of their own",
                )
            call, child = self._prepare_below(edge_type, call_type, turn_id, call_fields, source)
            stack.enter_context(child._released_on_error())
            recorder.record("call.started", {"call": call})
            child._recorder.commit_unseen(child._tables_writer, parent=recorder)
        child._announce()
        return child

    def _prepare_below(
        self, edge_type: str, call_type: str, turn_id: RowId | None, call_fields: Row, source: Source | None
    ) -> tuple[Row, "Session"]:
        """A child with the next number that nobody has, and the row of the call that leads to it."""
        number, now = self._recorder.pending.counter("child"), self._now()
        call = lineage.call_to_child(self._recorder.pending.counter("call") + 1, now, edge_type, call_type, call_fields)
        if turn_id is not None:
            call["turn_id"] = turn_id
        for attempt in range(1, _NUMBERS_MAX + 1):
            number += 1
            while journal.has_stream(self._host.database, f"{self.id}/{child_name(number, edge_type)}"):
                number += 1
            call["child_session_id"] = f"{self.id}/{child_name(number, edge_type)}"
            row = lineage.row_below(self.view.session_row(), call, now)
            try:
                return call, Session._prepare(self._host, row, source, "attach")
            except (SessionInUseError, AlreadyExistsError):
                # Another thread's child, whose start has just failed, or another process'.
                if attempt == _NUMBERS_MAX:
                    raise
        raise AssertionError  # the last attempt has returned or raised

    # Scopes.

    def turn(self, **fields: Any) -> TurnScope:
        """Start a turn; a context manager that ends it."""
        return TurnScope(self, self.add_turn(**fields))

    def call(self, type: str, **fields: Any) -> CallScope:
        """Start a call; a context manager that ends it."""
        return CallScope(self, self.add_call(type, **fields))

    # Documents.

    def usage(self) -> dict[str, Any]:
        """Tokens, cost and cache of this session and all below it."""
        return self._host.usage(self.id)

    def tree(self) -> dict[str, Any]:
        """This session and, nested, the sessions below it."""
        return self._host.tree(self.id)

    def final(self) -> dict[str, Any]:
        """What has become of the session: counts, usage, value or error."""
        return self._host.final(self.id)

    def fingerprint(self) -> str:
        """A hash over the journals of this session and of all below it: any new event changes it."""
        return lineage.fingerprint(self._host, self.id)

    # Checkpointing, reloading, ending.

    def checkpoint(self) -> None:
        """Write the view's changes into the tables, in one transaction; export if the store is told to.

        Costs what changed since the last one. Inside a batch it happens when the batch has committed.
        """
        with self._recorder.hold() as recorder:
            if recorder.is_nested:
                recorder.after_commit(self.checkpoint)
                return
            recorder.settle_down()
            self._write_checkpoint(self._writer)
        self._host.checkpointed(self.id)

    def _write_checkpoint(self, writer: str | None) -> None:
        standing = (self._recorder.event_id, writer)
        if standing == self._checkpointed:
            return
        view = self.view
        prepared = checkpoint.prepare(self.id, view, writer=writer)
        try:
            checkpoint.save(self._host.database, self._recorder.stream, prepared, lambda: self._recorder.event_id)
        except BaseException:
            view.give_back(prepared.changed)
            raise
        self._checkpointed = standing

    def _tables_writer(self) -> Callable[[Driver], None]:
        """What writes the tables of a session that nobody has seen yet; may be run again."""
        prepared = checkpoint.prepare(self.id, self.view, writer=self._writer)
        above = parent_id(self.id)

        def write(connection: Driver) -> None:
            if above is not None:
                journal.check_stream(connection, above)  # it may have been deleted since we looked
            checkpoint.write(connection, self.id, prepared)

        return write

    def reload(self) -> None:
        """Read the journal again: what `CommitUncertainError` asks for; what it finds then is final."""
        recorder = self._recorder
        recorder.reload(lambda: checkpoint.read(self._host.database, recorder.stream))

    def close(self) -> None:
        """Give the handle and its lease back, tables up to date; writes no event, and closing twice is fine.

        The session stays as it is and can be opened again. When the tables cannot be written, the error is
        raised and the handle stays open, so that closing can be tried again.
        """
        if self._host.database.is_inherited:
            return
        if self._recorder.is_closed:
            self.let_go()  # a signal may have kept it from its end
            return
        try:
            with self._recorder.hold() as recorder:
                if recorder.is_nested:
                    raise InvalidEventError(f"session {self.id!r}: close() inside a batch", hint="leave it first")
                recorder.settle_down()
                with contextlib.suppress(StaleWriterError):  # its events are in the journal, and all there is
                    self._write_checkpoint(self._left_by)
                    self._host.checkpointed(self.id)
        except (StoreClosedError, CommitUncertainError):
            pass  # what is not known cannot be written into tables
        self.let_go()

    def let_go(self) -> None:
        """Give the handle and its lease back as they are: the last resort of a close that failed."""
        self._recorder.close()
        self._host.forget(self)
        if self.owns_store:
            self._host.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._end(error)
        except FoldlogError as second:
            if error is None:
                raise
            error.add_note(f"foldlog could not record this error: {second}")

    def _end(self, error: BaseException | None) -> None:
        if self._recorder.is_closed:
            return
        try:
            if self.view.session_row().get("status") == "running":
                if error is None:
                    self.update_status("stopped")
                else:
                    self.mark_error(error)
            self._end_call_of_parent()
        except BaseException as second:
            # Where a signal struck, it is what is told: what it left half done may keep us from closing.
            with contextlib.suppress(*(() if isinstance(second, Exception) else (FoldlogError,))):
                self.close()
            raise
        self.close()

    def _end_call_of_parent(self) -> None:
        """Tell the call that led here, where its session is open in this process and it still runs."""
        view = self.view
        origin = view.session_row().get("parent")
        if not isinstance(origin, dict) or "call_id" not in origin:
            return
        parent = self._host.live(origin["session_id"])
        if parent is None or parent.view.row("call", origin["call_id"]) is None:
            return
        ending = lineage.end_of_call(view, self._now())
        # Interrupted: a crash had cut it short, and the child was opened again and has now ended.
        parent.update_call(
            origin["call_id"], lambda row: ending if row.get("status") in ("running", "interrupted") else None
        )


def id_of(session: "str | Session") -> str:
    """The id of a session given by itself or by its id."""
    return session.id if isinstance(session, Session) else session
