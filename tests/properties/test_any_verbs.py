"""Any sequence of valid verbs, from many threads: replay, view, tables and files say the same."""

import json
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import foldlog
from foldlog.core.codec import decode
from foldlog.testing import strategies

KINDS = ("messages", "turns", "evals", "calls", "snapshots")

usages = st.fixed_dictionaries(
    {},
    optional={
        "input_tokens": st.integers(0, 10**6) | st.just("unknown"),
        "completion_tokens": st.integers(0, 10**6),
        "total_tokens": st.integers(0, 10**6),
        "cached_tokens": st.integers(0, 10**6),
    },
)
costs = st.fixed_dictionaries({}, optional={"usd": st.floats(0, 10) | st.just("unknown")})
steps = st.tuples(
    st.sampled_from(
        ["message", "turn", "call", "update_call", "update_turn", "eval", "snapshot", "turn_ids", "event", "final",
         "status", "batch", "child", "put", "blob", "checkpoint", "refused"]
    ),
    st.integers(0, 5),
    strategies.values(),
    usages,
    costs,
)  # fmt: skip


def pick(rows: Any, number: int) -> Any:
    ids = list(rows)
    return ids[number % len(ids)] if ids else None


class Worker:
    """Runs steps against one session; what each needs it takes from the view as it finds it."""

    def __init__(self, session: foldlog.Session) -> None:
        self.session = session

    def run_all(self, plan: list[tuple[str, int, Any, dict[str, Any], dict[str, Any]]]) -> None:
        for name, number, value, usage, cost in plan:
            getattr(self, f"do_{name}")(number, value, usage, cost)

    def do_message(self, number: int, value: Any, *_: Any) -> None:
        role = ("user", "assistant", "tool", "observation", "system")[number % 5]
        self.session.add_message(role, value, turn_id=pick(self.session.view.turns, number))

    def do_turn(self, _number: int, value: Any, *_: Any) -> None:
        self.session.add_turn(note=value)

    def do_call(self, number: int, _value: Any, usage: Any, cost: Any) -> None:
        kind = ("root", "leaf", "leaf_batch_item", "tool")[number % 4]
        turn_id = pick(self.session.view.turns, number)
        self.session.add_call(kind, turn_id=turn_id, usage=usage, cost=cost, cache_request={})

    def do_update_call(self, number: int, value: Any, usage: Any, cost: Any) -> None:
        call_id = pick(self.session.view.calls, number)
        if call_id is not None:
            self.session.update_call(call_id, lambda row: {"tries": row.get("tries", 0) + 1}, usage=usage, cost=cost)
            self.session.update_call(call_id, status="ok", result_ref=self.session.value_ref(value))

    def do_update_turn(self, number: int, value: Any, *_: Any) -> None:
        turn_id = pick(self.session.view.turns, number)
        if turn_id is not None:
            self.session.update_turn(turn_id, status="final", note=value)

    def do_eval(self, number: int, value: Any, *_: Any) -> None:
        self.session.add_eval(turn_id=pick(self.session.view.turns, number), code="1", value=value)

    def do_snapshot(self, number: int, value: Any, *_: Any) -> None:
        self.session.snapshot({"v": value}, turn_id=pick(self.session.view.turns, number))

    def do_turn_ids(self, number: int, *_: Any) -> None:
        turn_id = pick(self.session.view.turns, number)
        self.session.add_turn_ids(turn_id, ("call_ids", "mine")[number % 2], [number + 1, number + 2])

    def do_event(self, _number: int, value: Any, *_: Any) -> None:
        self.session.add_event("note", value=value)

    def do_final(self, _number: int, value: Any, *_: Any) -> None:
        self.session.mark_final(value)

    def do_status(self, number: int, *_: Any) -> None:
        self.session.update_status(("running", "stopped")[number % 2])

    def do_batch(self, number: int, value: Any, usage: Any, cost: Any) -> None:
        with self.session.batch():
            turn = self.session.add_turn()
            self.do_call(number, value, usage, cost)
            call = self.session.add_call("leaf", turn_id=turn["id"], usage=usage)
            self.session.update_call(call["id"], status="ok")

    def do_child(self, number: int, value: Any, usage: Any, cost: Any) -> None:
        with self.session.start_child(turn_id=pick(self.session.view.turns, number)) as child:
            child.add_call("leaf", usage=usage, cost=cost)
            child.mark_final(value)

    def do_put(self, number: int, value: Any, *_: Any) -> None:
        turn_id = pick(self.session.view.turns, number)
        if turn_id is not None:
            self.session.emit("turn.put", turn={"id": turn_id, "call_ids": list(range(number)), "note": value})

    def do_blob(self, number: int, value: Any, *_: Any) -> None:
        ref = self.session.value_ref([value, "x" * 200 * number], inline_bytes_max=0)
        self.session.add_call("leaf", request_ref=ref)

    def do_checkpoint(self, *_: Any) -> None:
        self.session.checkpoint()

    def do_refused(self, *_: Any) -> None:
        try:
            self.session.add_call("leaf", turn_id=10**6)
        except foldlog.UnknownRowError:
            return
        raise AssertionError("an unknown turn was accepted")


