"""Sums over calls that know what they do not know.

A measure counts its calls, the calls whose number is known, and their exact sum. Sums are kept so that
a call's part can be taken out and put in again (calls are updated) in O(1), and so that the order of
adding cannot matter: integers as integers, floats as integer multiples of the smallest float. Reading
a sum rounds once. How measures make up the usage document is in `foldlog.core.documents`.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from foldlog.core.rows import Row

ROOT_TYPES: Final = frozenset({"root"})
LEAF_TYPES: Final = frozenset({"leaf", "leaf_batch_item"})
SPAWNED_TYPES: Final = frozenset({"child", "child_batch_item"})
ATTACHED_TYPES: Final = frozenset({"attached_child"})
_EDGE_TYPES: Final = SPAWNED_TYPES | ATTACHED_TYPES

# The first alias that holds a number counts.
TOKEN_ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "input_tokens": ("input_tokens", "prompt_tokens"),
    "output_tokens": ("output_tokens", "completion_tokens"),
    "total_tokens": ("total_tokens",),
    "cached_tokens": ("cached_tokens", "cached_input_tokens"),
}
COST_ALIASES: Final = ("usd",)

# All that a call's part in the sums is made from.
_SUMMED_KEYS: Final = ("type", "usage", "cost", "cache", "cache_request", "child_session_id")

# No count of tokens and no sum of money is this large; what is, is no number we can vouch for.
_NUMBER_MAX: Final = 2**63
_SCALE_BITS: Final = 1074
_SCALE: Final = 1 << _SCALE_BITS


def is_edge(call: Row) -> bool:
    """Whether a call leads to a child session, by its type or by naming one."""
    if call.get("child_session_id") is not None:
        return True
    kind = call.get("type")
    return isinstance(kind, str) and kind in _EDGE_TYPES


def first_number(group: object, aliases: tuple[str, ...]) -> int | float | None:
    """The value of the first alias that holds a number, or None.

    >>> first_number({"input_tokens": "unknown", "prompt_tokens": 7}, TOKEN_ALIASES["input_tokens"])
    7
    """
    if isinstance(group, dict):
        for alias in aliases:
            value = group.get(alias)
            if value is not None and is_number(value) and -_NUMBER_MAX < value < _NUMBER_MAX:
                return value  # type: ignore[no-any-return]
    return None


def is_number(value: object) -> bool:
    """Whether a value is an int or a float, and no bool."""
    kind = type(value)
    return kind is int or kind is float or (isinstance(value, (int, float)) and kind is not bool)


@dataclass(slots=True)
class Measure:
    """One sum: how many numbers are known, and their exact total."""

    count: int = 0
    whole: int = 0
    scaled: int = 0
    float_count: int = 0

    def add(self, value: int | float | None, sign: int = 1) -> None:
        """Put one number in, or take it out again with `sign=-1`; None is unknown and adds nothing."""
        if value is None:
            return
        self.count += sign
        if isinstance(value, int):
            self.whole += sign * value
        else:
            # The denominator is a power of two.
            numerator, denominator = value.as_integer_ratio()
            self.scaled += (sign * numerator) << (_SCALE_BITS + 1 - denominator.bit_length())
            self.float_count += sign

    def merge(self, other: "Measure") -> None:
        """Add another sum to this one."""
        self.count += other.count
        self.whole += other.whole
        self.scaled += other.scaled
        self.float_count += other.float_count

    def value(self) -> int | float:
        """The sum, rounded once: an int while only ints were added."""
        if self.float_count == 0 and -_NUMBER_MAX <= self.whole < _NUMBER_MAX:
            return self.whole
        return (self.whole * _SCALE + self.scaled) / _SCALE

    def document(self, call_count: int) -> dict[str, Any]:
        """The measure over `call_count` calls as it stands in documents."""
        status = status_of(call_count, self.count)
        found: dict[str, Any] = {"status": status, "call_count": call_count}
        if status != "unknown":
            found["known"] = self.value()
        if status == "partial":
            found["unknown_calls"] = call_count - self.count
        return found

    def dump(self) -> list[int | str]:
        """The exact sum as a JSON list: in hex, because sums outgrow 64 bits; the scaled part shifted."""
        shift = (self.scaled & -self.scaled).bit_length() - 1 if self.scaled else 0
        return [self.count, hex(self.whole), self.float_count, hex(self.scaled >> shift), shift]

    @classmethod
    def load(cls, dumped: list[Any]) -> "Measure":
        """The sum that `dump` wrote."""
        count, whole, float_count, mantissa, shift = dumped
        return cls(count, int(whole, 16), int(mantissa, 16) << shift, float_count)

    @classmethod
    def of_document(cls, found: object) -> "Measure":
        """The sum that a measure's document stands for, as exactly as the document tells it."""
        measure = cls()
        if isinstance(found, dict) and found.get("status") in ("known", "partial"):
            measure.add(found["known"])
            measure.count = found["call_count"] - found.get("unknown_calls", 0)
        return measure


