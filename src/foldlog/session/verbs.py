"""The verbs that add to a session: messages, turns, calls, evals, status, values, variables.

Each builds one event and records it; the rules are in `foldlog.core.fold`, the path to the disk in
`foldlog.session.recorder`. How a session begins, goes on and ends is in `foldlog.session.session`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from foldlog.core.clock import format_time
from foldlog.core.codec import encode
from foldlog.core.errors import (
    InvalidEventError,
    LimitError,
    NotSerializableError,
    UnknownRowError,
)
from foldlog.core.fold import FOLDED_TYPES, Event
from foldlog.core.handles import Handle
from foldlog.core.ids import RowId, check_row_id
from foldlog.core.parts import split
from foldlog.core.refs import Ref, copy_value, hash_name
from foldlog.core.rows import LINK_KEYS, Row
from foldlog.core.view import View
from foldlog.session import references, variables
from foldlog.session.events import own_copy
from foldlog.session.host import Host
from foldlog.session.recorder import Batch, Recorder
from foldlog.session.scrubbing import scrubbed_preview, scrubbed_value

ChangeFunction = Callable[[Row], Row | None]

_STATUSES = ("running", "stopped", "error")


class Verbs(Handle, ABC):
    """The part of `Session` that records."""

    _recorder: Recorder
    _host: Host

    @property
    def id(self) -> str:
        """The session's id; a child's is its address."""
        return self._recorder.stream.session_id

    @property
    def view(self) -> View:
        """The folded state, live: it shows committed events, from any thread."""
        if self._host.database.is_inherited:
            self._host.database.check_open()
        return self._recorder.view

    # Events.

    def emit(
        self,
        type: str,
        /,
        *,
        idempotency_key: str | None = None,
        expected_id: int | None = None,
        **fields: Any,
    ) -> Event:
        """Append one event and fold it; returns it with its `id`, `type` and `at`.

        When this returns, the event is durable at the store's level; inside `batch()` it is when the batch
        ends. `idempotency_key`: if this session has an event with the same key, that event is returned and
        nothing is written. `expected_id`: refuse with `ExpectedIdError` unless the event gets this id.

        Raises an `EventError` or `UnknownRowError` for an event the session refuses; nothing is written.

        >>> with foldlog.new_state(folder / "emit.db", id="demo") as session:
        ...     event = session.emit("tool.started", tool="grep")
        >>> event["id"], event["type"], event["tool"]
        (2, 'tool.started', 'grep')
        """
        with self._recorder.hold() as recorder:
            event = recorder.record(type, fields, idempotency_key=idempotency_key, expected_id=expected_id)
        # Nobody else holds on to an annotation, but for one that is found again by its key.
        return event if type not in FOLDED_TYPES and idempotency_key is None else own_copy(event)

    def add_event(self, type: str, /, **fields: Any) -> int:
        """Append an annotation: kept in the journal, changes no row; returns its event id."""
        with self._recorder.hold() as recorder:
            event = recorder.record(type, fields)
        found: int = event["id"]
        return found

    def batch(self) -> AbstractContextManager[None]:
        """Several events, one transaction: all of them or none.

        Holds the session's lock: other threads' verbs on this session wait until the block ends. Events
        are visible in `view` and durable when the outermost block ends. A nested batch that raises takes
        back its own events only, if the outer one catches.

        >>> with foldlog.new_state(folder / "batch.db", id="demo") as session:
        ...     with session.batch():
        ...         turn = session.add_turn()
        ...         call = session.add_call("leaf", turn_id=turn["id"])
        ...     session.view.turns[1]["call_ids"]
        [1]
        """
        return Batch(self._recorder)

    # Rows.

    def add_message(self, role: str, content: Any, *, turn_id: RowId | None = None, **extra: Any) -> Row:
        """Append a message and link it to its turn; returns its row."""
        row = {"role": role, "content": content, **extra}
        return self._add("message.added", "message", row, turn_id)

    def add_turn(self, **fields: Any) -> Row:
        """Start a turn; returns its row, with the ids of what will belong to it still empty."""
        row = {
            "status": "running",
            "started_at": self._now(),
            "ended_at": None,
            "error": None,
            "usage": None,
            **fields,
        }
        return self._add("turn.started", "turn", row, None)

    def add_call(self, type: str, *, turn_id: RowId | None = None, **fields: Any) -> Row:
        """Start a call (root, leaf, leaf_batch_item, child, … or a type of your own); returns its row."""
        row = {"type": type, "status": "running", "started_at": self._now(), **fields}
        return self._add("call.started", "call", row, turn_id)

    def add_eval(self, *, turn_id: RowId | None = None, **fields: Any) -> Row:
        """Append an eval, a piece of code that was run; returns its row."""
        return self._add("eval.added", "eval", fields, turn_id)

    def add_snapshot(self, **fields: Any) -> Row:
        """Append a snapshot row of your own making; `snapshot()` captures variables for you."""
        return self._add("snapshot.added", "snapshot", {"created_at": self._now(), **fields}, None)

    def _add(self, event_type: str, kind: str, row: Row, turn_id: RowId | None) -> Row:
        with self._recorder.hold() as recorder:
            row = {"id": recorder.pending.counter(kind) + 1, **row}
            if turn_id is not None:
                row["turn_id"] = turn_id
            event = recorder.record(event_type, {kind: row})
            found: Row = copy_value(event[kind])
            if kind == "turn":
                found |= {key: [] for key in LINK_KEYS if key not in found}
        return found

    def update_turn(self, turn_id: RowId, change: ChangeFunction | None = None, /, **fields: Any) -> Row:
        """Change keys of a turn; returns the new row.

        `change` is given the row and returns the keys to change (or a whole row: what is the same is left
        out). It runs under the session's lock, so reading and writing are one step. Raises `UnknownRowError`.
        """
        return self._update("turn", turn_id, change, fields)

    def update_call(self, call_id: RowId, change: ChangeFunction | None = None, /, **fields: Any) -> Row:
        """Change keys of a call; returns the new row. `change` as in `update_turn`.

        >>> with foldlog.new_state(folder / "update.db", id="demo") as session:
        ...     call = session.add_call("leaf", tries=1)
        ...     session.update_call(call["id"], lambda row: {"tries": row["tries"] + 1})["tries"]
        2
        """
        return self._update("call", call_id, change, fields)

    def _update(self, kind: str, row_id: RowId, change: ChangeFunction | None, fields: Row) -> Row:
        if change is not None and not callable(change):
            raise InvalidEventError(
                f"the change for {kind} {row_id!r} is no function", hint="pass keywords, or a function of the row"
            )
        check_row_id(row_id, f"{kind} id")
        with self._recorder.hold() as recorder:
            recorder.rely()
            # A call's row is never mutated, so it is copied for users only; a turn's lists grow beside it.
            read = recorder.pending.read_row if kind == "turn" else recorder.pending.stored_row
            row = read(kind, row_id)
            changes = fields
            if change is not None and row is not None:
                changes = {**self._changes(kind, row, change), **fields}
                row = read(kind, row_id)  # as the function may have left it
            if changes:
                event = recorder.record(f"{kind}.updated", {f"{kind}_id": row_id, "changes": changes})
                row = read(kind, row_id) if kind == "turn" or row is None else row | event["changes"]
        if row is None:
            raise UnknownRowError(
                f"session {self.id!r} has no {kind} {row_id!r}", hint=f"session.view.{kind}s has those there are"
            )
        return row if kind == "turn" else own_copy(row)

    @staticmethod
    def _changes(kind: str, row: Row, change: ChangeFunction) -> Row:
        """What the user's function changes of a row: the keys whose values are not the same afterwards."""
        answer = change(copy_value(row)) or {}
        if not isinstance(answer, dict):
            raise InvalidEventError(
                f"the change function for {kind} {row['id']!r} returned no map", hint="return {key: new value}"
            )
        return {key: value for key, value in answer.items() if key not in row or not same_value(row[key], value)}

    def add_turn_id(self, turn_id: RowId | None, key: str, value: RowId) -> None:
        """Add an id to one of a turn's lists unless it is there; a turn of None is nobody's, and ignored.

        Verbs link what they add by themselves; this is for lists of your own, and for ported code.
        """
        self.add_turn_ids(turn_id, key, [value])

    def add_turn_ids(self, turn_id: RowId | None, key: str, values: Iterable[RowId]) -> None:
        """Add ids to one of a turn's lists; those already there are left out."""
        if turn_id is None:
            return
        if not isinstance(key, str):
            raise InvalidEventError("a turn's list has no such name", hint="pass the list's key, a str: 'my_ids'")
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise InvalidEventError("add_turn_ids() takes ids, one after another", hint="pass a list: [1, 2]")
        check_row_id(turn_id, "turn id")
        values = [check_row_id(value, f"{key} holds") for value in values]
        with self._recorder.hold() as recorder:
            recorder.rely()
            values = recorder.pending.not_listed(turn_id, key, values)
            if values:
                recorder.record("turn.updated", {"turn_id": turn_id, "changes": {}, "added": {key: values}})

    # What becomes of the session.

    def update_status(self, status: str) -> None:
        """Set the session's status (running, stopped or error) and checkpoint; "running" reopens it."""
        if status not in _STATUSES:
            raise InvalidEventError(f"{status!r} is no session status", hint=f"use one of {', '.join(_STATUSES)}")
        with self._recorder.hold() as recorder:
            ended_at = None if status == "running" else self._now()
            recorder.record("session.status", {"status": status, "ended_at": ended_at})
            recorder.after_commit(self.checkpoint)

    def mark_final(self, value: Any) -> None:
        """Record the session's final value; its status stays, and no checkpoint is made."""
        self.record_final(self.value_ref(value), value)

    def record_final(self, ref: dict[str, Any], value: Any) -> None:
        """Record a final value by its reference; `mark_final` for those who have one already."""
        fields: dict[str, Any] = {"value_ref": ref}
        if ref["kind"] == "blob":
            fields["value_preview"] = scrubbed_preview(self._host.config, value)
        with self._recorder.hold() as recorder:
            recorder.record("session.final", fields)

    def mark_error(self, error: Any) -> None:
        """End the session in error and checkpoint; an exception is recorded as its type and message."""
        with self._recorder.hold() as recorder:
            recorder.record("session.error", {"error": error_value(error), "ended_at": self._now()})
            recorder.after_commit(self.checkpoint)

    @abstractmethod
    def checkpoint(self) -> None:
        """Write the view's changes into the tables."""

    # Values.

    def value_ref(self, value: Any, *, inline_bytes_max: int | None = None) -> dict[str, Any]:
        """A reference to a value: the value itself while it is small, else a blob's hash.

        Give it to any event. A blob is stored in the transaction of the event that carries its reference,
        once, however often the same value is referred to; a reference that no event carries stores nothing.

        >>> with foldlog.new_state(folder / "refs.db", id="demo") as session:
        ...     session.value_ref({"n": 1})
        ...     call = session.add_call("leaf", request_ref=session.value_ref("x" * 10_000))
        ...     call["request_ref"]["kind"], len(session.read_ref(call["request_ref"]))
        {'kind': 'inline', 'value': {'n': 1}}
        ('blob', 10000)
        """
        config = self._host.config
        inline_max = config.inline_bytes_max if inline_bytes_max is None else inline_bytes_max
        if type(inline_max) is not int:
            raise InvalidEventError("inline_bytes_max is a number of bytes", hint="pass an int, or leave it out")
        encoded = encode(value, nesting_max=config.limits.nesting_max, canonical=True)
        if len(encoded.data) <= inline_max:
            return {"kind": "inline", "value": copy_value(value) if encoded.refs else encoded.value}
        if len(encoded.data) > config.limits.blob_bytes_max:
            raise LimitError(
                f"a value of {len(encoded.data):,} JSON bytes; the limit is {config.limits.blob_bytes_max:,}",
                hint="split it, or raise blob_bytes_max in Config(limits=…)",
            )
        seen = None
        if config.scrub is not None:
            encoded, removed = scrubbed_value(config.scrub, encoded, config.limits.nesting_max)
            seen = (config.scrub, removed)
        name = hash_name(encoded.data)
        pieces = split(encoded.wire, encoded.data)
        return Ref({"kind": "blob", "hash": name, "bytes": len(encoded.data)}, encoded.data, encoded.refs, pieces, seen)

    def read_ref(self, ref: dict[str, Any]) -> Any:
        """The value a reference stands for.

        Raises `MissingBlobError` when its blob is not in this store, `InvalidEventError` for what is no
        reference.
        """
        return references.read(self._host.database, ref)

    # Variables.

    def snapshot(self, values: Mapping[str, Any], *, turn_id: RowId | None = None) -> Row:
        """Capture variables, so that `restore`, `resume_session` and `fork_session` can give them back.

        A value that JSON cannot carry is listed as unrestorable with the reason; nothing is left out.

        >>> with foldlog.new_state(folder / "vars.db", id="demo") as session:
        ...     row = session.snapshot({"x": 42, "file": open})
        ...     row["summary"]["var_unrestorable"], session.restore()
        (1, {'x': 42})
        """
        if not isinstance(values, Mapping):
            raise InvalidEventError("snapshot() takes variables by name", hint="pass {name: value}")
        try:
            body, summary = variables.capture(values, self.value_ref)
            ref = self.value_ref(body)
        except NotSerializableError:
            # A value may nest as deep as is allowed, and then not inside another: each becomes a blob.
            body, summary = variables.capture(values, lambda value: self.value_ref(value, inline_bytes_max=0))
            ref = self.value_ref(body)
        with self._recorder.hold() as recorder:
            recorder.rely()
            row: Row = {
                "kind": "variables",
                "message_through_id": recorder.pending.last_row_id("message"),
                "eval_id": None,
                "ref": ref,
                "summary": summary,
            }
            return self.add_snapshot(**row, **({} if turn_id is None else {"turn_id": turn_id}))

    def restore(self) -> dict[str, Any]:
        """The variables of the newest snapshot: this session's own, or the one it was made from.

        Unrestorable ones are not in it; the snapshot's `summary` counts them.
        """
        entries = self.view.moment("snapshot")
        origin = self.view.session_row().get("restored_from")
        ref = entries[-1][1].row.get("ref") if entries else (origin or {}).get("ref")
        if ref is None:
            raise UnknownRowError(
                f"session {self.id!r} has no snapshot to restore",
                hint="take one with session.snapshot(values)",
            )
        return variables.give_back(self.read_ref(ref), self.read_ref)

    def _now(self) -> str:
        return format_time(self._host.config.clock())


def same_value(one: Any, other: Any) -> bool:
    """Whether two values are equal and of the same types all through: 1, 1.0 and True differ."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_value(item, other[key]) for key, item in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same_value, one, other))
    return bool(one == other)


def error_value(error: Any) -> Any:
    """What is recorded of an error: an exception's type and message, anything else as it is."""
    if isinstance(error, BaseException):
        text = str(error).encode("utf-8", "replace").decode()
        return {"type": type(error).__name__, "message": text}
    return error
