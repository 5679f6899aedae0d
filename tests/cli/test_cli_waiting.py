"""Stores that somebody else holds, and Ctrl-C: that a wait is told of, and that both end in one line."""

import contextlib
import errno
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import foldlog
from foldlog.storage import files

pytestmark = pytest.mark.sqlite("it is of locks on a file")

Run = Callable[..., "subprocess.CompletedProcess[str]"]
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT "


@contextlib.contextmanager
def kept_out(path: Path) -> Iterator[None]:
    """Hold a store so that nobody else can read it, as a program does that locks it exclusively."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


@contextlib.contextmanager
def started(environment: dict[str, str], *args: object) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-P", "-m", "foldlog.cli.main", *map(str, args)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("verb", [("ls",), ("verify",), ("rm", "run-b", "--yes"), ("repair",)])
def test_a_wait_is_told_of_and_ends(mixed: Path, environment: dict[str, str], verb: tuple[str, ...]) -> None:
    name, *rest = verb
    with kept_out(mixed), started(environment, name, mixed, *rest) as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        assert told == f"{mixed}: another program holds the store; waiting up to 30 s for it\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130  # SQLite's own waiting would have gone on
        assert process.stderr.read() == "stopped\n"


def test_it_goes_on_when_the_store_is_free(mixed: Path, environment: dict[str, str]) -> None:
    with contextlib.ExitStack() as stack:
        with kept_out(mixed):
            process = stack.enter_context(started(environment, "show", mixed, "run-b"))
            assert process.stderr is not None
            assert "waiting" in process.stderr.readline()
        assert process.wait(timeout=60) == 0


def test_a_writer_tells_of_its_wait(mixed: Path, environment: dict[str, str]) -> None:
    connection = sqlite3.connect(mixed, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")  # readers may read
    with contextlib.ExitStack() as stack:
        stack.callback(connection.close)
        process = stack.enter_context(started(environment, "rm", mixed, "run-b", "--yes"))
        assert process.stderr is not None
        assert "another program may be writing it" in process.stderr.readline()
        connection.execute("ROLLBACK")
        assert process.wait(timeout=60) == 0


def test_the_doctor_does_not_wait_long(run_here: Run, mixed: Path) -> None:
    with kept_out(mixed):
        done = run_here("doctor", mixed)
    assert done.returncode == 1
    assert "problem  database: opening" in done.stdout
    assert "another connection holds the database" in done.stdout


def test_ctrl_c_ends_a_query_between_rows(mixed: Path, environment: dict[str, str]) -> None:
    with started(environment, "sql", mixed, f"{ENDLESS} x FROM n", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 130


def test_ctrl_c_ends_a_query_within_a_step(mixed: Path) -> None:
    # A timer's signal in Ctrl-C's place: it comes while SQLite counts, and is raised where the driver drops it.
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with foldlog.open(mixed, read_only=True) as store, pytest.raises(KeyboardInterrupt):
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            list(store.query(f"{ENDLESS} count(*) FROM n"))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("verb", [("ls",), ("ls", "--json"), ("show", "run-a"), ("csv", "calls"), ("report", "run-a")])
def test_output_to_a_full_disk(mixed: Path, environment: dict[str, str], verb: tuple[str, ...]) -> None:
    name, *rest = verb
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-P", "-m", "foldlog.cli.main", name, mixed, *rest],
            env=environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == [
        "error: no space is left where the output goes",
        "hint: make room, or send it elsewhere; it is not whole",
    ]
    assert "Traceback" not in done.stderr


def test_a_file_on_a_full_disk_is_not_left_behind(
    run_here: Run, mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    before = sorted(entry.name for entry in tmp_path.iterdir())
    done = run_here("report", mixed, "run-a", "-o", "report.html")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "error: cannot write report.html: no space is left there",
        "hint: nothing of it was kept; make room, or give another disk",
    ]
    left = sorted(entry.name for entry in tmp_path.iterdir() if not entry.name.endswith(("-wal", "-shm")))
    assert left == before


def test_only_a_file_is_replaced(run_here: Run, mixed: Path) -> None:
    done = run_here("report", mixed, "run-a", "-o", "/dev/full")
    assert (done.returncode, done.stdout) == (1, "")
    assert "hint: give another file: only a regular one is replaced" in done.stderr
