"""The same numbers wherever they are asked for: documents, SQL, command line, report, trace, files.

They are counted once more by `counted`, straight from the folded journals. Each way out is held to that, for
each session, and recorded runs to what was recorded.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cli_stores import make_project, parsed

import foldlog
from counted import GROUPS, MODEL_CALLS, NAMES, Counted, Row, Sums, assert_columns, assert_measures, same, sums_of
from foldlog.cli.main import main
from foldlog.core.documents import final_document, node_of
from foldlog.outlets import report
from foldlog.outlets.report import calls as listed_calls
from foldlog.testing import Clock
from golden_runs import assert_equal, read, replay, runs
from report_runs import fill_at_once, fill_deep, fill_family, fill_forks, fill_hostile

# The stores: each made once, closed, and opened read-only.


FILLS = {
    "family": fill_family, "forks": fill_forks, "deep": fill_deep, "hostile": fill_hostile,
    "wide": lambda store: fill_at_once(store, 600),
}  # fmt: skip


def cases() -> Iterator[Any]:
    """A function that fills a store, a recorded run's path, or None for the demo."""
    for name, fill in FILLS.items():
        yield pytest.param(fill, id=name)
    yield pytest.param(None, id="demo")
    yield from runs()


@dataclass
class Made:
    """A store as it was left, and what was recorded of its sessions by the engine it comes from, if any."""

    path: Path
    recorded: dict[str, Row] = field(default_factory=dict)


@pytest.fixture(scope="module", params=cases())
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder, what = tmp_path_factory.mktemp("same"), request.param
    if what is None:
        make_project(folder / "project")
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit, match="0"):
            patch.setattr("sys.argv", ["foldlog", "demo", str(folder / "project"), "-o", str(folder / "out"), "--json"])
            main()
        return Made(folder / "out" / "history.db")
    found = Made(folder / "history.db")
    with foldlog.open(found.path, config=foldlog.Config(durability="normal", clock=Clock())) as store:
        if isinstance(what, Path):
            run = read(what)
            found.recorded = {one["id"]: one for one in run["sessions"]}
            replay(store, run)
        else:
            what(store)
    return found


@pytest.fixture
def store(made: Made) -> Iterator[foldlog.Store]:
    with foldlog.open(made.path, read_only=True) as opened:
        yield opened


@pytest.fixture
def counted(store: foldlog.Store, made: Made) -> Counted:
    found = Counted({row["id"]: foldlog.fold(store.events(row["id"])) for row in store.sessions()}, made.recorded)
    assert any(found.calls(one) for one in found.views)
    return found


# The ways out.


def test_documents(store: foldlog.Store, counted: Counted) -> None:
    for session_id, view in counted.views.items():
        usage, final, tree = store.usage(session_id), store.final(session_id), store.tree(session_id)
        assert_measures(usage["total_tree"], usage["cost"]["total_tree"], counted.sums(session_id), session_id)
        for group, types in GROUPS.items():
            own = sums_of(counted.calls(session_id, types))
            assert_measures(usage[group], usage["cost"][group], own, (session_id, group))
        assert usage["child_calls"]["call_count"] == len(counted.edges(session_id))
        assert final["usage"] == usage
        counts = {"turn_count": view.turns, "call_count": view.calls, "eval_count": view.evals}
        assert {key: final[key] for key in counts} == {key: len(rows) for key, rows in counts.items()}
        edges = [(edge["id"], edge["child_session_id"]) for edge in counted.edges(session_id)]
        assert [(child["call_id"], child["session_id"]) for child in tree["children"]] == edges
        for child in tree["children"]:
            if child["status"] != "referenced":
                assert child["usage"] == store.usage(child["session_id"])
        # A fold of the events alone derives the same.
        assert foldlog.derive_usage(view, counted.views) == usage
        assert foldlog.derive_tree(view, counted.views) == tree
        assert final_document(node_of(view), usage) == final
        for name, document in (("usage", usage), ("final", final), ("tree", tree)):
            if counted.recorded:
                assert_equal(document, counted.recorded[session_id][name], f"{session_id} {name}")


