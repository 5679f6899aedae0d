"""Sums that know what they do not know."""

import math
import random
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldlog.core.codec import decode, encode
from foldlog.core.measures import (
    TOKEN_ALIASES,
    Group,
    Measure,
    Totals,
    combine,
    first_number,
    is_edge,
    status_of,
)

NUMBERS = st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(-(2.0**62), 2.0**62)
ODD = st.none() | st.booleans() | st.just("unknown") | st.just([1]) | NUMBERS | st.integers(0, 1000)
USAGE = st.none() | st.just("n/a") | st.dictionaries(
    st.sampled_from([alias for aliases in TOKEN_ALIASES.values() for alias in aliases]), ODD
)  # fmt: skip
CALLS = st.fixed_dictionaries(
    {
        "id": st.integers(0, 9),
        "type": st.sampled_from(
            ["root", "leaf", "leaf_batch_item", "child", "child_batch_item", "attached_child", "odd", None]
        ),
    },
    optional={
        "usage": USAGE,
        "cost": st.none() | st.fixed_dictionaries({}, optional={"usd": ODD, "status": st.just("known")}),
        "cache": st.none() | st.fixed_dictionaries(
            {}, optional={
                "status": st.sampled_from(["hit", "miss", "unknown", None, "write"]),
                "cached_tokens": ODD, "cached_input_tokens": ODD,
            },
        ),
        "cache_request": st.just({"enabled": True}),
        "child_session_id": st.none() | st.just("demo/child-0001"),
    },
)  # fmt: skip


def totals_of(calls: list[dict[str, Any]]) -> Totals:
    found = Totals()
    for call in calls:
        found.add(call)
    return found


def measure_of(*values: Any) -> Measure:
    found = Measure()
    for value in values:
        found.add(value)
    return found


@given(st.lists(NUMBERS), st.randoms())
def test_the_order_of_adding_does_not_matter(values: list[Any], shuffler: random.Random) -> None:
    shuffled = list(values)
    shuffler.shuffle(shuffled)
    assert measure_of(*values) == measure_of(*shuffled)


@given(st.lists(NUMBERS))
def test_a_sum_is_exact_and_rounded_once(values: list[Any]) -> None:
    exact = sum(map(Fraction, values), Fraction(0))
    found = measure_of(*values).value()
    assert found == (int(exact) if isinstance(found, int) else float(exact))
    assert isinstance(found, int) == (abs(exact) < 2**63 and not any(isinstance(one, float) for one in values))


@given(st.lists(NUMBERS), NUMBERS)
def test_adding_and_taking_out_again_is_nothing(values: list[Any], extra: Any) -> None:
    found = measure_of(*values, extra)
    found.add(extra, -1)
    assert found == measure_of(*values)


@given(st.lists(CALLS), st.randoms())
def test_the_order_of_calls_does_not_matter(calls: list[Any], shuffler: random.Random) -> None:
    shuffled = list(calls)
    shuffler.shuffle(shuffled)
    assert totals_of(calls) == totals_of(shuffled)


@given(st.lists(CALLS), CALLS)
def test_a_call_taken_out_again_leaves_no_trace(calls: list[Any], extra: Any) -> None:
    found = totals_of([*calls, extra])
    found.add(extra, -1)
    assert found == totals_of(calls)


@given(st.lists(CALLS, max_size=4), st.lists(CALLS, max_size=4))
def test_merging_groups_is_adding_their_calls(left: list[Any], right: list[Any]) -> None:
    merged, whole = Group(), Group()
    for calls in (left, right):
        part = Group()
        for call in calls:
            part.add(call)
            whole.add(call)
        merged.merge(part)
    assert merged == whole


@given(st.lists(CALLS))
def test_what_is_dumped_loads_equal_through_json(calls: list[Any]) -> None:
    found = totals_of(calls)
    assert Totals.load(decode(encode(found.dump()).data)) == found


