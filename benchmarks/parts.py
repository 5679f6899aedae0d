"""Where an `emit` goes: its parts, each timed alone, beside raw SQLite's INSERT and the whole.

The parts are the functions of `foldlog.core` that a recorder calls. What the sum leaves over is everything that
is not one of them: the verb, the locks, the statement's values, the bookkeeping of what is pending.
"""

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

import foldlog
from benchmarks import candidates, floor
from benchmarks.bench import Bench, say
from benchmarks.payload import TYPE, calls, payloads
from benchmarks.results import Measurement, quartiles
from benchmarks.slices import Op
from foldlog.core.chain import digest_of, first_chain, next_chain
from foldlog.core.clock import format_time
from foldlog.core.codec import encode
from foldlog.core.fold import advance
from foldlog.core.refs import copy_value
from foldlog.session.config import utc_now

_GROUP: Final = "Where an emit goes: one caller, normal, the parts timed alone"
_AT: Final = "2026-11-22T06:41:10.344131Z"
_OPS_A_BATCH: Final = 200
_BATCHES: Final = 10


def _core_parts(seed: int) -> dict[str, Op]:
    fields = itertools.cycle(payloads(seed))
    encoded = itertools.cycle([encode(row, what=TYPE).data for row in payloads(seed)])
    plain = itertools.cycle([{"id": 1, "type": TYPE, "at": _AT, **row} for row in payloads(seed)])
    head = first_chain("s")
    events = [{"id": 1, "type": "session.started", "at": _AT, "session": {"id": "s", "status": "running"}}]
    events += [{"id": n, "type": "call.started", "at": _AT, "call": call} for n, call in enumerate(calls(), 2)]
    view, ids = foldlog.fold(events), itertools.count(len(events) + 1)
    return {
        "check and encode": lambda: encode(next(fields), what=TYPE),
        "time": lambda: format_time(utc_now()),
        "digest and chain": lambda: next_chain(head, 2, TYPE, _AT, digest_of(next(encoded))),
        "fold": lambda: advance(view, {**next(plain), "id": next(ids)}),
        "copy for the caller": lambda: copy_value(next(plain)),
    }


def _batch_us(op: Op) -> float:
    start = time.perf_counter()
    for _ in range(_OPS_A_BATCH):
        op()
    return (time.perf_counter() - start) / _OPS_A_BATCH * 1e6


def parts(bench: Bench) -> Iterator[Measurement]:
    """Microseconds an event, in batches that take turns."""
    say("where an emit goes")
    with bench.workspace() as folder, ExitStack() as stack:
        [session] = stack.enter_context(candidates.sessions(folder, "normal", "parts"))
        connection = floor.connect(floor.make(folder, "parts-floor"), "normal")
        stack.callback(connection.close)
        following = floor.values(bench.seed)
        whole, insert = "emit, the whole", "raw sqlite3's INSERT"
        ops = {
            whole: candidates.emitting(session, bench.seed),
            insert: lambda: connection.execute(floor.INSERT, following()),
            **_core_parts(bench.seed),
        }
        batches = {name: list[float]() for name in ops}
        for _, (name, op) in itertools.product(range(_BATCHES * bench.scale.rounds), ops.items()):
            batches[name].append(_batch_us(op))
    found = {name: quartiles(times) for name, times in batches.items()}
    for name, (low, median, high) in found.items():
        details = {"of the whole": f"{median / found[whole][1]:.0%}"}
        yield Measurement(f"parts.{name}", _GROUP, name, median, "us", low, high, details=details)
    rest = found[whole][1] - sum(median for name, (_, median, _) in found.items() if name != whole)
    details = {"of the whole": f"{rest / found[whole][1]:.0%}"}
    yield Measurement("parts.rest", _GROUP, "what is left: verb, locks, bookkeeping", rest, "us", details=details)
