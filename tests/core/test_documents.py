"""The derived documents: usage, final and tree, over views and over finished documents alike."""

from typing import Any

import pytest
from event_lists import AT, event, numbered, started
from hypothesis import given
from hypothesis import strategies as st

import foldlog
from foldlog.core.documents import derive_tree, derive_usage, final_document, node_of, usage_document
from foldlog.core.fold import advance, fold
from foldlog.core.view import View


def call(row_id: int, call_type: str = "leaf", **fields: Any) -> dict[str, Any]:
    return event(0, "call.started", call={"id": row_id, "type": call_type, **fields})


def child(row_id: int, session_id: str | None, call_type: str = "child", **fields: Any) -> dict[str, Any]:
    return call(row_id, call_type, child_session_id=session_id, **fields)


def tokens(number: int) -> dict[str, int]:
    return {"input_tokens": number, "output_tokens": number, "total_tokens": 2 * number}


def session(session_id: str, *events: dict[str, Any], **fields: Any) -> View:
    return fold([started(session_id, **fields), *numbered(*events)[1:]])


def documents(view: View, below: dict[str, View]) -> dict[str, Any]:
    """A session's own documents, as they are read or exported."""
    usage = derive_usage(view, below)
    return {"usage": usage, "tree": derive_tree(view, below), "final": final_document(node_of(view), usage)}


# One session.


def test_an_empty_session_knows_nothing() -> None:
    usage = derive_usage(session("demo"))
    assert usage["status"] == "unknown"
    assert usage["total_tree"] == {
        "call_count": 0, "total_call_count": 0, "status": "unknown",
        **{key: {"status": "unknown", "call_count": 0} for key in
           ("input_tokens", "output_tokens", "total_tokens", "cached_tokens")},
    }  # fmt: skip
    assert usage["children"] == {"child_count": 0, "children": []}


def test_the_documents_have_the_documented_keys() -> None:
    view = session("demo", call(1, usage=tokens(1)), child(2, "demo/child-0001"))
    below = {"demo/child-0001": session("demo/child-0001")}
    usage = derive_usage(view, below)
    assert set(usage) == {"status", "root", "leaf", "total_tree", "child_calls", "children", "cost", "cache"}
    group = {"call_count", "input_tokens", "output_tokens", "total_tokens", "cached_tokens", "status"}
    assert set(usage["root"]) == set(usage["leaf"]) == group
    assert set(usage["total_tree"]) == group | {"total_call_count"}
    assert set(usage["children"]["children"][0]) == {"call_id", "session_id", "status", "usage"}
    assert set(usage["cost"]) == set(usage["cache"]) == {"root", "leaf", "total_tree"}
    assert set(usage["cost"]["root"]) == {"call_count", "status", "usd"}
    assert set(usage["cache"]["root"]) == {
        "call_count", "status", "hit_count", "miss_count", "unknown_count", "cached_tokens",
    }  # fmt: skip
    tree = derive_tree(view, below)
    assert set(tree) == {"session_id", "status", "call_count", "children"}
    assert set(tree["children"][0]) == {
        "session_id", "status", "call_count", "name", "call_id", "edge_type", "eval_count", "snapshot_count", "usage",
        "final_preview", "children",
    }  # fmt: skip


def test_the_whole_is_its_root_and_leaf_calls() -> None:
    view = session(
        "demo", call(1, "root", usage=tokens(10)), call(2, usage=tokens(5)), call(3, "odd", usage=tokens(99))
    )
    usage = derive_usage(view)
    assert usage["total_tree"]["input_tokens"] == {"status": "known", "call_count": 2, "known": 15}
    assert (usage["root"]["input_tokens"]["known"], usage["leaf"]["input_tokens"]["known"]) == (10, 5)
    assert usage["status"] == usage["total_tree"]["status"] == "known"


