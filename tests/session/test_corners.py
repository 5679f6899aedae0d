"""Corners that once broke: lists in batches, odd but legal rows, failures after a commit."""

import datetime as dt
import json
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import foldlog
from engines import be_impatient, locked, rows


@pytest.fixture
def session(store: foldlog.Store) -> foldlog.Session:
    return store.start_session(id="demo")


def assert_whole(session: foldlog.Session) -> None:
    session.checkpoint()
    store = session.store
    assert session.view == foldlog.fold(store.events("demo"))
    assert store.verify().problems == []
    with foldlog.open(store.url, read_only=True) as other:
        assert other.view("demo") == session.view


def test_a_list_of_the_users_own_grows_inside_a_batch(session: foldlog.Session) -> None:
    session.add_turn(my=[4])
    with session.batch():
        session.add_turn_id(1, "my", 5)
        session.update_turn(1, q=1)
        assert session.update_turn(1, lambda row: {"seen": row["my"]})["seen"] == [4, 5]
        session.add_turn_id(1, "my", 6)
    assert session.view.turns[1]["my"] == [4, 5, 6]
    assert_whole(session)


def test_a_list_of_the_users_own_is_the_same_row_after_reopening(session: foldlog.Session) -> None:
    session.add_turn()
    session.add_turn_id(1, "my", 7)
    session.close()
    again = session.store.open_session("demo")
    again.update_turn(1, z=1)
    assert_whole(again)


@pytest.mark.parametrize(
    "make",
    [
        lambda s: s.add_call("child", edge_type={"a": 1}),
        lambda s: s.add_call("child", edge_type=5, child_session_id=["x"]),
        lambda s: s.add_message("tool", "x", call_id="12"),
        lambda s: s.add_call("leaf", parent_eval_id="3", batch_index=1.5, batch_id=7),
        lambda s: s.add_call("leaf", cost={"usd": 2**53 + 1}, usage={"input_tokens": 1.0, "output_tokens": 2**62}),
        lambda s: s.add_eval(elapsed_ms=2**53 + 1, block_index="0"),
        lambda s: s.add_call("leaf", usage="lots", cost=0.1, cache=[1]),
        lambda s: s.add_turn(status=None, started_at=5),
        lambda s: s.add_message("user", "", id="one.two"),
        lambda s: s.emit("message.added", message={"id": 7, "role": "", "content": None, "turn_id": None}),
        lambda s: s.add_snapshot(kind=["odd"], message_through_id={"no": "id"}),
    ],
)
def test_odd_but_legal_rows_are_the_same_everywhere(session: foldlog.Session, make: Any) -> None:
    make(session)
    assert_whole(session)
    session.close()
    assert_whole(session.store.open_session("demo"))


@pytest.mark.parametrize(
    ("type", "fields"),
    [
        ("session.restored", {"messages": [{"id": 1, "role": "a", "content": 1, "turn_id": [1]}], "counters": {},
                              "session_patch": {}}),
        ("session.status", {"status": [], "ended_at": None}),
        ("call.started", {"call": {"id": 1, "type": "leaf", "status": 7}}),
        ("turn.updated", {"turn_id": 1, "changes": {"id": 1.0}}),
        ("turn.updated", {"turn_id": 1, "changes": {"status": {}}}),
        ("message.added", {"message": {"id": 1, "role": None, "content": ""}}),
    ],
)  # fmt: skip
def test_rows_that_would_poison_the_session_are_refused(session: foldlog.Session, type: str, fields: Any) -> None:
    session.add_turn()
    with pytest.raises(foldlog.InvalidEventError):
        session.emit(type, **fields)
    assert_whole(session)


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_a_value_of_the_deepest_nesting_goes_everywhere(
    store: foldlog.Store, session: foldlog.Session, tmp_path: Path
) -> None:
    value = deep(200)
    with session.turn() as turn:
        turn.message("user", value)
        with turn.call("leaf", request_ref=session.value_ref(value)) as call:
            call.final(value)
        turn.final(value)
    session.snapshot({"value": value, "small": 1})
    forked = store.fork_session("demo", id="forked")
    assert forked.view.messages[1]["content"] == value
    assert forked.restore()["value"] == value
    store.export(tmp_path / "files")
    assert_whole(session)
    with pytest.raises(foldlog.NotSerializableError):
        session.value_ref(deep(201))


