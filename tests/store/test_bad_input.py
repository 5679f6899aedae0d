"""Bad input: each gets its documented error with a hint, and nothing was written."""

import os
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import foldlog


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refuse(kind: type[foldlog.FoldlogError], action: Callable[[], Any]) -> foldlog.FoldlogError:
    with pytest.raises(kind) as caught:
        action()
    assert type(caught.value) is kind
    assert caught.value.hint
    assert caught.value.hint in str(caught.value)
    return caught.value


def make_directory(path: Path) -> None:
    path.mkdir()


def make_text(path: Path) -> None:
    path.write_text("dear diary, today I was not a database\n" * 200)


def make_short_text(path: Path) -> None:
    path.write_text("hi")


def make_empty(path: Path) -> None:
    path.touch()


def make_foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (a)")
    connection.close()


def make_foreign_wal(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE events (a)")
    connection.close()


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    "make", [make_directory, make_text, make_short_text, make_empty, make_foreign, make_foreign_wal, make_fifo]
)
@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_no_store_is_refused_and_left_alone(
    tmp_path: Path, make: Callable[[Path], None], read_only: bool
) -> None:
    path = tmp_path / "history.db"
    make(path)
    before = listing(tmp_path)
    error = refuse(foldlog.NotAStoreError, lambda: foldlog.open(path, read_only=read_only))
    assert "history.db" in error.message
    if make is not make_fifo:
        assert listing(tmp_path) == before


def test_a_newer_schema_is_refused_untouched(path: Path) -> None:
    foldlog.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    refuse(foldlog.SchemaTooNewError, lambda: foldlog.open(path))
    refuse(foldlog.SchemaTooNewError, lambda: foldlog.open(path, read_only=True))
    assert path.read_bytes() == before


