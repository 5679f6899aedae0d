"""The SQL views beside the documents: forks, attached children, rings, what is unknown, what is gone."""

import random

import pytest

import foldlog
from view_checks import assert_views_agree

USAGE = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}


def ask(session: foldlog.Session, kind: str = "leaf", **fields: object) -> None:
    """One model call that ends."""
    call = session.add_call(kind, provider="acme", model="m-1")
    session.update_call(call["id"], status="ok", **fields)


def one(store: foldlog.Store, sql: str, *params: object) -> dict[str, object]:
    (row,) = store.query(sql, params)
    return row


def test_children_count_once(store: foldlog.Store) -> None:
    with store.start_session(id="top") as top:
        ask(top, "root", usage=USAGE, cost={"usd": 0.1})
        for _ in range(3):
            with top.start_child() as child, child.start_child() as below:
                ask(child, usage=USAGE, cost={"usd": 0.2})
                ask(below, "leaf_batch_item", usage={"input_tokens": 1}, cost={"usd": 0.3})
                ask(below, "tool", usage=USAGE, cost={"usd": 100})  # no model call
    row = one(store, "SELECT * FROM session_usage WHERE session_id = 'top'")
    assert (row["session_below_count"], row["call_count"], row["input_tokens"]) == (6, 7, 43)
    assert row["usd"] == pytest.approx(1.6)
    assert row["status"] == "partial"
    assert_views_agree(store)


def test_forks_resumes_and_attached_children_bring_no_calls_of_their_source(store: foldlog.Store) -> None:
    with store.start_session(id="source") as source:
        with source.turn() as turn:
            turn.message("user", "hello")
            with turn.call("root", model="m-1") as call:
                call.ok(usage=USAGE, cost={"usd": 0.5})
        source.snapshot({"n": 1})
    store.fork_session("source", id="fork").close()
    store.resume_session("source", id="resumed").close()
    with store.start_session(id="other") as other, other.attach_child("source") as attached:
        ask(attached, usage=USAGE)
    for name, count in (("source", 1), ("fork", 0), ("resumed", 0), ("other", 1)):
        assert one(store, "SELECT call_count FROM session_usage WHERE session_id = ?", name) == {"call_count": count}
    assert one(store, "SELECT sum(call_count) AS n FROM model_usage") == {"n": 2}
    # What was said stands in the fork as well, as its own.
    assert one(store, "SELECT text FROM transcript WHERE session_id = 'fork'") == {"text": "hello"}
    assert_views_agree(store)


def test_what_is_unknown_is_null_and_never_zero(store: foldlog.Store) -> None:
    with store.start_session(id="silent") as silent:
        ask(silent)
    with store.start_session(id="half") as half:
        ask(half, usage={"output_tokens": 3})
        ask(half, usage={"input_tokens": "unknown", "prompt_tokens": 7}, cost={"usd": None})
    with store.start_session(id="running") as running:
        running.add_call("leaf")
        running.checkpoint()
    assert one(store, "SELECT input_tokens, usd, status FROM session_usage WHERE session_id = 'silent'") == {
        "input_tokens": None, "usd": None, "status": "unknown",
    }  # fmt: skip
    assert one(store, "SELECT input_tokens, status FROM session_usage WHERE session_id = 'half'") == {
        "input_tokens": 7, "status": "partial",
    }  # fmt: skip
    assert_views_agree(store)


def test_numbers_beyond_64_bits_break_no_view(store: foldlog.Store) -> None:
    with store.start_session(id="top") as top:
        for _ in range(3):
            ask(top, usage={"input_tokens": 2**62, "output_tokens": 1.5, "total_tokens": 0})
        with top.start_child() as child:
            ask(child, usage={"input_tokens": 2**63 - 1})
    for view in ("session_usage", "model_usage", "daily_usage", "turn_summary"):
        list(store.query(f"SELECT * FROM {view}"))
    # Beyond 2**53 a sum is the nearest float.
    assert one(store, "SELECT input_tokens FROM model_usage") == {"input_tokens": float(2**63 + 3 * 2**62)}
    for name in ("top", "top/child-0001"):
        found = one(store, "SELECT input_tokens, output_tokens FROM session_usage WHERE session_id = ?", name)
        total = store.usage(name)["total_tree"]
        assert float(found["input_tokens"]) == float(total["input_tokens"]["known"])
        assert found["output_tokens"] == total["output_tokens"].get("known")


