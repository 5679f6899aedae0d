"""ls and usage: which sessions, in which order, and the same numbers as the documents and SQL."""

import csv
import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_stores import parsed

import foldlog
from foldlog.outlets import calls

Run = Callable[..., "subprocess.CompletedProcess[str]"]
LONG = "session-3f6c1f6e-0000-4000-8000-000000000000"
MEASURES = ("call_count", "input_tokens", "output_tokens", "total_tokens", "cached_tokens", "usd")


def test_ls_lists_the_top_newest_first(run_here: Run, mixed: Path) -> None:
    rows = parsed(run_here("ls", mixed, "--json").stdout, "ls")
    assert [row["session_id"] for row in rows] == [LONG, "run-b", "run-a"]
    assert [row["session_below_count"] for row in rows] == [0, 0, 2]
    everyone = parsed(run_here("ls", mixed, "--all", "--json").stdout, "ls")
    assert [row["session_id"] for row in everyone][2:] == ["run-a", "run-a/child-0001", "run-a/child-0002"]


def test_ls_limit_and_status(run_here: Run, mixed: Path) -> None:
    done = run_here("ls", mixed, "--limit", "1")
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == [LONG]
    assert "the first 1; there are more" in done.stderr
    assert "there are more" not in run_here("ls", mixed, "--limit", "3").stderr
    running = run_here("ls", mixed, "--status", "running")
    assert len(running.stdout.splitlines()) == 3
    none = run_here("ls", mixed, "--status", "error")
    assert (none.returncode, none.stdout, none.stderr) == (0, "", f"{mixed} has no sessions of this status\n")


def test_ls_says_unknown_and_partial_and_never_0(run_here: Run, mixed: Path) -> None:
    rows = {row["session_id"]: row for row in parsed(run_here("ls", mixed, "--json").stdout, "ls")}
    assert (rows["run-a"]["total_tokens"], rows["run-a"]["usage_status"]) == (71, "partial")
    assert (rows["run-b"]["total_tokens"], rows["run-b"]["usd"], rows["run-b"]["usage_status"]) == (
        None,
        None,
        "unknown",
    )
    line = next(line for line in run_here("ls", mixed).stdout.splitlines() if line.startswith("run-b"))
    assert line.split()[-3:] == ["unknown", "unknown", "unknown"]


def test_ls_says_how_far_the_tables_lag(run_here: Run, tmp_path: Path) -> None:
    with foldlog.open(tmp_path / "live.db") as store, store.start_session(id="live") as session:
        session.add_message("user", "one")
        session.add_message("user", "two")
        (row,) = parsed(run_here("ls", "live.db", "--json").stdout, "ls")
        assert (row["event_count"], row["events_behind"]) == (3, 2)
        done = run_here("ls", "live.db")
        assert "1 session went on after the last checkpoint" in done.stderr
        assert "behind" in done.stdout


@pytest.mark.parametrize("name", ["history", "mixed"])
def test_the_same_numbers_by_documents_sql_and_command_line(
    run_here: Run, request: pytest.FixtureRequest, engine: str, name: str
) -> None:
    path = request.getfixturevalue(name)
    with foldlog.open(path, read_only=True) as store:
        in_sql = {row["session_id"]: row for row in store.query("SELECT * FROM session_usage")}
        listed = {row["session_id"]: row for row in parsed(run_here("ls", path, "-a", "--json").stdout, "ls")}
        assert listed.keys() == in_sql.keys()
        for session_id, row in listed.items():
            document = calls.measures_of(store.usage(session_id))
            for key in ("input_tokens", "output_tokens", "total_tokens", "cached_tokens"):
                assert row[key] == document[key] == in_sql[session_id][key]
            assert row["usd"] == document["usd"] == pytest.approx(in_sql[session_id]["usd"])
            assert row["usage_status"] == document["status"] == in_sql[session_id]["status"]
            (tree, *_) = parsed(run_here("usage", path, session_id, "--json").stdout, "usage")
            assert {key: tree[key] for key in MEASURES} == {key: document[key] for key in MEASURES}


@pytest.mark.parametrize("name", ["history", "mixed"])
@pytest.mark.parametrize("by", ["session", "turn", "model", "call"])
def test_the_parts_add_up_to_the_whole(
    run_here: Run, request: pytest.FixtureRequest, engine: str, name: str, by: str
) -> None:
    path = request.getfixturevalue(name)
    top = "demo" if name == "history" else "run-a"

    def total(rows: list[dict[str, Any]], key: str) -> float:
        return sum(row[key] or 0 for row in rows)

    (whole, *_) = parsed(run_here("usage", path, top, "--json").stdout, "usage")
    one = parsed(run_here("usage", path, top, "--by", by, "--json").stdout, "usage")
    all_of_them = parsed(run_here("usage", path, "--by", by, "--json").stdout, "usage")
    for key in MEASURES:
        assert total(one, key) == pytest.approx(whole[key] or 0)
        assert total(all_of_them, key) == pytest.approx(whole[key] or 0)  # the other sessions used nothing


def test_usage_by_model_is_model_usage(run_here: Run, mixed: Path) -> None:
    rows = parsed(run_here("usage", mixed, "--by", "model", "--json").stdout, "usage")
    with foldlog.open(mixed, read_only=True) as store:
        in_sql = {row["model"]: row for row in store.query("SELECT * FROM model_usage")}
    assert {row["model"]: (row["call_count"], row["total_tokens"], row["usd"]) for row in rows} == {
        name: (row["call_count"], row["total_tokens"], row["usd"]) for name, row in in_sql.items()
    }
    assert [row["status"] for row in rows] == ["known", "known", "unknown"]


def test_usage_of_one_session_is_as_of_now(run_here: Run, tmp_path: Path) -> None:
    with foldlog.open(tmp_path / "live.db") as store, store.start_session(id="live") as session:
        session.add_call("leaf", model="m", usage={"input_tokens": 3, "output_tokens": 1, "total_tokens": 4})
        for by in ("tree", "session", "turn", "model", "call"):
            (row,) = parsed(run_here("usage", "live.db", "live", "--by", by, "--json").stdout, "usage")
            assert (row["total_tokens"], row["status"]) == (4, "known")
        assert parsed(run_here("usage", "live.db", "--by", "call", "--json").stdout, "usage") == []
        assert "went on" in run_here("usage", "live.db").stderr


def test_csv_has_a_head_and_raw_numbers(run_here: Run, mixed: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run_here("ls", mixed, "--csv").stdout)))
    assert [row["session_id"] for row in rows] == [LONG, "run-b", "run-a"]
    assert [row["total_tokens"] for row in rows] == ["", "", "71"]
    assert run_here("usage", mixed, "--by", "model", "--csv").stdout.startswith("by,provider,model,call_count,")
