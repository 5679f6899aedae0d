"""The verbs over a store: what they print, how they end, and that they make nothing by mistake."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

import foldlog
from foldlog.cli.main import VERBS as VERB_LINES
from foldlog.cli.main import cli
from foldlog.storage import migrate, sqlite
from foldlog.storage.schema import APPLICATION_ID, SCHEMA_NUMBER

Run = Callable[..., "subprocess.CompletedProcess[str]"]

VERBS = {
    "search": ("search", "STORE", "hello"),
    "ls": ("ls", "STORE"),
    "show": ("show", "STORE", "demo"),
    "tree": ("tree", "STORE", "demo"),
    "usage": ("usage", "STORE"),
    "messages": ("messages", "STORE", "demo"),
    "calls": ("calls", "STORE"),
    "events": ("events", "STORE"),
    "sql": ("sql", "STORE", "SELECT 1"),
    "verify": ("verify", "STORE"),
    "export": ("export", "STORE", "made"),
    "backup": ("backup", "STORE", "made"),
    "upgrade": ("upgrade", "STORE"),
    "report": ("report", "STORE", "demo", "-o", "made"),
    "csv": ("csv", "STORE", "calls", "-o", "made"),
    "repair": ("repair", "STORE"),
    "datasette-config": ("datasette-config", "STORE", "-o", "made"),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "history.db"
    with foldlog.open(path) as store, store.start_session(id="demo") as session:
        session.add_message("user", "hello " * 2000)
        session.add_call("leaf", status="ok", usage={"input_tokens": 2, "output_tokens": 3, "total_tokens": 5})
        with session.start_child(query="below") as child:
            child.mark_final(2)
    return path


def names_in(folder: Path) -> list[str]:
    # SQLite's own -wal and -shm may come and go with a reader.
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.endswith(("-wal", "-shm")))


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("bad", ["missing", "directory", "text", "empty", "other"])
def test_what_is_no_store_is_refused_and_nothing_made(run_here: Run, tmp_path: Path, verb: str, bad: str) -> None:
    target = tmp_path / "target"
    if bad == "directory":
        target.mkdir()
    elif bad == "text":
        target.write_text("just some text, and more of it\n" * 100)
    elif bad == "empty":
        target.touch()
    elif bad == "other":
        connection = sqlite3.connect(target)
        connection.execute("CREATE TABLE mine (x)")
        connection.close()
    before = names_in(tmp_path), target.read_bytes() if target.is_file() else None
    done = run_here(*("target" if arg == "STORE" else arg for arg in VERBS[verb]))
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    assert (names_in(tmp_path), target.read_bytes() if target.is_file() else None) == before


@pytest.mark.parametrize("verb", VERBS)
def test_usage_errors_exit_2(run_here: Run, verb: str) -> None:
    for args in ((verb,), (verb, "--nonsense", "x")):
        done = run_here(*args)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Usage: foldlog" in done.stderr


def test_no_verb_and_an_unknown_one_exit_2(run_here: Run) -> None:
    assert run_here().returncode == 2
    assert run_here("frobnicate").returncode == 2


@pytest.mark.parametrize("verb", [*VERBS, "demo"])
def test_each_verb_has_help_with_an_example(run_here: Run, verb: str) -> None:
    done = run_here(verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Example:   foldlog {verb}" in done.stdout


def test_version_and_the_list_of_verbs(run_here: Run) -> None:
    assert run_here("--version").stdout == f"foldlog, version {foldlog.__version__}\n"
    listed = run_here("--help").stdout
    assert all(f"\n  {verb} " in listed for verb in [*VERBS, "demo"])
    assert "..." not in listed.partition("Commands:")[2]


def test_the_list_says_what_each_verb_says_of_itself() -> None:
    for name, (_, line) in VERB_LINES.items():
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        assert (command.help or "").splitlines()[0] == line, name
    assert cli.get_command(click.Context(cli), "nonsense") is None


def test_json_is_on_every_verb() -> None:
    for name in VERB_LINES:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        if name == "csv":
            continue
        assert any("--json" in parameter.opts for parameter in command.params), name


def test_every_answer_in_json_names_its_schema(run_here: Run, path: Path) -> None:
    for verb, words in VERBS.items():
        if verb == "csv":
            continue
        filled = {"STORE": path, "made": f"{verb}-made"}
        done = run_here(*(filled.get(word, word) for word in words), "--json")
        assert done.returncode == 0, verb
        assert done.stdout.endswith("\n"), verb
        for line in done.stdout.splitlines():
            assert json.loads(line)["schema"] == f"foldlog.{verb}/1"


def test_near_verbs_are_named(run_here: Run) -> None:
    done = run_here("event", "x")
    assert done.returncode == 2
    assert "'events'" in done.stderr


def test_a_name_that_is_no_text(run_here: Run) -> None:
    done = run_here("ls", os.fsdecode(b"no\xff.db"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "no\\udcff.db" in done.stderr


def test_json_in_another_encoding_is_json(path: Path, environment: dict[str, str]) -> None:
    with foldlog.open(path) as store, store.open_session("demo") as session:
        session.add_message("user", "caf\xe9 \u4f60 \U0001f600")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "foldlog.cli.main", "messages", str(path), "demo", "--last", "1", "--json"],
        env={**environment, "PYTHONIOENCODING": "ascii"},
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    assert json.loads(done.stdout)["row"]["content"] == "caf\xe9 \u4f60 \U0001f600"


def test_a_locked_store(run_here: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.1)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    try:
        done = run_here("ls", path)
    finally:
        connection.close()
    assert (done.returncode, done.stdout) == (1, "")
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]


def test_a_store_that_may_not_be_written_is_read(run_here: Run, path: Path, tmp_path: Path) -> None:
    path.chmod(0o400)
    try:
        assert run_here("ls", path).returncode == 0
        refused = run_here("rm", path, "demo", "--yes")
        assert refused.returncode == 1
        assert "read-only" in refused.stderr
    finally:
        path.chmod(0o600)


def test_ls(run_here: Run, path: Path) -> None:
    done = run_here("ls", path)
    assert done.returncode == 0
    assert done.stderr == f"next: foldlog show {path} demo\n      foldlog usage {path}\n"
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0][:2] == ["session", "status"]
    assert [line[0] for line in lines[2:]] == ["demo"]
    assert [line[-4:] for line in lines[2:]] == [["1", "6", "5", "known"]]
    rows = [json.loads(line) for line in run_here("ls", "--json", "--all", path).stdout.splitlines()]
    assert [(row["session_id"], row["call_count"], row["total_tokens"]) for row in rows] == [
        ("demo", 2, 5),
        ("demo/child-0001", 0, None),
    ]
    assert {row["schema"] for row in rows} == {"foldlog.ls/1"}


def test_ls_of_an_empty_store(run_here: Run, tmp_path: Path) -> None:
    foldlog.open(tmp_path / "history.db").close()
    done = run_here("ls", "history.db")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "history.db has no sessions\n")
    assert run_here("ls", "--json", "history.db").stdout == ""


def test_verify_ok(run_here: Run, path: Path) -> None:
    done = run_here("verify", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ok: 2 sessions, ")
    report = json.loads(run_here("verify", "--json", path).stdout)
    assert (report["ok"], report["problems"], report["session_count"]) == (True, [], 2)
    assert json.loads(run_here("verify", "--json", "--quick", path).stdout)["ok"] is True


def test_verify_of_a_damaged_store(run_here: Run, path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DROP TRIGGER events_refuse_update")
    connection.execute("UPDATE events SET data = replace(data, 'hello', 'other') WHERE type = 'message.added'")
    connection.commit()
    connection.close()
    for quick in ((), ("--quick",)):
        done = run_here("verify", path, *quick)
        assert (done.returncode, done.stderr) == (1, "")
        assert "position 2: session demo: " in done.stdout
        report = json.loads(run_here("verify", "--json", path, *quick).stdout)
        assert report["ok"] is False
        assert report["problems"][0]["position"] == 2


def test_verify_changes_nothing(run_here: Run, path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    for verb, words in VERBS.items():
        if "made" not in words and verb not in ("repair", "upgrade"):
            assert run_here(*(path if word == "STORE" else word for word in words)).returncode == 0
    assert path.read_bytes() == before
    assert not (tmp_path / "made").exists()


def test_export(run_here: Run, path: Path, tmp_path: Path) -> None:
    done = run_here("export", path, "out")
    assert done.returncode == 0
    written = done.stdout.splitlines()
    assert "out/demo/session.json" in written
    assert done.stderr == f"{len(written)} files written\n"
    assert all((tmp_path / name).is_file() for name in written)
    again = run_here("export", path, "out")
    assert (again.stdout, again.stderr) == ("", "0 files written\n")
    one = run_here("export", path, "one", "demo/child-0001")
    assert all(name.startswith("one/demo/children/child-0001/") for name in one.stdout.splitlines())


@pytest.mark.parametrize("session", ["nobody", "demo/child-0009", "../etc", ""])
def test_export_of_an_unknown_session_makes_nothing(run_here: Run, path: Path, tmp_path: Path, session: str) -> None:
    before = names_in(tmp_path)
    done = run_here("export", path, "out", session)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert "\nhint: " in done.stderr
    assert names_in(tmp_path) == before


def test_export_to_where_it_cannot(run_here: Run, path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for directory in ("file", "no/where"):
        done = run_here("export", path, directory)
        assert (done.returncode, done.stdout) == (1, "")
        assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]


def test_backup(run_here: Run, path: Path, tmp_path: Path) -> None:
    done = run_here("backup", path, "copy.db")
    assert (done.returncode, done.stdout, done.stderr) == (0, "copy.db\n", "")
    assert run_here("verify", "copy.db").stdout == run_here("verify", path).stdout
    again = run_here("backup", path, "copy.db")
    assert again.returncode == 1
    assert again.stderr.startswith("error: copy.db is there already\nhint: ")
    assert run_here("backup", path, "no/where.db").returncode == 1


def test_upgrade(run_here: Run, path: Path, tmp_path: Path) -> None:
    assert run_here("upgrade", path).stdout == f"schema {SCHEMA_NUMBER}: up to date\n"
    make_old(tmp_path / "old.db")
    refused = run_here("ls", "old.db")
    assert refused.returncode == 1
    assert "foldlog upgrade" in refused.stderr
    done = run_here("upgrade", "old.db")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"schema 1 upgraded to {SCHEMA_NUMBER}\n", "")
    assert run_here("verify", "old.db").returncode == 0


def make_old(path: Path) -> None:
    """A store of the first schema, as the migrations make it."""
    engine = create_engine(f"sqlite+pysqlite:///{path}")
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(migrate.migrations_folder()))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.exec_driver_sql("PRAGMA user_version = 1")
    engine.dispose()


def test_a_newer_store_is_refused_untouched(run_here: Run, path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    before = path.read_bytes()
    for words in VERBS.values():
        done = run_here(*(path if word == "STORE" else word for word in words))
        assert (done.returncode, done.stdout) == (1, "")
        assert "newer foldlog" in done.stderr
    assert path.read_bytes() == before


def test_a_broken_pipe_ends_quietly(path: Path, environment: dict[str, str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "foldlog.cli.main", "ls", "--json", str(path)],
            env=environment,
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_control_characters_are_escaped(run_here: Run) -> None:
    refused = run_here("ls", "no\x1b[31m\n.db")
    assert refused.stderr.endswith("no\\x1b[31m\\n.db\nhint: check the path\n")
    assert "\x1b" not in refused.stderr


def test_the_command_is_a_process_too(run: Run, path: Path) -> None:
    done = run("ls", path)
    assert (done.returncode, done.stderr.splitlines()[0]) == (0, f"next: foldlog show {path} demo")
    assert run("ls", "nothing").returncode == 1
