"""The plugin for sqlite-utils, as the real program loads it."""

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import foldlog
from foldlog.outlets.sql_functions import NAMES
from plugin_stores import fill

pytestmark = pytest.mark.sqlite("sqlite-utils opens files")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def store_path(path: Path) -> Path:
    fill(path)
    return path


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]) -> Run:
    def run(*args: str | Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-P", "-m", "sqlite_utils", *map(str, args)],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    return run


def test_it_is_a_plugin(run: Run) -> None:
    done = run("plugins")
    (plugin,) = [found for found in json.loads(done.stdout) if found["name"] == "foldlog"]
    assert sorted(plugin["hooks"]) == ["prepare_connection", "register_commands"]


def test_its_functions_are_there_for_a_store_and_for_nothing_else(run: Run, store_path: Path) -> None:
    sql = "SELECT length(foldlog_value(json_extract(data, '$.request_ref'))) AS n FROM calls WHERE session_id = 'demo'"
    done = run("query", store_path, f"{sql} AND type = 'root'")
    assert (done.returncode, json.loads(done.stdout)) == (0, [{"n": len('{"prompt":""}') + 10_000}]), done.stderr
    for name in NAMES:
        done = run("memory", f"SELECT {name}('[1]')")
        assert f"no such function: {name}" in done.stderr


def test_sessions_are_listed(run: Run, store_path: Path) -> None:
    done = run("foldlog", store_path)
    assert (done.returncode, done.stderr) == (0, "")
    rows = json.loads(done.stdout)
    assert [(row["session_id"], row["call_count"], row["usage_status"]) for row in rows] == [
        ("demo", 2, "partial"), ("demo/child-0001", 1, "unknown"),
    ]  # fmt: skip
    assert [json.loads(line) for line in run("foldlog", store_path, "--nl").stdout.splitlines()] == rows
    (child,) = json.loads(run("foldlog", store_path, "demo/child-0001").stdout)
    assert child == rows[1]
    assert json.loads(run("foldlog", store_path, "demo").stdout) == rows
    listed = list(csv.DictReader(io.StringIO(run("foldlog", store_path, "--csv").stdout)))
    assert [row["session_id"] for row in listed] == ["demo", "demo/child-0001"]


def test_what_it_cannot_read_is_told_in_a_line(run: Run, tmp_path: Path, store_path: Path) -> None:
    done = run("foldlog", "nowhere.db")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Error: there is no store at \S*nowhere\.db \(hint: check the path\)\n", done.stderr)
    assert not (tmp_path / "nowhere.db").exists()
    done = run("foldlog", store_path, "dem")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "there is no session 'dem'" in done.stderr


def test_a_program_that_loads_the_plugin_does_not_pay_for_it(environment: dict[str, str]) -> None:
    """What a plugin imports, every run of the program would: sessions and their storage wait until they are asked."""
    code = (
        "import sys, foldlog\nbefore = set(sys.modules)\n"
        "import sqlite_utils.cli, foldlog.adapters.sqlite_utils_plugin, foldlog.adapters.datasette_plugin\n"
        "print([name for name in set(sys.modules) - before if name.startswith('foldlog.')])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    loaded = ["foldlog.adapters", "foldlog.adapters.datasette_plugin", "foldlog.adapters.sqlite_utils_plugin"]
    assert sorted(eval(done.stdout)) == loaded


def test_a_store_hands_out_a_database_that_has_them(store_path: Path) -> None:
    with foldlog.open(store_path, read_only=True) as store:
        database = store.sqlite_utils()
        (row,) = database.query("SELECT foldlog_text(content) AS text FROM transcript WHERE role = 'user'")
        assert row == {"text": "How many\nwords?"}
        database.close()
