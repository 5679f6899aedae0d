"""The fold: what each event does, what is refused, and that folding is a pure function."""

import copy
from typing import Any

import pytest
from event_lists import AT, Stored, event, everything, numbered, started
from hypothesis import given
from hypothesis import strategies as st

import foldlog
from foldlog.core.errors import InvalidEventError, UnknownRowError
from foldlog.core.fold import advance, apply, fold, plan
from foldlog.core.view import View
from foldlog.testing.strategies import histories

# Properties over whole histories.


@given(histories())
def test_any_prefix_of_a_journal_folds(events: list[dict[str, Any]]) -> None:
    view = View()
    for length, one in enumerate(events, 1):
        advance(view, one)
        assert fold(events[:length]) == view
    assert view.counters["event"] == len(events)


@given(histories())
def test_applying_an_event_leaves_the_view_it_was_given_alone(events: list[dict[str, Any]]) -> None:
    before = fold(events[:-1])
    shown = everything(before)
    after = apply(before, events[-1])
    assert everything(before) == shown
    assert everything(after) == everything(fold(events))


@given(histories())
def test_folding_does_not_change_the_events(events: list[dict[str, Any]]) -> None:
    given_events = copy.deepcopy(events)
    fold(events)
    assert events == given_events


@given(histories(), st.sets(st.integers(0, 40)))
def test_stored_rows_restore_to_the_same_view(events: list[dict[str, Any]], checkpoints: set[int]) -> None:
    view, stored = View(), Stored()
    for place, one in enumerate(events):
        advance(view, one)
        if place in checkpoints:
            stored.write(view.take_changed())
    stored.write(view.take_changed())
    assert everything(stored.restore(view)) == everything(view)


@given(histories(), st.integers(0, 40))
def test_a_restored_view_folds_on_like_the_one_it_came_from(events: list[dict[str, Any]], at: int) -> None:
    view, stored = fold(events[:1]), Stored()
    for one in events[1 : at + 1]:
        advance(view, one)
    stored.write(view.take_changed())
    restored = stored.restore(view)
    for one in events[at + 1 :]:
        advance(restored, one)
    assert everything(restored) == everything(fold(events))
    # What it has to write makes the tables whole again.
    stored.write(restored.take_changed())
    assert everything(stored.restore(restored)) == everything(restored)


@given(histories(), st.integers(0, 40))
def test_giving_changes_back_loses_none(events: list[dict[str, Any]], at: int) -> None:
    view, stored = View(), Stored()
    for place, one in enumerate(events):
        advance(view, one)
        if place == at:
            view.give_back(view.take_changed())
    stored.write(view.take_changed())
    assert everything(stored.restore(view)) == everything(view)


@given(histories())
def test_the_sums_kept_by_the_fold_are_the_sums_over_its_calls(events: list[dict[str, Any]]) -> None:
    view = fold(events)
    fresh = type(view.totals)()
    for call in view.calls.values():
        fresh.add(call)
    assert view.totals == fresh


@given(histories())
def test_every_numeric_id_is_at_most_its_counter(events: list[dict[str, Any]]) -> None:
    view = fold(events)
    for kind in ("message", "turn", "eval", "call", "snapshot"):
        ids = [row_id for row_id in getattr(view, f"{kind}s") if isinstance(row_id, int)]
        assert view.counters[kind] >= max(ids, default=0)


# Each event.


TURN = event(0, "turn.started", turn={"id": 1})
CALL = event(0, "call.started", call={"id": 1, "type": "leaf", "turn_id": 1})


def test_the_first_event_gives_the_session_its_row() -> None:
    view = fold([started(provider="p", mine=[1])])
    assert view.session == {"id": "demo", "status": "running", "provider": "p", "mine": [1]}
    assert view.counters == dict.fromkeys(("message", "turn", "call", "eval", "snapshot", "child"), 0) | {"event": 1}


def test_an_empty_view_has_every_counter() -> None:
    view = fold([])
    assert set(view.counters.values()) == {0}
    assert view.session == {}
    assert (view.final_ref, view.error) == (None, None)


