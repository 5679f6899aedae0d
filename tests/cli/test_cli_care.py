"""verify, repair and doctor: what they print, how they end, and that they make nothing by mistake."""

import json
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import foldlog
from damaged_stores import blot, change, make, pages_of

pytestmark = pytest.mark.sqlite("what is looked after here is a file; test_cli_servers has a server's")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def damaged(path: Path) -> Path:
    make(path)
    change(path, "UPDATE events SET data = '{' WHERE session_key = 1 AND event_id = 8")
    return path


def test_repair_in_place(run_here: Run, damaged: Path) -> None:
    assert run_here("verify", damaged).returncode == 1
    done = run_here("repair", damaged)
    assert done.returncode == 0
    assert "1 event set apart now" in done.stdout
    assert "position 8: session demo: event 8 is set apart" in done.stdout
    done = run_here("verify", damaged)
    assert done.returncode == 0
    assert "1 event set apart" in done.stdout
    found = json.loads(run_here("verify", damaged, "--json").stdout)
    assert (found["ok"], found["set_apart"][0]["event_id"]) == (True, 8)
    assert json.loads(run_here("repair", damaged, "--json").stdout)["set_apart"] == []


def test_repair_into_a_new_store(run_here: Run, damaged: Path, tmp_path: Path) -> None:
    blot(damaged, pages_of(damaged, "events")[4])
    before = damaged.read_bytes()
    done = run_here("repair", damaged)
    assert done.returncode == 1
    assert "--into" in done.stderr
    done = run_here("repair", damaged, "--into", "saved.db")
    assert done.returncode in (0, 1)
    assert "lost: events: rows" in done.stdout
    assert damaged.read_bytes() == before
    with foldlog.open(tmp_path / "saved.db", read_only=True) as store:
        assert len(list(store.events())) > 100
    assert run_here("repair", damaged, "--into", "saved.db").returncode == 1


def test_verify_of_exported_files(run_here: Run, path: Path, tmp_path: Path) -> None:
    make(path, turns=2)
    assert run_here("export", path, "files").returncode == 0
    assert "exported sessions" in run_here("verify", path, "--exported", "files").stdout
    (tmp_path / "files" / "demo" / "turns.jsonl").write_text("")
    assert run_here("verify", path, "--exported", "files").returncode == 1
    assert run_here("verify", path, "--exported", "nowhere").returncode == 1


def test_nothing_to_check_is_not_well(run_here: Run, path: Path, tmp_path: Path) -> None:
    make(path, turns=2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "others" / "somebody").mkdir(parents=True)
    for folder in ("empty", "others"):
        done = run_here("verify", path, "--exported", folder)
        assert done.returncode == 1
        assert f"{folder} has no exported session of this store: there was nothing to check" in done.stdout
        assert f"`foldlog export {path} DIR`" in done.stdout
    with foldlog.open(path, config=foldlog.Config(export_dir=tmp_path / "empty")) as store:
        assert store.verify()  # nothing was exported yet
    with foldlog.open(tmp_path / "new.db") as store:
        assert store.verify(exported=tmp_path / "empty")  # of no sessions


def test_a_file_that_was_cut_off(run_here: Run, path: Path, tmp_path: Path) -> None:
    with foldlog.open(path) as store:
        for _ in range(4):
            with store.start_session() as session, session.batch():
                for number in range(50):
                    session.add_message("user", f"{number} " * 500)
    with path.open("rb+") as file:
        file.truncate(path.stat().st_size // 8192 * 4096)
    for verb in ("ls", "verify", "repair"):
        done = run_here(verb, path)
        assert (done.returncode, done.stdout) == (1, "")
        error, hint = done.stderr.splitlines()
        assert error == f"error: opening {path}: SQLite reports a damaged database"
        assert hint == f"hint: restore a backup, or save what can be read: `foldlog repair {path} --into NEW`"
    done = run_here("doctor", path)
    assert done.returncode == 1
    assert f"problem  database: opening {path}" in done.stdout
    assert f"`foldlog repair {path} --into NEW`" in done.stdout
    done = run_here("repair", path, "--into", "saved.db")
    assert "lost: events: rows" in done.stdout
    with foldlog.open(tmp_path / "saved.db", read_only=True) as store:
        assert store.verify()
        assert len(list(store.events())) > 10


def test_doctor(run_here: Run, path: Path) -> None:
    make(path, turns=2)
    done = run_here("doctor", path)
    assert done.returncode == 0
    assert sqlite3.sqlite_version in done.stdout
    found = json.loads(run_here("doctor", path, "--json").stdout)
    assert found["ok"] is True
    assert {finding["level"] for finding in found["findings"]} <= {"ok", "note", "warning"}
    connection = sqlite3.connect(path)
    connection.execute("DROP TRIGGER events_refuse_update")
    connection.close()
    assert run_here("doctor", path).returncode == 1
