"""Columns: typed copies beside the row, and the row itself whole."""

from typing import Any

import pytest
from event_lists import event, numbered, started
from hypothesis import given

from foldlog.core.codec import decode
from foldlog.core.columns import (
    COPIED,
    dump,
    final_columns,
    row_columns,
    session_columns,
    tree_columns,
    usage_columns,
)
from foldlog.core.documents import node_of
from foldlog.core.fold import fold
from foldlog.core.rows import Entry
from foldlog.storage import schema
from foldlog.testing.strategies import histories


def columns(kind: str, /, **row: Any) -> dict[str, Any]:
    return row_columns(kind, "demo", Entry({"id": 1, **row}, 2, 3, 4))


def test_a_row_brings_its_key_its_order_and_its_events() -> None:
    found = columns("turn", status="ok")
    assert {key: found[key] for key in ("session_id", "id", "seq", "first_event_id", "last_event_id", "status")} == {
        "session_id": "demo", "id": 1, "seq": 4, "first_event_id": 2, "last_event_id": 3, "status": "ok",
    }  # fmt: skip


@given(histories())
def test_what_is_read_back_is_the_row(events: list[dict[str, Any]]) -> None:
    view = fold(events)
    for kind, rows in view.take_changed().rows.items():
        for _, entry in rows:
            assert decode(row_columns(kind, "demo", entry)["data"]) == entry.row


def test_null_and_absent_one_and_one_point_nought_stay_apart() -> None:
    found = decode(columns("call", type="leaf", usage={"input_tokens": 1.0, "total_tokens": 1}, error=None)["data"])
    assert repr(found) == "{'error': None, 'id': 1, 'type': 'leaf', 'usage': {'input_tokens': 1.0, 'total_tokens': 1}}"


@pytest.mark.parametrize("kind", sorted(COPIED))
def test_the_columns_are_those_of_the_table(kind: str) -> None:
    assert set(columns(kind)) == set(schema.ROW_TABLES[kind].columns.keys())


@pytest.mark.parametrize("kind", sorted(COPIED))
@pytest.mark.parametrize("value", [{"a": 1}, [1], True])
def test_a_value_of_another_type_is_left_out_of_its_column_and_whole_in_data(kind: str, value: Any) -> None:
    row = dict.fromkeys(COPIED[kind], value)
    found = columns(kind, **row)
    assert [found[key] for key in COPIED[kind]] == [None] * len(row)
    assert decode(found["data"]) == {"id": 1, **row}


def test_a_calls_numbers_are_copied_by_their_first_numeric_alias() -> None:
    found = columns(
        "call", usage={"input_tokens": "unknown", "prompt_tokens": 3, "completion_tokens": 4, "cached_input_tokens": 5},
        cost={"usd": 0.25}, cache={"status": "hit"},
    )  # fmt: skip
    names = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "usd", "cache_status")
    assert [found[name] for name in names] == [3, 4, None, 5, 0.25, "hit"]


def test_a_call_without_numbers_has_nulls_and_no_noughts() -> None:
    found = columns("call", usage=None, cost={"usd": "unknown"}, cache="odd")
    assert [found[name] for name in ("input_tokens", "usd", "cache_status")] == [None] * 3


def test_a_sessions_row() -> None:
    session = {
        "id": "demo/child-0001", "kind": "child", "status": "stopped", "created_at": "2026", "turn_count": 2,
        "lineage": {"kind": "fork", "source": {"session_id": "old"}}, "artifact_version": 1,
    }  # fmt: skip
    found = session_columns("demo/child-0001", session, checkpoint_event_id=9, folded="{}")
    assert {*found, "writer"} == set(schema.sessions.columns.keys())
    assert (found["name"], found["parent_id"], found["root_id"]) == ("child-0001", "demo", "demo")
    assert (found["lineage_kind"], found["source_session_id"], found["checkpoint_event_id"]) == ("fork", "old", 9)
    assert decode(found["data"]) == session


@pytest.mark.parametrize("odd", [None, 5, [], "x", {"source": 5}])
def test_a_sessions_row_takes_whatever_the_user_put_there(odd: Any) -> None:
    row = {"id": "demo", "lineage": odd, "parent": odd, "kind": odd, "status": ["odd"], "turn_count": "many"}
    found = session_columns("demo", row, checkpoint_event_id=1, folded="{}")
    assert (found["source_session_id"], found["status"], found["turn_count"]) == (None, None, None)
    assert decode(found["data"]) == row


def test_derived_rows_have_the_columns_of_their_tables() -> None:
    view = fold(
        numbered(event(0, "call.started", call={"id": 1, "type": "child", "child_session_id": "demo/child-0001"}))
    )
    node = node_of(view)
    (_, entry), = view.moment("call")  # fmt: skip
    assert set(final_columns(node)) == set(schema.final.columns.keys())
    assert set(usage_columns(node)) == set(schema.usage.columns.keys())
    found = tree_columns("demo", entry)
    assert found == {
        "session_id": "demo", "call_id": 1, "seq": 1, "child_session_id": "demo/child-0001", "edge_type": "spawned",
        "status": None,
    }  # fmt: skip
    assert set(found) == set(schema.tree.columns.keys())


def test_an_unknown_sum_is_null_in_its_column() -> None:
    found = usage_columns(node_of(fold([started()])))
    assert (found["root_input_tokens"], found["leaf_usd"], found["root_call_count"]) == (None, None, 0)


def test_sums_of_any_size_can_be_checkpointed() -> None:
    calls = [event(0, "call.started", call={"id": n, "type": "leaf", "usage": {"input_tokens": 2**63 - 1}})
             for n in (1, 2)]  # fmt: skip
    assert usage_columns(node_of(fold(numbered(*calls))))["leaf_input_tokens"] == 2.0**64


def test_the_deepest_row_that_an_event_can_bring_can_be_stored() -> None:
    value: Any = 1
    for _ in range(200):
        value = [value]
    assert decode(dump({"id": 1, "role": "user", "content": value}))["content"] == value
