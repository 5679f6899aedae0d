"""Long sessions: reopening at a checkpoint, replaying a journal, checkpointing a few rows among many."""

import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks import processes
from benchmarks.bench import Bench, say
from benchmarks.results import Measurement, quartiles

_REOPEN = "Reopen at a checkpoint, in a fresh process (normal)"
_REPLAY = "Replay a journal, against SELECT and orjson.loads of the same rows, in a fresh process"
_CHECKPOINT = "Checkpoint of 10 changed calls"


def _child(*arguments: object) -> Any:
    return processes.run("-m", "benchmarks.child", *map(str, arguments))


def reopen(bench: Bench) -> Iterator[Measurement]:
    """`open_session` of sessions of every size, and how time and memory grow from the least to the largest."""
    found: dict[str, Measurement] = {}
    for size in bench.scale.sizes:
        path = bench.journal(size)
        say(f"reopen {size}")
        repeats = max(1, bench.scale.repeats if size != "1M" else bench.scale.repeats // 3)
        answers = [_child("reopen", path) for _ in range(repeats)]
        low, median, high = quartiles([answer["open_s"] * 1000 for answer in answers])
        details = {
            "first event ms": round(statistics.median(answer["first_event_s"] for answer in answers) * 1000, 2),
            "peak RSS MB": round(statistics.median(answer["peak_mb"] for answer in answers), 1),
            "of it by opening MB": round(statistics.median(answer["grown_mb"] for answer in answers), 1),
        }
        found[size] = Measurement(
            f"reopen.{size}", _REOPEN, f"{bench.scale.sizes[size]:,} events", median, "ms", low, high, details=details
        )
        yield found[size]
    least, largest = (found[size] for size in (min(found, key=_events(bench)), max(found, key=_events(bench))))
    label = f"{largest.label} against {least.label}"
    assert largest.value is not None
    assert least.value is not None
    yield Measurement("reopen.time", _REOPEN, f"{label}: time", largest.value / least.value, "x")
    memory = float(largest.details["peak RSS MB"]) - float(least.details["peak RSS MB"])
    yield Measurement("reopen.memory", _REOPEN, f"{label}: memory", memory, "MB more")


def _events(bench: Bench) -> Any:
    return bench.scale.sizes.__getitem__


def replay(bench: Bench) -> Iterator[Measurement]:
    """`store.view(id, at=…)`: the journal alone."""
    for size in bench.scale.sizes:
        path = bench.journal(size)
        say(f"replay {size}")
        answer = _child("replay", path, 2 if size == "1M" else max(1, bench.scale.repeats // 2))
        pairs = zip(answer["replays_s"], answer["floors_s"], strict=True)
        low, median, high = quartiles([whole / floor for whole, floor in pairs])
        middle_s = statistics.median(answer["replays_s"])
        details = {
            "replay s": round(middle_s, 3),
            "floor s": round(statistics.median(answer["floors_s"]), 3),
            "events/s": round(answer["events"] / middle_s),
            "memory MB": round(answer["grown_mb"], 1),
        }
        label = f"{answer['events']:,} events"
        yield Measurement(f"replay.{size}", _REPLAY, label, median, "x the time", low, high, details=details)


def checkpoint(bench: Bench) -> Iterator[Measurement]:
    """Ten calls anywhere among so many rows, and ten among the last hundred calls."""
    for level in ("normal", "full"):
        medians = dict[str, float]()
        for size in bench.scale.sizes:
            path = bench.journal(size)
            say(f"checkpoint {level} {size}")
            answer = _child("checkpoint", path, level, bench.scale.repeats * 4, bench.seed)
            low, median, high = quartiles([seconds * 1000 for seconds in answer["anywhere_s"]])
            medians[size] = median
            details = {"among the last 100 ms": round(statistics.median(answer["recent_s"]) * 1000, 3)}
            label = f"{level}, among {answer['rows']:,} rows"
            key = f"checkpoint.{level}.{size}"
            yield Measurement(key, _CHECKPOINT, label, median, "ms", low, high, details=details)
        label = f"{level}, slowest size against quickest"
        growth = max(medians.values()) / min(medians.values())
        yield Measurement(f"checkpoint.{level}.growth", _CHECKPOINT, label, growth, "x")
