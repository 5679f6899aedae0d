"""Search and following from coroutines."""

import asyncio
import contextlib
from pathlib import Path

import pytest

import foldlog
import foldlog.aio


def test_search_is_the_same_awaited(path: Path) -> None:
    async def main() -> None:
        async with foldlog.aio.open(path) as store, store.start_session(id="demo") as session:
            await session.add_message("user", "hello there")
            found = await store.search("hello", session="demo", role="user", kind="message", limit=5)
            assert found == store.sync.search("hello")
            assert [hit.snippet for hit in found] == ["hello there"]
            assert found.unsearched_count == 0
            with pytest.raises(foldlog.QueryError):
                await store.search("")

    asyncio.run(main())


def test_a_follower_can_be_cancelled_and_left(path: Path) -> None:
    async def main() -> None:
        async with foldlog.aio.open(path) as store, store.start_session(id="demo") as session:
            seen: list[int] = []

            async def tail() -> None:
                async for event in store.follow("demo", types=["note"]):
                    seen.append(event["n"])  # noqa: PERF401  (others look at it meanwhile)

            tasks = [asyncio.create_task(tail()) for _ in range(3)]
            for n in range(20):
                await session.emit("note", n=n)
            while len(seen) < 60:
                await asyncio.sleep(0.01)
            for task in tasks:
                task.cancel()
            assert await asyncio.gather(*tasks, return_exceptions=True)
            assert sorted(seen) == sorted([*range(20)] * 3)
            async with contextlib.aclosing(store.follow("demo")) as events:
                assert (await anext(events))["type"] == "session.started"

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_follower_ends_with_its_store(path: Path) -> None:
    async def main() -> int:
        async with foldlog.aio.open(path) as store:
            async with store.start_session(id="demo"):
                pass

            async def tail() -> int:
                return len([event async for event in store.follow()])

            task = asyncio.create_task(tail())
            await asyncio.sleep(0.1)
        return await task

    assert asyncio.run(asyncio.wait_for(main(), 60)) == 2
