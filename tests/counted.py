"""What model calls took, counted once more: from the folded journals, by the rules of the words.

Nothing of the library's own sums is used here, so that each way out of the library can be held to it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import foldlog

Row = dict[str, Any]

NAMES = {
    "input_tokens": ("input_tokens", "prompt_tokens"),
    "output_tokens": ("output_tokens", "completion_tokens"),
    "total_tokens": ("total_tokens",),
    "cached_tokens": ("cached_tokens", "cached_input_tokens"),
}
GROUPS = {"root": ("root",), "leaf": ("leaf", "leaf_batch_item")}
MODEL_CALLS = (*GROUPS["root"], *GROUPS["leaf"])
EDGES = ("child", "child_batch_item", "attached_child")


# What is expected: the calls that count, and sums over them.


@dataclass
class Sums:
    """Over some model calls: how many, what is known of each measure, and of how many calls."""

    count: int
    known: dict[str, Any]
    told: dict[str, int]

    @property
    def status(self) -> str:
        return status_of(self.count, [self.told[name] for name in ("input_tokens", "output_tokens", "total_tokens")])

    @property
    def usd_status(self) -> str:
        return status_of(self.count, [self.told["usd"]])


def status_of(count: int, told: list[int]) -> str:
    if not any(told):
        return "unknown"
    return "known" if all(number == count for number in told) else "partial"


def number_of(values: Any, names: tuple[str, ...]) -> Any:
    found = [values[name] for name in names if name in values] if isinstance(values, dict) else []
    return next((one for one in found if isinstance(one, int | float) and not isinstance(one, bool)), None)


def sums_of(calls: list[Row]) -> Sums:
    known, told = {}, {}
    for name, keys in (*NAMES.items(), ("usd", ("usd",))):
        values = [number_of(call.get("cost" if name == "usd" else "usage"), keys) for call in calls]
        numbers = [value for value in values if value is not None]
        whole = all(isinstance(number, int) for number in numbers)
        known[name] = None if not numbers else sum(numbers) if whole else math.fsum(numbers)
        told[name] = len(numbers)
    return Sums(len(calls), known, told)


@dataclass
class Counted:
    """What the journals of a store say, folded and counted here."""

    views: dict[str, foldlog.View]
    recorded: dict[str, Row] = field(default_factory=dict)

    def calls(self, session_id: str, types: tuple[str, ...] = MODEL_CALLS) -> list[Row]:
        return [call for call in self.views[session_id].calls.values() if call["type"] in types]

    def tops(self) -> list[str]:
        return [one for one in self.views if "/" not in one]

    def edges(self, session_id: str) -> list[Row]:
        return self.calls(session_id, EDGES)

    def below(self, session_id: str) -> list[str]:
        """A session and all below it, each once."""
        found, todo = [], [session_id]
        while todo:
            one = todo.pop(0)
            if one in self.views and one not in found:
                found.append(one)
                todo += [edge["child_session_id"] for edge in self.edges(one)]
        return found

    def all_calls(self, session_id: str | None = None) -> list[tuple[str, Row]]:
        wanted = self.views if session_id is None else self.below(session_id)
        return [(one, call) for one in wanted for call in self.calls(one)]

    def sums(self, session_id: str) -> Sums:
        return sums_of([call for _, call in self.all_calls(session_id)])

    def grouped(self, session_id: str | None, key: Callable[[str, Row], Any]) -> dict[Any, Sums]:
        groups: dict[Any, list[Row]] = {}
        for one, call in self.all_calls(session_id):
            groups.setdefault(key(one, call), []).append(call)
        return {name: sums_of(calls) for name, calls in groups.items()}


def same(ours: Any, theirs: Any) -> bool:
    """Equal; money to within the rounding of sums that are made in another order."""
    if isinstance(ours, float) and isinstance(theirs, int | float):
        return math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=1e-15)
    return bool(ours == theirs) and type(ours) is type(theirs)


def assert_columns(row: Row, sums: Sums, where: Any, prefix: str = "") -> None:
    assert row[f"{prefix}call_count"] == sums.count, where
    for name, known in sums.known.items():
        assert same(row[f"{prefix}{name}"], known), (where, name)
    for key, status in (("status", sums.status), ("usd_status", sums.usd_status)):
        if prefix + key in row:
            assert row[prefix + key] == status, (where, key)


def assert_measures(group: Row, cost: Row, sums: Sums, where: Any) -> None:
    """A group of a usage document."""
    assert (group["call_count"], group["status"], cost["status"]) == (sums.count, sums.status, sums.usd_status), where
    for name, known in sums.known.items():
        measure, told = (cost["usd"] if name == "usd" else group[name]), sums.told[name]
        assert measure["status"] == status_of(sums.count, [told]), (where, name)
        assert measure["call_count"] == sums.count, (where, name)
        assert same(measure.get("known"), known), (where, name)
        assert measure.get("unknown_calls", 0) == (sums.count - told if 0 < told < sums.count else 0), (where, name)
