"""The verbs: what each writes, gives back, and leaves alone."""

import datetime as dt
import enum
import threading
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import foldlog


def types(store: foldlog.Store) -> list[str]:
    return [event["type"] for event in store.events()]


@pytest.fixture
def session(store: foldlog.Store) -> foldlog.Session:
    return store.start_session(id="demo")


def test_what_a_verb_returns_is_what_the_view_shows(session: foldlog.Session) -> None:
    turn = session.add_turn(goal="answer")
    message = session.add_message("user", {"text": "hi", "parts": (1, 2)}, turn_id=turn["id"], lang="en")
    call = session.add_call("leaf", turn_id=turn["id"], model="m")
    found = session.add_eval(turn_id=turn["id"], code="1+1", status="ok", value=2)
    snapshot = session.add_snapshot(kind="mine", turn_id=turn["id"])
    assert session.view.messages[1] == message == {
        "id": 1, "role": "user", "content": {"text": "hi", "parts": [1, 2]}, "lang": "en", "turn_id": 1,
    }  # fmt: skip
    assert session.view.calls[1] == call
    assert session.view.evals[1] == found
    assert session.view.snapshots[1] == snapshot
    assert turn["call_ids"] == []
    assert session.view.turns[1] == turn | {"user_message_id": 1, "call_ids": [1], "eval_ids": [1]}
    assert session.update_turn(1, status="final") == session.view.turns[1]
    assert session.update_call(1, status="ok") == session.view.calls[1]


def test_rows_handed_out_are_copies(session: foldlog.Session) -> None:
    content = {"deep": [1]}
    row = session.add_message("user", content)
    content["deep"].append(2)
    row["content"]["deep"].append(3)
    session.view.messages[1]["content"]["deep"].append(4)
    next(iter(session.view.messages.values()))["content"]["deep"].append(5)
    event = session.emit("note", value=content)
    event["value"]["deep"].append(6)
    session.view.session["status"] = "gone"
    assert session.view.messages[1]["content"] == {"deep": [1]}
    assert session.view == foldlog.fold(session.store.events("demo"))


def test_messages_link_to_their_turn_by_role(session: foldlog.Session) -> None:
    session.add_turn()
    for role in ("user", "user", "assistant", "observation", "tool", "system"):
        session.add_message(role, "", turn_id=1)
    turn = session.view.turns[1]
    assert turn["user_message_id"] == 1
    assert turn["assistant_message_ids"] == [3]
    assert turn["observation_message_ids"] == [4, 5]


def test_ids_of_your_own_raise_the_counters(session: foldlog.Session) -> None:
    session.add_message("user", "", id=41)
    session.add_message("user", "", id="named")
    assert session.add_message("user", "")["id"] == 42
    assert list(session.view.messages) == [41, "named", 42]
    session.checkpoint()
    with foldlog.open(session.store.url, read_only=True) as other:
        assert list(other.view("demo").messages) == [41, "named", 42]


def test_every_counter_is_there_from_zero(session: foldlog.Session) -> None:
    assert session.view.counters == {
        "event": 1, "message": 0, "turn": 0, "call": 0, "eval": 0, "snapshot": 0, "child": 0,
    }  # fmt: skip


def test_an_update_carries_only_the_changed_keys(session: foldlog.Session) -> None:
    session.add_call("leaf", request={"text": "x" * 500}, tries=1)
    session.update_call(1, lambda row: row | {"tries": row["tries"] + 1})
    event = list(session.store.events("demo"))[-1]
    assert event["changes"] == {"tries": 2}


def test_an_update_that_changes_in_place_is_seen(session: foldlog.Session) -> None:
    session.add_call("leaf", parts=[1])

    def extend(row: dict[str, Any]) -> dict[str, Any]:
        row["parts"].append(2)
        return row

    assert session.update_call(1, extend)["parts"] == [1, 2]
    assert session.view.calls[1]["parts"] == [1, 2]


def test_one_and_one_point_zero_and_true_stay_apart(session: foldlog.Session) -> None:
    session.add_call("leaf", n=1)
    session.update_call(1, lambda _row: {"n": 1.0})
    assert type(session.view.calls[1]["n"]) is float
    session.update_call(1, lambda _row: {"n": True})
    assert session.view.calls[1]["n"] is True


def test_an_update_that_changes_nothing_writes_nothing(session: foldlog.Session) -> None:
    session.add_call("leaf")
    assert session.update_call(1, lambda _row: None) == session.view.calls[1]
    assert session.view.counters["event"] == 2


