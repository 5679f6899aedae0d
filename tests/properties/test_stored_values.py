"""Any line of related values, cut as small as can be, reads back as it was given."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import foldlog
from foldlog.core import parts
from foldlog.core.codec import encode
from foldlog.core.refs import Ref
from foldlog.session.verbs import same_value
from foldlog.testing.strategies import values

leaves = st.sampled_from(['{"$foldlog":"part","id":1}', "x" * 300]) | values(max_leaves=1)
items = st.recursive(leaves, lambda inner: st.lists(inner, max_size=5) | values(), max_leaves=8)
steps = st.tuples(
    st.sampled_from(["append", "cut", "window", "edit", "nest", "wrap", "repeat", "refer"]), st.integers(0, 20), items
)


def next_value(value: list[Any], name: str, number: int, item: Any) -> list[Any]:
    """A value that has something in common with the one before it."""
    at = number % (len(value) + 1)
    if name == "cut":
        return value[:at]
    if name == "window":
        return [*value[at // 2 :], item]
    if name == "edit":
        return [*value[:at], item, *value[at + 1 :]]
    if name == "nest":
        return [*value, value[at:]]
    if name == "wrap":
        return [{"model": "m", "messages": value, "own": item}]
    if name == "repeat":
        return [*value, *value][:200]
    return [*value, item]


def is_small(value: Any) -> bool:
    """Nested and repeated values grow fast; what is too deep or too large begins anew."""
    try:
        return len(encode(value, nesting_max=60).data) < 20_000
    except foldlog.NotSerializableError:
        return False


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(steps, max_size=15), st.sampled_from([(8, 24, 8), (1, 3, 1), (256, 4096, 256)]), st.booleans())
def test_related_values_read_back_equal_and_of_the_same_types(
    new_path: Callable[[], Path],
    enough: Callable[[], bool],
    plan: list[tuple[str, int, Any]],
    least: tuple[int, int, int],
    one_batch: bool,
) -> None:
    if enough():
        return
    with pytest.MonkeyPatch.context() as patch:
        for name, value in zip(("PART_BYTES_MIN", "SPLIT_BYTES_MIN", "_PACK_BYTES_MIN"), least, strict=True):
            patch.setattr(parts, name, value)
        path, config = new_path(), foldlog.Config(durability="normal", inline_bytes_max=0)
        given_values: list[tuple[int, Any]] = []
        with foldlog.open(path, config=config) as store, store.start_session(id="demo") as session:
            value: list[Any] = []
            with session.batch() if one_batch else contextlib.nullcontext():
                for name, number, item in plan:
                    value = next_value(value, name, number, item)
                    value = value if is_small(value) else [item]
                    given = value
                    if name == "refer":
                        given = [*value, session.value_ref(value), session.value_ref({"inner": item})]
                    call = session.add_call("leaf", request_ref=session.value_ref(given))
                    given_values.append((call["id"], given))
        with foldlog.open(path, config=config) as store, store.open_session("demo") as session:
            for call_id, given in given_values:
                found = session.read_ref(session.view.calls[call_id]["request_ref"])
                if any(isinstance(item, Ref) for item in given):
                    assert found == given
                    assert session.read_ref(found[-2]) == given[:-2]
                else:
                    assert same_value(found, given)
            assert store.verify().problems == []


def test_values_inside_values_read_back_however_they_nest(store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    value: Any = ["x" * 300]
    for level in range(60):
        value = [{"text": f"{level}" * 300, "inner": value}] if level % 2 else {"items": [value, "y" * 5000]}
        call = session.add_call("leaf", request_ref=session.value_ref(value))
        assert session.read_ref(call["request_ref"]) == value
    assert store.verify().problems == []
