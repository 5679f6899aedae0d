"""A run as Trace Event JSON, which Perfetto (ui.perfetto.dev) and chrome://tracing show.

A process a session, a track for its turns, and as many for its calls and evals as ran at once. What runs
still is a beginning without an end. Nothing is cut or bundled; values and texts are left to the other formats.
"""

import heapq
from collections.abc import Iterator
from typing import Any, Final

import orjson

from foldlog.core.measures import COST_ALIASES, TOKEN_ALIASES, first_number
from foldlog.core.rows import Row
from foldlog.outlets.report.run import Member, Run
from foldlog.outlets.report.texts import microseconds, readable

# Tracks of a process, in the order they are shown; lanes of a kind are numbered from its first. Neither a
# process nor a track is number 0, which Perfetto takes for the idle one.
_FIRST_TRACKS: Final = {"turn": 1, "eval": 1_000_000, "call": 2_000_000}
_NAME_CHARS_MAX: Final = 200

Arrows = dict[tuple[Any, Any], tuple[int, int]]


def chunks(run: Run) -> Iterator[str]:
    """The trace, an event a line."""
    head = {"displayTimeUnit": "ms", "otherData": {"session": run.root.session_id, "made_at": run.made_at}}
    yield orjson.dumps(head)[:-1].decode() + ',"traceEvents":['
    # The calls that lead to a session, each with the number of its process and its first moment there.
    arrows = {
        (member.parent, member.call_id): (process, begin)
        for process, member in enumerate(run.members, 1)
        if member.parent is not None and (begin := _first_us(member)) is not None
    }
    separator = "\n"
    for process, member in enumerate(run.members, 1):
        if member.view is not None:
            for event in _session(process, member, arrows):
                yield separator + orjson.dumps(event).decode()
                separator = ",\n"
    yield "\n]}\n"


def _session(process: int, member: Member, arrows: Arrows) -> Iterator[dict[str, Any]]:
    yield _told("process_name", process, _FIRST_TRACKS["turn"], name=member.session_id)
    yield _told("process_sort_index", process, _FIRST_TRACKS["turn"], sort_index=process)
    for kind, first_track in _FIRST_TRACKS.items():
        lanes = Lanes()
        for begin, row_id, row in _by_begin(member, kind):
            # What ended at a time that is not known is a slice of no length.
            end = microseconds(row.get("ended_at"))
            end = begin if end is None and row.get("status") != "running" else end
            is_new, lane = lanes.take(begin, end)
            track = {"pid": process, "tid": first_track + lane}
            if is_new:
                yield _told("thread_name", **track, name=f"{kind}s" if lane == 0 else f"{kind}s, {lane + 1}")
                yield _told("thread_sort_index", **track, sort_index=track["tid"])
            yield _slice(kind, row_id, row, begin, end, track)
            child, first = arrows.get((process - 1, row_id), (0, 0)) if kind == "call" else (0, 0)
            if child and begin <= first:  # the format has no arrows back in time
                flow = {"name": "leads to", "cat": "child", "id": child}
                yield {**flow, "ph": "s", "ts": begin, **track}
                yield {**flow, "ph": "f", "bp": "e", "ts": first, "pid": child, "tid": _FIRST_TRACKS["turn"]}


class Lanes:
    """Tracks for what runs at the same time: each slice gets the first that is free."""

    def __init__(self) -> None:
        self._count = 0
        self._free: list[int] = []
        self._busy: list[tuple[float, int]] = []

    def take(self, begin: int, end: int | None) -> tuple[bool, int]:
        """Whether the lane is a new one, and its number; slices come in order of their beginnings."""
        while self._busy and self._busy[0][0] <= begin:
            heapq.heappush(self._free, heapq.heappop(self._busy)[1])
        is_new = not self._free
        lane = self._count if is_new else heapq.heappop(self._free)
        self._count += is_new
        heapq.heappush(self._busy, (float("inf") if end is None else max(end, begin), lane))
        return is_new, lane


def _by_begin(member: Member, kind: str) -> list[tuple[int, Any, Row]]:
    """The rows of a kind that have a beginning, in order of it."""
    found = []
    for row_id, entry in member.rows(kind):
        begin = microseconds(entry.row.get("started_at"))
        if begin is not None:
            found.append((begin, row_id, entry.row))
    return sorted(found, key=lambda one: one[0])


def _slice(kind: str, row_id: Any, row: Row, begin: int, end: int | None, track: dict[str, int]) -> dict[str, Any]:
    label = row.get("model") or row.get("type") if kind == "call" else None
    name = f"{kind} {row_id}" if label is None else f"{kind} {row_id} · {label}"
    found = {"name": name[:_NAME_CHARS_MAX], "cat": kind, "ts": begin, **track, "args": _args(row)}
    return {**found, "ph": "B"} if end is None else {**found, "ph": "X", "dur": max(end - begin, 0)}


def _args(row: Row) -> dict[str, Any]:
    """What the trace shows of a row when it is clicked: who, how it ended, what it took."""
    keys = ("status", "type", "provider", "model", "turn_id", "batch_id", "batch_index", "child_session_id", "error")
    args: dict[str, Any] = {key: readable(row[key])[:_NAME_CHARS_MAX] for key in keys if row.get(key) is not None}
    for name, aliases in TOKEN_ALIASES.items():
        args[name] = first_number(row.get("usage"), aliases)
    args["usd"] = first_number(row.get("cost"), COST_ALIASES)
    return {key: value for key, value in args.items() if value is not None}


def _told(what: str, pid: int, tid: int, **args: Any) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": args}


def _first_us(member: Member) -> int | None:
    """When a session's first turn began: where an arrow to it ends."""
    starts = [microseconds(entry.row.get("started_at")) for _, entry in member.rows("turn")]
    return min((start for start in starts if start is not None), default=None)