def test_events_inside_a_change_function_are_one_commit_with_it(session: foldlog.Session) -> None:
    session.add_call("leaf")

    def change(row: dict[str, Any]) -> dict[str, Any]:
        session.add_event("looked", at_status=row["status"])
        assert session.view.counters["event"] == 2
        return {"status": "ok"}

    session.update_call(1, change)
    assert types(session.store)[2:] == ["looked", "call.updated"]


def test_a_change_function_that_raises_takes_its_events_back(session: foldlog.Session) -> None:
    session.add_call("leaf")

    def change(_row: dict[str, Any]) -> dict[str, Any]:
        session.add_event("looked")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        session.update_call(1, change)
    assert types(session.store) == ["session.started", "call.started"]
    assert session.add_event("next") == 3


def test_adding_turn_ids_twice_changes_nothing(session: foldlog.Session) -> None:
    session.add_turn()
    session.add_call("leaf", turn_id=1)
    session.add_turn_id(1, "call_ids", 1)
    session.add_turn_ids(1, "tool_ids", [5, "six"])
    session.add_turn_ids(1, "tool_ids", ["six", 7])
    session.add_turn_id(None, "call_ids", 1)
    assert session.view.turns[1]["call_ids"] == [1]
    assert session.view.turns[1]["tool_ids"] == [5, "six", 7]
    assert types(session.store).count("turn.updated") == 2
    session.checkpoint()
    assert session.store.verify().problems == []


def test_a_turn_of_many_calls_never_repeats_its_list(session: foldlog.Session) -> None:
    session.add_turn()
    sizes = []
    for _ in range(200):
        session.add_call("leaf", turn_id=1)
        sizes.append(len(str(session.update_turn(1, note="x" * 10) and list(session.store.events())[-1])))
    assert max(sizes) - min(sizes) < 5
    assert len(session.view.turns[1]["call_ids"]) == 200


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: Decimal