def test_tables(store: foldlog.Store, counted: Counted) -> None:
    tables = {
        name: {row["session_id"]: row for row in store.query(f"SELECT * FROM {name}")} for name in ("usage", "final")
    }
    assert set(tables["usage"]) == set(tables["final"]) == set(counted.views)
    for session_id in counted.views:
        for group, types in GROUPS.items():
            assert_columns(
                tables["usage"][session_id], sums_of(counted.calls(session_id, types)), session_id, f"{group}_"
            )
        assert tables["usage"][session_id]["child_call_count"] == len(counted.edges(session_id))
        final, row = store.final(session_id), tables["final"][session_id]
        for expected in (final, counted.recorded.get(session_id, {}).get("final", final)):
            same_keys = set(row) & set(expected) - {"usage"}
            assert {"status", "turn_count", "call_count", "eval_count", "child_count", "latest_turn_id"} <= same_keys
            assert {key: row[key] for key in same_keys} == {key: expected[key] for key in same_keys}
        rows = store.query("SELECT call_id, child_session_id FROM tree WHERE session_id = ? ORDER BY seq", [session_id])
        edges = [(edge["id"], edge["child_session_id"]) for edge in counted.edges(session_id)]
        assert [tuple(row.values()) for row in rows] == edges


def test_views(store: foldlog.Store, counted: Counted) -> None:
    def rows(sql: str) -> list[Row]:
        return list(store.query(sql))

    found = {row["session_id"]: row for row in rows("SELECT * FROM session_usage")}
    assert set(found) == set(counted.views)
    for session_id, row in found.items():
        assert_columns(row, counted.sums(session_id), session_id)
        assert row["session_below_count"] == len(counted.below(session_id)) - 1
        if session_id in counted.recorded:
            final = counted.recorded[session_id]["final"]
            assert row["status"] == final["usage"]["status"]
            for name in NAMES:
                assert same(row[name], final["usage"]["total_tree"][name].get("known")), (session_id, name)
    one_by_one = counted.grouped(None, lambda one, call: (one, call["id"]))
    calls = rows("SELECT *, 1 AS call_count, call_id AS id FROM call_usage")
    assert len(calls) == len(one_by_one)
    for row in calls:
        assert_columns(
            row | {"status": one_by_one[row["session_id"], row["id"]].status},
            one_by_one[row["session_id"], row["id"]],
            row["id"],
        )
    assert_grouped(rows("SELECT * FROM model_usage"), counted.grouped(None, by_model), ("provider", "model"))
    days = counted.grouped(None, lambda one, call: ((call.get("started_at") or "")[:10] or None, *by_model(one, call)))
    assert_grouped(rows("SELECT * FROM daily_usage"), days, ("day", "provider", "model"))
    turns = counted.grouped(None, lambda one, call: (one, call.get("turn_id")))
    for row in rows("SELECT * FROM turn_summary"):
        view = counted.views[row["session_id"]]
        sums = turns.get((row["session_id"], row["turn_id"]), sums_of([]))
        assert_columns({key: row[key] for key in sums.known} | {"call_count": sums.count}, sums, row)
        for name, kind in (("message", view.messages), ("eval", view.evals), ("call", view.calls)):
            assert row[f"{name}_count"] == sum(one.get("turn_id") == row["turn_id"] for one in kind.values())
    assert_trees(store, counted, rows("SELECT * FROM session_tree"))


def by_model(_: str, call: Row) -> tuple[Any, ...]:
    return (call.get("provider"), call.get("model"))


def assert_grouped(rows: list[Row], groups: dict[Any, Sums], keys: tuple[str, ...]) -> None:
    assert {tuple(row[key] for key in keys) for row in rows} == set(groups)
    assert len(rows) == len(groups)
    for row in rows:
        name = tuple(row[key] for key in keys)
        assert_columns(row, groups[name], name)