def test_a_reader_sees_all_of_a_batch_or_nothing(session: foldlog.Session) -> None:
    done = threading.Event()

    def work() -> None:
        for _ in range(300):
            with session.batch():
                turn = session.add_turn()
                session.add_call("leaf", turn_id=turn["id"])
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        counters = session.view.counters
        assert counters["turn"] == counters["call"]
    thread.join(60)


def test_what_a_callback_changed_itself_is_in_the_row_returned(session: foldlog.Session) -> None:
    session.add_call("leaf")

    def change(_row: dict[str, Any]) -> dict[str, Any]:
        session.update_call(1, inner=1)
        return {"outer": 2}

    row = session.update_call(1, change)
    assert (row["inner"], row["outer"]) == (1, 2)
    assert row == session.view.calls[1]


def test_a_checkpoint_asked_for_in_a_batch_survives_a_refused_event(session: foldlog.Session) -> None:
    with session.batch():
        session.checkpoint()
        with pytest.raises(foldlog.UnknownRowError):
            session.update_call(9, x=1)
        session.add_message("user", "hi")
    assert rows(session.store, "SELECT count(*) FROM messages") == [(1,)]


def test_a_locked_database_refuses_and_then_goes_on(
    engine: str, path: Path, config: foldlog.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_impatient(engine, monkeypatch)
    with foldlog.open(path, config=config) as store:
        session = store.start_session(id="demo")
        session.add_turn()
        with locked(store):
            for action in (
                lambda: session.add_event("a"),
                lambda: session.update_status("stopped"),
                lambda: session.start_child(),  # noqa: PLW0108
                lambda: session.checkpoint(),  # noqa: PLW0108
                lambda: store.start_session(id="other"),
            ):
                with pytest.raises(foldlog.StoreBusyError):
                    action()
            # A close that fails leaves the handle open, to be closed again; nothing looks like a crash.
            with pytest.raises(foldlog.StoreBusyError):
                session.close()
        assert session.add_event("a") == 3
        session.close()
        again = store.open_session("demo")
        assert again.view.turns[1]["status"] == "running"
        assert [event["type"] for event in store.events()] == ["session.started", "turn.started", "a"]


def test_a_failure_after_the_commit_says_that_it_was_recorded(
    store: foldlog.Store, session: foldlog.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_session_id: str) -> None:
        raise foldlog.StoreBusyError("busy", hint="nothing was written")

    with monkeypatch.context() as patch:
        patch.setattr(store, "checkpointed", fail)
        with pytest.raises(foldlog.StoreError, match="recorded through event 2, but") as caught:
            session.update_status("stopped")
    assert "do not repeat" in caught.value.hint
    assert session.view.session["status"] == "stopped"


def test_an_export_folder_that_cannot_be_is_refused_when_the_store_is_opened(path: Path, tmp_path: Path) -> None:
    with pytest.raises(foldlog.StoreError, match="export_dir"):
        foldlog.open(path, config=foldlog.Config(export_dir=tmp_path / "no" / "such"))
    with pytest.raises(foldlog.NotAStoreError):  # nor was it made
        foldlog.open(path, read_only=True)


def test_files_follow_every_way_a_session_can_end(path: Path, tmp_path: Path) -> None:
    files = tmp_path / "files"
    with foldlog.open(path, config=foldlog.Config(durability="normal", export_dir=files)) as store:
        session = store.start_session(id="demo")
        session.add_message("user", "one")
        session.close()
        assert len((files / "demo" / "messages.jsonl").read_text().splitlines()) == 1
        with store.open_session("demo") as session:
            session.update_status("stopped")
            session.add_message("user", "late")
        assert len((files / "demo" / "messages.jsonl").read_text().splitlines()) == 2
        assert json.loads((files / "demo" / "session.json").read_text())["status"] == "stopped"


def test_blobs_inside_blobs_are_exported(session: foldlog.Session, tmp_path: Path) -> None:
    session.snapshot({f"v{number}": "x" * 5000 + str(number) for number in range(60)})
    folder = tmp_path / "files"
    session.store.export(folder)
    assert len(list((folder / "demo" / "blobs").iterdir())) == 61
    target = next((folder / "demo" / "blobs").iterdir())
    target.write_text("damaged")
    assert session.store.export(folder) == [target]


@pytest.mark.sqlite("folders beside its file")
def test_a_read_only_store_leaves_no_folder_behind(path: Path) -> None:
    foldlog.new_state(path, id="demo").close()
    for entry in path.parent.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
    with foldlog.open(path, read_only=True) as store:
        for action in (lambda: store.start_session(), lambda: store.open_session("demo")):  # noqa: PLW0108
            with pytest.raises(foldlog.StoreError):
                action()
    assert [entry.name for entry in path.parent.iterdir() if entry.is_dir()] == []


def test_children_without_a_call_get_numbers_of_their_own(store: foldlog.Store, session: foldlog.Session) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: store.start_session(parent=session.id).id, range(40)))
    assert sorted(ids) == [f"demo/child-{number:04d}" for number in range(1, 41)]


