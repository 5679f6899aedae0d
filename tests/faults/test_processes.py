"""Several processes on one store: none waits for ever, none is shut out, none loses what it committed."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import foldlog
from foldlog.storage import marks

APPEND = """
import sys, foldlog
path, name, durability, count = sys.argv[1:]
with foldlog.open(path, config=foldlog.Config(durability=durability)) as store:
    session = store.start_session(id=name)
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(count)):
        session.emit("step", number=number)
    if name == "p1":
        session.checkpoint()
    session.close()
"""

HOLD = """
import sys, foldlog
store = foldlog.open(sys.argv[1], config=foldlog.Config(durability="normal"))
session = store.open_session("demo")
print("ready", flush=True)
sys.stdin.readline()
try:
    session.emit("late")
except foldlog.StaleWriterError:
    sys.exit(3)
"""

INSIDE = """
import sys, foldlog
store = foldlog.open(sys.argv[1], config=foldlog.Config(durability="normal"))
with store.database.write():
    print("ready", flush=True)
    sys.stdin.readline()
store.close()
"""

RECORD = """
import sys, foldlog
store = foldlog.open(sys.argv[1], config=foldlog.Config(durability="normal"))
session = store.start_session(id="demo")
turn = session.add_turn()
session.add_call("leaf", turn_id=turn["id"])
for number in range(60):
    session.emit("step", number=number, text="x" * 500)
with session.start_child(turn_id=turn["id"]) as child:
    for number in range(60):
        child.emit("step", number=number, text="x" * 500)
session.emit("last")
print("ready", flush=True)
sys.stdin.readline()
"""


@contextlib.contextmanager
def running(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process that has said it is ready and goes on when it is given a line."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize("durability", ["normal", "full"])
def test_four_processes_append_at_once_and_nobody_is_refused(path: Path, durability: str) -> None:
    names, count = [f"p{number}" for number in range(4)], 250
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(running(APPEND, path, name, durability, count)) for name in names]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        assert [process.wait(120) for process in processes] == [0] * 4
    with foldlog.open(path) as store:
        for name in names:
            assert [event["number"] for event in store.events(name, types=["step"])] == list(range(count))
        assert store.verify().problems == []
        assert store.database.lost() == []


def test_a_writer_that_was_stopped_and_overtaken_is_refused_when_it_goes_on(path: Path) -> None:
    foldlog.new_state(path, id="demo").close()
    with running(HOLD, path) as stopped, foldlog.open(path) as store:
        stopped.send_signal(signal.SIGSTOP)
        with pytest.raises(foldlog.SessionInUseError, match=str(stopped.pid)):
            store.open_session("demo")
        session = store.open_session("demo", take_over=True)
        session.emit("mine")
        stopped.send_signal(signal.SIGCONT)
        stopped.communicate("\n", timeout=60)
        assert stopped.returncode == 3
        assert [event["type"] for event in store.events("demo")] == ["session.started", "session.recovered", "mine"]


@pytest.mark.sqlite("the gate; a server ends such a transaction by itself")
def test_a_writer_that_was_stopped_while_it_wrote_makes_others_wait_no_longer_than_the_bound(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with foldlog.new_state(path, id="demo") as session:
        with running(INSIDE, path) as stopped:
            monkeypatch.setattr(session.store.database._gate, "wait_s", 0.1)
            stopped.send_signal(signal.SIGSTOP)
            with pytest.raises(foldlog.StoreBusyError, match="stopped") as caught:
                session.emit("refused")
            assert "kill -CONT" in caught.value.hint
            if Path("/proc/locks").exists():
                assert f"process {stopped.pid} " in caught.value.message
            assert session.store.view("demo").counters["event"] == 1
            monkeypatch.undo()
            stopped.send_signal(signal.SIGCONT)
            stopped.communicate("\n", timeout=60)
            assert stopped.returncode == 0
        assert session.emit("accepted")["id"] == 2


def test_a_writer_that_was_killed_while_it_wrote_holds_nobody_up(path: Path) -> None:
    with foldlog.new_state(path, id="demo") as session, running(INSIDE, path) as killed:
        killed.kill()
        assert session.emit("next")["id"] == 2


# A log whose end is lost.

_LOG: Final = "a log beside the file, and the marks that tell of its loss"


@pytest.fixture
def cut_path(path: Path) -> Path:
    """A store whose writer was killed, and the end of its log lost with the power."""
    with running(RECORD, path) as process:
        process.kill()
    log = Path(f"{path}-wal")
    os.truncate(log, log.stat().st_size * 3 // 4)
    return path


@pytest.mark.sqlite(_LOG)
def test_lost_events_are_noted_and_the_session_goes_on(cut_path: Path) -> None:
    with foldlog.open(cut_path) as store:
        assert [(one.session_id, one.mark) for one in marks.lost(store.database)] == [
            ("demo", 66),
            ("demo/child-0001", 62),
        ]
        head = store.view("demo").counters["event"]
        assert head == 64, "the child's events were the last"
        child_head = store.view("demo/child-0001").counters["event"]
        assert child_head < 62
        assert store.usage("demo")
        session = store.open_session("demo")
        [note] = store.events("demo", types=["session.recovered"])
        assert note["lost"] == [65, 66]
        assert note["id"] == 65
        assert note["interrupted"]["turns"] == [1]
        session.emit("on")
        # The child was recovered with its root.
        [note] = store.events("demo/child-0001", types=["session.recovered"])
        assert note["lost"] == [child_head + 1, 62]
        assert marks.lost(store.database) == []
        session.close()
        store.open_session("demo").close()
        assert len(list(store.events("demo", types=["session.recovered"]))) == 1
        assert store.verify().problems == []


@pytest.mark.sqlite(_LOG)
def test_lost_events_are_an_error_where_nothing_is_to_be_recovered(cut_path: Path) -> None:
    with foldlog.open(cut_path) as store:
        before = list(store.events())
        for _ in range(2):
            with pytest.raises(foldlog.CorruptJournalError, match="events 65 to 66 were committed") as caught:
                store.open_session("demo", recover=False)
            assert "recover=True" in caught.value.hint
        assert list(store.events()) == before
        assert len(store.view("demo").calls) == 2
        assert store.open_session("demo").is_writer


@pytest.mark.sqlite(_LOG)
def test_a_log_that_is_gone_is_told_of(path: Path) -> None:
    with running(RECORD, path) as process:
        process.kill()
    Path(f"{path}-wal").unlink()
    with foldlog.open(path) as store:
        assert list(store.sessions()) == []
        assert [one.mark for one in marks.lost(store.database)] == [66, 62]


@pytest.mark.sqlite(_LOG)
def test_without_its_mark_a_cut_log_is_no_error(cut_path: Path) -> None:
    marks.path_of(cut_path).unlink()
    with foldlog.open(cut_path) as store:
        session = store.open_session("demo")
        [note] = store.events("demo", types=["session.recovered"])
        assert "lost" not in note
        session.close()
