"""What several tests ask of the SQL views: that they say the same as the documents made in Python."""

import math
from typing import Any

import foldlog

MEASURES = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens")


def assert_usage_agrees(store: foldlog.Store) -> int:
    """`session_usage` says of every session what `store.usage()` does; how many sessions there are."""
    rows = {row["session_id"]: row for row in store.query("SELECT * FROM session_usage")}
    assert set(rows) == {row["id"] for row in store.sessions()}
    for session_id, row in rows.items():
        (alone,) = store.query("SELECT * FROM session_usage WHERE session_id = ?", [session_id])
        assert alone == row
        usage = store.usage(session_id)
        total, usd = usage["total_tree"], usage["cost"]["total_tree"]["usd"]
        assert (row["call_count"], row["status"]) == (total["call_count"], total["status"]), session_id
        for name in MEASURES:
            assert row[name] == total[name].get("known"), (session_id, name)
        assert_money(row["usd"], usd.get("known"))
    return len(rows)


def assert_calls_agree(store: foldlog.Store) -> None:
    """Calls, models, days and turns add up to what the sessions used themselves: nothing is there twice."""
    own = list(store.query("SELECT sum(root_call_count + leaf_call_count) AS call_count FROM usage"))
    counted = own[0]["call_count"]
    for view in ("call_usage", "model_usage", "daily_usage"):
        count = "count(*)" if view == "call_usage" else "coalesce(sum(call_count), 0)"
        sums = ", ".join(f"sum({name}) AS {name}" for name in (*MEASURES, "usd"))
        (found,) = store.query(f"SELECT {count} AS call_count, {sums} FROM {view}")
        assert found["call_count"] == counted, view
        for name in MEASURES:
            (row,) = store.query(
                f"SELECT sum(root_{name}) AS root, sum(leaf_{name}) AS leaf FROM usage"  # each NULL where unknown
            )
            known = [value for value in row.values() if value is not None]
            assert found[name] == (sum(known) if known else None), (view, name)


def assert_money(ours: Any, theirs: Any) -> None:
    """Equal, to within the rounding of sums that are made in another order."""
    assert (ours is None) is (theirs is None)
    assert ours is None or math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=1e-15)


def assert_tree_agrees(store: foldlog.Store) -> None:
    """`session_tree` has the sessions and edges of `store.tree()` under each session at the top, and every session."""
    rows = list(store.query("SELECT * FROM session_tree"))
    assert {row["id"] for row in store.sessions()} <= {row["session_id"] for row in rows}
    for top in {row["top_id"] for row in rows}:
        ours = {
            (row["parent_session_id"], row["call_id"], row["session_id"], row["edge_type"])
            for row in rows
            if row["top_id"] == top
        }
        assert ours == {(None, None, top, None), *edges_of(store.tree(top))}, top


def edges_of(tree: dict[str, Any]) -> set[tuple[Any, ...]]:
    """The edges of a tree document that lead to a session with a name."""
    found = set()
    for child in tree["children"]:
        if child["session_id"] is not None:
            found.add((tree["session_id"], child["call_id"], child["session_id"], child["edge_type"]))
        found |= edges_of(child)
    return found


def assert_views_agree(store: foldlog.Store) -> None:
    """All of it, of a store whose sessions have all been checkpointed."""
    assert assert_usage_agrees(store) > 0
    assert_calls_agree(store)
    assert_tree_agrees(store)