def test_a_number_that_somebody_holds_and_never_uses_is_told_and_not_waited_for(
    store: foldlog.Store, session: foldlog.Session
) -> None:
    with foldlog.open(store.url) as other:
        held = other.database.acquire("demo/child-0001", {"pid": 1, "host": "elsewhere"})
        with pytest.raises(foldlog.SessionInUseError, match="process 1 on elsewhere"):
            store.start_session(parent=session.id)
        held.release()
    assert store.start_session(parent=session.id).id == "demo/child-0001"


def test_a_chain_of_hand_made_edges_ends(store: foldlog.Store, tmp_path: Path) -> None:
    for number in range(80):
        with store.start_session(id=f"s{number}") as one:
            one.add_call("child", child_session_id=f"s{number + 1}")
            one.add_call("leaf", usage={"input_tokens": 1})
    assert store.usage("s0")["total_tree"]["status"] == "partial"
    assert store.tree("s0")["children"]
    store.export(tmp_path / "files")


@pytest.mark.sqlite("its write-ahead log")
def test_a_store_opens_while_its_log_is_being_written_back(path: Path) -> None:
    """A kill in the middle of SQLite's own checkpoint: the file is short, with its log it is whole."""
    code = (
        "import os, resource, sys, foldlog\n"
        "session = foldlog.new_state(sys.argv[1], id='demo')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8 * 2**20, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    while True: session.add_message('user', 'x' * 6000)\n"
        "except foldlog.StoreError:\n"
        "    os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=120)
    with foldlog.open(path, read_only=True) as store:
        count = len(store.view("demo").messages)
    with foldlog.open(path) as store:
        assert count > 500
        assert len(store.open_session("demo").view.messages) == count
        assert store.verify().problems == []


@pytest.mark.parametrize(
    "action",
    [
        lambda store, session: store.events(after=2**70),
        lambda store, session: store.events(after=None),
        lambda store, session: store.events(types=5),
        lambda store, session: store.events(types=["\ud800"]),
        lambda store, session: store.follow(idle_timeout="x"),
        lambda store, session: store.query("SELECT ?", [2**70]),
        lambda store, session: store.query("SELECT 1", timeout="x"),
        lambda store, session: store.start_session(parent=5),
        lambda store, session: store.export(None),
        lambda store, session: store.export("a\0"),
        lambda store, session: store.backup(None),
        lambda store, session: store.backup("a\0"),
        lambda store, session: store.backup("a" * 400),
        lambda store, session: session.update_call(1, {"a": 1}),
        lambda store, session: session.update_call([1]),
        lambda store, session: session.add_turn_ids(1, "k", 5),
        lambda store, session: session.add_turn_ids(1, "k", "abc"),
        lambda store, session: session.add_turn_ids(1, "k", [[1]]),
        lambda store, session: session.snapshot(5),
        lambda store, session: session.value_ref(1, inline_bytes_max="a"),
        lambda store, session: session.emit("a", idempotency_key="\ud800"),
        lambda store, session: session.emit("a", idempotency_key=5),
        lambda store, session: foldlog.fold([5]),
        lambda store, session: foldlog.open(None),
        lambda store, session: foldlog.open("a" * 5000),
        lambda store, session: foldlog.open("a\0b"),
        lambda store, session: foldlog.open("sqlite:///a.db?mode=ro"),
    ],
)
def test_no_bare_error_leaves_the_library(store: foldlog.Store, session: foldlog.Session, action: Any) -> None:
    session.add_turn()
    session.add_call("leaf")
    before = list(store.events())
    with pytest.raises(foldlog.FoldlogError) as caught:
        action(store, session)
    assert caught.value.hint
    assert list(store.events()) == before


def test_a_writer_that_was_pushed_aside_stays_aside(path: Path, config: foldlog.Config) -> None:
    with foldlog.open(path, config=config) as store, foldlog.open(path, config=config) as other:
        old = store.start_session(id="demo")
        new = other.open_session("demo", take_over=True)
        for action in (lambda: old.add_event("a"), old.reload, lambda: old.add_event("b"), old.checkpoint):
            with pytest.raises(foldlog.StaleWriterError):
                action()
        new.update_status("stopped")
        # Nor does the store it is in believe it any more.
        assert store.final("demo")["status"] == store.view("demo").session["status"] == "stopped"
        assert [row["status"] for row in store.sessions()] == ["stopped"]
        old.close()
        assert new.add_event("c") == 4


def test_a_failed_export_at_the_start_leaks_no_lease(path: Path, tmp_path: Path) -> None:
    files = tmp_path / "files"
    with foldlog.open(path, config=foldlog.Config(export_dir=files)) as store:
        files.touch()
        with pytest.raises(foldlog.StoreError, match="in the way"):
            store.start_session(id="demo")
        files.unlink()
        parent = store.open_session("demo")
        (files / "demo" / "children").touch()
        with pytest.raises(foldlog.StoreError, match="in the way"):
            parent.start_child()
        (files / "demo" / "children").unlink()
        store.open_session("demo/child-0001").close()


def test_every_reader_sees_all_of_a_commit_or_nothing(session: foldlog.Session) -> None:
    done, torn = threading.Event(), list[str]()

    def read(name: str, look: Any) -> None:
        while not done.is_set():
            if look() % 50:
                torn.append(name)
                return

    looks = {
        "len": lambda: len(session.view.turns),
        "session": lambda: session.view.session["turn_count"],
        "final": lambda: (session.view.final_ref or {"value": 0})["value"],
        "iterating": lambda: len(list(session.view.turns)),
    }
    threads = [threading.Thread(target=read, args=item) for item in looks.items()]
    for thread in threads:
        thread.start()
    for _ in range(30):
        with session.batch():
            for _ in range(50):
                turn = session.add_turn()
                session.mark_final(turn["id"])
    done.set()
    for thread in threads:
        thread.join(60)
    assert torn == []


def test_references_inside_references_go_as_deep_as_they_like(session: foldlog.Session) -> None:
    ref = session.value_ref(0, inline_bytes_max=0)
    for number in range(3000):
        ref = session.value_ref([ref, number], inline_bytes_max=0)
    session.emit("chain", ref=ref)
    ref = session.value_ref("twice", inline_bytes_max=0)
    for number in range(25):
        ref = session.value_ref([ref, ref, number], inline_bytes_max=0)
        session.emit("shared", ref=ref)
    assert_whole(session)


def test_a_clock_of_another_zone_is_written_in_utc(path: Path) -> None:
    zone = dt.timezone(dt.timedelta(hours=5, minutes=30))
    clock = lambda: dt.datetime(2026, 11, 22, 12, 0, tzinfo=zone)  # noqa: E731
    with foldlog.new_state(path, config=foldlog.Config(clock=clock), id="demo") as session:
        assert session.emit("note")["at"] == "2026-11-22T06:30:00.000000Z"


def test_a_batch_that_is_open_is_not_entered_again(session: foldlog.Session) -> None:
    batch = session.batch()
    with batch:
        with pytest.raises(foldlog.InvalidEventError, match="open already"), batch:
            pass
        session.add_message("user", "one")
    with batch as nothing:
        session.add_message("user", "two")
    assert nothing is None
    assert [row["content"] for row in session.view.messages.values()] == ["one", "two"]
    assert session._recorder._depth == 0


def test_a_store_checkpoints_what_is_open_though_a_session_is_closed_meanwhile(
    store: foldlog.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = store.start_session(id="first"), store.start_session(id="second")
    second.add_message("user", "kept")
    checkpoint = foldlog.Session.checkpoint

    def closed_meanwhile(session: foldlog.Session) -> None:
        first.close()
        checkpoint(session)

    with monkeypatch.context() as patch:
        patch.setattr(foldlog.Session, "checkpoint", closed_meanwhile)
        store.checkpoint()
    assert list(store.query("SELECT session_id FROM messages")) == [{"session_id": "second"}]
    store.close()
    with pytest.raises(foldlog.StoreClosedError):
        store.checkpoint()
