"""The scrub hook: nothing reaches the database unseen, and what is gone is marked."""

import asyncio
import dataclasses
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import foldlog
import foldlog.aio
from engines import holds, rows
from foldlog.core.limits import SCRUB_MARKS_MAX

SECRET = "hunter2-hunter2"
GONE = "[scrubbed:mine]"
LARGE = "x" * 5000


def hook(_: str | None, payload: Any) -> Any:
    return _replaced(payload)


def _replaced(value: Any) -> Any:
    # Knows nothing of references: copies every map.
    if isinstance(value, dict):
        return {_replaced(key): _replaced(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item) for item in value]
    return value.replace(SECRET, GONE) if isinstance(value, str) else value


@pytest.fixture
def scrubbing(config: foldlog.Config) -> foldlog.Config:
    return dataclasses.replace(config, scrub=hook)


@pytest.fixture
def scrubbed(path: Path, scrubbing: foldlog.Config) -> Iterator[foldlog.Store]:
    with foldlog.open(path, config=scrubbing) as store:
        yield store


def everything(session: foldlog.Session) -> None:
    """A secret in every place that a verb of a session has."""
    session.emit("note", text=SECRET, k={SECRET: 1})
    session.add_event("note", text=[SECRET])
    turn = session.add_turn(purpose=SECRET)
    session.add_message("user", SECRET, turn_id=turn["id"], extra=SECRET)
    call = session.add_call("leaf", turn_id=turn["id"], query=SECRET)
    session.update_call(call["id"], lambda row: {"query": row["query"] + SECRET, "status": "ok"})
    session.update_call(call["id"], error=SECRET, result_ref=session.value_ref([SECRET, LARGE]))
    session.update_turn(turn["id"], error={"message": SECRET})
    session.add_eval(turn_id=turn["id"], code=f"print('{SECRET}')", stdout=SECRET)
    session.add_snapshot(kind="own", note=SECRET)
    session.snapshot({"small": SECRET, "large": SECRET * 1000, "object": object()})
    session.mark_final(SECRET)
    session.mark_final({"answer": SECRET * 1000})
    with session.turn() as scope:
        scope.message("user", SECRET)
        with scope.call("leaf", query=SECRET) as running:
            running.final(SECRET * 1000)
        scope.final("y" * 1995 + SECRET + LARGE)  # a preview would cut it in two
    with session.batch():
        session.add_message("user", SECRET)
        session.emit("batched", text=SECRET)
    with session.start_child(query=SECRET) as child:
        child.mark_final([SECRET])
    with session.attach_child(session.id, query=SECRET) as attached:
        attached.add_message("user", SECRET)
    session.mark_error(ValueError(SECRET))
    session.checkpoint()


def test_a_secret_is_in_no_row_event_table_or_file(path: Path, tmp_path: Path, scrubbed: foldlog.Store) -> None:
    with scrubbed.start_session(id="demo", provider={"token": SECRET}, prompt=SECRET, own=[SECRET]) as session:
        everything(session)
        with scrubbed.resume_session("demo", id="resumed", note=SECRET) as resumed:
            resumed.add_message("user", SECRET)
    scrubbed.export(tmp_path / "out")
    found = repr([list(scrubbed.events()), list(scrubbed.sessions()), scrubbed.final("demo"), scrubbed.tree("demo")])
    assert SECRET not in found
    assert GONE in found
    assert scrubbed.verify().problems == []
    scrubbed.close()
    assert holds(path, tmp_path, SECRET) == []
    assert holds(path, tmp_path, SECRET[:10]) == []
    assert holds(path, tmp_path, GONE)


def test_what_is_returned_is_what_is_stored_and_replayed(scrubbed: foldlog.Store) -> None:
    with scrubbed.start_session(id="demo") as session:
        event = session.emit("note", text=f"a {SECRET} b")
        assert event["text"] == f"a {GONE} b"
        message = session.add_message("user", SECRET)
        assert message["content"] == GONE
        call = session.add_call("leaf", query=SECRET, n=1)
        assert session.update_call(call["id"], n=2, note=SECRET) == {**call, "n": 2, "note": GONE}
        assert session.view == foldlog.fold(scrubbed.events("demo"))
        assert list(scrubbed.events("demo"))[1] == event