def test_a_read_only_file_is_refused_for_writing_and_opens_for_reading(path: Path) -> None:
    with foldlog.new_state(path, id="demo"):
        pass
    before = path.read_bytes()
    path.chmod(0o400)
    refuse(foldlog.StoreError, lambda: foldlog.open(path))
    with foldlog.open(path, read_only=True) as store:
        assert [row["id"] for row in store.sessions()] == ["demo"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("url", [":memory:", "", "sqlite://", "sqlite:///:memory:", "file:x.db", "mysql://x/y"])
def test_a_store_that_would_not_survive_is_refused(url: str) -> None:
    refuse(foldlog.StoreError, lambda: foldlog.open(url))


def test_a_store_in_no_folder_is_refused(tmp_path: Path) -> None:
    refuse(foldlog.StoreError, lambda: foldlog.open(tmp_path / "nowhere" / "history.db"))
    assert listing(tmp_path) == {}


def test_reading_a_store_that_is_not_there_makes_none(path: Path) -> None:
    refuse(foldlog.NotAStoreError, lambda: foldlog.open(path, read_only=True))
    assert listing(path.parent) == {}


def test_a_read_only_store_refuses_to_write(path: Path) -> None:
    foldlog.new_state(path, id="demo").close()
    with foldlog.open(path, read_only=True) as store:
        refuse(foldlog.StoreError, lambda: store.start_session(id="other"))
        refuse(foldlog.StoreError, lambda: store.open_session("demo"))


@pytest.mark.parametrize(
    "bad",
    ["../x", "a/../b", "/etc", "a//b", "a/", "", ".hidden", "-dash", "a b", "a\n", "ä", "a" * 129, "x" * 300, "a\0b",
     None.__class__, 7, b"a", ["a"]],
)  # fmt: skip
def test_a_bad_session_id_is_refused(store: foldlog.Store, bad: Any) -> None:
    refuse(foldlog.InvalidIdError, lambda: store.start_session(id=bad))
    refuse(foldlog.InvalidIdError, lambda: store.open_session(bad))
    refuse(foldlog.InvalidIdError, lambda: store.view(bad))
    assert list(store.events()) == []
    assert list(store.sessions()) == []


def test_an_unknown_session_is_refused(store: foldlog.Store) -> None:
    for action in (
        lambda: store.open_session("nobody"),
        lambda: store.view("nobody"),
        lambda: store.usage("nobody"),
        lambda: store.tree("nobody"),
        lambda: store.final("nobody"),
        lambda: list(store.events("nobody")),
        lambda: store.resume_session("nobody"),
        lambda: store.fork_session("nobody", id="x"),
        lambda: store.export(store.path.parent / "out", session="nobody"),
        lambda: store.start_session(id="nobody/child", parent={"session_id": "nobody"}),
        lambda: store.start_session(parent="nobody"),
    ):
        error = refuse(foldlog.UnknownSessionError, action)
        assert isinstance(error, LookupError)
    assert list(store.events()) == []


def test_a_taken_id_is_refused(store: foldlog.Store) -> None:
    store.start_session(id="demo").close()
    refuse(foldlog.AlreadyExistsError, lambda: store.start_session(id="demo"))
    assert len(list(store.events())) == 1


def test_a_child_that_is_not_below_its_parent_is_refused(store: foldlog.Store) -> None:
    store.start_session(id="demo").close()
    refuse(foldlog.InvalidIdError, lambda: store.start_session(id="elsewhere", parent={"session_id": "demo"}))
    refuse(foldlog.InvalidIdError, lambda: store.start_session(id="demo/x/y", parent={"session_id": "demo"}))


def test_a_tree_too_deep_is_refused(path: Path) -> None:
    config = foldlog.Config(limits=foldlog.Limits(tree_depth_max=2))
    with foldlog.open(path, config=config) as store, store.start_session(id="a") as root, root.start_child() as child:
        refuse(foldlog.LimitError, child.start_child)
        assert child.view.calls == {}


class Cycle(list[Any]):
    pass


def a_cycle() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (float("nan"), "message.content"),
        ({"a": [1, float("inf")]}, "message.content.a[1]"),
        (2**70, "message.content"),
        (-(2**63) - 1, "message.content"),
        ("\ud800", "message.content"),
        ({"\udfff": 1}, "message.content.\\udfff"),
        ({1: 2}, "message.content.1"),
        ({"x": (1, object())}, "message.content.x[1]"),
        ({"x": len}, "message.content.x"),
        (deep(300), None),
        (a_cycle(), None),
        ({"u": uuid}, "message.content.u"),
    ],
    ids=["nan", "infinity", "2**70", "below-64-bits", "surrogate", "surrogate-key", "int-key", "object", "function",
         "deep", "cycle", "module"],
)  # fmt: skip
def test_a_value_json_cannot_carry_is_refused_with_its_path(
    store: foldlog.Store, value: Any, where: str | None
) -> None:
    with store.start_session(id="demo") as session:
        error = refuse(foldlog.NotSerializableError, lambda: session.add_message("user", value))
        assert isinstance(error, foldlog.NotSerializableError)
        assert error.path.startswith("message.content") if where is None else error.path == where
        refuse(foldlog.NotSerializableError, lambda: session.value_ref(value))
        refuse(foldlog.NotSerializableError, lambda: session.mark_final(value))
        refuse(foldlog.NotSerializableError, lambda: session.update_turn(session.add_turn()["id"], note=value))
        assert session.add_message("user", "fine")["id"] == 1
    assert [event["type"] for event in store.events()] == [
        "session.started", "turn.started", "message.added", "session.status",
    ]  # fmt: skip


def test_an_open_file_is_refused(store: foldlog.Store, tmp_path: Path) -> None:
    with store.start_session(id="demo") as session, (tmp_path / "x").open("w") as file:
        refuse(foldlog.NotSerializableError, lambda: session.add_message("user", {"file": file}))


def test_errors_never_print_what_users_said(store: foldlog.Store) -> None:
    secret = "hunter2-secret"
    with store.start_session(id="demo") as session:
        for action in (
            lambda: session.add_message("user", [secret, object()]),
            lambda: session.emit("message.added", message={"id": 1, "text": secret}),
            lambda: session.add_call("leaf", turn_id=9, note=secret),
            lambda: session.update_call(5, note=secret),
        ):
            with pytest.raises(foldlog.FoldlogError) as caught:
                action()
            assert secret not in f"{caught.value}{caught.value!r}"


