"""The SQL views of both engines over the same recorded sessions: the same columns, in the same order, the same rows."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import foldlog
from foldlog.storage.postgres_sql import row_key
from foldlog.storage.sql_views import SQL_VIEWS
from foldlog.testing import Clock
from postgres_server import PostgresServer

GOLDEN = Path(__file__).parents[1] / "golden" / "runs"
USAGE = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}
NULS = "a\0b \\u0000 \\\0 \0\0"


def replay(store: foldlog.Store, run: dict[str, Any]) -> None:
    for recorded in run["sessions"]:
        parent = {"session_id": recorded["parent"]} if recorded["parent"] is not None else None
        session = store.start_session(id=recorded["id"], parent=parent, **recorded["start"])
        for event in recorded["events"][1:]:
            payload = {key: value for key, value in event.items() if key not in ("id", "type", "at")}
            session.emit(event["type"], **payload)
        session.checkpoint()


def record(store: foldlog.Store) -> None:
    """Forks, children, errors, ids that are names, costs that are unknown, texts with NUL, times that are none."""
    with store.start_session(id="top", provider="acme") as top:
        with top.turn() as turn:
            turn.message("user", [{"type": "text", "text": "one"}, {"type": "image"}, {"text": "two"}, 3])
            turn.message("assistant", NULS)
            with turn.call("root", provider="acme", model="m-1") as call:
                call.ok(usage=USAGE, cost={"usd": 0.1})
            with turn.call("leaf", provider="acme", model="m-2") as call:
                call.ok(usage={"input_tokens": 1.5, "output_tokens": "unknown"}, cost={"usd": None})
            turn.eval(code="1 / 0", status="error", error={"type": "ZeroDivisionError", "text": NULS})
            top.snapshot({"x": 1}, turn_id=turn.id)
        top.add_turn(id="named", status="interrupted", started_at="2026-02-31T10:00:00Z", ended_at="no time")
        for at, (start, end) in enumerate(
            [
                ("2026-02-28T23:59:59.999Z", "2026-03-01T00:00:00.500Z"), ("2026-01-01", "2026-01-02"),
                ("2026-01-01 10:00", "2026-01-01T12:00:00+02:00"), ("yesterday", "2026-01-01"),
                ("0000-01-01", "2026-13-01"),
                ("2026-02-30T00:00:00Z", "2026-03-02T00:00:00Z"),
            ]
        ):  # fmt: skip
            top.add_call("leaf", id=f"c-{at}", started_at=start, ended_at=end)
        with top.start_child(turn_id="named") as child, child.start_child() as below:
            child.add_message("user", {"text": "no list", "more": [1, True, None]})
            below.add_call(
                "leaf_batch_item", provider="acme", model="m-1", usage=USAGE, cost={"usd": 0.25}, status="ok"
            )
            below.mark_error("broken\0")
        top.add_call("child", child_session_id="not there", status="ok")
    store.fork_session("top", id="fork").close()
    store.resume_session("top", id="again").close()
    for name, other in (("ring-a", "ring-b"), ("ring-b", "ring-a")):
        with store.start_session(id=name) as session:
            session.add_call("child", child_session_id=other, status="ok")
    store.start_session(id="running").add_call("leaf")
    store.checkpoint()


@pytest.fixture
def both(server: PostgresServer, tmp_path: Path) -> Iterator[list[foldlog.Store]]:
    places = (tmp_path / "history.db", server.new_store())
    stores = [foldlog.open(place, config=foldlog.Config(durability="normal", clock=Clock())) for place in places]
    yield stores
    for store in stores:
        store.close()


def as_server(name: str, value: Any) -> Any:
    """A value of SQLite's as the server's columns hold it."""
    if name in ("id", "call_id", "turn_id", "message_id", "row_id"):
        return row_key(value)
    if name in ("error", "content") and value is not None:
        return bare(value if isinstance(value, str) else str(value))
    return bare(value)


def bare(value: Any) -> Any:
    """A value without NUL: some builds of SQLite end a text that comes out of JSON there, the server has U+FFFD."""
    if isinstance(value, str):
        return bare(json.loads(value)) if value.startswith(("{", "[")) else re.split("[\0\ufffd]", value)[0]
    if isinstance(value, list):
        return [bare(item) for item in value]
    return {key: bare(item) for key, item in value.items()} if isinstance(value, dict) else value


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-12)
    return type(one) is type(other) and bool(one == other)


def assert_same_rows(both: list[foldlog.Store]) -> None:
    for view in SQL_VIEWS:
        ours, theirs = (list(store.query(f"SELECT * FROM {view}")) for store in both)
        if theirs:
            assert [list(row) for row in ours[:1]] == [list(row) for row in theirs[:1]], view
        expected = sorted(([as_server(*cell) for cell in row.items()] for row in ours), key=repr)
        found = sorted(([bare(value) for value in row.values()] for row in theirs), key=repr)
        assert len(expected) == len(found), view
        for one, other in zip(expected, found, strict=True):
            different = [pair for pair in zip(one, other, strict=True) if not same(*pair)]
            assert not different, (view, different)


def test_what_was_recorded_reads_the_same(both: list[foldlog.Store]) -> None:
    for store in both:
        record(store)
    assert_same_rows(both)
    (row,) = both[1].query("SELECT text FROM transcript WHERE session_id = 'top' AND role = 'assistant'")
    assert row == {"text": NULS.replace("\0", "\ufffd")}


@pytest.mark.parametrize("run", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_golden_runs_read_the_same(both: list[foldlog.Store], run: Path) -> None:
    for store in both:
        replay(store, json.loads(run.read_text()))
        store.checkpoint()
    assert_same_rows(both)


def test_the_columns_are_the_same(both: list[foldlog.Store]) -> None:
    from foldlog.storage.driver import driver_of, sql_of  # noqa: PLC0415

    for view in SQL_VIEWS:
        found = []
        for store in both:
            with store.database.read() as connection:
                driver = driver_of(connection)
                found.append(sql_of(driver).columns(driver, view))
        assert found[0] == found[1] != [], view
