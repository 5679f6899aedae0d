"""Slices: every candidate runs in short slices, each between two slices of the floor.

A disk drifts: its syncs take twice as long a minute later. A ratio of two slices that ran side by side
hardly notices, and the median of such ratios less still. What runs in a slice is in `benchmarks.floor`,
`benchmarks.candidates` and `benchmarks.peers`.
"""

import asyncio
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

from benchmarks.results import Measurement, missing, percentile, quartiles, reason_of

Op = Callable[[], object]
AsyncOp = Callable[[], Awaitable[object]]


@dataclass(slots=True)
class Slice:
    """What was done in one slice: how long each operation took, and all of them together."""

    latencies_s: list[float]
    elapsed_s: float

    @property
    def per_second(self) -> float:
        """Operations a second."""
        return len(self.latencies_s) / self.elapsed_s


@dataclass(slots=True)
class Candidate:
    """Something that can be measured: it runs for so many seconds, and says how durable its work was."""

    name: str
    durability: str
    run: Callable[[float], Slice]


def timed(op: Op, seconds: float) -> Slice:
    """One caller, one operation after another."""
    clock, latencies = time.perf_counter, list[float]()
    start = now = clock()
    while now < start + seconds:
        op()
        then = clock()
        latencies.append(then - now)
        now = then
    return Slice(latencies, now - start)


def timed_threads(ops: list[Op], seconds: float) -> Slice:
    """As many threads as operations, released together."""
    done, errors = list[Slice](), list[BaseException]()
    start = threading.Barrier(len(ops) + 1)

    def work(op: Op) -> None:
        start.wait()
        try:
            done.append(timed(op, seconds))
        except BaseException as error:  # noqa: BLE001  (told to the one who waits)
            errors.append(error)

    threads = [threading.Thread(target=work, args=(op,)) for op in ops]
    for thread in threads:
        thread.start()
    start.wait()
    since = time.perf_counter()
    for thread in threads:
        thread.join()
    elapsed_s = time.perf_counter() - since
    if errors:
        raise errors[0]
    return Slice([latency for part in done for latency in part.latencies_s], elapsed_s)


async def timed_tasks(ops: list[AsyncOp], seconds: float) -> Slice:
    """As many coroutines as operations."""
    clock, latencies = time.perf_counter, list[float]()
    start = clock()

    async def work(op: AsyncOp) -> None:
        now = clock()
        while now < start + seconds:
            await op()
            then = clock()
            latencies.append(then - now)
            now = then

    await asyncio.gather(*map(work, ops))
    return Slice(latencies, clock() - start)


@dataclass(slots=True)
class _Pairs:
    candidate: Candidate
    is_optional: bool
    ratios: list[float] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)
    failure: str = ""


@dataclass(slots=True)
class Contest:
    """A floor and the candidates measured against it; candidates that cannot be opened are kept by reason."""

    key: str
    group: str
    floor: Candidate
    stack: ExitStack
    _pairs: dict[str, _Pairs] = field(default_factory=dict)
    _missing: list[Measurement] = field(default_factory=list)

    def add(
        self, key: str, label: str, opening: AbstractContextManager[Candidate], *, is_optional: bool = False
    ) -> None:
        """Open a candidate; one that fails is listed with the reason, and fails the run unless it is optional."""
        try:
            self._pairs[key] = _Pairs(self.stack.enter_context(opening), is_optional)
        except Exception as error:  # noqa: BLE001  (a peer may raise anything; the run goes on)
            failed = not is_optional and not isinstance(error, ImportError)
            self.cannot(key, label, reason_of(error), failed=failed)

    def cannot(self, key: str, label: str, reason: str, *, failed: bool = False) -> None:
        """List a candidate that is not measured."""
        self._missing.append(missing(f"{self.key}.{key}", self.group, label, reason, failed=failed))

    def run(self, *, seconds: float, rounds: int) -> list[Measurement]:
        """Floor, candidate, floor, candidate, … for so many rounds."""
        self.floor.run(seconds / 4)
        for pairs in self._pairs.values():
            _try(pairs, seconds / 4)
        before = self.floor.run(seconds)
        floors = [before]
        for _ in range(rounds):
            for pairs in self._pairs.values():
                found = _try(pairs, seconds)
                after = self.floor.run(seconds)
                floors.append(after)
                if found is not None:
                    pairs.slices.append(found)
                    pairs.ratios.append(2 * found.per_second / (before.per_second + after.per_second))
                before = after
        return [self._floor(floors), *(self._found(key, p, floors) for key, p in self._pairs.items()), *self._missing]

    def _floor(self, floors: list[Slice]) -> Measurement:
        return Measurement(
            f"{self.key}.floor",
            self.group,
            f"{self.floor.name} (the floor)",
            1.0,
            "x",
            details={**_speed(floors), "durability": self.floor.durability},
        )

    def _found(self, key: str, pairs: _Pairs, floors: list[Slice]) -> Measurement:
        name, key = pairs.candidate.name, f"{self.key}.{key}"
        if pairs.failure:
            return missing(key, self.group, name, pairs.failure, failed=not pairs.is_optional)
        low, median, high = quartiles(pairs.ratios)
        speed, floor = _speed(pairs.slices), _speed(floors)
        details = {
            **speed,
            "p99 / floor's": round(float(speed["p99 ms"]) / float(floor["p99 ms"]), 2),
            "durability": pairs.candidate.durability,
        }
        return Measurement(key, self.group, name, median, "x", low, high, details=details)


def _try(pairs: _Pairs, seconds: float) -> Slice | None:
    if pairs.failure:
        return None
    try:
        return pairs.candidate.run(seconds)
    except Exception as error:  # noqa: BLE001  (the others are still to be measured)
        pairs.failure = reason_of(error)
        return None


def _speed(slices: list[Slice]) -> dict[str, str | float | int]:
    ordered = sorted(latency for part in slices for latency in part.latencies_s)
    return {
        "events/s": round(statistics.median(part.per_second for part in slices)),
        "p50 ms": round(percentile(ordered, 50) * 1000, 4),
        "p99 ms": round(percentile(ordered, 99) * 1000, 4),
    }
