"""Previews: bounded, JSON, and never an exception, whatever they are of."""

import datetime as dt
import enum
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import foldlog
from foldlog.core.codec import decode, encode
from foldlog.core.preview import project_value
from foldlog.core.refs import Ref

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.dates()
    | st.binary()
    | st.builds(object),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(st.characters()) | st.integers() | st.none(), inner, max_size=5)
    ),
    max_leaves=30,
)


@given(ANYTHING)
def test_a_preview_of_anything_is_json_of_bounded_depth(value: Any) -> None:
    preview = project_value(value)
    assert decode(encode(preview).data) == preview
    assert _depth(preview) <= 7


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, inner), default=0)


def test_it_is_public() -> None:
    assert foldlog.project_value is project_value


@pytest.mark.parametrize("value", [None, True, 0, 1.5, "text", [], {}, {"a": [1, {"b": None}]}, 2**63 - 1])
def test_small_json_is_its_own_preview(value: Any) -> None:
    assert project_value(value) == value


def test_text_is_cut_after_two_thousand_characters() -> None:
    assert project_value("x" * 2000) == "x" * 2000
    assert project_value("é" * 2001) == {"type": "string", "preview": "é" * 2000, "truncated": True, "count": 2001}


def test_lists_and_maps_show_fifty_entries_and_how_many_remain() -> None:
    assert project_value(list(range(50))) == list(range(50))
    assert project_value(tuple(range(53))) == [*range(50), {"truncated": True, "remaining": 3}]
    shown = project_value({f"k{n}": n for n in range(53)})
    assert shown == {f"k{n}": n for n in range(50)} | {"truncated": True, "remaining": 3}


def test_below_four_levels_only_that_there_is_more() -> None:
    assert project_value([[[[1]]]]) == [[[[1]]]]
    assert project_value([[[[[1]]]]]) == [[[[[{"truncated": True, "reason": "max_depth"}]]]]]


def test_what_json_cannot_carry_is_its_class_and_a_bounded_repr() -> None:
    class Loud:
        def __repr__(self) -> str:
            return "x" * 5000

    found = project_value({"a": Loud(), "b": dt.date(2026, 11, 22)})
    assert found["a"]["type"] == "object"
    assert found["a"]["class"].endswith("Loud")
    assert found["a"]["preview"] == "x" * 2000
    assert found["b"] == {"type": "object", "class": "datetime.date", "preview": "datetime.date(2026, 11, 22)"}


@pytest.mark.parametrize(
    "value", [math.nan, -math.inf, 2**63, b"x", {1}, object, 10**5000], ids=lambda one: type(one).__name__
)
def test_numbers_beyond_json_are_objects_too(value: Any) -> None:
    assert project_value(value)["type"] == "object"


def test_a_repr_that_raises_is_said_to_be_none() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert project_value(Rude())["preview"] == "<no repr: RuntimeError>"
    assert list(project_value({Rude(): 1})) == ["<no repr: RuntimeError>"]


def test_subclasses_are_shown_as_their_base() -> None:
    class Word(enum.StrEnum):
        YES = "yes"

    class Level(enum.IntEnum):
        LOW = 1

    found = project_value([Word.YES, Level.LOW, Ref({"kind": "blob"})])
    assert found == ["yes", 1, {"kind": "blob"}]
    assert [type(one) for one in found] == [str, int, dict]


def test_a_lone_surrogate_is_replaced() -> None:
    assert project_value({"\ud800": "a\udfff"}) == {"?": "a?"}


def test_a_cycle_ends_by_itself() -> None:
    value: list[Any] = []
    value.append(value)
    assert project_value(value) == [[[[[{"truncated": True, "reason": "max_depth"}]]]]]


def test_the_value_is_left_alone() -> None:
    value = {"a": list(range(60))}
    project_value(value)["a"].clear()
    assert value == {"a": list(range(60))}
