"""The verbs over a store: what they print, how they end, and that they make nothing by mistake."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

import foldlog
from foldlog.storage import migrate
from foldlog.storage.schema import APPLICATION_ID, SCHEMA_NUMBER

Run = Callable[..., "subprocess.CompletedProcess[str]"]

VERBS = {
    "ls": ("ls", "STORE"),
    "verify": ("verify", "STORE"),
    "export": ("export", "STORE", "made"),
    "backup": ("backup", "STORE", "made"),
    "upgrade": ("upgrade", "STORE"),
    "report": ("report", "STORE", "demo", "-o", "made"),
    "csv": ("csv", "STORE", "calls", "-o", "made"),
    "repair": ("repair", "STORE"),
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


def test_ls(run_here: Run, path: Path) -> None:
    done = run_here("ls", path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0][:2] == ["session", "status"]
    assert [line[0] for line in lines[2:]] == ["demo", "demo/child-0001"]
    assert [line[-2:] for line in lines[2:]] == [["5", "known"], ["unknown", "unknown"]]
    rows = json.loads(run_here("ls", "--json", path).stdout)
    assert [(row["session"], row["calls"], row["tokens"]) for row in rows] == [
        ("demo", 2, 5),
        ("demo/child-0001", 0, None),
    ]


def test_ls_of_an_empty_store(run_here: Run, tmp_path: Path) -> None:
    foldlog.open(tmp_path / "history.db").close()
    done = run_here("ls", "history.db")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "history.db has no sessions\n")
    assert run_here("ls", "--json", "history.db").stdout == "[]\n"


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
    for verb in ("ls", "verify"):
        run_here(verb, path)
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
    for verb in ("ls", "upgrade"):
        done = run_here(verb, path)
        assert done.returncode == 1
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
    assert done.stderr == b""


def test_control_characters_are_escaped(run_here: Run) -> None:
    refused = run_here("ls", "no\x1b[31m\n.db")
    assert refused.stderr.endswith("no\\x1b[31m\\n.db\nhint: check the path\n")
    assert "\x1b" not in refused.stderr


def test_the_command_is_a_process_too(run: Run, path: Path) -> None:
    done = run("ls", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert run("ls", "nothing").returncode == 1