def test_a_final_says_what_became_of_the_session() -> None:
    view = session(
        "demo", event(0, "turn.started", turn={"id": 4}), call(1), event(0, "eval.added", eval={"id": 1}),
        child(2, "demo/child-0001"), child(3, None, "child_batch_item"),
        event(0, "session.final", value_ref={"kind": "inline", "value": 5}),
    )  # fmt: skip
    usage = derive_usage(view)
    assert final_document(node_of(view), usage) == {
        "session_id": "demo", "status": "running", "turn_count": 1, "latest_turn_id": 4, "eval_count": 1,
        "call_count": 3, "child_count": 2, "usage": usage, "value_ref": {"kind": "inline", "value": 5},
        "value_preview": 5,
    }  # fmt: skip


def test_attached_children_are_counted_only_where_there_are_any() -> None:
    without = session("demo", child(1, "demo/child-0001"))
    with_one = session("demo", child(1, "demo/child-0001"), child(2, "demo/attached-0002", "attached_child"))
    assert "attached_count" not in final_document(node_of(without), {})
    found = final_document(node_of(with_one), {})
    assert (found["child_count"], found["attached_count"]) == (1, 1)


def test_an_error_is_in_the_final_and_no_value() -> None:
    view = session("demo", event(0, "session.error", error={"type": "E"}, ended_at=AT))
    found = final_document(node_of(view), {})
    assert (found["status"], found["error"], "value_ref" in found) == ("error", {"type": "E"}, False)


def test_a_node_goes_on_showing_the_moment_it_was_taken_in() -> None:
    view = session("demo", call(1, usage=tokens(1)))
    node = node_of(view)
    before = usage_document(node, lambda _: None)
    advance(view, event(3, "call.started", call={"id": 2, "type": "leaf"}))
    assert usage_document(node, lambda _: None) == before


# Sessions below.


@pytest.fixture
def family() -> dict[str, View]:
    return {
        "demo": session(
            "demo", call(1, "root", usage=tokens(1)), child(2, "demo/child-0001", status="ok"),
            call(3, usage=tokens(10)),
        ),
        "demo/child-0001": session(
            "demo/child-0001", call(1, usage=tokens(100)), child(2, "demo/child-0001/child-0001"),
            event(0, "snapshot.added", snapshot={"id": 1}), event(0, "eval.added", eval={"id": 1}),
            event(0, "session.final", value_ref={"kind": "inline", "value": "done"}),
            event(0, "session.status", status="stopped", ended_at=AT),
        ),
        "demo/child-0001/child-0001": session("demo/child-0001/child-0001", call(1, usage=tokens(1000))),
    }  # fmt: skip


def test_the_tree_is_summed_over_every_session_below(family: dict[str, View]) -> None:
    usage = derive_usage(family["demo"], family)
    assert usage["total_tree"]["input_tokens"] == {"status": "known", "call_count": 4, "known": 1111}
    assert usage["total_tree"]["total_call_count"] == 6
    assert usage["child_calls"] == {"call_count": 1}
    assert usage["children"]["children"][0]["usage"]["total_tree"]["input_tokens"]["known"] == 1100


def test_a_childs_status_is_the_calls_in_usage_and_the_sessions_in_the_tree(family: dict[str, View]) -> None:
    assert derive_usage(family["demo"], family)["children"]["children"][0]["status"] == "ok"
    assert derive_tree(family["demo"], family)["children"][0]["status"] == "stopped"


def test_a_child_in_the_tree_tells_of_itself(family: dict[str, View]) -> None:
    found = derive_tree(family["demo"], family)["children"][0]
    inner = found.pop("children")
    assert found.pop("usage") == derive_usage(family["demo/child-0001"], family)
    assert found == {
        "session_id": "demo/child-0001", "name": "child-0001", "call_id": 2, "edge_type": "spawned",
        "status": "stopped", "call_count": 2, "eval_count": 1, "snapshot_count": 1, "final_preview": "done",
    }  # fmt: skip
    assert [one["session_id"] for one in inner] == ["demo/child-0001/child-0001"]


