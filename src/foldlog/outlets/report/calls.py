"""Which calls a page lists one by one, the bundles that stand for the others, and how many ran at once.

A bundle counts what it holds, with exact sums, so that a page of a million calls shows the same numbers as
the store. Calls that failed, run still or lead to other sessions are listed first.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from foldlog.core.columns import COPIED
from foldlog.core.ids import RowId
from foldlog.core.measures import LEAF_TYPES, ROOT_TYPES, TOKEN_ALIASES, Group, is_edge
from foldlog.core.rows import Entry, Row
from foldlog.outlets.report.run import ENDED_WELL
from foldlog.outlets.report.texts import milliseconds

# Calls of a page that are listed one by one, and bundles of the rest; a page of both is about 1 MB.
LISTED_MAX: Final = 4000
BUNDLES_MAX: Final = 1000
_TIME_SLOTS: Final = 60
_RUNNING_PARTS: Final = 400
_ENDED_WELL: Final = frozenset(ENDED_WELL)

T = TypeVar("T")
Key = tuple[Any, ...]


@dataclass(slots=True)
class Item:
    """A call, or a bundle of calls: then `call_id` is None and `count` says how many."""

    call_id: RowId | None
    row: Row
    seq: int
    count: int
    start: int | None
    end: int | None
    sums: Group


def quotas(counts: Sequence[int], most: int) -> list[int]:
    """How many rows each of several may show so that none shows more than it has, or all more than `most`.

    The small are shown whole before the large get more.
    """
    found = [0] * len(counts)
    left = most
    order = sorted(range(len(counts)), key=lambda at: counts[at])
    for done, at in enumerate(order):
        found[at] = min(counts[at], left // (len(order) - done))
        left -= found[at]
    return found


def ends_of(rows: Sequence[T], most: int) -> list[T]:
    """The first and the last of rows, so that there are at most `most`."""
    if len(rows) <= most:
        return list(rows)
    head = (most + 1) // 2
    return [*rows[:head], *rows[len(rows) - (most - head) :]]


def text_key(row: Row, key: str) -> str | None:
    """A key of a call as its column has it: text or None."""
    found: str | None = COPIED["call"][key](row.get(key))
    return found


def is_summed(row: Row) -> bool:
    """Whether a call counts in the sums: a call to a model."""
    return text_key(row, "type") in ROOT_TYPES | LEAF_TYPES


def listed(rows: list[tuple[RowId, Entry]], listed_max: int, bundles_max: int) -> list[Item]:
    """The calls of one session as items in order: all of them, or some and bundles of the others."""
    if len(rows) <= listed_max:
        return [_single(call_id, entry) for call_id, entry in rows]
    singles = {call_id for call_id, entry in rows if wants_attention(entry.row)}
    singles = set(ends_of([call_id for call_id, _ in rows if call_id in singles], listed_max))
    for call_id, _ in rows:
        if len(singles) >= listed_max:
            break
        singles.add(call_id)
    found = [_single(call_id, entry) for call_id, entry in rows if call_id in singles]
    found += _bundles([entry for call_id, entry in rows if call_id not in singles], bundles_max)
    return sorted(found, key=lambda item: item.seq)


def wants_attention(row: Row) -> bool:
    """Whether a call did not end well, or leads to another session."""
    status = row.get("status")
    return not (isinstance(status, str) and status in _ENDED_WELL) or is_edge(row)


def _single(call_id: RowId, entry: Entry) -> Item:
    row = entry.row
    sums = Group()
    if is_summed(row):
        sums.add(row)
    start, end = milliseconds(row.get("started_at")), milliseconds(row.get("ended_at"))
    return Item(call_id, row, entry.first_event_id, 1, start, end, sums)


def _bundles(entries: list[Entry], most: int) -> list[Item]:
    """Calls put together by what they have in common: as finely as `most` bundles allow."""
    starts = [milliseconds(entry.row.get("started_at")) for entry in entries]
    slots = _slots(starts)
    for key in _KEYS:
        groups: dict[Key, list[Entry]] = {}
        for entry, slot in zip(entries, slots, strict=True):
            groups.setdefault(key(entry.row, slot), []).append(entry)
        if len(groups) <= most:
            break
    return [_bundle(members) for members in groups.values()]


def _slots(starts: list[int | None]) -> list[int]:
    known = [start for start in starts if start is not None]
    if not known:
        return [0] * len(starts)
    first, length = min(known), max(max(known) - min(known), 1)
    return [-1 if start is None else (start - first) * (_TIME_SLOTS - 1) // length for start in starts]


def _words(row: Row, *keys: str) -> Key:
    return tuple(text_key(row, key) for key in keys)


# From the finest to the coarsest; the last has at most a few bundles whatever the calls are.
_KEYS: Final[tuple[Callable[[Row, int], Key], ...]] = (
    lambda row, slot: (*_words(row, "type", "status", "provider", "model"), str(row.get("turn_id")), slot),
    lambda row, slot: (*_words(row, "type", "status", "provider", "model"), slot),
    lambda row, slot: (*_words(row, "type", "provider", "model"), slot // 6),
    lambda row, slot: (*_words(row, "type", "provider", "model"), slot // 20),
    lambda row, _slot: _words(row, "type", "provider", "model"),
    lambda row, slot: (is_summed(row), slot // 20),
)


def _bundle(entries: list[Entry]) -> Item:
    sums = Group()
    for entry in entries:
        if is_summed(entry.row):
            sums.add(entry.row)
    common = {key: _common(entry.row.get(key) for entry in entries) for key in _COMMON_KEYS}
    starts = [milliseconds(entry.row.get("started_at")) for entry in entries]
    ends = [milliseconds(entry.row.get("ended_at")) for entry in entries]
    return Item(
        call_id=None,
        row=common,
        seq=entries[0].first_event_id,
        count=len(entries),
        start=min((start for start in starts if start is not None), default=None),
        end=max((end for end in ends if end is not None), default=None),
        sums=sums,
    )


_COMMON_KEYS: Final = ("type", "status", "provider", "model", "turn_id", "batch_id")


def _common(values: Iterable[Any]) -> Any:
    """What all values are, or None where they differ."""
    first, *others = values
    return first if all(type(other) is type(first) and other == first for other in others) else None


def running_over(rows: Iterable[Row], now: int) -> tuple[int, int, list[int]] | None:
    """From when to when calls ran, and the most at once in each of equal parts of that time.

    None where no call has a beginning. What has no end runs until `now`, if it runs still.
    """
    changes: list[tuple[float, int]] = []
    for row in rows:
        start, end = milliseconds(row.get("started_at")), milliseconds(row.get("ended_at"))
        if start is not None:
            still_runs = end is None and row.get("status") == "running"
            until = now if still_runs else end if end is not None else start
            changes += [(start, 1), (max(start + 0.5, until), -1)]
    if not changes:
        return None
    changes.sort()  # at the same moment, what ends goes before what begins
    first, last = int(changes[0][0]), math.ceil(changes[-1][0])
    most = [0] * _RUNNING_PARTS
    running = part = 0
    for at, change in changes:
        here = min(int((at - first) * _RUNNING_PARTS / (last - first)), _RUNNING_PARTS - 1)
        most[part + 1 : here + 1] = [running] * (here - part)
        running, part = running + change, here
        most[part] = max(most[part], running)
    return first, last, most


def token_sums(sums: Group) -> list[list[Any]]:
    """Input, output, total, cached and usd of a group: what is known or None, and how many calls are unknown."""
    measures = [*(sums.tokens[name] for name in TOKEN_ALIASES), sums.usd]
    return [[safe(m.value()) if m.count else None, sums.call_count - m.count] for m in measures]


def safe(number: Any) -> Any:
    """A number as JavaScript can read it: integers that it would round are text."""
    return str(number) if isinstance(number, int) and abs(number) > 2**53 else number