def test_sums_beyond_64_bits_can_be_stored_too() -> None:
    found = totals_of([{"type": "leaf", "usage": {"input_tokens": 2**63 - 1}}] * 2)
    assert Totals.load(decode(encode(found.dump()).data)) == found


@given(st.lists(st.integers(0, 2**40) | st.none()))
def test_a_document_of_whole_numbers_tells_the_whole_sum(values: list[Any]) -> None:
    found = measure_of(*values)
    assert Measure.of_document(found.document(len(values))) == found


@pytest.mark.parametrize(
    ("values", "document"),
    [
        ([], {"status": "unknown", "call_count": 0}),
        ([None], {"status": "unknown", "call_count": 1}),
        ([0], {"status": "known", "call_count": 1, "known": 0}),
        ([1, 2], {"status": "known", "call_count": 2, "known": 3}),
        ([1, None], {"status": "partial", "call_count": 2, "known": 1, "unknown_calls": 1}),
    ],
)
def test_a_measure_says_what_it_knows(values: list[Any], document: dict[str, Any]) -> None:
    assert measure_of(*values).document(len(values)) == document


@pytest.mark.parametrize(
    ("calls", "known", "status"), [(0, 0, "unknown"), (2, 0, "unknown"), (2, 1, "partial"), (2, 2, "known")]
)
def test_status_by_count(calls: int, known: int, status: str) -> None:
    assert status_of(calls, known) == status


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        (["known", "known"], "known"),
        (["unknown", "unknown"], "unknown"),
        (["known", "unknown"], "partial"),
        (["partial", "partial"], "partial"),
        (["known", "partial"], "partial"),
        ([], "unknown"),
    ],
)
def test_statuses_combine(statuses: list[str], status: str) -> None:
    assert combine(statuses) == status


@pytest.mark.parametrize(
    ("group", "number"),
    [
        ({"input_tokens": 1, "prompt_tokens": 2}, 1),
        ({"input_tokens": "unknown", "prompt_tokens": 2}, 2),
        ({"input_tokens": None, "prompt_tokens": 2.5}, 2.5),
        ({"input_tokens": True, "prompt_tokens": 2}, 2),
        ({"input_tokens": False}, None),
        ({"input_tokens": "7"}, None),
        ({"input_tokens": 2**63}, None),
        ({"input_tokens": 1e300}, None),
        ({"input_tokens": math.nan}, None),
        ({"input_tokens": 0, "prompt_tokens": 2}, 0),
        ({}, None),
        (None, None),
        ("unknown", None),
        ([1], None),
    ],
)
def test_the_first_alias_that_is_a_number_counts(group: Any, number: Any) -> None:
    assert first_number(group, TOKEN_ALIASES["input_tokens"]) == number


def test_the_aliases_are_the_documented_ones() -> None:
    assert TOKEN_ALIASES == {
        "input_tokens": ("input_tokens", "prompt_tokens"),
        "output_tokens": ("output_tokens", "completion_tokens"),
        "total_tokens": ("total_tokens",),
        "cached_tokens": ("cached_tokens", "cached_input_tokens"),
    }


def group_of(*calls: dict[str, Any]) -> Group:
    found = Group()
    for call in calls:
        found.add(call)
    return found


def test_a_total_is_never_derived_from_its_parts() -> None:
    found = group_of({"usage": {"input_tokens": 1, "output_tokens": 2}}).usage_document()
    assert found["total_tokens"] == {"status": "unknown", "call_count": 1}
    assert found["status"] == "partial"


def test_cached_tokens_do_not_count_for_the_status() -> None:
    known = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    assert group_of({"usage": known}).usage_document()["status"] == "known"
    assert group_of({"usage": {"cached_tokens": 3}}).usage_document()["status"] == "unknown"


def test_absent_usage_is_unknown_and_never_nought() -> None:
    found = group_of({}, {"usage": None}, {"usage": {}}).usage_document()
    assert found["input_tokens"] == {"status": "unknown", "call_count": 3}


