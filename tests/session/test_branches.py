"""Children, resumed and forked sessions, and the documents over them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import foldlog


@pytest.fixture
def told(store: foldlog.Store) -> foldlog.Session:
    """A session of two turns, each with a snapshot of its variables."""
    session = store.start_session(id="told", provider={"root": "m"})
    for number in (1, 2):
        with session.turn() as turn:
            turn.message("user", f"question {number}")
            with turn.call("root") as call:
                call.ok(usage={"input_tokens": 100, "output_tokens": 10, "total_tokens": 110}, cost={"usd": 0.25})
            turn.message("assistant", f"answer {number}")
        session.snapshot({"n": number}, turn_id=turn.id)
    return session


def test_children_are_addresses_and_share_one_counter(store: foldlog.Store, told: foldlog.Session) -> None:
    first = told.start_child(turn_id=1)
    second = told.attach_child("told")
    third = first.start_child()
    assert [first.id, second.id, third.id] == ["told/child-0001", "told/attached-0002", "told/child-0001/child-0001"]
    assert told.view.counters["child"] == 2
    assert told.view.calls[3]["child_session_id"] == first.id
    assert told.view.turns[1]["call_ids"] == [1, 3]
    assert first.view.session["parent"] == {"session_id": "told", "call_id": 3, "eval_id": None}
    assert first.view.session["kind"] == "child"
    told.close()
    again = store.open_session("told")
    assert again.start_child().id == "told/child-0003"


def test_a_child_started_by_address_takes_its_number(store: foldlog.Store, told: foldlog.Session) -> None:
    store.start_session(id="told/child-0001", parent={"session_id": "told"})
    assert told.start_child().id == "told/child-0002"
    assert store.start_session(parent=told.id).id == "told/child-0003"


def test_the_call_and_the_first_event_of_a_child_are_one_commit(told: foldlog.Session) -> None:
    told.start_child()
    events = list(told.store.events())
    assert [(event.session_id, event["type"]) for event in events[-2:]] == [
        ("told", "call.started"), ("told/child-0001", "session.started"),
    ]  # fmt: skip


def test_a_refused_child_leaves_nothing_behind(told: foldlog.Session) -> None:
    before = told.view.counters
    with pytest.raises(foldlog.UnknownRowError):
        told.start_child(turn_id=99)
    with pytest.raises(foldlog.NotSerializableError):
        told.start_child(query=object())
    with pytest.raises(foldlog.InvalidEventError), told.batch():
        told.start_child()
    assert told.view.counters == before
    assert [row["id"] for row in told.store.sessions()] == ["told"]
    assert told.start_child().id == "told/child-0001"


@pytest.mark.parametrize("ending", ["final", "ok", "error"])
def test_leaving_a_child_ends_the_call_that_led_to_it(told: foldlog.Session, ending: str) -> None:
    def run() -> None:
        with told.start_child(turn_id=1) as child:
            if ending == "final":
                child.mark_final({"n": 2})
            elif ending == "error":
                raise ValueError("boom")

    if ending == "error":
        with pytest.raises(ValueError, match="boom"):
            run()
    else:
        run()
    call = told.view.calls[3]
    assert call["status"] == ending
    assert call["ended_at"] is not None
    assert call.get("final_ref") == ({"kind": "inline", "value": {"n": 2}} if ending == "final" else None)
    assert (call.get("error") or {}).get("type") == ("ValueError" if ending == "error" else None)


def test_a_call_that_was_ended_by_hand_is_left_alone(told: foldlog.Session) -> None:
    with told.start_child() as child:
        told.update_call(3, status="ok", note="mine")
    assert child.view.session["status"] == "stopped"
    assert told.view.calls[3]["status"] == "ok"
    assert "final_ref" not in told.view.calls[3]


@pytest.mark.parametrize("verb", ["resume_session", "fork_session"])
def test_a_new_session_inherits_a_snapshot(store: foldlog.Store, told: foldlog.Session, verb: str) -> None:
    before = told.fingerprint()
    session = getattr(store, verb)("told", id="new")
    assert told.fingerprint() == before
    kind = {"resume_session": "resume", "fork_session": "fork"}[verb]
    lineage = session.view.session["lineage"]
    assert lineage["kind"] == kind
    assert lineage["source"] == {"session_id": "told", "snapshot_id": 2, "turn_id": 2, "fingerprint": before}
    assert session.view.session["resumed_from" if kind == "resume" else "forked_from"]["session_id"] == "told"
    assert session.view.messages == {key: told.view.messages[key] for key in (1, 2, 3, 4)}
    assert session.view.session["provider"] == {"root": "m"}
    assert session.restore() == {"n": 2}
    assert session.usage()["total_tree"]["call_count"] == 0
    assert session.view.session["turn_count"] == 0
    assert session.view.session["latest_turn_id"] == 2
    with session.turn() as turn:
        message = turn.message("user", "more")
    assert turn.id == 3
    assert message["id"] == 5
    assert session.view.turns[3]["user_message_id"] == 5
    session.close()
    again = store.open_session("new")
    assert again.restore() == {"n": 2}
    assert again.view == foldlog.fold(store.events("new"))
    assert store.verify().problems == []


def test_an_import_brings_the_lineage_it_had(store: foldlog.Store) -> None:
    lineage = {"kind": "fork", "source": {"session_id": "elsewhere", "turn_id": 3}}
    with store.start_session(id="imported", lineage=lineage, forked_from={"session_id": "elsewhere"}) as session:
        assert session.view.session["lineage"] == lineage
    [row] = store.query("SELECT lineage_kind, source_session_id FROM sessions")
    assert row == {"lineage_kind": "fork", "source_session_id": "elsewhere"}


def test_a_fork_goes_back_to_a_turn(store: foldlog.Store, told: foldlog.Session) -> None:
    forked = store.fork_session(told, turn=1)
    assert forked.id.startswith("session-")
    assert list(forked.view.messages) == [1, 2]
    assert forked.restore() == {"n": 1}
    assert forked.view.counters["turn"] == 1
    forked.snapshot({"n": 5})
    assert forked.restore() == {"n": 5}
    with pytest.raises(foldlog.UnknownRowError):
        store.fork_session("told", turn=9)


def test_a_fork_of_a_fork_needs_its_sources_no_more(store: foldlog.Store, told: foldlog.Session) -> None:
    first = store.fork_session("told", turn=1, id="first")
    first.add_message("user", "own")
    first.snapshot({"n": 1, "big": "x" * 9000})
    second = store.fork_session("first", id="second")
    assert [row["content"] for row in second.view.messages.values()] == ["question 1", "answer 1", "own"]
    assert second.restore()["big"] == "x" * 9000


def test_messages_out_of_id_order_are_inherited_up_to_the_one_named(store: foldlog.Store) -> None:
    source = store.start_session(id="source")
    for number in (3, 1, 2):
        source.add_message("user", str(number), id=number)
    source.add_snapshot(kind="mine", message_through_id=1, ref=source.value_ref({}))
    assert list(store.fork_session("source").view.messages) == [3, 1]


def test_usage_counts_each_session_once(store: foldlog.Store, told: foldlog.Session) -> None:
    forked = store.fork_session("told", id="forked")
    attached = forked.attach_child("told", turn=1)
    with attached.call("leaf") as call:
        call.ok(usage={"input_tokens": 7})
    with forked.start_child() as child, child.call("leaf_batch_item") as call:
        call.ok(usage={"input_tokens": 5, "output_tokens": 1, "total_tokens": 6})
    usage = forked.usage()
    assert usage["total_tree"]["input_tokens"] == {"status": "known", "call_count": 2, "known": 12}
    assert usage["total_tree"]["output_tokens"] == {
        "status": "partial",
        "call_count": 2,
        "known": 1,
        "unknown_calls": 1,
    }
    assert usage["total_tree"]["total_call_count"] == 4
    assert usage["status"] == "partial"
    final = forked.final()
    assert (final["child_count"], final["attached_count"], final["call_count"]) == (1, 1, 2)
    assert [entry["edge_type"] for entry in forked.tree()["children"]] == ["attached", "spawned"]
    assert told.usage()["cost"]["total_tree"]["usd"]["known"] == 0.5
    assert "attached_count" not in told.final()


def test_documents_are_right_whatever_order_sessions_checkpoint_in(
    path: Path, store: foldlog.Store, told: foldlog.Session
) -> None:
    child = told.start_child()
    grandchild = child.start_child()
    told.checkpoint()
    with grandchild.call("leaf") as call:
        call.ok(usage={"input_tokens": 3})

    def seen() -> Any:
        with foldlog.open(path, read_only=True) as other:
            return [other.usage("told"), other.tree("told"), other.final("told")]

    live = [told.usage(), told.tree(), told.final()]
    assert seen() == live
    for session in (grandchild, told, child):
        session.checkpoint()
        assert seen() == live
    assert live[0]["total_tree"]["input_tokens"]["known"] == 203


def test_a_child_that_is_not_in_the_store_is_unknown_not_nothing(told: foldlog.Session) -> None:
    told.add_call("child", child_session_id="told/child-0009")
    usage = told.usage()
    assert usage["status"] == "partial"
    assert usage["children"]["children"][0]["usage"] == {"status": "unknown"}
    assert told.tree()["children"][0]["status"] is None
    assert told.start_child().id == "told/child-0010"


def test_a_cycle_of_sessions_ends(told: foldlog.Session) -> None:
    told.add_call("child", child_session_id="told")
    assert told.usage()["total_tree"]["input_tokens"]["known"] == 200
    assert told.tree()["children"][0]["status"] == "referenced"


def test_children_in_parallel(store: foldlog.Store) -> None:
    with store.start_session(id="wide") as session, session.turn() as turn, ThreadPoolExecutor(8) as pool:

        def work(number: int) -> str:
            with session.start_child(turn_id=turn.id, batch_index=number) as child:
                for _ in range(3):
                    with child.call("leaf") as call:
                        call.ok(usage={"input_tokens": 1, "output_tokens": 1, "total_tokens": 2})
                child.mark_final(number)
            return child.id

        ids = list(pool.map(work, range(24)))
    assert sorted(ids) == [f"wide/child-{number:04d}" for number in range(1, 25)]
    usage = store.usage("wide")
    assert usage["total_tree"]["total_tokens"] == {"status": "known", "call_count": 72, "known": 144}
    assert {call["status"] for call in store.view("wide").calls.values()} == {"final"}
    assert store.verify().problems == []


def test_sql_says_the_same_as_the_documents(store: foldlog.Store, told: foldlog.Session) -> None:
    with told.start_child() as child, child.call("leaf") as call:
        call.ok(usage={"input_tokens": 3})
    told.checkpoint()
    rows = {row["session_id"]: row for row in store.query("SELECT * FROM session_usage")}
    for session_id in ("told", child.id):
        total = store.usage(session_id)["total_tree"]
        for name in ("input_tokens", "output_tokens", "total_tokens", "cached_tokens"):
            assert rows[session_id][name] == total[name].get("known"), name
        assert rows[session_id]["call_count"] == total["call_count"]
        assert rows[session_id]["status"] == total["status"]
    depths = list(store.query("SELECT session_id, depth FROM session_tree WHERE top_id = 'told' ORDER BY depth"))
    assert depths == [{"session_id": "told", "depth": 0}, {"session_id": child.id, "depth": 1}]