def test_children_stand_in_call_order() -> None:
    names = ["demo/child-0002", "demo/child-0001", "demo/child-0003"]
    view = session("demo", *(child(number, name) for number, name in zip((9, 2, 5), names, strict=True)))
    below = {name: session(name) for name in names}
    assert [one["session_id"] for one in derive_tree(view, below)["children"]] == names
    assert [one["call_id"] for one in derive_usage(view, below)["children"]["children"]] == [9, 2, 5]


def test_an_attached_child_is_an_edge_of_its_own_kind() -> None:
    view = session("demo", child(1, "demo/attached-0001", "attached_child"), child(2, "x", "leaf", edge_type="mine"))
    assert [one["edge_type"] for one in derive_tree(view)["children"]] == ["attached", "mine"]


def test_a_missing_child_is_unknown_and_makes_the_whole_partial() -> None:
    view = session("demo", call(1, usage=tokens(1)), child(2, "demo/child-0001", status="running"))
    usage = derive_usage(view)
    assert usage["total_tree"]["input_tokens"]["known"] == 1
    assert (usage["status"], usage["leaf"]["status"]) == ("partial", "known")
    assert usage["children"] == {
        "child_count": 1,
        "children": [
            {"call_id": 2, "session_id": "demo/child-0001", "status": "running", "usage": {"status": "unknown"}}
        ],
    }
    found = derive_tree(view)["children"][0]
    assert (found["session_id"], found["status"], found["usage"], found["children"]) == (
        "demo/child-0001", None, None, [],
    )  # fmt: skip


def test_a_child_call_that_names_no_session_yet_hides_nothing() -> None:
    view = session("demo", call(1, usage=tokens(1)), child(2, None))
    assert derive_usage(view)["status"] == "known"
    assert derive_tree(view)["children"][0]["name"] is None


def test_a_child_met_again_is_counted_once() -> None:
    view = session("demo", child(1, "demo/child-0001"), child(2, "demo/child-0001"))
    below = {"demo/child-0001": session("demo/child-0001", call(1, usage=tokens(7)))}
    usage = derive_usage(view, below)
    assert usage["total_tree"]["input_tokens"] == {"status": "known", "call_count": 1, "known": 7}
    assert usage["status"] == "known"
    assert [one["session_id"] for one in derive_tree(view, below)["children"]] == ["demo/child-0001"] * 2


def test_a_child_met_again_deeper_down_is_counted_once_as_view_and_as_document() -> None:
    below = {"a": session("a", child(1, "b")), "b": session("b", call(1, usage=tokens(7)))}
    view = session("demo", child(1, "a"), child(2, "b"))
    finished = {name: documents(one, below) for name, one in below.items()}
    assert derive_usage(view, below)["total_tree"]["input_tokens"]["known"] == 7
    assert derive_usage(view, finished) == derive_usage(view, below)


def test_a_cycle_of_sessions_ends_by_itself() -> None:
    below = {
        "a": session("a", call(1, usage=tokens(1)), child(2, "b")),
        "b": session("b", call(1, usage=tokens(10)), child(2, "a")),
    }
    usage = derive_usage(below["a"], below)
    assert usage["total_tree"]["input_tokens"] == {"status": "known", "call_count": 2, "known": 11}
    inner = derive_tree(below["a"], below)["children"][0]["children"][0]
    assert (inner["session_id"], inner["children"]) == ("a", [])


def test_a_session_that_is_its_own_child_ends_by_itself() -> None:
    view = session("demo", call(1, usage=tokens(1)), child(2, "demo"))
    assert derive_usage(view, {"demo": view})["total_tree"]["input_tokens"]["known"] == 1


def test_views_may_be_given_inside_a_map_too(family: dict[str, View]) -> None:
    wrapped = {name: {"view": view} for name, view in family.items()}
    assert derive_usage(family["demo"], wrapped) == derive_usage(family["demo"], family)
    assert derive_tree(family["demo"], wrapped) == derive_tree(family["demo"], family)


