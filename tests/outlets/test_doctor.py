"""The doctor names what could harm a store, makes nothing, and speaks of what cannot be opened too."""

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import foldlog
from damaged_stores import change
from foldlog.outlets.doctor import LEVELS, Diagnosis, has_wal_reset_bug
from foldlog.storage import file_system

pytestmark = pytest.mark.sqlite("what surrounds a file; a server is asked in tests/cli/test_cli_servers.py")


@pytest.fixture
def made(path: Path) -> Path:
    foldlog.new_state(path, id="demo").close()
    return path


def level(found: Diagnosis, name: str) -> str:
    levels = [finding.level for finding in found.findings if finding.name == name]
    assert levels, f"nothing is said of {name}"
    return min(levels, key=LEVELS.index)


def text(found: Diagnosis, name: str) -> str:
    return " ".join(str(finding) for finding in found.findings if finding.name == name)


def test_a_healthy_store(made: Path) -> None:
    before = sorted(entry.name for entry in made.parent.iterdir())
    found = foldlog.doctor(made)
    assert found.ok
    assert bool(found)
    for name in ("python", "modes", "wal", "leases", "beside", "schema", "journal mode", "page size", "size",
                 "triggers", "quarantine", "tables"):  # fmt: skip
        assert level(found, name) == "ok", text(found, name)
    assert sqlite3.sqlite_version in text(found, "sqlite")
    names = {entry.name.removesuffix("-wal").removesuffix("-shm") for entry in made.parent.iterdir()}
    assert names == set(before)


@pytest.mark.parametrize(
    ("version", "has"),
    [((3, 40, 1), True), ((3, 51, 2), True), ((3, 51, 3), False), ((3, 53, 0), False), ((3, 6, 23), False)],
)
def test_the_wal_reset_bug(version: tuple[int, ...], has: bool) -> None:
    assert has_wal_reset_bug(version) is has


def test_modes_and_owner(made: Path) -> None:
    made.chmod(0o644)
    found = foldlog.doctor(made)
    assert found.ok
    assert level(found, "modes") == "warning"
    assert "0644" in text(found, "modes")
    made.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(made, 12345, -1)
        assert "12345" in text(foldlog.doctor(made), "owner")


def test_lag_leases_and_what_lies_about(made: Path) -> None:
    (made.parent / f"{made.name}-journal").touch()
    (made.parent / f"{made.name}-copy").touch()
    (made.parent / f".{made.name}.abc.new").touch()
    with foldlog.open(made) as store:
        session = store.open_session("demo")
        session.add_event("note")
        found = foldlog.doctor(made)
        assert "demo by 1 events" in text(found, "tables")
        assert f"process {os.getpid()}" in text(found, "leases")
        session.close()
    assert "a rollback journal" in text(found, "beside")
    assert f"{made.name}-copy" in text(found, "beside")
    assert ".new" in text(found, "beside")


KILLED = """
import os, sys, foldlog
store = foldlog.open(sys.argv[1])
store.open_session("demo")
os._exit(9)
"""


def test_a_stale_lease_is_known_as_such(made: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(made)], check=False, timeout=60)
    found = foldlog.doctor(made)
    assert "of writers that are gone" in text(found, "leases")
    assert found.ok


def test_set_apart_and_triggers(made: Path) -> None:
    change(made, "UPDATE events SET data = '{' WHERE event_id = 1")
    with foldlog.open(made) as store:
        store.repair()
    assert level(foldlog.doctor(made), "quarantine") == "warning"
    sqlite3.connect(made).execute("DROP TRIGGER events_refuse_delete").connection.close()
    found = foldlog.doctor(made)
    assert level(found, "triggers") == "problem"
    assert not found.ok


@pytest.mark.parametrize("bad", ["missing", "directory", "text", "empty", "other", "schema", "fifo"])
def test_what_cannot_be_opened_has_a_finding_that_says_why(made: Path, bad: str) -> None:
    target = made.parent / "target"
    if bad == "directory":
        target.mkdir()
    elif bad == "text":
        target.write_text("just some text " * 1000)
    elif bad == "empty":
        target.touch()
    elif bad == "other":
        sqlite3.connect(target).execute("CREATE TABLE mine (x)").connection.close()
    elif bad == "schema":
        data = bytearray(made.read_bytes())
        data[100:4096] = b"\xff" * 3996
        target.write_bytes(data)
    elif bad == "fifo":
        os.mkfifo(target)
    found = foldlog.doctor(target)
    assert not found.ok
    assert all(finding.hint for finding in found.findings if finding.level == "problem")
    assert level(found, "python") == "ok"
    assert target.exists() == (bad != "missing")


def test_a_network_file_system_is_a_problem_and_refused(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = f"36 25 0:32 / {made.parent} rw - nfs4 server:/team rw"
    monkeypatch.setattr(file_system, "of", lambda path, **_: file_system.find(told, str(path)))
    assert "nfs4" in text(foldlog.doctor(made), "file system")
    assert not foldlog.doctor(made).ok
    with pytest.raises(foldlog.StoreError, match="network file system"):
        foldlog.open(made)
    with pytest.raises(foldlog.StoreError, match="network file system"):
        foldlog.open(made.parent / "new.db")
    assert not (made.parent / "new.db").exists()
    foldlog.open(made, read_only=True).close()
    foldlog.open(made, config=foldlog.Config(allow_network_file_system=True)).close()
    assert stat.S_ISREG(made.stat().st_mode)
