"""The verb datasette-config: where the file goes, what is said, what is refused."""

import json
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import foldlog
from foldlog.adapters import datasette_config
from foldlog.storage.described import TABLES
from foldlog.storage.sql_views import SQL_VIEWS
from plugin_stores import fill

pytestmark = pytest.mark.sqlite("Datasette reads files")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def store_path(path: Path) -> Path:
    fill(path)
    return path


def test_it_is_printed_or_written_alike(run_here: Run, store_path: Path, tmp_path: Path) -> None:
    printed = run_here("datasette-config", store_path)
    assert printed.returncode == 0
    with foldlog.open(store_path, read_only=True) as store:
        assert json.loads(printed.stdout) == datasette_config.configuration(store)
    done = run_here("datasette-config", store_path, "-o", "made.json")
    assert (done.returncode, done.stdout) == (0, "made.json\n")
    assert (tmp_path / "made.json").read_text() == printed.stdout
    said = run_here("datasette-config", store_path, "-o", "made.json", "--json")
    commands = datasette_config.commands(store_path, Path("made.json"))
    assert json.loads(said.stdout) == {
        "schema": "foldlog.datasette-config/1", "path": "made.json", "commands": commands,
    }  # fmt: skip
    assert [line.partition(": ")[2] for line in done.stderr.splitlines()] == list(commands.values())


def test_every_table_and_view_is_told_and_every_query_runs(store_path: Path) -> None:
    with foldlog.open(store_path, read_only=True) as store:
        (database,) = datasette_config.configuration(store)["databases"].values()
        for name in (*TABLES, *SQL_VIEWS):
            assert database["tables"][name]["description"], name
        for name, query in database["queries"].items():
            params = {"session": "demo", "after": "0", "since": ""}
            found = list(store.query(query["sql"], params))
            assert bool(found) is (name != "running"), name
        for name, table in database["tables"].items():
            columns = [column for key in ("sort", "sort_desc", "label_column") if (column := table.get(key))]
            for column in [*columns, *table.get("facets", ())]:
                list(store.query(f"SELECT {column} FROM {name} LIMIT 1"))


def test_paths_with_spaces_can_be_pasted(tmp_path: Path) -> None:
    commands = datasette_config.commands(tmp_path / "my history.db", tmp_path / "it's.json")
    for command in commands.values():
        assert shlex.split(command)[2:5] == [str(tmp_path / "my history.db"), "--metadata", str(tmp_path / "it's.json")]


def test_what_is_refused_leaves_everything_alone(run_here: Run, store_path: Path, tmp_path: Path) -> None:
    before = store_path.read_bytes()
    for args, code, said in (
        (("nowhere.db",), 1, "there is no store at"),
        ((store_path, "--json"), 2, "give one with --output"),
        ((store_path, "-o", store_path), 2, "is the store itself"),
        ((store_path, "-o", "no/such/folder.json"), 1, "error: "),
    ):
        done = run_here("datasette-config", *args)
        assert (done.returncode, done.stdout) == (code, ""), args
        assert said in done.stderr
    assert store_path.read_bytes() == before
    assert {entry.name.partition("-")[0] for entry in tmp_path.iterdir()} == {"history.db"}