def test_what_was_removed_is_marked_by_path_and_name(scrubbed: foldlog.Store) -> None:
    with scrubbed.start_session(id="demo") as session:
        assert "scrubbed" not in session.emit("note", text="nothing")
        event = session.emit("note", a={"b": ["x", f"{SECRET} [scrubbed:other]"]}, m={SECRET: 1})
        assert event["scrubbed"] == [
            {"path": "a.b[1]", "what": ["mine", "other"]}, {"path": f"m.{GONE}", "what": ["mine"]},
        ]  # fmt: skip
        ref = session.value_ref({"body": [SECRET, LARGE]})
        assert session.read_ref(ref) == {"body": [GONE, LARGE]}
        row = session.add_call("leaf", response_ref=ref)
        started = next(iter(scrubbed.events("demo", types=["call.started"])))
        assert started["scrubbed"] == [{"blob": ref["hash"], "path": "body[0]", "what": ["mine"]}]
        assert "scrubbed" not in row
        assert session.read_ref(row["response_ref"]) == {"body": [GONE, LARGE]}
        assert "scrubbed" not in session.emit("later", ref=row["response_ref"])


def test_marks_are_bounded_and_go_on_after_those_that_are_there(scrubbed: foldlog.Store) -> None:
    with scrubbed.start_session(id="demo") as session:
        event = session.emit("note", many=[SECRET] * 1000, scrubbed=[{"path": "earlier", "what": ["old"]}])
        assert len(event["scrubbed"]) == SCRUB_MARKS_MAX + 2
        assert event["scrubbed"][0] == {"path": "earlier", "what": ["old"]}
        assert event["scrubbed"][-1] == {"more": 1000 - SCRUB_MARKS_MAX}
        assert session.emit("note", scrubbed="a word")["scrubbed"] == "a word"
        with pytest.raises(foldlog.InvalidEventError, match="scrubbed"):
            session.emit("note", text=SECRET, scrubbed="a word")


def test_a_reference_stays_one_though_the_hook_copies_maps(scrubbed: foldlog.Store) -> None:
    with scrubbed.start_session(id="demo") as session:
        inner = session.value_ref([LARGE, SECRET])
        outer = session.value_ref({"inner": inner, "text": LARGE + SECRET})
        session.emit("note", ref=outer, text=SECRET)
        stored = session.read_ref(list(scrubbed.events("demo"))[-1]["ref"])
        assert session.read_ref(stored["inner"]) == [LARGE, GONE]
        look_alike = {"kind": "blob", "hash": f"sha256:{'0' * 64}", "bytes": 5}
        assert session.emit("note", look=look_alike)["look"] == look_alike
    assert scrubbed.verify().problems == []


def test_a_reference_whose_value_the_hook_has_not_seen_is_refused(tmp_path: Path, scrubbed: foldlog.Store) -> None:
    with foldlog.new_state(tmp_path / "other.db", id="other") as other:
        foreign = other.value_ref([SECRET, LARGE])
    with scrubbed.start_session(id="demo") as session:
        own = session.value_ref([LARGE])
        for bad in (foreign, pickle.loads(pickle.dumps(own))):
            for record in (
                lambda ref=bad: session.emit("note", ref=ref),
                lambda ref=bad: session.value_ref([ref, LARGE]),
                lambda ref=bad: session.add_call("leaf", request_ref=ref),
            ):
                with pytest.raises(foldlog.InvalidEventError, match="has not seen"):
                    record()
        assert session.add_call("leaf", request_ref=own)["id"] == 1


def test_what_a_secrets_key_is_to_a_variable(path: Path, config: foldlog.Config) -> None:
    keyed = dataclasses.replace(config, scrub=foldlog.scrub_secrets())
    with foldlog.new_state(path, config=keyed, id="demo") as session:
        session.snapshot({"api_key": "x1", "password": "y" * 9000, "plain": 5, "data": "z" * 9000})
        assert session.restore() == {
            "api_key": "[scrubbed:key]", "password": "[scrubbed:key]", "plain": 5, "data": "z" * 9000,
        }  # fmt: skip


@pytest.mark.parametrize("kind", [ValueError, RecursionError, AttributeError, foldlog.InvalidEventError])
def test_an_error_in_the_hook_refuses_the_event(path: Path, config: foldlog.Config, kind: type[Exception]) -> None:
    def fail(event_type: str | None, payload: Any) -> Any:
        if "bad" in str(payload):
            raise (kind(SECRET, hint="own") if kind is foldlog.InvalidEventError else kind(SECRET))  # type: ignore[call-arg]
        return payload

    with foldlog.new_state(path, config=dataclasses.replace(config, scrub=fail), id="demo") as session:
        before = list(session.store.events())
        for record in (
            lambda: session.emit("note", text="bad"),
            lambda: session.add_message("user", "bad"),
            lambda: session.value_ref(["bad", LARGE]),
            lambda: session.mark_final("bad"),
            lambda: session.start_child(query="bad"),
            lambda: session.store.start_session(id="other", prompt="bad"),
        ):
            with pytest.raises(foldlog.InvalidEventError) as caught:
                record()
            if kind is not foldlog.InvalidEventError:
                assert SECRET not in str(caught.value) + repr(caught.value)
                assert isinstance(caught.value.__cause__, kind)
        with pytest.raises(foldlog.InvalidEventError), session.batch():
            session.emit("fine")
            session.emit("note", text="bad")
        assert list(session.store.events()) == before
        assert session.emit("fine")["id"] == before[-1]["id"] + 1


