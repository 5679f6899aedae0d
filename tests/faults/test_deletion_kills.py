"""A process that is killed while it deletes leaves all or nothing; deleters and writers at once lose nothing."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import foldlog

SOURCES = Path(foldlog.__file__).parents[1]
_DELETE = """
import sys
import foldlog
with foldlog.open(sys.argv[1]) as store:
    print("open", flush=True)
    sys.stdin.readline()
    store.delete_session("demo", reason="killed")
    print("done", flush=True)
"""


def fill(store: foldlog.Store, session_id: str) -> None:
    with store.start_session(id=session_id) as session:
        for count in range(1, 40):
            with session.call("leaf", request_ref=session.value_ref([f"message {n} " * 60 for n in range(count)])):
                pass
        session.start_child().close()


@pytest.mark.parametrize("round_number", range(12))
def test_a_deletion_that_is_killed_is_whole_or_not_at_all(path: Path, round_number: int) -> None:
    seed = 4_000 + round_number
    choice = random.Random(seed)
    with foldlog.open(path) as store:
        fill(store, "kept")
        fill(store, "demo")
        before = store.final("demo"), store.tree("demo"), list(store.events("demo"))
        dry = store.delete_session("demo", dry_run=True)
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    with subprocess.Popen(
        [sys.executable, "-P", "-c", _DELETE, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(choice.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        done = "done" in process.stdout.read()
    with foldlog.open(path) as store:
        report = store.verify()
        assert report.ok, f"seed {seed}: {report}"
        there = {row["id"] for row in store.sessions()}
        deletions = list(store.query("SELECT event_count, reason FROM deletions"))
        if "demo" in there:
            assert not done
            assert deletions == []
            assert (store.final("demo"), store.tree("demo"), list(store.events("demo"))) == before
        else:
            assert there == {"kept", "kept/child-0001"}
            assert deletions == [{"event_count": dry.event_count, "reason": "killed"}]
            fill(store, "demo")
        store.delete_session("demo")
        store.delete_session("kept")
        assert list(store.query("SELECT blob_count FROM blob_stats")) == [{"blob_count": 0}]


_WRITE = """
import sys
import foldlog
with foldlog.open(sys.argv[1], config=foldlog.Config(durability="normal")) as store:
    name = sys.argv[2]
    for number in range(8):
        with store.start_session(id=f"{name}-{number}") as session:
            for n in range(6):
                session.emit("a", ref=session.value_ref([f"shared {i} " * 60 for i in range(10 + n)]))
        if number % 2:
            store.delete_session(f"{name}-{number}", reason="odd")
"""


def test_processes_that_write_and_delete_at_once_keep_what_is_theirs(path: Path) -> None:
    foldlog.open(path).close()
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    processes = [
        subprocess.Popen([sys.executable, "-P", "-c", _WRITE, str(path), name], env=environment) for name in "abc"
    ]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    with foldlog.open(path) as store:
        assert sorted(row["id"] for row in store.sessions()) == [f"{name}-{n}" for name in "abc" for n in (0, 2, 4, 6)]
        assert len(list(store.query("SELECT * FROM deletions"))) == 12
        report = store.verify()
        assert report.ok, str(report)
        assert report.blob_count == 6
        session = store.open_session("a-0")
        for event in store.events("a-0", types=["a"]):
            assert session.read_ref(event["ref"])[0].startswith("shared 0")
