"""The view: copies out, one moment at a time, whatever other threads do."""

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from event_lists import Stored, event, everything, numbered, started
from hypothesis import given

from foldlog.core.documents import derive_tree, derive_usage
from foldlog.core.fold import advance, fold
from foldlog.core.view import View
from foldlog.testing.strategies import histories


@pytest.fixture
def view() -> View:
    return fold(
        numbered(
            event(0, "turn.started", turn={"id": 1, "mine": {"a": [1]}}),
            event(0, "call.started", call={"id": 2, "type": "leaf", "turn_id": 1, "status": "running"}),
            event(0, "call.started", call={"id": 1, "type": "child", "child_session_id": "demo/child-0001"}),
            event(0, "session.final", value_ref={"kind": "inline", "value": [1]}),
            event(0, "session.error", error={"notes": []}, ended_at=None),
        )
    )


def test_everything_handed_out_is_a_copy(view: View) -> None:
    shown = view.document()
    view.session["id"] = "other"
    view.turns[1]["mine"]["a"].append(2)
    view.turns[1]["call_ids"].append(9)
    next(iter(view.turns.values()))["mine"]["a"].append(2)
    dict(view.calls.items())[2]["status"] = "gone"
    view.final_ref["value"].append(2)
    view.final_preview.append(2)
    view.error["notes"].append(2)
    view.counters["event"] = 0
    view.document()["turns"][0]["mine"]["a"].append(3)
    assert view.document() == shown
    assert view.final_preview == [1]


def test_rows_are_a_mapping_in_the_order_of_first_events(view: View) -> None:
    assert list(view.calls) == list(view.calls.keys()) == [2, 1]
    assert len(view.calls) == 2
    assert 1 in view.calls
    assert 3 not in view.calls
    assert view.calls.get(3) is None
    assert [row["id"] for row in view.calls.values()] == [2, 1]
    assert [row_id for row_id, _ in view.calls.items()] == [2, 1]
    assert dict(view.calls) == {1: view.calls[1], 2: view.calls[2]}
    with pytest.raises(KeyError):
        view.calls[3]


def test_an_iteration_goes_on_over_the_moment_it_began_in(view: View) -> None:
    rows, ids, items = iter(view.calls.values()), iter(view.calls), iter(view.calls.items())
    advance(view, event(7, "call.started", call={"id": 3, "type": "leaf"}))
    assert [len(list(one)) for one in (rows, ids, items)] == [2, 2, 2]
    assert len(view.calls) == 3


def test_a_row_once_read_does_not_change_under_its_reader(view: View) -> None:
    row = view.turns[1]
    advance(view, event(7, "turn.updated", turn_id=1, changes={"status": "final"}, added={"call_ids": [5]}))
    assert ("status" in row, row["call_ids"]) == (False, [2])
    assert (view.turns[1]["status"], view.turns[1]["call_ids"]) == ("final", [2, 5])


def test_views_that_show_the_same_are_equal(view: View) -> None:
    copied = view.copy()
    assert copied == view
    advance(copied, event(7, "note"))
    assert copied != view
    assert view != 5


def test_a_view_is_not_hashable(view: View) -> None:
    with pytest.raises(TypeError):
        hash(view)


def test_its_repr_is_short_and_names_the_session(view: View) -> None:
    assert repr(view) == "<View of 'demo' at event 6: 0 messages, 1 turns, 0 evals, 2 calls, 0 snapshots>"
    assert repr(view.calls) == "<2 calls>"


def test_running_rows_and_edges_are_known_without_a_search(view: View) -> None:
    assert view.running_ids("call") == [2]
    assert [row["id"] for row in view.edge_calls()] == [1]
    advance(view, event(7, "call.updated", call_id=2, changes={"status": "ok", "child_session_id": "demo/child-0002"}))
    assert view.running_ids("call") == []
    assert [row["id"] for row in view.edge_calls()] == [2, 1]


def test_the_row_added_last_is_known_whatever_its_number(view: View) -> None:
    assert (view.last_row_id("call"), view.last_row_id("message")) == (1, None)
    assert view.last_turn() == {"id": 1, "mine": {"a": [1]}}


def test_a_call_that_leads_nowhere_any_more_is_told_to_the_checkpoint(view: View) -> None:
    view.take_changed()
    advance(view, event(7, "call.put", call={"id": 1, "type": "leaf"}))
    assert view.take_changed().edges_gone == [1]
    assert view.take_changed().edges_gone == []