def assert_trees(store: foldlog.Store, counted: Counted, rows: list[Row]) -> None:
    for top in {row["top_id"] for row in rows}:
        found = {(row["parent_session_id"], row["call_id"], row["session_id"]) for row in rows if row["top_id"] == top}
        edges = {
            (one, edge["id"], edge["child_session_id"]) for one in counted.below(top) for edge in counted.edges(one)
        }
        assert found == {(None, None, top)} | edges
    assert {row["session_id"] for row in rows} >= set(counted.views)


@pytest.mark.parametrize("whole", [False, True], ids=["session", "store"])
def test_usage_verb(run_here: Any, made: Made, counted: Counted, *, whole: bool) -> None:
    for top in [None] if whole else counted.tops():

        def ask(by: str, top: str | None = top) -> list[Row]:
            which = [top] if top is not None else []
            done = run_here("usage", made.path, *which, "--by", by, "--json")
            assert (done.returncode, done.stderr) == (0, "")
            return parsed(done.stdout, "usage")

        for row in ask("tree"):
            if row["status"] != "unknown" or row["call_count"] is not None:
                assert_columns(row, counted.sums(row["session_id"]), row["session_id"])
        own = {one: sums_of(counted.calls(one)) for one in (counted.views if top is None else counted.below(top))}
        assert_grouped(ask("session"), {(one,): sums for one, sums in own.items()}, ("session_id",))
        turns = counted.grouped(top, lambda one, call: (one, call.get("turn_id")))
        assert_grouped(ask("turn"), turns, ("session_id", "turn_id"))
        assert_grouped(ask("model"), counted.grouped(top, by_model), ("provider", "model"))
        calls = counted.grouped(top, lambda one, call: (one, call["id"]))
        assert_grouped(ask("call"), calls, ("session_id", "call_id"))


def test_show_tree_and_ls_verbs(run_here: Any, made: Made, store: foldlog.Store, counted: Counted) -> None:
    listed = {row["session_id"]: row for row in parsed(run_here("ls", made.path, "--all", "--json").stdout, "ls")}
    assert set(listed) == set(counted.views)
    for session_id, view in counted.views.items():
        [shown] = parsed(run_here("show", made.path, session_id, "--json").stdout, "show")
        [tree] = parsed(run_here("tree", made.path, session_id, "--json").stdout, "tree")
        assert shown["final"] == plain(store.final(session_id))
        assert shown["counters"] == view.counters
        assert tree == plain(store.tree(session_id))
        row, sums = listed[session_id], counted.sums(session_id)
        assert (row["usage_status"], row["usd_status"]) == (sums.status, sums.usd_status)
        assert all(same(row[name], known) for name, known in sums.known.items())
        counts = (row["turn_count"], row["call_count"], row["eval_count"], row["event_count"])
        assert counts == (len(view.turns), len(view.calls), len(view.evals), view.counters["event"])
        assert row["session_below_count"] == len(counted.below(session_id)) - 1


def plain(document: Row) -> Row:
    found: Row = json.loads(json.dumps(document))
    return found


def test_files(tmp_path: Path, store: foldlog.Store, counted: Counted) -> None:
    store.export(tmp_path / "files")
    for session_id in counted.views:
        folder = tmp_path / "files" / session_id.replace("/", "/children/")
        for name in ("usage", "final", "tree"):
            assert json.loads((folder / f"{name}.json").read_text()) == plain(getattr(store, name)(session_id))
        rows = [json.loads(line) for line in (folder / "calls.jsonl").read_bytes().splitlines()]
        assert sums_of([row for row in rows if row["type"] in MODEL_CALLS]) == sums_of(counted.calls(session_id))