def test_a_status_patches_two_keys() -> None:
    view = fold(numbered(event(0, "session.status", status="stopped", ended_at=AT)))
    assert (view.session["status"], view.session["ended_at"]) == ("stopped", AT)
    view = apply(view, event(3, "session.status", status="running", ended_at=None))
    assert (view.session["status"], view.session["ended_at"]) == ("running", None)


def test_a_final_sets_the_ref_and_not_the_status() -> None:
    ref = {"kind": "inline", "value": {"answer": 42}}
    view = fold(numbered(event(0, "session.final", value_ref=ref)))
    assert (view.final_ref, view.final_preview, view.session["status"]) == (ref, {"answer": 42}, "running")


def test_a_session_outlives_its_finals() -> None:
    view = fold(numbered(*(event(0, "session.final", value_ref={"kind": "inline", "value": n}) for n in (1, 2))))
    assert view.final_ref == {"kind": "inline", "value": 2}


def test_a_final_whose_ref_is_null_is_what_the_view_then_shows() -> None:
    first = event(0, "session.final", value_ref={"kind": "inline", "value": 1})
    assert fold(numbered(first, event(0, "session.final", value_ref=None))).final_ref is None


def test_an_error_ends_the_session() -> None:
    view = fold(numbered(event(0, "session.error", error={"type": "ValueError"}, ended_at=AT)))
    assert (view.error, view.session["status"], view.session["ended_at"]) == ({"type": "ValueError"}, "error", AT)


def test_a_stopped_session_still_takes_late_events() -> None:
    stop = event(0, "session.status", status="stopped", ended_at=AT)
    view = fold(numbered(TURN, stop, CALL, event(0, "call.updated", call_id=1, changes={"status": "ok"})))
    assert view.calls[1]["status"] == "ok"
    assert view.session["status"] == "stopped"


def test_a_restore_replaces_messages_and_merges_the_rest() -> None:
    view = fold(
        numbered(
            event(0, "message.added", message={"id": 1, "role": "user", "content": "old"}),
            event(
                0, "session.restored", counters={"turn": 4, "call": 9},
                session_patch={"restored_from": {"snapshot": 1}},
                messages=[{"id": 8, "role": "system", "content": "s"}, {"id": 3, "role": "user", "content": "u"}],
            ),
        )
    )  # fmt: skip
    assert list(view.messages) == [8, 3]
    assert view.session["restored_from"] == {"snapshot": 1}
    assert (view.counters["message"], view.counters["turn"], view.counters["call"]) == (8, 4, 9)


def test_restored_counters_never_go_back() -> None:
    restored = event(0, "session.restored", messages=[], counters={"turn": 0, "event": 99, "odd": 5}, session_patch={})
    view = fold(numbered(TURN, restored))
    assert (view.counters["turn"], view.counters["event"], "odd" in view.counters) == (1, 3, False)


def test_messages_a_restore_took_away_stay_in_the_lists_of_their_turns() -> None:
    view = fold(
        numbered(
            TURN,
            event(0, "message.added", message={"id": 1, "role": "assistant", "content": "x", "turn_id": 1}),
            event(0, "session.restored", messages=[], counters={}, session_patch={}),
            event(0, "message.added", message={"id": 2, "role": "assistant", "content": "y", "turn_id": 1}),
        )
    )
    assert view.turns[1]["assistant_message_ids"] == [1, 2]


@pytest.mark.parametrize(
    ("role", "key"),
    [
        ("assistant", "assistant_message_ids"),
        ("observation", "observation_message_ids"),
        ("tool", "observation_message_ids"),
    ],
)
def test_a_message_joins_its_turn(role: str, key: str) -> None:
    view = fold(numbered(TURN, event(0, "message.added", message={"id": 4, "role": role, "content": 0, "turn_id": 1})))
    assert view.turns[1][key] == [4]


def test_the_first_user_message_is_the_turns() -> None:
    rows = [{"id": n, "role": "user", "content": "x", "turn_id": 1} for n in (5, 6)]
    view = fold(numbered(TURN, *(event(0, "message.added", message=row) for row in rows)))
    assert view.turns[1]["user_message_id"] == 5


