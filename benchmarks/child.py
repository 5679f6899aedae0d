"""What is measured in a process of its own: reopening, replaying, checkpointing a long session, and its memory.

Run by `benchmarks.reading`, which gives a verb and a store, and reads one line of JSON.
"""

import json
import random
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import orjson

import foldlog
from benchmarks.journals import SESSION

_SELECT = "SELECT event_id, type, at, data FROM events ORDER BY session_key, event_id"
CHANGED_ROWS = 10
_RECENT_ROWS = 100


def peak_mb() -> float:
    """The most memory this process has held, in MB; NaN where the kernel does not tell."""
    # Not getrusage: there a child begins with the peak of the process that started it.
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("nan")
    [peak] = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(peak) / 1000


def reopen(path: str) -> dict[str, float]:
    """Open a session at its checkpoint, look at what a recorder needs, add an event."""
    with foldlog.open(path, config=foldlog.Config(durability="normal")) as store:
        before_mb, start = peak_mb(), time.perf_counter()
        session = store.open_session(SESSION)
        assert session.view.counters["event"] > 0
        opened = time.perf_counter()
        session.add_event("note", text="here again")
        ended, after_mb = time.perf_counter(), peak_mb()
        session.close()
    return {
        "open_s": opened - start,
        "first_event_s": ended - opened,
        "peak_mb": after_mb,
        "grown_mb": after_mb - before_mb,
    }


def _floor(path: str) -> int:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return sum(1 for row in connection.execute(_SELECT) if orjson.loads(row[3]) is not None)
    finally:
        connection.close()


def replay(path: str, repeats: str) -> dict[str, Any]:
    """Fold the whole journal, in pairs with a SELECT and `orjson.loads` of the same rows."""
    floors, replays, peaks = list[float](), list[float](), list[float]()
    with foldlog.open(path, read_only=True) as store:
        events = _floor(path)
        before_mb = peak_mb()
        for _ in range(int(repeats)):
            start = time.perf_counter()
            assert _floor(path) == events
            middle = time.perf_counter()
            view = store.view(SESSION, at=events)
            end = time.perf_counter()
            assert view.counters["event"] == events
            del view
            floors.append(middle - start)
            replays.append(end - middle)
            peaks.append(peak_mb())
    return {"events": events, "floors_s": floors, "replays_s": replays, "grown_mb": peaks[0] - before_mb}


def checkpoint(path: str, durability: Literal["normal", "full"], repeats: str, seed: str) -> dict[str, Any]:
    """Checkpoint ten changed calls: of all there are, and of the last hundred."""
    chance = random.Random(int(seed))
    with foldlog.open(path, config=foldlog.Config(durability=durability)) as store:
        session = store.open_session(SESSION)
        last = session.view.counters["call"]
        rows = sum(session.view.counters[kind] for kind in ("turn", "message", "call"))

        def once(first: int, number: int) -> float:
            with session.batch():
                for call_id in chance.sample(range(first, last + 1), min(CHANGED_ROWS, last)):
                    session.update_call(call_id, tries=number)
            start = time.perf_counter()
            session.checkpoint()
            return time.perf_counter() - start

        once(1, -1)
        anywhere = [once(1, number) for number in range(int(repeats))]
        recent = [once(max(1, last - _RECENT_ROWS), number) for number in range(int(repeats))]
        session.close()
    return {"rows": rows, "anywhere_s": anywhere, "recent_s": recent}


_VERBS: dict[str, Callable[..., dict[str, Any]]] = {"reopen": reopen, "replay": replay, "checkpoint": checkpoint}

if __name__ == "__main__":
    print(json.dumps(_VERBS[sys.argv[1]](*sys.argv[2:])))