@pytest.mark.parametrize("bundled", [False, True], ids=["listed", "bundled"])
def test_report(store: foldlog.Store, counted: Counted, monkeypatch: pytest.MonkeyPatch, *, bundled: bool) -> None:
    if bundled:
        monkeypatch.setattr(listed_calls, "LISTED_MAX", 3)
    for top in counted.tops():
        data = page_data(store, top)
        places = {one["id"]: place for place, one in enumerate(data["sessions"]) if one["present"]}
        assert set(places) == set(counted.below(top))
        for session_id, place in places.items():
            one, view = data["sessions"][place], counted.views[session_id]
            own = {name: sums_of(counted.calls(session_id, types)) for name, types in GROUPS.items()}
            for found, sums in zip(one["usage"], (counted.sums(session_id), *own.values()), strict=True):
                assert found[:2] == [sums.count, sums.status]
                assert_pairs(found[2:], sums, session_id)
            kinds = (view.turns, view.messages, view.evals, view.calls, view.snapshots)
            assert one["counts"] == [len(rows) for rows in kinds]
            assert_listed([row for row in data["calls"] if row["session"] == place], counted, session_id)
        models = {
            tuple(None if at is None else data["words"][at] for at in (row["provider"], row["model"])): row
            for row in data["models"]
            if row["session"] == 0
        }
        expected = counted.grouped(top, lambda one, call: tuple(clip(name) for name in by_model(one, call)))
        assert set(models) == set(expected)
        for name, row in models.items():
            assert row["calls"] == expected[name].count
            assert_pairs([row[key] for key in COLUMNS], expected[name], name)


COLUMNS = ("input", "output", "total", "cached", "usd")


def assert_listed(rows: list[Row], counted: Counted, session_id: str) -> None:
    """The calls of a page, one by one and in bundles, add up to those there are."""
    sums = sums_of(counted.calls(session_id))
    assert sum(row["count"] for row in rows) == len(counted.views[session_id].calls)
    assert sum(row["summed"] for row in rows) == sums.count
    for column, known in zip(COLUMNS, sums.known.values(), strict=True):
        found = [number(row[column][0]) for row in rows if row["summed"] and row[column][0] is not None]
        assert same(math.fsum(found) if found else None, None if known is None else float(known)), (session_id, column)


def clip(name: str | None) -> str | None:
    """A word of a page: its beginning."""
    return name if name is None or len(name) <= 200 else f"{name[:200]}…"


def page_data(store: foldlog.Store, session_id: str) -> Row:
    """The data of a page, its tables as dicts."""
    text = "".join(report.chunks(store, session_id, "html"))
    [found] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    data: Row = json.loads(found)
    for name, table in data.items():
        if isinstance(table, dict) and "columns" in table:
            data[name] = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    return data


def number(value: Any) -> Any:
    return int(value) if isinstance(value, str) else value


def assert_pairs(pairs: list[list[Any]], sums: Sums, where: Any) -> None:
    for (known, unknown), name in zip(pairs, sums.known, strict=True):
        assert same(number(known), sums.known[name]), (where, name)
        assert unknown == sums.count - sums.told[name], (where, name)


def test_trace(store: foldlog.Store, counted: Counted) -> None:
    for top in counted.tops():
        events = json.loads("".join(report.chunks(store, top, "trace")))["traceEvents"]
        args = [event["args"] for event in events if event["ph"] in "XB" and event["cat"] == "call"]
        timed = [call for _, call in counted.all_calls(top) if call.get("started_at") is not None]
        sums = sums_of(timed)
        args = [one for one in args if one.get("type") in MODEL_CALLS]
        assert len(args) == sums.count
        for name, known in sums.known.items():
            found = [one[name] for one in args if name in one]
            assert same(math.fsum(found) if found else None, None if known is None else float(known))


def test_diagram(store: foldlog.Store, counted: Counted) -> None:
    for top in counted.tops():
        root = "".join(report.chunks(store, top, "mermaid")).splitlines()[1]
        sums, calls = counted.sums(top), len(counted.views[top].calls)
        known = sums.known["total_tokens"]
        assert f" · {calls:,} call" in root
        assert ("tokens unknown" if known is None else f"<br/>{known:,} tokens") in root
        unknown = sums.count - sums.told["total_tokens"]
        assert (f"unknown for {unknown:,} model call" in root) is (known is not None and unknown > 0)