@pytest.mark.parametrize(
    ("kind", "type", "fields"),
    [
        (foldlog.InvalidEventError, "message.added", {}),
        (foldlog.InvalidEventError, "message.added", {"message": {"id": 1, "role": "user"}}),
        (foldlog.InvalidEventError, "message.added", {"message": {"id": 7, "role": "user", "content": ""}}),
        (foldlog.InvalidEventError, "message.added", {"message": {"id": True, "role": "user", "content": ""}}),
        (foldlog.InvalidEventError, "message.added", {"message": {"id": "12", "role": "user", "content": ""}}),
        (foldlog.InvalidEventError, "message.added", {"message": {"id": -1, "role": "user", "content": ""}}),
        (foldlog.UnknownRowError, "message.added", {"message": {"id": 8, "role": "user", "content": "", "turn_id": 9}}),
        (foldlog.InvalidEventError, "turn.started", {"turn": {"id": 3}}),
        (foldlog.InvalidEventError, "turn.started", {"turn": {}}),
        (foldlog.InvalidEventError, "turn.started", {"turn": {"id": 4, "call_ids": 5}}),
        (foldlog.UnknownRowError, "turn.updated", {"turn_id": 9, "changes": {}}),
        (foldlog.InvalidEventError, "turn.updated", {"turn_id": 3}),
        (foldlog.InvalidEventError, "turn.updated", {"turn_id": 3, "changes": {"id": 4}}),
        (foldlog.InvalidEventError, "turn.updated", {"turn_id": 3, "changes": {}, "added": {"status": [1]}}),
        (foldlog.UnknownRowError, "turn.put", {"turn": {"id": 9}}),
        (foldlog.InvalidEventError, "call.started", {"call": {"id": 1}}),
        (foldlog.InvalidEventError, "call.started", {"call": {"id": 5, "type": "leaf"}}),
        (foldlog.UnknownRowError, "call.started", {"call": {"id": 6, "type": "leaf", "turn_id": 1}}),
        (foldlog.UnknownRowError, "call.updated", {"call_id": 6, "changes": {}}),
        (foldlog.UnknownRowError, "call.updated", {"call_id": 5, "changes": {"turn_id": 77}}),
        (foldlog.UnknownRowError, "call.put", {"call": {"id": 6, "type": "leaf"}}),
        (foldlog.InvalidEventError, "eval.added", {"eval": {}}),
        (foldlog.UnknownRowError, "eval.added", {"eval": {"id": 1, "turn_id": "t"}}),
        (foldlog.InvalidEventError, "snapshot.added", {"snapshot": 5}),
        (foldlog.InvalidEventError, "session.started", {"session": {"id": "demo"}}),
        (foldlog.InvalidEventError, "session.status", {"status": "stopped"}),
        (foldlog.InvalidEventError, "session.final", {}),
        (foldlog.InvalidEventError, "session.error", {"error": "x"}),
        (foldlog.InvalidEventError, "session.restored", {"messages": []}),
        (foldlog.InvalidEventError, "no spaces", {}),
        (foldlog.InvalidEventError, "", {}),
        (foldlog.InvalidEventError, "x" * 129, {}),
    ],
)
def test_an_event_that_contradicts_the_session_is_refused(
    store: foldlog.Store, kind: type[foldlog.FoldlogError], type: str, fields: dict[str, Any]
) -> None:
    with store.start_session(id="demo") as session:
        turn = session.add_turn(id=3)
        session.add_call("leaf", id=5, turn_id=turn["id"])
        session.add_message("user", "hello", id=7)
        before, view = list(store.events()), session.view.document()
        refuse(kind, lambda: session.emit(type, **fields))
        assert list(store.events()) == before
        assert session.view.document() == view
        assert session.emit("note")["id"] == before[-1]["id"] + 1


@pytest.mark.parametrize("key", ["id", "at"])
def test_a_reserved_payload_key_is_refused(store: foldlog.Store, key: str) -> None:
    with store.start_session(id="demo") as session:
        refuse(foldlog.InvalidEventError, lambda: session.emit("note", **{key: 1}))
        refuse(foldlog.InvalidEventError, lambda: session.add_event("note", **{key: 1}))


def test_an_event_that_is_too_large_is_refused(path: Path) -> None:
    config = foldlog.Config(limits=foldlog.Limits(event_bytes_max=2000, blob_bytes_max=9000))
    with foldlog.open(path, config=config) as store, store.start_session(id="demo") as session:
        refuse(foldlog.LimitError, lambda: session.add_message("user", "x" * 2000))
        refuse(foldlog.LimitError, lambda: session.value_ref("x" * 9000))
        assert session.add_message("user", "x" * 1000)["id"] == 1


