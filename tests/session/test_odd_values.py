"""Values at the edges of what a store takes are whole, whatever an engine's columns and indexes can hold."""

import random
import string
from collections.abc import Callable
from typing import Any

import pytest

import foldlog
from engines import rows

# Text that hardly shrinks: an entry of an index is measured after it was made smaller.
LONG = "".join(random.Random(1).choices(string.ascii_letters + "äöü€𝄞", k=50_000))
TEXTS = {
    "NUL": "a\0b\0",
    "long": LONG,
    "empty": "",
    "quotes": 'it\'s "so" \\ %s ? :x $1',
    "no ASCII": "𝄞 é \u202e \uffff",
}


@pytest.fixture(params=list(TEXTS))
def text(request: pytest.FixtureRequest) -> str:
    return TEXTS[request.param]


def everywhere(session: foldlog.Session, text: str) -> None:
    """A text in every place that takes one, whether an index has it or not."""
    turn = session.add_turn(note=text, started_at=text)
    session.update_turn(turn["id"], ended_at=text, error=text)
    session.add_message("user", text, turn_id=turn["id"], more={text: [text]})
    session.emit("message.added", message={"id": "named", "role": text, "content": text, "call_id": "named"})
    call = session.add_call("leaf", turn_id=turn["id"], model=text, provider=text, query=text, batch_id=text)
    session.update_call(call["id"], started_at=text, ended_at=text, cache={"status": text}, status=text)
    session.emit("call.started", call={"id": "named", "type": text, "started_at": text, "status": text, "x": text})
    session.add_eval(turn_id=turn["id"], code=text, value=text, stdout=text, status=text)
    session.snapshot({"text": text, text or "key": 1})
    session.emit("annotated", text=text)
    session.mark_final({"text": text})
    session.mark_error(text)


def assert_whole(store: foldlog.Store, path: Any) -> None:
    store.checkpoint()
    for row in list(store.sessions()):
        replayed = foldlog.fold(store.events(row["id"]))
        with foldlog.open(path, read_only=True) as reader:
            assert reader.view(row["id"]).document() == replayed.document()
            below = {one["id"]: foldlog.fold(store.events(one["id"])) for one in store.sessions()}
            assert reader.usage(row["id"]) == foldlog.derive_usage(replayed, below)
            assert reader.tree(row["id"]) == foldlog.derive_tree(replayed, below)
    assert store.verify().problems == []


def test_any_text_is_whole_everywhere(store: foldlog.Store, path: Any, text: str) -> None:
    with store.start_session(id="demo", prompt=text, provider=text, team=text) as session:
        everywhere(session, text)
    assert_whole(store, path)
    again = store.open_session("demo")
    assert again.view.calls[1]["model"] == again.view.messages[1]["content"] == text
    assert again.view.calls["named"]["status"] == text
    assert [row["id"] for row in store.sessions(team=text)] == ["demo"]


def test_any_text_in_an_edge_is_whole_in_the_tree(store: foldlog.Store, path: Any, text: str) -> None:
    with store.start_session(id="demo") as session:
        session.emit("call.started", call={"id": "named", "type": "child", "child_session_id": text, "status": text})
        session.add_call("child", child_session_id="demo/other", edge_type=text, status=text)
    assert_whole(store, path)
    assert {child["session_id"] for child in store.tree("demo")["children"]} == {text, "demo/other"}


def test_edges_by_name_come_and_go(store: foldlog.Store, path: Any) -> None:
    with store.start_session(id="demo") as session:
        for name in ("first", "second"):
            session.emit("call.started", call={"id": name, "type": "child", "child_session_id": f"demo/{name}"})
        session.checkpoint()
        session.emit("call.put", call={"id": "first", "type": "leaf"})
    assert_whole(store, path)
    assert [child["call_id"] for child in store.tree("demo")["children"]] == ["second"]


NUMBERS = [0, 2**63 - 1, -(2**63), 1e308, -1e308, 5e-324, 0.1, 1e16, 2.0**63, 2.0**64, -0.0, 1.5, 123456789.123456789]


