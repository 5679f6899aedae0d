"""`with session.turn()` and `with turn.call()`: rows that are closed when their block ends.

An exception is recorded as the row's error and goes on. These are conveniences over the verbs and hold
no lock while the block runs.
"""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self

from foldlog.core.errors import FoldlogError
from foldlog.core.handles import Handle
from foldlog.core.ids import RowId
from foldlog.core.rows import Row
from foldlog.session.scrubbing import scrubbed_preview
from foldlog.session.verbs import Verbs, error_value


class _Scope(Handle, ABC):
    """A row that ends with its block."""

    def __init__(self, session: Verbs, row: Row) -> None:
        self.session = session
        self.id: RowId = row["id"]
        self.is_ended = False

    @abstractmethod
    def update(self, **fields: Any) -> Row:
        """Change keys of the row; returns the new row."""

    def error(self, error: Any, **fields: Any) -> None:
        """End it in error: an exception, or any JSON value; with what it brought all the same."""
        self._end("error", error=error_value(error), **fields)

    def _end(self, status: str, **fields: Any) -> None:
        self.update(**{"status": status, "ended_at": self.session._now(), **fields})
        self.is_ended = True

    @abstractmethod
    def _end_quietly(self) -> None:
        """End it well, where the block did not say how."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            if not self.is_ended:
                self._end_quietly()
            return
        try:
            if not self.is_ended:
                self.error(error)
        except FoldlogError as second:
            error.add_note(f"foldlog could not record this error: {second}")


class CallScope(_Scope):
    """A call that is running; made by `session.call()` and `turn.call()`."""

    def update(self, **fields: Any) -> Row:
        """Change keys of the call; returns the new row."""
        return self.session.update_call(self.id, **fields)

    def ok(self, **fields: Any) -> None:
        """End the call well, with what it brought: `usage=…`, `response_ref=…`."""
        self._end("ok", **fields)

    def final(self, value: Any, **fields: Any) -> None:
        """End the call with a final value."""
        self._end("final", final_ref=self.session.value_ref(value), **fields)

    def _end_quietly(self) -> None:
        self.ok()


class TurnScope(_Scope):
    """A turn that is running; made by `session.turn()`."""

    def update(self, **fields: Any) -> Row:
        """Change keys of the turn; returns the new row."""
        return self.session.update_turn(self.id, **fields)

    def message(self, role: str, content: Any, **extra: Any) -> Row:
        """Append a message to this turn."""
        return self.session.add_message(role, content, turn_id=self.id, **extra)

    def call(self, type: str, **fields: Any) -> CallScope:
        """Start a call in this turn; a context manager."""
        return CallScope(self.session, self.session.add_call(type, turn_id=self.id, **fields))

    def eval(self, **fields: Any) -> Row:
        """Append an eval to this turn."""
        return self.session.add_eval(turn_id=self.id, **fields)

    def ok(self, **fields: Any) -> None:
        """End the turn well, without a value."""
        self._end("final", **fields)

    def final(self, value: Any, **fields: Any) -> None:
        """End the turn with a final value, which becomes the session's."""
        ref = self.session.value_ref(value)
        preview = scrubbed_preview(self.session._host.config, value)
        with self.session.batch():
            self.session.record_final(ref, value)
            self._end("final", final_ref=ref, final_preview=preview, **fields)

    def _end_quietly(self) -> None:
        self.ok()
