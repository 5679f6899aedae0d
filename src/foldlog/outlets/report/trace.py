"""A run as Trace Event JSON, which Perfetto (ui.perfetto.dev) and chrome://tracing show.

A process a session, a track for its turns, and as many for its calls and evals as ran at once. What has no
end is a beginning without one. Nothing is cut or bundled; values and texts are left to the other formats.
"""

import heapq
from collections.abc import Iterator
from typing import Any, Final

import orjson

from foldlog.core.measures import COST_ALIASES, TOKEN_ALIASES, first_number
from foldlog.core.rows import Row
from foldlog.outlets.report.run import Member, Run
from foldlog.outlets.report.texts import milliseconds, readable

# Tracks of a process, in the order they are shown; lanes of a kind are numbered from its first.
_FIRST_TRACKS: Final = {"turn": 0, "eval": 1_000, "call": 100_000}
_NAME_CHARS_MAX: Final = 200


def chunks(run: Run) -> Iterator[str]:
    """The trace, an event a line."""
    head = {"displayTimeUnit": "ms", "otherData": {"session": run.root.session_id, "made_at": run.made_at}}
    yield orjson.dumps(head)[:-1].decode() + ',"traceEvents":['
    places = {member.session_id: place for place, member in enumerate(run.members) if member.view is not None}
    separator = "\n"
    for place, member in enumerate(run.members):
        if member.view is not None:
            for event in _session(place, member, places):
                yield separator + orjson.dumps(event).decode()
                separator = ",\n"
    yield "\n]}\n"


def _session(place: int, member: Member, places: dict[str, int]) -> Iterator[dict[str, Any]]:
    yield _named("process_name", place, 0, member.session_id)
    yield {"ph": "M", "name": "process_sort_index", "pid": place, "tid": 0, "args": {"sort_index": place}}
    if member.parent is not None and (begin := _first_us(member)) is not None:
        # The head of the arrow from the call that leads here, which `_slice` begins.
        flow = {"ph": "f", "bp": "e", "name": "leads to", "cat": "child", "id": place, "ts": begin}
        yield {**flow, "pid": place, "tid": _FIRST_TRACKS["turn"]}
    for kind, first_track in _FIRST_TRACKS.items():
        lanes = Lanes()
        for begin, row_id, row in _by_begin(member, kind):
            end = _us(row, "ended_at")
            is_new, lane = lanes.take(begin, end)
            track = {"pid": place, "tid": first_track + lane}
            if is_new:
                yield _named("thread_name", place, track["tid"], f"{kind}s" if lane == 0 else f"{kind}s, {lane + 1}")
            yield from _slice(kind, row_id, row, begin, end, track, places)


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
        begin = _us(entry.row, "started_at")
        if begin is not None:
            found.append((begin, row_id, entry.row))
    return sorted(found, key=lambda one: one[0])


def _slice(
    kind: str, row_id: Any, row: Row, begin: int, end: int | None, track: dict[str, int], places: dict[str, int]
) -> Iterator[dict[str, Any]]:
    label = row.get("model") or row.get("type") if kind == "call" else None
    name = f"{kind} {row_id}" if label is None else f"{kind} {row_id} · {label}"
    found = {"name": name[:_NAME_CHARS_MAX], "cat": kind, "ts": begin, **track, "args": _args(row)}
    yield {**found, "ph": "B"} if end is None else {**found, "ph": "X", "dur": max(end - begin, 0)}
    child = row.get("child_session_id") if kind == "call" else None
    if isinstance(child, str) and child in places:
        yield {"ph": "s", "name": "leads to", "cat": "child", "id": places[child], "ts": begin, **track}


def _args(row: Row) -> dict[str, Any]:
    """What the trace shows of a row when it is clicked: who, how it ended, what it took."""
    keys = ("status", "type", "provider", "model", "turn_id", "batch_id", "batch_index", "child_session_id", "error")
    args: dict[str, Any] = {key: readable(row[key])[:_NAME_CHARS_MAX] for key in keys if row.get(key) is not None}
    for name, aliases in TOKEN_ALIASES.items():
        args[name] = first_number(row.get("usage"), aliases)
    args["usd"] = first_number(row.get("cost"), COST_ALIASES)
    return {key: value for key, value in args.items() if value is not None}


def _named(what: str, place: int, track: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": place, "tid": track, "args": {"name": name}}


def _first_us(member: Member) -> int | None:
    starts = [_us(entry.row, "started_at") for _, entry in member.rows("turn")]
    return min((start for start in starts if start is not None), default=None)


def _us(row: Row, key: str) -> int | None:
    """A time in µs since 1970; None for what is no time."""
    found = milliseconds(row.get(key))
    return None if found is None else found * 1000
