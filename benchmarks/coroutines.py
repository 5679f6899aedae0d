"""64 coroutines on one session, beside aiosqlite with one commit an event."""

import asyncio
import importlib
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from functools import partial
from pathlib import Path
from typing import Any

import foldlog
from benchmarks import floor
from benchmarks.bench import Bench, say
from benchmarks.candidates import Level
from benchmarks.payload import TYPE, calls, payloads
from benchmarks.results import Measurement, missing, reason_of
from benchmarks.slices import AsyncOp, Candidate, Contest, timed_tasks
from benchmarks.speed import LEVELS

COUNT = 64
_TICK_S = 0.001


class LoopWatch:
    """The longest time that the event loop did not come round."""

    def __init__(self) -> None:
        self.longest_ms = 0.0

    async def watch(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            start = loop.time()
            await asyncio.sleep(_TICK_S)
            self.longest_ms = max(self.longest_ms, (loop.time() - start - _TICK_S) * 1000)


@asynccontextmanager
async def _foldlog(place: Path | str, level: Level, seed: int, durability: str) -> AsyncIterator[tuple[str, AsyncOp]]:
    aio: Any = importlib.import_module("foldlog.aio")
    config = foldlog.Config(durability=level)
    async with aio.open(place, config=config) as store, store.start_session(id="s") as session:
        for call in calls():
            await session.emit("call.started", call=call)
        cycle = itertools.cycle(payloads(seed))
        yield durability, lambda: session.emit(TYPE, **next(cycle))


@asynccontextmanager
async def _aiosqlite(folder: Path, level: Level, seed: int, *, commits: bool) -> AsyncIterator[tuple[str, AsyncOp]]:
    aiosqlite: Any = importlib.import_module("aiosqlite")
    path = floor.make(folder, f"aiosqlite-{level}-{commits}")
    async with aiosqlite.connect(path, **({} if commits else {"isolation_level": None})) as connection:
        pragmas = []
        await connection.execute(f"PRAGMA synchronous = {level.upper()}")
        for name in ("journal_mode", "synchronous"):
            async with connection.execute(f"PRAGMA {name}") as cursor:
                pragmas.append((await cursor.fetchone())[0])
        following = floor.values(seed)

        async def execute() -> None:
            await connection.execute(floor.INSERT, following())

        async def execute_and_commit() -> None:
            # The coroutines share a connection: without the lock one commit would be that of several events.
            async with lock:
                await connection.execute(floor.INSERT, following())
                await connection.commit()

        lock = asyncio.Lock()
        yield floor.durability_of(*pragmas), execute_and_commit if commits else execute


@contextmanager
def _candidate(
    name: str, opening: AbstractAsyncContextManager[tuple[str, AsyncOp]], watch: LoopWatch | None = None
) -> Iterator[Candidate]:
    with asyncio.Runner() as runner:
        durability, op = runner.run(opening.__aenter__())

        async def once(seconds: float) -> Any:
            watching = asyncio.ensure_future(watch.watch()) if watch is not None else None
            try:
                return await timed_tasks([op] * COUNT, seconds)
            finally:
                if watching is not None:
                    watching.cancel()

        try:
            yield Candidate(name, durability, lambda seconds: runner.run(once(seconds)))
        finally:
            runner.run(opening.__aexit__(None, None, None))


def _aiosqlite_candidate(folder: Path, level: Level, seed: int, *, commits: bool) -> AbstractContextManager[Candidate]:
    name = "aiosqlite, execute and commit" if commits else "aiosqlite, autocommit"
    return _candidate(name, _aiosqlite(folder, level, seed, commits=commits))


def foldlog_candidate(
    place: Path | str, level: Level, seed: int, durability: str, watch: LoopWatch | None = None
) -> AbstractContextManager[Candidate]:
    """`foldlog.aio` on a store at a path or a URL; entering it raises ImportError where this foldlog has none."""
    return _candidate(f"foldlog.aio emit, {COUNT} coroutines", _foldlog(place, level, seed, durability), watch)


def coroutines(bench: Bench) -> Iterator[Measurement]:
    """foldlog.aio beside aiosqlite with one commit an event, in both ways it has of doing that."""
    for level in LEVELS:
        say(f"{COUNT} coroutines, {level}")
        key, group, label = f"coroutines.{level}", f"{COUNT} coroutines, {level}", "foldlog.aio emit"
        with bench.workspace() as folder, ExitStack() as stack:
            start = partial(_aiosqlite_candidate, folder, level, bench.seed)
            try:
                base = stack.enter_context(start(commits=True))
            except ImportError as error:
                yield missing(key, group, label, f"not available: {reason_of(error)}")
                continue
            watch = LoopWatch()
            contest = Contest(key, group, base, stack)
            place, durability = folder / f"aio-{level}.db", f"WAL, synchronous={level.upper()} (as asked)"
            contest.add("foldlog", label, foldlog_candidate(place, level, bench.seed, durability, watch))
            contest.add("autocommit", "aiosqlite, autocommit", start(commits=False))
            found = {each.key: each for each in contest.run(seconds=bench.scale.slice_s, rounds=bench.scale.rounds)}
        ours, theirs = found[f"{key}.foldlog"], found[f"{key}.autocommit"]
        if ours.value is not None:
            ours.details = {**ours.details, "longest loop pause ms": round(watch.longest_ms, 2)}
        yield from found.values()
        yield _against(ours, theirs, f"{key}.against_autocommit")


def _against(ours: Measurement, theirs: Measurement, key: str) -> Measurement:
    label = f"{ours.label} against {theirs.label}"
    if ours.value is None or theirs.value is None:
        return missing(key, ours.group, label, ours.reason or theirs.reason)
    return Measurement(key, ours.group, label, ours.value / theirs.value, "x")
