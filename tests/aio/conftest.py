"""What tests of coroutines share."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import foldlog
import foldlog.aio
from foldlog.storage import journal


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No thread of a store outlives it, and nothing was left to the collector that it would complain about."""
    yield
    gc.collect()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("foldlog")] == []


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine on a loop of its own; what the loop would have logged is a failure."""

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        complaints: list[Any] = []

        async def watched() -> Any:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
            async with asyncio.timeout(60):
                return await main

        found = asyncio.run(watched())
        gc.collect()
        assert complaints == []
        return found

    return run


@pytest.fixture
def started(path: Path, config: foldlog.Config) -> Any:
    """A store and a session "demo" in it."""

    @asynccontextmanager
    async def start() -> AsyncIterator[foldlog.aio.Session]:
        async with foldlog.aio.open(path, config=config) as store:
            yield await store.start_session(id="demo")

    return start


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The threads in which events were written."""
    seen: set[int] = set()
    append = journal.append

    def watched(*arguments: Any) -> None:
        seen.add(threading.get_ident())
        append(*arguments)

    monkeypatch.setattr(journal, "append", watched)
    return seen


@pytest.fixture
def commit_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many events each commit took, from here on."""
    sizes: list[int] = []
    append = journal.append

    def watched(database: Any, stamped: Any, also: Any = None) -> None:
        sizes.append(len(stamped))
        append(database, stamped, also)

    monkeypatch.setattr(journal, "append", watched)
    return sizes