def status_of(call_count: int, known_count: int) -> str:
    """`known` when all calls are, `unknown` when none is or there are no calls, else `partial`."""
    if known_count <= 0:
        return "unknown"
    return "known" if known_count >= call_count else "partial"


def combine(statuses: list[str]) -> str:
    """One status for several: all known is known, all unknown is unknown, else partial."""
    kinds = set(statuses)
    if kinds == {"known"}:
        return "known"
    return "unknown" if kinds <= {"unknown"} else "partial"


@dataclass(slots=True)
class Group:
    """What a group of calls used: tokens, cost, and what the provider's cache did."""

    call_count: int = 0
    tokens: dict[str, Measure] = field(default_factory=lambda: {name: Measure() for name in TOKEN_ALIASES})
    usd: Measure = field(default_factory=Measure)
    cache_call_count: int = 0
    cache_hit_count: int = 0
    cache_miss_count: int = 0
    cache_unknown_count: int = 0
    cache_tokens: Measure = field(default_factory=Measure)

    def add(self, call: Row, sign: int = 1) -> None:
        """Put a call's part in, or take it out again with `sign=-1`."""
        self.call_count += sign
        usage, cost = call.get("usage"), call.get("cost")
        if usage:
            for name, aliases in TOKEN_ALIASES.items():
                value = first_number(usage, aliases)
                if value is not None:
                    self.tokens[name].add(value, sign)
        if cost:
            self.usd.add(first_number(cost, COST_ALIASES), sign)
        if "cache" in call or "cache_request" in call:
            self._add_cache(call.get("cache"), usage, sign)

    def _add_cache(self, cache: Any, usage: Any, sign: int) -> None:
        status = cache.get("status") if isinstance(cache, dict) else None
        self.cache_call_count += sign
        self.cache_hit_count += sign * (status == "hit")
        self.cache_miss_count += sign * (status == "miss")
        self.cache_unknown_count += sign * (status is None or status == "unknown")
        cached = first_number(cache, TOKEN_ALIASES["cached_tokens"])
        if cached is None:
            cached = first_number(usage, TOKEN_ALIASES["cached_tokens"])
        self.cache_tokens.add(cached, sign)

    def merge(self, other: "Group") -> None:
        """Add another group's sums to this one's."""
        self.call_count += other.call_count
        for name, measure in self.tokens.items():
            measure.merge(other.tokens[name])
        self.usd.merge(other.usd)
        self.cache_call_count += other.cache_call_count
        self.cache_hit_count += other.cache_hit_count
        self.cache_miss_count += other.cache_miss_count
        self.cache_unknown_count += other.cache_unknown_count
        self.cache_tokens.merge(other.cache_tokens)

    def copy(self) -> "Group":
        """Sums of their own."""
        group = Group()
        group.merge(self)
        return group

    def usage_document(self) -> dict[str, Any]:
        """Tokens; the status comes from input, output and total, cached does not count."""
        found: dict[str, Any] = {"call_count": self.call_count}
        for name, measure in self.tokens.items():
            found[name] = measure.document(self.call_count)
        parts = ("input_tokens", "output_tokens", "total_tokens")
        found["status"] = combine([found[name]["status"] for name in parts])
        return found

    def cost_document(self) -> dict[str, Any]:
        """Money, in US dollars."""
        usd = self.usd.document(self.call_count)
        return {"call_count": self.call_count, "status": usd["status"], "usd": usd}

    def cache_document(self) -> dict[str, Any]:
        """The provider's cache, over the calls that say anything of it."""
        return {
            "call_count": self.cache_call_count,
            "status": status_of(self.cache_call_count, self.cache_call_count - self.cache_unknown_count),
            "hit_count": self.cache_hit_count,
            "miss_count": self.cache_miss_count,
            "unknown_count": self.cache_unknown_count,
            "cached_tokens": self.cache_tokens.document(self.cache_call_count),
        }

    @classmethod
    def of_documents(cls, usage: object, cost: object, cache: object) -> "Group":
        """The group that documents stand for, as exactly as they tell it."""
        group = cls()
        if isinstance(usage, dict):
            group.call_count = usage.get("call_count", 0)
            group.tokens = {name: Measure.of_document(usage.get(name)) for name in TOKEN_ALIASES}
        if isinstance(cost, dict):
            group.usd = Measure.of_document(cost.get("usd"))
        if isinstance(cache, dict):
            group.cache_call_count = cache.get("call_count", 0)
            group.cache_hit_count = cache.get("hit_count", 0)
            group.cache_miss_count = cache.get("miss_count", 0)
            group.cache_unknown_count = cache.get("unknown_count", 0)
            group.cache_tokens = Measure.of_document(cache.get("cached_tokens"))
        return group

    def dump(self) -> list[Any]:
        """The exact sums as a JSON list."""
        return [
            self.call_count,
            {name: measure.dump() for name, measure in self.tokens.items()},
            self.usd.dump(),
            [self.cache_call_count, self.cache_hit_count, self.cache_miss_count, self.cache_unknown_count],
            self.cache_tokens.dump(),
        ]

    @classmethod
    def load(cls, dumped: list[Any]) -> "Group":
        """The sums that `dump` wrote."""
        tokens = {name: Measure.load(dumped[1][name]) for name in TOKEN_ALIASES}
        calls, hits, misses, unknowns = dumped[3]
        return cls(dumped[0], tokens, Measure.load(dumped[2]), calls, hits, misses, unknowns, Measure.load(dumped[4]))


