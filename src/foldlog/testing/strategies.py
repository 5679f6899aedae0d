"""Hypothesis strategies for what foldlog records: values, payloads, ids, whole histories.

Importing this module needs Hypothesis, which foldlog does not bring: `pip install 'foldlog[testing]'`.
"""

import datetime as dt
from typing import Any, Final

from hypothesis import strategies as st

from foldlog.core.fold import FOLDED_TYPES, Event
from foldlog.testing.histories import STEPS, Step, history

__all__ = ["values", "payloads", "event_types", "session_ids", "histories"]

# What an event has by itself, and the keywords of `Session.emit`.
_TAKEN: Final = frozenset({"id", "type", "at", "idempotency_key", "expected_id"})
_NAME: Final = "[A-Za-z0-9][A-Za-z0-9._-]{0,39}"


def values(*, max_leaves: int = 8) -> st.SearchStrategy[Any]:
    """Values that an event can carry and that read back equal and of the same types.

    JSON's types, nested, with integers of 64 bits, keys that look like foldlog's own tags, and the exact types
    beside them: bytes, dates, times, aware datetimes, UUIDs, Decimals, sets and frozensets. (A tuple, an
    enum or a dataclass is taken too, and reads back as its plain form; those are not drawn.)
    """
    keys = st.text(max_size=8) | st.sampled_from(["$foldlog", "$$foldlog", "kind", "hash"])
    return st.recursive(
        _leaves(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=max_leaves,
    )


def _leaves() -> st.SearchStrategy[Any]:
    members = st.integers(0, 9) | st.text(max_size=3) | st.binary(max_size=3)
    return st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=40),
        st.binary(max_size=8),
        st.dates(),
        st.times(),
        st.datetimes(timezones=st.just(dt.UTC)),
        st.uuids(),
        st.decimals(allow_nan=False, allow_infinity=False),
        st.sets(members, max_size=3),
        st.frozensets(members, max_size=3),
    )


def payloads(*, max_leaves: int = 8) -> st.SearchStrategy[dict[str, Any]]:
    """What `session.emit(type, **payload)` takes: maps of `values()` without the names that are taken."""
    keys = st.text(min_size=1, max_size=12).filter(lambda key: key not in _TAKEN)
    return st.dictionaries(keys, values(max_leaves=max_leaves), max_size=4)


def event_types() -> st.SearchStrategy[str]:
    """Types of annotations: events that change no row, with names of the application's own."""
    folded = {*FOLDED_TYPES, "session.recovered"}
    return st.from_regex("[A-Za-z0-9._-]{1,128}", fullmatch=True).filter(lambda found: found not in folded)


def session_ids(*, depth_max: int = 1) -> st.SearchStrategy[str]:
    """Ids of sessions: of roots, or addresses down to so many levels."""
    name = st.from_regex(_NAME, fullmatch=True)
    return st.lists(name, min_size=1, max_size=depth_max).map("/".join)


def histories(max_size: int = 40, *, min_size: int = 0, session_id: str = "demo") -> st.SearchStrategy[list[Event]]:
    """Whole histories of one session: events that fold, in order, of every type there is.

    `min_size` and `max_size` count steps; a step that finds nothing to change adds no event. The first event is
    `session.started`. To record one, start the session and emit the others without `id`, `type` and `at`.

    >>> from hypothesis import given
    >>> @given(histories())
    ... def test(events):
    ...     assert foldlog.fold(events).counters["event"] == len(events)
    >>> test()
    """
    steps = st.lists(_steps(), min_size=min_size, max_size=max_size)
    return steps.map(lambda drawn: history(drawn, session_id))


@st.composite
def _steps(draw: st.DrawFn) -> Step:
    what, a, b = draw(st.sampled_from(STEPS)), draw(st.integers(0, 60)), draw(st.integers(0, 60))
    return what, a, b, draw(payloads(max_leaves=3)) if what == "note" else {}