def test_snapshots_are_counted_where_the_documents_tell(family: dict[str, View]) -> None:
    finished: dict[str, Any] = {name: documents(view, family) for name, view in family.items()}
    for told in ({"snapshot_count": 1}, {"snapshots": [{}]}):
        finished["demo/child-0001"] |= told
        assert derive_tree(family["demo"], finished) == derive_tree(family["demo"], family)
        for key in told:
            del finished["demo/child-0001"][key]


def test_a_child_that_does_not_know_all_of_itself_is_no_better_known_as_a_document() -> None:
    below = {"a": session("a", call(1, usage=tokens(1)), child(2, "gone"))}
    view = session("demo", child(1, "a"))
    finished = {"a": documents(below["a"], below)}
    assert derive_usage(view, below)["status"] == "partial"
    assert derive_usage(view, finished) == derive_usage(view, below)


USAGES = st.none() | st.builds(tokens, st.integers(0, 10**6)) | st.builds(
    lambda number: {"prompt_tokens": number, "cached_tokens": number}, st.integers(0, 100)
)  # fmt: skip
MODEL_CALLS = st.fixed_dictionaries(
    {"type": st.sampled_from(["root", "leaf", "leaf_batch_item", "odd"])},
    optional={
        "usage": USAGES,
        "cost": st.builds(lambda usd: {"usd": usd}, st.integers(0, 100) | st.just("unknown")),
        "cache": st.builds(
            lambda status, number: {"status": status, "cached_tokens": number},
            st.sampled_from(["hit", "miss", "unknown"]), st.integers(0, 9),
        ),
    },
)  # fmt: skip


@st.composite
def families(draw: st.DrawFn) -> dict[str, View]:
    """A session and some below it, each the child of one before it."""
    names = ["demo"]
    below: dict[str, list[str]] = {"demo": []}
    for number in range(draw(st.integers(0, 5))):
        parent = draw(st.sampled_from(names))
        name = f"{parent}/child-{number:04d}"
        names.append(name)
        below[parent].append(name)
        below[name] = []
    found: dict[str, View] = {}
    for name in names:
        rows = draw(st.lists(MODEL_CALLS, max_size=3)) + [
            {"type": draw(st.sampled_from(["child", "attached_child", "child_batch_item"])), "child_session_id": one}
            for one in below[name]
        ]
        events = [event(0, "call.started", call={"id": place, **row}) for place, row in enumerate(rows, 1)]
        events += [event(0, "eval.added", eval={"id": 1})] * draw(st.integers(0, 1))
        if draw(st.booleans()):
            events.append(event(0, "session.final", value_ref={"kind": "inline", "value": name}))
        found[name] = session(name, *events)
    return found


@given(families())
def test_children_as_views_and_as_their_documents_come_to_the_same(family: dict[str, View]) -> None:
    top = family["demo"]
    finished = {name: documents(view, family) for name, view in family.items()}
    assert derive_usage(top, finished) == derive_usage(top, family)
    assert derive_tree(top, finished) == derive_tree(top, family)
    assert documents(top, family) == finished["demo"]


@given(families())
def test_the_sum_over_the_tree_is_the_sum_over_all_calls_in_it(family: dict[str, View]) -> None:
    everything = session(
        "all", *(call(10 * place + int(row["id"]), **{key: value for key, value in row.items() if key != "id"}
                      | {"call_type": row["type"]}) for place, view in enumerate(family.values())
                 for row in _model_calls(view))
    )  # fmt: skip
    flat, nested = derive_usage(everything)["total_tree"], derive_usage(family["demo"], family)["total_tree"]
    del flat["total_call_count"], nested["total_call_count"]
    assert nested == flat


def _model_calls(view: View) -> list[dict[str, Any]]:
    return [row for row in view.calls.values() if row["type"] in ("root", "leaf", "leaf_batch_item")]


def test_the_public_names_are_these() -> None:
    assert (foldlog.derive_usage, foldlog.derive_tree) == (derive_usage, derive_tree)