def test_a_turn_counts_for_its_session() -> None:
    view = fold(numbered(event(0, "turn.started", turn={"id": 7}), event(0, "turn.started", turn={"id": 2})))
    assert (view.session["turn_count"], view.session["latest_turn_id"]) == (2, 2)
    assert view.counters["turn"] == 7
    assert list(view.turns) == [7, 2]


def test_a_turn_always_has_its_lists() -> None:
    row = fold(numbered(TURN)).turns[1]
    keys = ("assistant_message_ids", "observation_message_ids", "eval_ids", "call_ids")
    assert {key: row[key] for key in keys} == {key: [] for key in keys}


def test_an_update_merges_the_changed_keys() -> None:
    first = event(0, "turn.started", turn={"id": 1, "status": "running", "mine": {"a": 1}})
    view = fold(numbered(first, event(0, "turn.updated", turn_id=1, changes={"status": "final"})))
    assert (view.turns[1]["status"], view.turns[1]["mine"]) == ("final", {"a": 1})


def test_ids_can_be_added_to_a_list_of_the_users_own() -> None:
    view = fold(
        numbered(
            TURN,
            event(0, "turn.updated", turn_id=1, changes={}, added={"mine": [1, 2]}),
            event(0, "turn.updated", turn_id=1, changes={}, added={"mine": [2, 3], "call_ids": ["x"]}),
        )
    )
    assert (view.turns[1]["mine"], view.turns[1]["call_ids"]) == ([1, 2, 3], ["x"])


def test_a_put_replaces_the_whole_row() -> None:
    first = event(0, "turn.started", turn={"id": 1, "status": "running", "mine": 1})
    put = event(0, "turn.put", turn={"id": 1, "status": "final", "call_ids": [3, 4]})
    view = fold(numbered(first, event(0, "turn.updated", turn_id=1, changes={}, added={"more": [1]}), put))
    row = view.turns[1]
    assert (row["status"], row["call_ids"], "mine" in row, "more" in row) == ("final", [3, 4], False, False)


def test_a_call_is_replaced_whole_by_a_put_and_merged_by_an_update() -> None:
    update = event(0, "call.updated", call_id=1, changes={"status": "ok", "usage": {"input_tokens": 1}})
    view = fold(numbered(TURN, CALL, update))
    assert view.calls[1] == {"id": 1, "type": "leaf", "turn_id": 1, "status": "ok", "usage": {"input_tokens": 1}}
    view = apply(view, event(5, "call.put", call={"id": 1, "type": "root", "turn_id": 1}))
    assert view.calls[1] == {"id": 1, "type": "root", "turn_id": 1}
    assert view.turns[1]["call_ids"] == [1]


def test_a_call_that_moves_joins_its_new_turn() -> None:
    move = event(0, "call.updated", call_id=1, changes={"turn_id": 2})
    view = fold(numbered(TURN, event(0, "turn.started", turn={"id": 2}), CALL, move))
    assert view.turns[2]["call_ids"] == [1]


def test_evals_and_calls_join_their_turn_in_the_order_they_come() -> None:
    evals = [event(0, "eval.added", eval={"id": n, "turn_id": 1}) for n in (9, 3)]
    calls = [event(0, "call.started", call={"id": n, "type": "leaf", "turn_id": 1}) for n in (5, "a", 4)]
    view = fold(numbered(TURN, *evals, *calls))
    assert (view.turns[1]["eval_ids"], view.turns[1]["call_ids"]) == ([9, 3], [5, "a", 4])


def test_other_references_may_point_forward() -> None:
    row = {"id": 1, "type": "leaf", "parent_eval_id": 99}
    view = fold(
        numbered(event(0, "call.started", call=row), event(0, "snapshot.added", snapshot={"id": 1, "eval_id": 7}))
    )
    assert (view.calls[1]["parent_eval_id"], view.snapshots[1]["eval_id"]) == (99, 7)


@pytest.mark.parametrize(
    ("child", "number"),
    [("demo/child-0007", 7), ("attached-0003", 3), ("other/child-0007", 0), ("demo/mine", 0), (None, 0), (5, 0)],
)
def test_the_child_counter_is_read_from_the_names_of_children(child: Any, number: int) -> None:
    row = {"id": 1, "type": "child", "child_session_id": child}
    assert fold(numbered(event(0, "call.started", call=row))).counters["child"] == number


