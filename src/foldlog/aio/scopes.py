"""`async with session.turn()` and `async with turn.call()`: rows that are closed when their block ends.

The synchronous scopes (`foldlog.session.scopes`) with their verbs awaited; what is recorded is theirs.
"""

from abc import ABC, abstractmethod
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from foldlog.aio.opening import Opening
from foldlog.aio.weight import is_light
from foldlog.core.errors import FoldlogError
from foldlog.core.ids import RowId
from foldlog.core.rows import Row
from foldlog.session import scopes

if TYPE_CHECKING:
    from collections.abc import Callable

    from foldlog.aio.session import Session


class _Scope(ABC):
    """A row that ends with its block."""

    _scope: scopes.CallScope | scopes.TurnScope

    def __init__(self, session: "Session") -> None:
        self.session = session

    @property
    def id(self) -> RowId:
        """The id of the row."""
        return self._scope.id

    async def error(self, error: Any, **fields: Any) -> None:
        """End it in error: an exception, or any JSON value; with what it brought all the same."""
        await self._end(partial(self._scope.error, error, **fields), error, fields)

    @abstractmethod
    async def ok(self, **fields: Any) -> None:
        """End it well."""

    async def _end(self, verb: "Callable[[], None]", *values: Any) -> None:
        try:
            await self.session.record(verb, is_light(*values))
        except FoldlogError:
            self._scope.is_ended = False
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scope.is_ended:
            return
        if error is None:
            await self.ok()
            return
        try:
            await self.error(error)
        except FoldlogError as second:
            error.add_note(f"foldlog could not record this error: {second}")


class CallScope(_Scope):
    """A call that is running; made by `session.call()` and `turn.call()`."""

    def __init__(self, session: "Session", scope: scopes.CallScope) -> None:
        super().__init__(session)
        self._scope = scope

    async def update(self, **fields: Any) -> Row:
        """Change keys of the call; returns the new row."""
        return await self.session.update_call(self.id, **fields)

    async def ok(self, **fields: Any) -> None:
        """End the call well, with what it brought: `usage=…`, `response_ref=…`."""
        await self._end(partial(self._scope.ok, **fields), fields)

    async def final(self, value: Any, **fields: Any) -> None:
        """End the call with a final value."""
        await self._end(partial(self._scope.final, value, **fields), value, fields)


class TurnScope(_Scope):
    """A turn that is running; made by `session.turn()`."""

    _scope: scopes.TurnScope

    def __init__(self, session: "Session", scope: scopes.TurnScope) -> None:
        super().__init__(session)
        self._scope = scope

    async def update(self, **fields: Any) -> Row:
        """Change keys of the turn; returns the new row."""
        return await self.session.update_turn(self.id, **fields)

    async def message(self, role: str, content: Any, **extra: Any) -> Row:
        """Append a message to this turn."""
        return await self.session.add_message(role, content, turn_id=self.id, **extra)

    def call(self, type: str, **fields: Any) -> Opening[CallScope]:
        """Start a call in this turn; `async with`, or await it and end it yourself."""
        return self.session.call(type, turn_id=self.id, **fields)

    async def eval(self, **fields: Any) -> Row:
        """Append an eval to this turn."""
        return await self.session.add_eval(turn_id=self.id, **fields)

    async def ok(self, **fields: Any) -> None:
        """End the turn well, without a value."""
        await self._end(partial(self._scope.ok, **fields), fields)

    async def final(self, value: Any, **fields: Any) -> None:
        """End the turn with a final value, which becomes the session's."""
        await self._end(partial(self._scope.final, value, **fields), value, fields)