def test_two_edges_to_one_session_count_it_once(store: foldlog.Store) -> None:
    with store.start_session(id="shared") as shared:
        ask(shared, usage=USAGE)
    with store.start_session(id="top") as top:
        for _ in range(2):
            top.add_call("child", child_session_id="shared", status="ok")
        with top.start_child() as child:
            child.add_call("child", child_session_id="shared", status="ok")
    assert one(store, "SELECT call_count, session_below_count FROM session_usage WHERE session_id = 'top'") == {
        "call_count": 1, "session_below_count": 2,
    }  # fmt: skip
    assert_views_agree(store)


def test_many_edges_on_each_level_do_not_multiply(store: foldlog.Store) -> None:
    """Twice two edges on each of 25 levels would be a million rows."""
    for level in range(25):
        with store.start_session(id=f"s-{level}") as session:
            for _ in range(2):
                session.add_call("child", child_session_id=f"s-{level + 1}", status="ok")
    assert one(store, "SELECT count(*) AS n FROM session_tree WHERE top_id = 's-0'") == {"n": 51}
    assert_views_agree(store)


def test_rings_end_and_lose_nobody(store: foldlog.Store) -> None:
    edges = {"a": ["b"], "b": ["a"], "self": ["self"], "top": ["c"], "c": ["d"], "d": ["c"], "alone": []}
    for name, children in edges.items():
        with store.start_session(id=name) as session:
            ask(session, usage=USAGE)
            for child in children:
                session.add_call("child", child_session_id=child, status="ok")
    for name, count in (("a", 2), ("b", 2), ("self", 1), ("top", 3), ("c", 2), ("alone", 1)):
        assert one(store, "SELECT call_count AS n FROM session_usage WHERE session_id = ?", name) == {"n": count}
    tops = {row["top_id"] for row in store.query("SELECT DISTINCT top_id FROM session_tree")}
    assert tops == {"a", "b", "self", "top", "alone"}
    assert_views_agree(store)


def test_a_deleted_child_is_unknown_from_then_on(store: foldlog.Store) -> None:
    with store.start_session(id="gone") as gone:
        ask(gone, usage=USAGE)
    with store.start_session(id="top") as top:
        ask(top, usage=USAGE)
        top.add_call("child", child_session_id="gone", status="ok")
    assert one(store, "SELECT call_count, status FROM session_usage WHERE session_id = 'top'") == {
        "call_count": 2, "status": "known",
    }  # fmt: skip
    store.delete_session("gone", despite_descendants=True)
    assert one(store, "SELECT call_count, status FROM session_usage WHERE session_id = 'top'") == {
        "call_count": 1, "status": "partial",
    }  # fmt: skip
    assert one(store, "SELECT status, edge_type FROM session_tree WHERE session_id = 'gone'") == {
        "status": None, "edge_type": "spawned",
    }  # fmt: skip
    assert_views_agree(store)


def test_annotations_and_streams_that_are_no_sessions_are_in_no_view(store: foldlog.Store) -> None:
    with store.start_session(id="top") as top:
        top.add_event("tool.started", usage=USAGE, cost={"usd": 9})
    store.start_session(id="gone").close()
    store.delete_session("gone")
    assert one(store, "SELECT count(*) AS n FROM session_usage") == {"n": 1}
    assert one(store, "SELECT count(*) AS n FROM call_usage") == {"n": 0}
    assert_views_agree(store)


@pytest.mark.parametrize("seed", range(5))
def test_any_edges(store: foldlog.Store, seed: int) -> None:
    """Random graphs of sessions, some of them missing."""
    chance = random.Random(seed)
    names = [f"s-{number}" for number in range(7)]
    for name in names[:-1]:
        with store.start_session(id=name) as session:
            ask(session, usage=chance.choice([USAGE, None, {"input_tokens": 5}]), cost={"usd": chance.random()})
            for _ in range(chance.choice([0, 1, 1, 2])):
                session.add_call("child", child_session_id=chance.choice(names), status="ok")
    assert_views_agree(store)