@pytest.mark.parametrize("number", NUMBERS)
def test_any_number_is_whole_and_in_its_column(store: foldlog.Store, path: Any, number: float) -> None:
    with store.start_session(id="demo") as session:
        turn = session.add_turn()
        call = session.add_call("leaf", turn_id=turn["id"], batch_index=number)
        usage = dict.fromkeys(("input_tokens", "output_tokens", "total_tokens", "cached_tokens"), number)
        session.update_call(call["id"], status="ok", usage=usage, cost={"usd": number})
        session.add_eval(turn_id=turn["id"], code="1", block_index=number, elapsed_ms=number)
    assert_whole(store, path)
    assert store.view("demo").calls[1]["usage"]["input_tokens"] == number
    (found,) = rows(store, "SELECT batch_index, input_tokens, usd FROM calls")
    assert found[0] == number
    # What is not to be counted with is left out, in the tables too.
    assert found[1:] in ((number, float(number)), (None, None))
    assert type(found[0]) is int or type(number) is float
    assert [row[0] for row in rows(store, "SELECT elapsed_ms FROM evals")] == [float(number)]


def test_ids_at_the_ends_of_what_they_can_be(store: foldlog.Store, path: Any) -> None:
    names = [0, 2**63 - 2, "a" * 128, "-", "_.", "0x1", "A", "a"]
    with store.start_session(id="demo") as session:
        for number, name in enumerate(names):
            session.emit("turn.started", turn={"id": name, "status": "running"})
            session.emit("call.started", call={"id": name, "type": "leaf", "turn_id": name, "n": number})
            session.emit("message.added", message={"id": name, "role": "tool", "content": "", "turn_id": name})
    assert_whole(store, path)
    with foldlog.open(path, read_only=True) as reader:
        view = reader.view("demo")
        assert [view.calls[name]["n"] for name in names] == list(range(len(names)))
        assert [view.turns[name]["call_ids"] for name in names] == [[name] for name in names]
        assert list(view.messages) == names


def test_a_large_event_a_large_value_and_a_long_key(store: foldlog.Store, path: Any) -> None:
    key = "".join(random.Random(2).choices(string.printable[:94], k=512))
    large = LONG * 200  # ten million characters
    with store.start_session(id="demo") as session:
        first = session.emit("large", text=large, idempotency_key=key)
        assert session.emit("large", text="other", idempotency_key=key) == first
        ref = session.value_ref({"text": large})
        session.add_call("leaf", request_ref=ref)
        assert session.read_ref(ref) == {"text": large}
    with foldlog.open(path, read_only=True) as reader:
        (event,) = reader.events("demo", types=["large"])
        assert event["text"] == large
    assert store.verify().problems == []


def test_addresses_as_long_as_can_be(store: foldlog.Store, path: Any) -> None:
    name = "".join(random.Random(3).choices(string.ascii_letters, k=128))
    session = store.start_session(id=name)
    for _ in range(6):
        child = store.start_session(id=f"{session.id}/{name}", parent={"session_id": session.id})
        session.add_call("child", child_session_id=child.id)
        session = child
    assert len(session.id) > 900
    session.add_event("deep")
    store.checkpoint()
    assert [row["id"] for row in store.sessions()][-1] == session.id
    assert store.verify().problems == []


def test_events_of_no_type_are_none(store: foldlog.Store) -> None:
    store.start_session(id="demo").add_event("note")
    assert list(store.events(types=[])) == []


def test_what_no_text_can_hold_is_refused_before_anything_is_written(
    store: foldlog.Store, reopen: Callable[[], foldlog.Store]
) -> None:
    session = store.start_session(id="demo")
    for bad in ("\ud800", "a\udfff", {"\ud800": 1}, ["\udc00"]):
        with pytest.raises(foldlog.NotSerializableError):
            session.emit("note", value=bad)
    assert session.add_event("note") == 2
    assert [event["id"] for event in reopen().events("demo")] == [1, 2]