def test_unknown_rows_are_refused_by_every_verb(store: foldlog.Store) -> None:
    with store.start_session(id="demo") as session:
        for action in (
            lambda: session.update_turn(1, status="final"),
            lambda: session.update_call(1, status="ok"),
            lambda: session.add_turn_id(1, "call_ids", 2),
            lambda: session.add_message("user", "", turn_id=1),
            lambda: session.add_call("leaf", turn_id=1),
            lambda: session.add_eval(turn_id=1),
            lambda: session.snapshot({}, turn_id=1),
            lambda: session.start_child(turn_id=1),
            session.restore,
            lambda: store.view("demo", at=99),
            lambda: store.view("demo", at=0),
            lambda: store.resume_session("demo"),
        ):
            refuse(foldlog.UnknownRowError, action)
    assert [event["type"] for event in store.events()] == ["session.started", "session.status"]
    assert [row["id"] for row in store.sessions()] == ["demo"]


def test_what_is_no_reference_is_refused(store: foldlog.Store) -> None:
    with store.start_session(id="demo") as session:
        for bad in ({}, {"kind": "inline"}, {"kind": "blob"}, {"kind": "blob", "hash": "../../etc/passwd"}, None, 5):
            refuse(foldlog.InvalidEventError, lambda bad=bad: session.read_ref(bad))
        missing = {"kind": "blob", "hash": "sha256:" + "0" * 64, "bytes": 1}
        refuse(foldlog.MissingBlobError, lambda: session.read_ref(missing))


def test_a_reference_of_another_store_is_refused(path: Path, store: foldlog.Store, tmp_path: Path) -> None:
    with foldlog.new_state(tmp_path / "other.db", id="a") as other:
        call = other.add_call("leaf", request_ref=other.value_ref("x" * 9000))
    with store.start_session(id="demo") as session:
        refuse(foldlog.MissingBlobError, lambda: session.add_call("leaf", request_ref=call["request_ref"]))
        assert session.view.calls == {}
        assert session.add_call("leaf")["id"] == 1


@pytest.mark.parametrize("value", ["paused", "", None, 5])
def test_an_unknown_status_is_refused(store: foldlog.Store, value: Any) -> None:
    with store.start_session(id="demo") as session:
        refuse(foldlog.InvalidEventError, lambda: session.update_status(value))


def test_keys_that_the_session_gives_are_refused(store: foldlog.Store) -> None:
    refuse(foldlog.InvalidEventError, lambda: store.start_session(status="stopped"))


def test_a_closed_handle_is_refused(path: Path, config: foldlog.Config) -> None:
    store = foldlog.open(path, config=config)
    session = store.start_session(id="demo")
    session.close()
    session.close()
    refuse(foldlog.StoreClosedError, lambda: session.add_message("user", ""))
    refuse(foldlog.StoreClosedError, session.checkpoint)
    store.close()
    store.close()
    refuse(foldlog.StoreClosedError, lambda: store.start_session(id="x"))
    refuse(foldlog.StoreClosedError, lambda: list(store.sessions()))
    refuse(foldlog.StoreClosedError, lambda: store.query("SELECT 1"))


@pytest.mark.parametrize(
    "sql",
    ["DELETE FROM events", "DROP TABLE events", "PRAGMA journal_mode = DELETE", "ATTACH 'x.db' AS x", "VACUUM",
     "INSERT INTO streams VALUES (9, 'x')", "SELECT load_extension('x')", "SELECT 1; SELECT 2", "SELEC 1",
     "SELECT nothing FROM sessions", "BEGIN", "", "SELECT printf('%1000000000d', 1)", "EXPLAIN SELECT 1"],
)  # fmt: skip
def test_a_query_only_reads(store: foldlog.Store, sql: str, tmp_path: Path) -> None:
    if sql.startswith("EXPLAIN") and store.path is not None:
        assert list(store.query(sql))
        return
    refuse(foldlog.QueryError, lambda: store.query(sql))
    assert not (tmp_path / "x.db").exists()


def test_a_query_does_not_run_for_ever(store: foldlog.Store) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    refuse(foldlog.QueryError, lambda: list(store.query(endless, timeout=0.2)))


def test_a_bad_config_is_refused() -> None:
    refuse(foldlog.StoreError, lambda: foldlog.Config(durability="maybe"))  # type: ignore[arg-type]
    refuse(foldlog.StoreError, lambda: foldlog.Config(inline_bytes_max=-1))


@pytest.mark.parametrize("key", [["x"], None, 7, {"a": 1}])
def test_a_list_of_a_turn_has_a_name(store: foldlog.Store, key: Any) -> None:
    session = store.start_session(id="demo")
    session.add_turn()
    refuse(foldlog.InvalidEventError, lambda: session.add_turn_ids(1, key, [1]))
    refuse(foldlog.InvalidEventError, lambda: session.add_turn_id(1, key, 1))
    assert len(list(store.events())) == 2