def test_typed_values_come_back_as_they_were(session: foldlog.Session) -> None:
    moment = dt.datetime(2026, 11, 22, 6, 41, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    value = {
        "at": moment,
        "set": {1, (2, "b")},
        "bytes": b"\x00\xff",
        "colour": Colour.RED,
        "point": Point(1, Decimal("0.10")),
        "path": Path("a/b"),
        "looks": {"$foldlog": "datetime", "value": "no"},
        "ref": {"kind": "blob", "hash": "x"},
    }
    plain = value | {"colour": "red", "point": {"x": 1, "y": Decimal("0.10")}, "path": "a/b"}
    session.add_message("user", value)
    session.add_message("user", session.value_ref(value, inline_bytes_max=0))
    assert session.view.messages[1]["content"] == plain
    assert session.read_ref(session.view.messages[2]["content"]) == plain
    session.close()
    again = session.store.open_session("demo")
    assert again.view.messages[1]["content"] == plain
    assert type(again.view.messages[1]["content"]["point"]["y"]) is Decimal
    assert again.read_ref(again.view.messages[2]["content"]) == plain


def test_values_stay_inline_up_to_the_limit(session: foldlog.Session) -> None:
    assert session.value_ref("x" * 4094)["kind"] == "inline"
    assert session.value_ref("x" * 4095)["kind"] == "blob"
    assert session.value_ref("", inline_bytes_max=0)["kind"] == "blob"


def test_a_blob_is_stored_once_with_the_event_that_names_it(session: foldlog.Session) -> None:
    ref = session.value_ref("x" * 9000)
    assert session.read_ref(ref) == "x" * 9000
    assert list(session.store.query("SELECT count(*) AS n FROM blobs")) == [{"n": 0}]
    session.add_call("leaf", request_ref=ref)
    session.add_call("leaf", request_ref=session.value_ref("x" * 9000))
    session.add_call("leaf", request_ref=session.view.calls[1]["request_ref"])
    assert list(session.store.query("SELECT count(*) AS n FROM blobs")) == [{"n": 1}]
    assert session.view.calls[3]["request_ref"] == ref == {"kind": "blob", "hash": ref["hash"], "bytes": 9002}


def test_a_refused_event_stores_no_blob(session: foldlog.Session) -> None:
    with pytest.raises(foldlog.UnknownRowError):
        session.add_call("leaf", turn_id=9, request_ref=session.value_ref("x" * 9000))
    assert list(session.store.query("SELECT count(*) AS n FROM blobs")) == [{"n": 0}]


def test_references_inside_a_referred_value_are_stored_too(session: foldlog.Session) -> None:
    inner = session.value_ref("y" * 9000)
    session.add_call("leaf", request_ref=session.value_ref({"a": inner, "pad": "z" * 9000}))
    session.add_call("leaf", request_ref=session.value_ref({"a": inner}))
    outer = session.read_ref(session.view.calls[1]["request_ref"])
    assert session.read_ref(outer["a"]) == "y" * 9000
    assert session.read_ref(session.read_ref(session.view.calls[2]["request_ref"])["a"]) == "y" * 9000
    assert session.store.verify().problems == []


def test_a_final_value_is_previewed_even_when_it_is_a_blob(session: foldlog.Session) -> None:
    session.mark_final({"text": "x" * 9000})
    assert session.view.session["status"] == "running"
    assert session.view.final_ref["kind"] == "blob"
    final = session.final()
    assert final["value_preview"]["text"]["count"] == 9000
    assert session.read_ref(final["value_ref"]) == {"text": "x" * 9000}


def test_status_and_error_end_a_session_and_running_reopens_it(session: foldlog.Session) -> None:
    session.update_status("stopped")
    assert session.view.session["ended_at"] is not None
    session.add_message("user", "late")
    session.update_status("running")
    assert session.view.session["ended_at"] is None
    session.mark_error(ValueError("no"))
    assert session.view.session["status"] == "error"
    assert session.view.error == {"type": "ValueError", "message": "no"}
    assert next(session.store.sessions(id="demo"))["status"] == "error"


def test_an_idempotency_key_returns_the_first_event(store: foldlog.Store, session: foldlog.Session) -> None:
    first = session.emit("tool.ran", idempotency_key="k", tool="a")
    assert session.emit("tool.ran", idempotency_key="k", tool="b") == first
    with session.batch():
        second = session.emit("tool.ran", idempotency_key="l", tool="c")
        assert session.emit("tool.ran", idempotency_key="l") == second
    session.close()
    again = store.open_session("demo")
    assert again.emit("tool.ran", idempotency_key="k") == first
    other = store.start_session(id="other")
    assert other.emit("tool.ran", idempotency_key="k")["id"] == 2
    assert types(store).count("tool.ran") == 3


def test_an_expected_id_guards_against_what_came_between(session: foldlog.Session) -> None:
    assert session.emit("a", expected_id=2)["id"] == 2
    with pytest.raises(foldlog.ExpectedIdError):
        session.emit("b", expected_id=2)
    assert session.emit("b", expected_id=3)["id"] == 3


def test_times_never_go_back(store: foldlog.Store, session: foldlog.Session, clock: Any) -> None:
    session.add_event("a")
    clock.now -= dt.timedelta(days=1)
    session.add_event("b")
    times = [event["at"] for event in store.events()]
    assert times == sorted(times)
    assert len(times[0]) == len("2026-11-22T06:41:10.344131Z")


def test_a_batch_is_all_or_none(session: foldlog.Session) -> None:
    with pytest.raises(ZeroDivisionError), session.batch():
        session.add_turn()
        session.add_call("leaf", turn_id=1, request_ref=session.value_ref("x" * 9000))
        raise ZeroDivisionError
    assert types(session.store) == ["session.started"]
    assert session.view.turns == {}
    with session.batch():
        turn = session.add_turn()
        session.add_call("leaf", turn_id=turn["id"])
        session.update_call(1, status="ok")
        assert session.update_turn(1, lambda row: {"seen": row["call_ids"]})["seen"] == [1]
        assert session.view.turns == {}
    assert session.view.turns[1]["call_ids"] == [1]
    assert session.view.calls[1]["status"] == "ok"


def test_a_nested_batch_that_fails_takes_back_its_own(session: foldlog.Session) -> None:
    with session.batch():
        session.add_event("a")
        with pytest.raises(ZeroDivisionError), session.batch():
            session.add_turn()
            session.add_event("b")
            raise ZeroDivisionError
        with pytest.raises(foldlog.UnknownRowError):
            session.add_call("leaf", turn_id=1)
        session.add_event("c")
    assert types(session.store) == ["session.started", "a", "c"]
    assert [event["id"] for event in session.store.events()] == [1, 2, 3]


def test_a_checkpoint_inside_a_batch_waits_for_it(session: foldlog.Session) -> None:
    with session.batch():
        session.add_message("user", "")
        session.update_status("stopped")
    assert list(session.store.query("SELECT status, checkpoint_event_id FROM sessions")) == [
        {"status": "stopped", "checkpoint_event_id": 3}
    ]


def test_a_batch_holds_other_threads_back(session: foldlog.Session) -> None:
    started, order = threading.Event(), list[str]()

    def other() -> None:
        started.set()
        session.add_event("other")
        order.append("other")

    thread = threading.Thread(target=other)
    with session.batch():
        session.add_event("a")
        thread.start()
        started.wait(10)
        session.add_event("b")
        order.append("batch")
    thread.join(10)
    assert order == ["batch", "other"]
    assert types(session.store) == ["session.started", "a", "b", "other"]


def test_closing_inside_a_batch_is_refused_and_changes_nothing(session: foldlog.Session) -> None:
    with session.batch():
        session.add_event("a")
        with pytest.raises(foldlog.InvalidEventError):
            session.close()
        session.add_event("b")
    assert types(session.store) == ["session.started", "a", "b"]
    with pytest.raises(foldlog.SessionInUseError):
        session.store.open_session("demo")


@pytest.mark.parametrize("ending", ["ok", "final", "error", "nothing", "raise"])
def test_scopes_close_their_rows(session: foldlog.Session, ending: str) -> None:
    def run() -> None:
        with session.turn() as turn, turn.call("leaf", model="m") as call:
            turn.message("user", "hi")
            if ending == "ok":
                call.ok(usage={"input_tokens": 1})
            elif ending == "final":
                call.final(7)
                turn.final(7)
            elif ending == "error":
                call.error("no")
            elif ending == "raise":
                raise ValueError("boom")

    if ending == "raise":
        with pytest.raises(ValueError, match="boom"):
            run()
    else:
        run()
    call, turn = session.view.calls[1], session.view.turns[1]
    assert call["status"] == {"final": "final", "error": "error", "raise": "error"}.get(ending, "ok")
    assert turn["status"] == ("error" if ending == "raise" else "final")
    assert call["ended_at"] is not None
    assert turn["ended_at"] is not None
    if ending == "raise":
        assert turn["error"] == call["error"] == {"type": "ValueError", "message": "boom"}
    if ending == "final":
        assert turn["final_preview"] == session.final()["value_preview"] == 7


def test_a_big_final_value_of_a_turn_is_kept_once(session: foldlog.Session) -> None:
    with session.turn() as turn:
        turn.final("x" * 9000)
    assert session.view.turns[1]["final_ref"] == session.view.final_ref
    assert session.read_ref(session.view.final_ref) == "x" * 9000
    assert session.final()["value_preview"]["count"] == 9000


def test_leaving_a_session_ends_it(store: foldlog.Store) -> None:
    with store.start_session(id="good"):
        pass
    with pytest.raises(ValueError, match="boom"), store.start_session(id="bad"):
        raise ValueError("boom")
    with store.start_session(id="own") as own:
        own.mark_error("my own words")
    closed = store.start_session(id="closed")
    closed.close()
    rows = {row["id"]: row["status"] for row in store.sessions()}
    assert rows == {"good": "stopped", "bad": "error", "own": "error", "closed": "running"}
    assert store.view("bad").error == {"type": "ValueError", "message": "boom"}
    assert store.view("own").error == "my own words"


def test_unserializable_variables_are_listed_with_their_reason(session: foldlog.Session) -> None:
    session.add_turn()
    session.add_message("user", "a", turn_id=1)
    row = session.snapshot({"x": 42, "big": "y" * 9000, "file": open, "nan": float("nan")}, turn_id=1)
    assert row["summary"] == {"var_count": 4, "var_restorable": 2, "var_unrestorable": 2, "blob_count": 1}
    assert row["message_through_id"] == 1
    assert session.restore() == {"x": 42, "big": "y" * 9000}
    body = session.read_ref(row["ref"])
    assert body["variables"]["nan"]["reason"]
    assert set(body["variables"]) == {"x", "big", "file", "nan"}


def test_many_threads_share_a_session(session: foldlog.Session) -> None:
    session.add_turn()
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(25):
                call = session.add_call("leaf", turn_id=1, worker=number)
                session.update_call(call["id"], lambda row: {"tries": row.get("tries", 0) + 1})
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert [event["id"] for event in session.store.events("demo")] == list(range(1, 403))
    assert sorted(session.view.turns[1]["call_ids"]) == list(range(1, 201))
    assert all(call["tries"] == 1 for call in session.view.calls.values())
    session.checkpoint()
    assert session.store.verify().problems == []


def test_a_view_iterates_one_moment_while_others_append(session: foldlog.Session) -> None:
    done = threading.Event()

    def work() -> None:
        for _ in range(300):
            session.add_message("user", "")
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        ids = [row["id"] for row in session.view.messages.values()]
        assert ids == list(range(1, len(ids) + 1))
    thread.join(60)


def test_store_events_fold_to_the_view(session: foldlog.Session, reopen: Callable[[], foldlog.Store]) -> None:
    with session.turn() as turn:
        turn.message("user", "hi")
        turn.final(1)
    assert foldlog.fold(session.store.events("demo")) == session.view
    assert foldlog.fold(reopen().events("demo")) == session.view
