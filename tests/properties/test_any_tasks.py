"""Any tasks, with batches, threads and cancellations between them: what was acknowledged is there, and whole."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import foldlog
import foldlog.aio

singles = st.sampled_from(["small", "small", "keyed", "large", "refused", "rest", "child", "status"])
insides = st.sampled_from(["small", "keyed", "large", "refused", "rest", "nested", "nested fails"])
steps = st.one_of(
    singles.map(lambda name: (name, ())),
    st.tuples(st.sampled_from(["batch", "batch", "batch fails"]), st.lists(insides, max_size=4).map(tuple)),
    st.tuples(st.just("thread"), st.just(())),
)
# Each task: its steps, and after how many turns of the loop it is cancelled, if it is.
tasks = st.tuples(st.lists(steps, max_size=6), st.none() | st.integers(0, 40))

LARGE = ["x" * 10] * 3000


class Model:
    """What was acknowledged, and what can only be there together; events are known by their marks."""

    def __init__(self) -> None:
        self.marks: Iterator[int] = count(1)
        self.acknowledged: list[list[int]] = []
        self.batches: list[list[int]] = []
        self.never: list[int] = []


class Player:
    """One task's steps."""

    def __init__(self, session: foldlog.aio.Session, model: Model) -> None:
        self.session = session
        self.model = model
        self.acknowledged: list[int] = []
        model.acknowledged.append(self.acknowledged)

    async def play(self, plan: list[tuple[str, tuple[str, ...]]]) -> None:
        for name, inside in plan:
            if name.startswith("batch"):
                await self.batch(inside, fails=name == "batch fails")
            else:
                self.acknowledged += await self.one(name)

    async def one(self, name: str) -> list[int]:
        session, mark = self.session, next(self.model.marks)
        if name == "small":
            await session.emit("note", mark=mark)
        elif name == "keyed":
            event = await session.emit("note", mark=mark, idempotency_key=f"k{mark}")
            again = await session.emit("note", mark=-1, idempotency_key=f"k{mark}")
            assert again == event
        elif name == "large":
            await session.emit("note", mark=mark, value=LARGE)
        elif name == "thread":
            await asyncio.to_thread(session.sync.emit, "note", mark=mark)
        elif name == "child":
            async with session.start_child(mark=mark) as child:
                await child.add_event("note")
            return []
        elif name == "status":
            await session.update_status("running")
            return []
        elif name == "nested":
            async with session.batch():
                return await self.one("small")
        elif name == "nested fails":
            with contextlib.suppress(KeyError):
                async with session.batch():
                    self.model.never += await self.one("small")
                    raise KeyError
            return []
        elif name == "refused":
            with contextlib.suppress(foldlog.UnknownRowError):
                await session.add_call("leaf", turn_id=10**6)
            return []
        else:
            await asyncio.sleep(0)
            return []
        return [mark]

    async def batch(self, inside: tuple[str, ...], *, fails: bool) -> None:
        own: list[int] = []
        left = False
        try:
            async with self.session.batch():
                for name in inside:
                    own += await self.one(name)
                left = not fails
                if fails:
                    raise KeyError  # noqa: TRY301
        except KeyError:
            assert fails
        except asyncio.CancelledError:
            # It came inside, and the batch was taken back, or while the commit was awaited.
            if left:
                self.model.batches.append(own)
            else:
                self.model.never += own
            raise
        if fails:
            self.model.never += own
        else:
            self.acknowledged += own
            self.model.batches.append(own)


async def run(path: Path, plans: list[tuple[list[Any], int | None]]) -> Model:
    model = Model()
    async with foldlog.aio.open(path, config=foldlog.Config(durability="normal")) as store:
        session = await store.start_session(id="demo")
        going = [asyncio.create_task(Player(session, model).play(plan)) for plan, _ in plans]
        for turn in range(42):
            for task, (_, cancelled_at) in zip(going, plans, strict=True):
                if turn == cancelled_at:
                    task.cancel()
            await asyncio.sleep(0)
        found = await asyncio.gather(*going, return_exceptions=True)
        assert [error for error in found if error and not isinstance(error, asyncio.CancelledError)] == []
        async with asyncio.timeout(30), session.batch():
            await session.emit("note", mark=next(model.marks))
        await session.close()
        assert session.view == foldlog.fold(store.sync.events("demo"))
        assert (await store.verify()).problems == []
    return model


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(tasks, min_size=1, max_size=6))
def test_what_was_acknowledged_is_there_and_whole(
    new_path: Callable[[], Path], enough: Callable[[], bool], plans: list[tuple[list[Any], int | None]]
) -> None:
    if enough():
        return
    path = new_path()
    model = asyncio.run(asyncio.wait_for(run(path, plans), 120))
    with foldlog.open(path) as store:
        events = list(store.events("demo"))
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    places = {event["mark"]: place for place, event in enumerate(events) if event["type"] == "note"}
    assert len(places) == sum(event["type"] == "note" for event in events)
    for own in model.acknowledged:
        found = [places[mark] for mark in own]
        assert found == sorted(found)
    for batch in model.batches:
        found = [places[mark] for mark in batch if mark in places]
        assert found == [] or found == list(range(found[0], found[0] + len(batch)))
    assert not set(model.never) & set(places)