def test_a_checkpoint_takes_only_what_changed_since_the_last(view: View) -> None:
    view.take_changed()
    advance(view, event(7, "call.updated", call_id=1, changes={"status": "ok"}))
    changed = view.take_changed()
    assert {kind: [row_id for row_id, _ in rows] for kind, rows in changed.rows.items()} == {"call": [1]}
    assert view.take_changed().rows == {}


def test_a_growing_turn_is_not_written_again_for_each_call(view: View) -> None:
    view.take_changed()
    advance(view, event(7, "call.started", call={"id": 5, "type": "leaf", "turn_id": 1}))
    assert set(view.take_changed().rows) == {"call"}


def test_each_row_names_its_first_and_last_event(view: View) -> None:
    advance(view, event(7, "call.updated", call_id=2, changes={"status": "ok"}))
    _, entry = view.moment("call")[0]
    assert (entry.first_event_id, entry.last_event_id, entry.seq) == (3, 7, 1)


def test_changes_given_back_are_taken_again(view: View) -> None:
    changed = view.take_changed()
    view.give_back(changed)
    assert {kind: dict(rows) for kind, rows in view.take_changed().rows.items()} == {
        kind: dict(rows) for kind, rows in changed.rows.items()
    }


@given(histories())
def test_a_copy_has_the_same_left_to_write(events: list[dict[str, Any]]) -> None:
    view = fold(events)
    copied = view.copy()
    assert everything(copied) == everything(view)
    left, right = Stored(), Stored()
    left.write(view.take_changed())
    right.write(copied.take_changed())
    for kind, rows in left.rows.items():
        assert {row_id: entry for row_id, (_, entry) in rows.items()} == {
            row_id: entry for row_id, (_, entry) in right.rows[kind].items()
        }


# Threads: one folds, the others read, and each reading is of one moment.

EVENTS = 600


@pytest.fixture
def quick_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def read_while_folding(check: Callable[[View], None]) -> None:
    """Call `check` again and again while rounds of call, eval and message are folded."""
    view = fold([started(), event(2, "turn.started", turn={"id": 1})])
    done, failures = threading.Event(), list[BaseException]()

    def read() -> None:
        try:
            while not done.is_set():
                check(view)
        except BaseException as error:  # noqa: BLE001  (told to the test below)
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 1}
    for number in range(1, EVENTS + 1):
        last = 3 * number
        row = {"id": number, "type": "leaf", "turn_id": 1, "usage": usage, "status": "running"}
        advance(view, event(last, "call.started", call=row))
        advance(view, event(last + 1, "eval.added", eval={"id": number, "turn_id": 1}))
        advance(view, event(last + 2, "call.updated", call_id=number, changes={"usage": {**usage}, "status": "ok"}))
    done.set()
    for reader in readers:
        reader.join()
    if failures:
        raise failures[0]
    check(view)


def _rows(view: View) -> None:
    rows = list(view.calls.values())
    assert [row["id"] for row in rows] == list(range(1, len(rows) + 1))
    assert sum(row["status"] == "running" for row in rows) <= 1


def _turn(view: View) -> None:
    row = view.turns[1]
    assert row["call_ids"] == list(range(1, len(row["call_ids"]) + 1))
    assert 0 <= len(row["call_ids"]) - len(row["eval_ids"]) <= 1


def _counters(view: View) -> None:
    counters = view.counters
    assert 0 <= counters["call"] - counters["eval"] <= 1
    assert counters["event"] in range(3 * counters["eval"] - 1, 3 * counters["eval"] + 4)


def _document(view: View) -> None:
    _is_one_moment(view.document())


def _copy(view: View) -> None:
    _is_one_moment(view.copy().document())


def _is_one_moment(found: dict[str, Any]) -> None:
    assert len(found["calls"]) == found["counters"]["call"]
    assert len(found["evals"]) == found["counters"]["eval"]
    assert found["turns"][0]["call_ids"] == [row["id"] for row in found["calls"]]
    assert found["turns"][0]["eval_ids"] == [row["id"] for row in found["evals"]]


def _usage(view: View) -> None:
    leaf = derive_usage(view)["leaf"]
    if leaf["call_count"]:
        assert leaf["status"] == "known"
        assert {leaf[key]["known"] for key in ("input_tokens", "output_tokens", "total_tokens")} == {leaf["call_count"]}


def _tree(view: View) -> None:
    assert derive_tree(view)["call_count"] <= EVENTS


@pytest.mark.parametrize("check", [_rows, _turn, _counters, _document, _copy, _usage, _tree])
def test_readers_never_raise_and_see_one_moment(check: Callable[[View], None], quick_switches: None) -> None:
    read_while_folding(check)