def test_spawned_and_attached_children_share_one_counter() -> None:
    rows = [{"id": n, "type": "child", "child_session_id": f"demo/{name}"} for n, name in
            enumerate(("child-0002", "attached-0003", "child-0001"), 1)]  # fmt: skip
    view = fold(numbered(*(event(0, "call.started", call=row) for row in rows)))
    assert view.counters["child"] == 3


def test_an_update_can_name_the_child_too() -> None:
    update = event(0, "call.updated", call_id=1, changes={"child_session_id": "demo/child-0004"})
    view = fold(numbered(TURN, CALL, update))
    assert view.counters["child"] == 4
    assert [row["id"] for row in view.edge_calls()] == [1]


@pytest.mark.parametrize("event_type", ["note", "session.recovered", "tool.started", "message.edited"])
def test_any_other_event_changes_no_row(event_type: str) -> None:
    before = fold([started()])
    after = apply(before, event(2, event_type, message={"id": 1}, turn_id=99))
    assert after.document() == before.document() | {"counters": before.counters | {"event": 2}}


def test_unknown_keys_are_kept() -> None:
    message = {"id": 1, "role": "user", "content": "x", "mine": {"a": [1]}}
    assert fold(numbered(event(0, "message.added", message=message))).messages[1] == message


def test_the_public_fold_and_apply_are_these() -> None:
    assert (foldlog.fold, foldlog.apply) == (fold, apply)


# Refusals.


def base() -> list[dict[str, Any]]:
    return numbered(
        TURN, CALL,
        event(0, "message.added", message={"id": 1, "role": "user", "content": "x"}),
        event(0, "eval.added", eval={"id": 1}),
        event(0, "snapshot.added", snapshot={"id": 1}),
    )  # fmt: skip


MESSAGE = {"id": 9, "role": "user", "content": "x"}
WHOLE: dict[str, dict[str, Any]] = {
    "session.status": {"status": "stopped", "ended_at": None},
    "session.final": {"value_ref": {"kind": "inline", "value": 1}},
    "session.error": {"error": {}, "ended_at": AT},
    "session.restored": {"messages": [], "counters": {}, "session_patch": {}},
    "message.added": {"message": MESSAGE},
    "turn.started": {"turn": {"id": 9}},
    "turn.updated": {"turn_id": 1, "changes": {"status": "ok"}},
    "turn.put": {"turn": {"id": 1}},
    "call.started": {"call": {"id": 9, "type": "leaf"}},
    "call.updated": {"call_id": 1, "changes": {"status": "ok"}},
    "call.put": {"call": {"id": 1, "type": "leaf"}},
    "eval.added": {"eval": {"id": 9}},
    "snapshot.added": {"snapshot": {"id": 9}},
}


def assert_refused(refused: dict[str, Any], error: type[foldlog.FoldlogError]) -> None:
    view = fold(base())
    view.take_changed()
    shown = everything(view)
    with pytest.raises(error) as caught:
        advance(view, event(7, **refused))
    assert caught.value.hint
    assert everything(view) == shown
    assert view.take_changed().rows == {}
    advance(view, event(7, "note"))
    assert view.counters["event"] == 7


@pytest.mark.parametrize("event_type", WHOLE)
def test_the_events_that_the_refusals_vary_are_valid_themselves(event_type: str) -> None:
    assert apply(fold(base()), event(7, event_type, **WHOLE[event_type])).counters["event"] == 7


@pytest.mark.parametrize(("event_type", "key"), [(name, key) for name, whole in WHOLE.items() for key in whole])
def test_a_missing_key_is_refused_and_changes_nothing(event_type: str, key: str) -> None:
    left = {name: value for name, value in WHOLE[event_type].items() if name != key}
    assert_refused({"event_type": event_type, **left}, InvalidEventError)