def run_in_threads(work: list[Callable[[], None]]) -> None:
    failures: list[BaseException] = []

    def guard(one: Callable[[], None]) -> None:
        try:
            one()
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=guard, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert failures == []


def assert_files(folder: Path, view: foldlog.View, store: foldlog.Store) -> None:
    expected = view.document()
    assert decode((folder / "session.json").read_bytes()) == expected["session"]
    for kind in KINDS:
        assert [decode(line) for line in (folder / f"{kind}.jsonl").read_bytes().splitlines()] == expected[kind]
    events = [decode(line) for line in (folder / "events.jsonl").read_bytes().splitlines()]
    assert events == list(store.events("demo"))
    for name in ("usage", "final", "tree"):
        assert decode((folder / f"{name}.json").read_bytes()) == getattr(store, name)("demo")
        json.loads((folder / f"{name}.json").read_bytes())


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(steps, max_size=8), min_size=1, max_size=4))
def test_replay_view_tables_and_files_are_equal(
    new_path: Callable[[], Path], enough: Callable[[], bool], plans: list[list[Any]]
) -> None:
    if enough():
        return
    with tempfile.TemporaryDirectory() as folder:
        path = new_path()
        with foldlog.open(path, config=foldlog.Config(durability="normal")) as store:
            session = store.start_session(id="demo")
            run_in_threads([lambda plan=plan: Worker(session).run_all(plan) for plan in plans])
            live = session.view.document()
            events = list(store.events("demo"))
            assert [event["id"] for event in events] == list(range(1, len(events) + 1))
            # Any prefix folds, and the whole gives what is live.
            view = foldlog.View()
            for event in events:
                view = foldlog.apply(view, event)
            assert view.document() == live
            # The tables say the same, before a checkpoint and after, and a second one changes nothing.
            assert store.verify().problems == []
            session.checkpoint()
            dump = list(store.query("SELECT * FROM calls")) + list(store.query("SELECT * FROM usage"))
            session.checkpoint()
            assert list(store.query("SELECT * FROM calls")) + list(store.query("SELECT * FROM usage")) == dump
            assert store.verify().problems == []
            documents = [session.usage(), session.tree(), session.final()]
            views = {row["id"]: store.view(row["id"]) for row in store.sessions()}
            assert foldlog.derive_usage(view, views) == documents[0]
            assert foldlog.derive_tree(view, views) == documents[1]
            store.export(Path(folder) / "files")
            assert_files(Path(folder) / "files" / "demo", session.view, store)
            assert store.export(Path(folder) / "files") == []
        with foldlog.open(path, read_only=True) as store:
            assert store.view("demo").document() == live
            assert [store.usage("demo"), store.tree("demo"), store.final("demo")] == documents
        with foldlog.open(path) as store:
            assert store.open_session("demo").view.document() == live
