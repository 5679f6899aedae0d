"""What verbs that open something return: to be awaited, or used with `async with` at once.

    session = await store.start_session(id="demo")
    async with store.start_session(id="demo") as session: ...

Nothing happens before one of the two.
"""

import warnings
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar


class _Opened(Protocol):
    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


T_co = TypeVar("T_co", bound=_Opened, covariant=True)


class Opening(Coroutine[Any, Any, T_co], Generic[T_co]):
    """Something that is being opened: await it, or use it with `async with`; once.

    It is a coroutine, so `asyncio.create_task` and `gather` take it.

    >>> async def main():
    ...     async with foldlog.aio.open(folder / "opening.db") as store:
    ...         one = await store.start_session(id="one")
    ...         async with store.start_session(id="two") as two:
    ...             await two.add_message("user", "hello")
    ...         await one.close()
    ...         return [row["status"] async for row in store.sessions()]
    >>> asyncio.run(main())
    ['running', 'stopped']
    """

    def __init__(self, begin: Callable[[], Coroutine[Any, Any, T_co]]) -> None:
        self._begin = begin
        self._begun: Coroutine[Any, Any, T_co] | None = None
        self._opened: T_co | None = None
        self._is_closed = False

    def _coroutine(self) -> Coroutine[Any, Any, T_co]:
        if self._begun is None:
            self._begun = self._begin()
        return self._begun

    def __await__(self) -> Generator[Any, Any, T_co]:
        return self._coroutine().__await__()

    def send(self, value: Any) -> Any:
        """Part of being a coroutine."""
        return self._coroutine().send(value)

    def throw(self, *error: Any) -> Any:
        """Part of being a coroutine."""
        return self._coroutine().throw(*error)

    def close(self) -> None:
        """Part of being a coroutine: give up before it has ended."""
        self._is_closed = True
        if self._begun is not None:
            self._begun.close()

    def __del__(self) -> None:
        if self._begun is None and not self._is_closed:
            warnings.warn(
                "what foldlog.aio was to open was never awaited, and nothing was recorded: use await or async with",
                RuntimeWarning,
                stacklevel=2,
            )

    async def __aenter__(self) -> T_co:
        self._opened = await self._coroutine()
        return await self._opened.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await self._opened.__aexit__(kind, error, trace)