@pytest.mark.parametrize(
    ("event_type", "kind", "key"),
    [
        ("message.added", "message", "id"),
        ("message.added", "message", "role"),
        ("message.added", "message", "content"),
        ("turn.started", "turn", "id"),
        ("turn.put", "turn", "id"),
        ("call.started", "call", "id"),
        ("call.started", "call", "type"),
        ("call.put", "call", "id"),
        ("call.put", "call", "type"),
        ("eval.added", "eval", "id"),
        ("snapshot.added", "snapshot", "id"),
    ],
)
def test_a_row_that_lacks_a_key_is_refused_and_changes_nothing(event_type: str, kind: str, key: str) -> None:
    row = {name: value for name, value in WHOLE[event_type][kind].items() if name != key}
    assert_refused({"event_type": event_type, kind: row}, InvalidEventError)


@pytest.mark.parametrize(("event_type", "key"), [(name, key) for name, whole in WHOLE.items() for key in whole
                                                 if isinstance(whole[key], dict | list)
                                                 and key not in ("error", "value_ref")])  # fmt: skip
@pytest.mark.parametrize("value", [None, 5, "text", [["x"]]])
def test_a_value_of_another_kind_is_refused_and_changes_nothing(event_type: str, key: str, value: Any) -> None:
    assert_refused({"event_type": event_type, **WHOLE[event_type], key: value}, InvalidEventError)


@pytest.mark.parametrize("kind", ["message", "turn", "call", "eval", "snapshot"])
def test_an_id_that_is_taken_is_refused_and_changes_nothing(kind: str) -> None:
    event_type = f"{kind}.started" if kind in ("turn", "call") else f"{kind}.added"
    row = {**WHOLE[event_type][kind], "id": 1}
    assert_refused({"event_type": event_type, kind: row}, InvalidEventError)


@pytest.mark.parametrize(
    "refused",
    [
        {"event_type": "turn.updated", "turn_id": 99, "changes": {}},
        {"event_type": "turn.updated", "turn_id": "x", "changes": {}},
        {"event_type": "turn.put", "turn": {"id": 99}},
        {"event_type": "call.updated", "call_id": 99, "changes": {}},
        {"event_type": "call.put", "call": {"id": 99, "type": "leaf"}},
    ],
)
def test_an_update_of_a_row_there_is_not_is_refused_and_changes_nothing(refused: dict[str, Any]) -> None:
    assert_refused(refused, UnknownRowError)


@pytest.mark.parametrize("turn_id", [99, "x"])
@pytest.mark.parametrize("kind", ["message", "call", "eval", "snapshot"])
def test_a_turn_there_is_not_is_refused_and_changes_nothing(kind: str, turn_id: Any) -> None:
    event_type = "call.started" if kind == "call" else f"{kind}.added"
    row = {**WHOLE[event_type][kind], "turn_id": turn_id}
    assert_refused({"event_type": event_type, kind: row}, UnknownRowError)


@pytest.mark.parametrize(
    "refused",
    [
        {"event_type": "call.updated", "call_id": 1, "changes": {"turn_id": 99}},
        {"event_type": "call.put", "call": {"id": 1, "type": "leaf", "turn_id": 99}},
    ],
)
def test_a_call_cannot_move_to_a_turn_there_is_not(refused: dict[str, Any]) -> None:
    assert_refused(refused, UnknownRowError)


@pytest.mark.parametrize("row_id", [None, True, -1, 1.0, "12", "a b", [1], {}, 2**63])
@pytest.mark.parametrize(
    "event_type", ["message.added", "turn.started", "call.started", "eval.added", "snapshot.added"]
)
def test_what_is_no_row_id_is_refused_and_changes_nothing(event_type: str, row_id: Any) -> None:
    kind = event_type.partition(".")[0]
    row = {**WHOLE[event_type][kind], "id": row_id}
    assert_refused({"event_type": event_type, kind: row}, InvalidEventError)


