"""Cancelling a task at each of its await points, one run after another."""

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any


@types.coroutine
def cancelled_at(work: Coroutine[Any, Any, Any], point: int, *, with_the_result: bool) -> Generator[Any, Any, Any]:
    """Run a coroutine, and cancel its task while it waits for the `point`-th time.

    `with_the_result`: at the moment when what it waits for is there, and it has not gone on yet.
    """
    task = asyncio.current_task()
    assert task is not None
    step: Callable[[], Any] = lambda: work.send(None)  # noqa: E731
    waits = 0
    while True:
        try:
            waited_for = step()
        except StopIteration as stop:
            return stop.value
        waits += 1
        if waits == point:
            if with_the_result and waited_for is not None:
                waited_for.add_done_callback(lambda _: task.cancel())
            else:
                asyncio.get_running_loop().call_soon(task.cancel)
        try:
            yield waited_for
        except BaseException as error:  # noqa: BLE001
            step = lambda error=error: work.throw(error)  # noqa: E731
        else:
            step = lambda: work.send(None)  # noqa: E731


async def cancel_everywhere(scenario: Callable[[int], Coroutine[Any, Any, Any]], check: Any, first: int = 0) -> int:
    """Cancel a scenario (made anew, by number) at every point, both ways, and check after each; how often."""
    number = first
    for with_the_result in (False, True):
        point = 0
        while True:
            point += 1
            number += 1

            async def run(number: int = number, point: int = point, late: bool = with_the_result) -> Any:
                return await cancelled_at(scenario(number), point, with_the_result=late)

            task = asyncio.create_task(run())
            await asyncio.wait([task])
            await check(number)
            if not task.cancelled():
                task.result()
                break
            assert point < 500
    return number - first