@pytest.mark.parametrize(
    "answer",
    [lambda payload: None, lambda payload: [payload], lambda payload: {**payload, "text": object()},
     lambda payload: {**payload, 5: 1}, lambda payload: {**payload, "text": float("nan")}],
)  # fmt: skip
def test_nonsense_that_the_hook_returns_is_refused(
    path: Path, config: foldlog.Config, answer: Callable[[Any], Any]
) -> None:
    def nonsense(event_type: str | None, payload: Any) -> Any:
        return answer(payload) if event_type == "note" else payload

    with foldlog.new_state(path, config=dataclasses.replace(config, scrub=nonsense), id="demo") as session:
        with pytest.raises(foldlog.EventError):
            session.emit("note", text="x")
        assert session.emit("fine")["id"] == 2


def test_the_hook_cannot_rename_a_session_or_break_an_event(store: foldlog.Store, tmp_path: Path) -> None:
    def rename(event_type: str | None, payload: Any) -> Any:
        if event_type == "session.started":
            payload["session"]["id"] = "other"
        return {} if event_type == "message.added" else payload

    config = foldlog.Config(durability="normal", scrub=rename)
    with foldlog.open(tmp_path / "other.db", config=config) as renaming:
        with pytest.raises(foldlog.InvalidEventError, match="the session's id"):
            renaming.start_session(id="demo")
        assert list(renaming.events()) == []
    with store.start_session(id="demo"):
        pass
    with foldlog.open(store.url, config=config) as renaming:
        session = renaming.open_session("demo")
        with pytest.raises(foldlog.InvalidEventError, match="lacks"):
            session.add_message("user", "x")


def test_a_hook_that_changes_in_place_is_marked_too(path: Path, config: foldlog.Config) -> None:
    def in_place(event_type: str | None, payload: Any) -> Any:
        if event_type == "note":
            payload["text"] = GONE
        return payload

    mine = {"text": SECRET}
    with foldlog.new_state(path, config=dataclasses.replace(config, scrub=in_place), id="demo") as session:
        assert session.emit("note", **mine)["scrubbed"] == [{"path": "text", "what": ["mine"]}]
    assert mine == {"text": SECRET}


def test_the_hook_sees_types_and_plain_data(path: Path, config: foldlog.Config) -> None:
    seen: list[tuple[str | None, Any]] = []

    def look(event_type: str | None, payload: Any) -> Any:
        seen.append((event_type, payload))
        return payload

    with foldlog.new_state(path, config=dataclasses.replace(config, scrub=look), id="demo") as session:
        seen.clear()
        session.emit("note", pair=(1, Path("/x")), idempotency_key="k")
        session.emit("note", pair=(1, Path("/x")), idempotency_key="k")
        session.value_ref("small")
        session.value_ref((LARGE,))
    assert seen[:2] == [("note", {"pair": [1, "/x"]}), (None, [LARGE])]


def test_without_a_hook_nothing_is_looked_at(store: foldlog.Store) -> None:
    with store.start_session(id="demo") as session:
        assert session.emit("note", text=SECRET, scrubbed="free")["scrubbed"] == "free"
    with pytest.raises(foldlog.StoreError, match="no function"):
        foldlog.Config(scrub="yes")  # type: ignore[arg-type]


def test_the_same_for_coroutines(path: Path, tmp_path: Path, scrubbing: foldlog.Config) -> None:
    async def main() -> None:
        async with foldlog.aio.new_state(path, config=scrubbing, id="demo", prompt=SECRET) as session:
            assert (await session.emit("note", text=SECRET))["text"] == GONE
            await session.snapshot({"x": SECRET * 1000})
            async with session.batch():
                await session.add_message("user", SECRET * 100_000)
            async with session.turn() as turn:
                await turn.final("y" * 1995 + SECRET + LARGE)
            async with session.start_child(query=SECRET) as child:
                await child.mark_final(SECRET)

    asyncio.run(main())
    assert holds(path, tmp_path, SECRET) == []
    with foldlog.open(path, read_only=True) as store:
        assert rows(store, "SELECT count(*) FROM events WHERE replace(data, ?, '') <> data", GONE)[0][0] >= 5
