"""show and tree: a session, a row by its address, and what to ask next."""

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_stores import parsed

import foldlog

Run = Callable[..., "subprocess.CompletedProcess[str]"]
LONG = "session-3f6c1f6e-0000-4000-8000-000000000000"


def test_show_says_what_a_session_is(run_here: Run, mixed: Path) -> None:
    done = run_here("show", mixed, "run-a")
    assert done.returncode == 0
    for said in (
        "status        stopped", "1 turn, 4 calls, 1 eval", "Children (2)",
        "71 total, with all below; some calls did not tell", "cost          0.5 usd; some calls did not tell",
        "run-a/child-0001", "[1] user: How many words?", "[2] assistant: Asking two others.", "run-a:call/4", "refused",
        '"words": 4',
    ):  # fmt: skip
        assert said in done.stdout, said


def test_show_json_is_one_object(run_here: Run, mixed: Path) -> None:
    (found,) = parsed(run_here("show", mixed, "run-a", "--json").stdout, "show")
    with foldlog.open(mixed, read_only=True) as store:
        final = store.final("run-a")
        assert found["final"]["usage"] == json.loads(json.dumps(final["usage"]))
    assert [child["session_id"] for child in found["children"]] == ["run-a/child-0001", "run-a/child-0002"]
    assert {(row["kind"], row["status"]) for row in found["errors"]} == {("call", "error"), ("eval", "error")}
    assert [row["id"] for row in found["last_messages"]] == [1, 2]


def test_what_to_ask_next_runs_as_it_stands(run_here: Run, mixed: Path, tmp_path: Path) -> None:
    place = str(mixed)
    if isinstance(mixed, Path):
        place = "a store's.db"
        mixed.rename(tmp_path / place)
    seen, todo = set(), [["ls", place]]
    while todo:
        command = todo.pop()
        done = run_here(*command)
        assert done.returncode == 0, (command, done.stderr)
        for line in done.stderr.splitlines():
            if not line.startswith(("next: foldlog ", "      foldlog ")):
                continue
            words = shlex.split(line.removeprefix("next:"))[1:]
            if tuple(words) not in seen and "--follow" not in words:
                seen.add(tuple(words))
                todo.append(words)
    assert len(seen) > 8


@pytest.mark.parametrize("row", ["message/1", "turn/1", "call/1", "call/2", "eval/1", "event/1", "event/4"])
def test_a_row_by_its_address(run_here: Run, mixed: Path, row: str) -> None:
    done = run_here("show", mixed, f"run-a:{row}")
    assert done.returncode == 0
    assert done.stdout.startswith(f"run-a:{row}\n")
    (found,) = parsed(run_here("show", mixed, f"run-a:{row}", "--json").stdout, "show")
    assert (found["session_id"], f"{found['kind']}/{found['row']['id']}") == ("run-a", row)


def test_values_behind_references_are_previewed_and_read_in_full(run_here: Run, mixed: Path) -> None:
    short = run_here("show", mixed, "run-a:call/1").stdout
    assert "more characters (--full)" in short
    assert len(short) < 4000
    full = run_here("show", mixed, "run-a:call/1", "--full").stdout
    assert full.count("word ") == 2000
    (found,) = parsed(run_here("show", mixed, "run-a:call/1", "--json").stdout, "show")
    assert found["row"]["request_ref"]["$foldlog"] == "ref"
    (found,) = parsed(run_here("show", mixed, "run-a:call/1", "--json", "--full").stdout, "show")
    assert found["row"]["request_ref"] == {"prompt": "word " * 2000}


@pytest.mark.parametrize(
    "address",
    [
        "run-a:call/99",
        "run-a:call/",
        "run-a:",
        "run-a:sheep/1",
        "run-a:event/0",
        "run-a:event/9999",
        "run-a:turn/x",
        ":",
    ],
)
def test_no_such_row(run_here: Run, mixed: Path, address: str) -> None:
    done = run_here("show", mixed, address)
    assert (done.returncode, done.stdout) == (1, "")
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("run-a", "run-a"),
        ("run-a/child-0002", "run-a/child-0002"),
        ("3f6", "session-3f6c1f6e-0000-4000-8000-000000000000"),
    ],
)
def test_a_prefix_is_enough(run_here: Run, mixed: Path, text: str, found: str) -> None:
    assert run_here("show", mixed, text).stdout.splitlines()[0] == found


@pytest.mark.parametrize("verb", ["show", "tree", "messages", "calls", "usage", "events"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run", "run-a, run-b"),
        ("run-a/child", "run-a/child-0001, run-a/child-0002"),
        ("run-x", "nearest: run-"),
        ("", "ls"),
    ],
)
def test_ambiguous_and_unknown_sessions_are_refused(
    run_here: Run, mixed: Path, verb: str, text: str, said: str
) -> None:
    done = run_here(verb, mixed, text)
    assert (done.returncode, done.stdout) == (1, "")
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]
    assert said in done.stderr


def test_tree(run_here: Run, mixed: Path) -> None:
    done = run_here("tree", mixed, "run-a")
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == ["run-a", "child-0001", "child-0002"]
    assert [line.split()[4] for line in done.stdout.splitlines()[2:]] == ["71", "12", "12"]
    (found,) = parsed(run_here("tree", mixed, "run-a", "--json").stdout, "tree")
    with foldlog.open(mixed, read_only=True) as store:
        assert found == json.loads(json.dumps(store.tree("run-a")))


def test_show_says_once_that_nothing_is_known(run_here: Run, mixed: Path) -> None:
    said = run_here("show", mixed, "run-b").stdout.splitlines()
    assert "  tokens        unknown" in said
    assert "  cost          unknown" in said