@dataclass(slots=True)
class Totals:
    """A session's own sums, kept up to date by the fold: its root calls, its leaf calls, and counts."""

    root: Group = field(default_factory=Group)
    leaf: Group = field(default_factory=Group)
    call_count: int = 0
    edge_count: int = 0
    spawned_count: int = 0
    attached_count: int = 0

    def add(self, call: Row, sign: int = 1) -> None:
        """Put a call's part in, or take it out again with `sign=-1`."""
        kind = call.get("type")
        self.call_count += sign
        if isinstance(kind, str):
            if kind in LEAF_TYPES:
                self.leaf.add(call, sign)
            elif kind in ROOT_TYPES:
                self.root.add(call, sign)
            elif kind in SPAWNED_TYPES:
                self.spawned_count += sign
            elif kind in ATTACHED_TYPES:
                self.attached_count += sign
        if is_edge(call):
            self.edge_count += sign

    def replace(self, old: Row, new: Row) -> None:
        """Put a call's new part in the place of its old one; most updates change nothing that is summed."""
        if any(old.get(key) is not new.get(key) or (key in old) is not (key in new) for key in _SUMMED_KEYS):
            self.add(old, -1)
            self.add(new)

    def copy(self) -> "Totals":
        """Sums of their own."""
        counts = (self.call_count, self.edge_count, self.spawned_count, self.attached_count)
        return Totals(self.root.copy(), self.leaf.copy(), *counts)

    def dump(self) -> dict[str, Any]:
        """The exact sums as JSON."""
        counts = [self.call_count, self.edge_count, self.spawned_count, self.attached_count]
        return {"root": self.root.dump(), "leaf": self.leaf.dump(), "counts": counts}

    @classmethod
    def load(cls, dumped: dict[str, Any]) -> "Totals":
        """The sums that `dump` wrote."""
        return cls(Group.load(dumped["root"]), Group.load(dumped["leaf"]), *dumped["counts"])