def test_cost_has_the_status_of_its_dollars() -> None:
    found = group_of({"cost": {"usd": 0.1}}, {"cost": {"usd": 0.2}}, {"cost": {"usd": "unknown"}}).cost_document()
    usd = {"status": "partial", "call_count": 3, "known": 0.3, "unknown_calls": 1}
    assert found["status"] == "partial"
    assert found["usd"] == usd | {"known": pytest.approx(0.3, abs=1e-15)}


@pytest.mark.parametrize(
    ("calls", "status"),
    [
        ([], "unknown"),
        ([{}], "unknown"),
        ([{"cache": {"status": "hit"}}], "known"),
        ([{"cache": {"status": "hit"}}, {"cache_request": {}}], "partial"),
        ([{"cache_request": {}}], "unknown"),
        ([{"cache": {"status": "unknown"}}], "unknown"),
        ([{"cache": {"status": "hit"}}, {}], "known"),
    ],
)
def test_the_status_of_the_cache_is_of_the_calls_that_say_anything(calls: list[Any], status: str) -> None:
    assert group_of(*calls).cache_document()["status"] == status


def test_the_cache_counts_hits_misses_and_what_it_does_not_know() -> None:
    found = group_of(
        {"cache": {"status": "hit", "cached_tokens": 5}, "usage": {"cached_tokens": 99}},
        {"cache": {"status": "miss"}, "usage": {"cached_input_tokens": 7}},
        {"cache_request": {"enabled": True}},
        {"usage": {"cached_tokens": 1000}},
    ).cache_document()
    assert {key: found[key] for key in ("call_count", "hit_count", "miss_count", "unknown_count")} == {
        "call_count": 3, "hit_count": 1, "miss_count": 1, "unknown_count": 1,
    }  # fmt: skip
    assert found["cached_tokens"] == {"status": "partial", "call_count": 3, "known": 12, "unknown_calls": 1}


def test_calls_are_counted_by_what_they_are() -> None:
    types = ("root", "leaf", "leaf_batch_item", "child", "child_batch_item", "attached_child", "mine")
    found = totals_of([{"type": kind} for kind in types] + [{"type": "leaf", "child_session_id": "demo/child-0001"}])
    assert (found.call_count, found.root.call_count, found.leaf.call_count) == (8, 1, 3)
    assert (found.edge_count, found.spawned_count, found.attached_count) == (4, 2, 1)


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ({"type": "child"}, True),
        ({"type": "attached_child"}, True),
        ({"type": "leaf"}, False),
        ({"type": "leaf", "child_session_id": None}, False),
        ({"type": "leaf", "child_session_id": "demo/child-0001"}, True),
        ({}, False),
    ],
)
def test_which_calls_lead_to_a_child(call: dict[str, Any], answer: Any) -> None:
    assert is_edge(call) is answer


@pytest.mark.parametrize(
    "new",
    [
        {"id": 1, "type": "leaf", "usage": {"input_tokens": 2}},
        {"id": 1, "type": "leaf"},
        {"id": 1, "type": "root", "usage": {"input_tokens": 1}, "cost": {"usd": 0.5}},
        {"id": 1, "type": "leaf", "cache": None},
        {"id": 1, "type": "child", "child_session_id": "demo/child-0001"},
        {"id": 1, "type": "leaf", "child_session_id": "demo/child-0001", "cache_request": {}},
    ],
)
def test_replacing_a_call_is_taking_one_out_and_putting_one_in(new: dict[str, Any]) -> None:
    old = {"id": 1, "type": "leaf", "usage": {"input_tokens": 1}}
    replaced, fresh = Totals(), Totals()
    replaced.add(old)
    replaced.replace(old, new)
    fresh.add(new)
    assert replaced == fresh
    replaced.replace(new, new | {"status": "ok"})
    assert replaced == fresh