@pytest.mark.parametrize("refused", [
    {"event_type": "turn.updated", "turn_id": 1, "changes": {"id": 2}},
    {"event_type": "call.updated", "call_id": 1, "changes": {"id": 2}},
    {"event_type": "turn.updated", "turn_id": 1, "changes": {"call_ids": 5}},
    {"event_type": "turn.updated", "turn_id": 1, "changes": {"call_ids": [{}]}},
    {"event_type": "turn.updated", "turn_id": 1, "changes": {}, "added": [1]},
    {"event_type": "turn.updated", "turn_id": 1, "changes": {}, "added": {"mine": 1}},
    {"event_type": "turn.updated", "turn_id": 1, "changes": {}, "added": {"mine": [None]}},
    {"event_type": "turn.updated", "turn_id": 1, "changes": {}, "added": {"id": [1]}},
    {"event_type": "turn.started", "turn": {"id": 9, "eval_ids": None}},
    {"event_type": "turn.put", "turn": {"id": 1, "eval_ids": "x"}},
    {"event_type": "session.started", "session": {"id": "again"}},
    {"event_type": "session.restored", "messages": [], "counters": {}, "session_patch": {"id": "other"}},
    {"event_type": "session.restored", "messages": [MESSAGE, MESSAGE], "counters": {}, "session_patch": {}},
    {"event_type": "session.restored", "messages": [{"id": 1}], "counters": {}, "session_patch": {}},
])  # fmt: skip
def test_what_contradicts_the_session_is_refused_and_changes_nothing(refused: dict[str, Any]) -> None:
    assert_refused(refused, InvalidEventError)


@pytest.mark.parametrize("call_type", [["leaf"], {"a": 1}])
@pytest.mark.parametrize("how", ["call.started", "call.put", "call.updated"])
def test_a_call_type_that_is_no_text_is_refused_before_anything_is_committed(how: str, call_type: Any) -> None:
    if how == "call.updated":
        refused: dict[str, Any] = {"call_id": 1, "changes": {"type": call_type}}
    else:
        refused = {"call": {**WHOLE[how]["call"], "type": call_type}}
    assert_refused({"event_type": how, **refused}, InvalidEventError)


@pytest.mark.parametrize("mine", [[{"a": 1}], [[1]], 5, "abc"])
def test_ids_are_added_to_nothing_but_a_list_of_ids(mine: Any) -> None:
    # Both in one event: what `changes` puts there is what `added` would grow.
    refused = {"event_type": "turn.updated", "turn_id": 1, "changes": {"mine": mine}, "added": {"mine": [1]}}
    assert_refused(refused, InvalidEventError)


@pytest.mark.parametrize("mine", [[{"a": 1}], [[1]]])
def test_ids_are_not_added_to_a_list_of_other_things_that_is_already_there(mine: Any) -> None:
    view = apply(fold(base()), event(7, "turn.updated", turn_id=1, changes={"mine": mine}))
    with pytest.raises(InvalidEventError):
        plan(view, event(8, "turn.updated", turn_id=1, changes={}, added={"mine": [1]}))


@pytest.mark.parametrize("event_type", WHOLE)
def test_nothing_comes_before_the_session_has_started(event_type: str) -> None:
    with pytest.raises(InvalidEventError, match=r"before session\.started"):
        fold([event(1, event_type, **WHOLE[event_type])])


@pytest.mark.parametrize(
    "first",
    [
        {"id": 1, "type": "session.started", "at": AT},
        {"id": 1, "type": "session.started", "at": AT, "session": {}},
        {"id": 1, "type": "session.started", "at": AT, "session": None},
        {"id": 1, "type": "session.started", "at": AT, "session": ["demo"]},
        {"id": 1, "type": "session.started", "at": AT, "session": "demo"},
        {"id": 1, "at": AT},
        {"type": "note", "at": AT},
        {},
    ],
)
def test_a_first_event_that_is_none_is_refused(first: dict[str, Any]) -> None:
    with pytest.raises(InvalidEventError):
        fold([first])


@given(histories(), histories(max_size=6))
def test_an_event_of_another_history_is_taken_whole_or_not_at_all(
    events: list[dict[str, Any]], others: list[dict[str, Any]]
) -> None:
    view = fold(events)
    shown = everything(view)
    for other in others:
        try:
            after = apply(view, {**other, "id": len(events) + 1})
        except foldlog.FoldlogError:
            assert everything(view) == shown
        else:
            assert after.counters["event"] == len(events) + 1
