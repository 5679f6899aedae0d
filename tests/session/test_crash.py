"""Continuing after a crash: real processes, really killed."""

import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import foldlog

WRITER = Path(__file__).with_name("crash_writer.py")


def run_and_kill(path: Path, session_id: str, acknowledged: int) -> list[int]:
    """Run the writer, kill it once it has acknowledged so many events; the ids it acknowledged."""
    process = subprocess.Popen(
        [sys.executable, str(WRITER), str(path), session_id, "8"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    timer = threading.Timer(60, process.kill)
    timer.start()
    lines: list[str] = []
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stdout:
        lines.append(line)
        if len(lines) == acknowledged:
            process.send_signal(signal.SIGKILL)
    errors = process.stderr.read()
    process.wait(60)
    timer.cancel()
    process.stdout.close()
    process.stderr.close()
    assert process.returncode == -signal.SIGKILL, errors
    return [int(line) for line in lines if line.endswith("\n")]


def test_no_acknowledged_event_is_lost_and_what_was_interrupted_is_closed(path: Path) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    for number in range(5):
        session_id = f"run-{number}"
        acknowledged = run_and_kill(path, session_id, chance.randrange(5, 120))
        with foldlog.open(path) as store:
            events = list(store.events(session_id))
            assert [event["id"] for event in events] == list(range(1, len(events) + 1)), f"seed {seed}"
            assert set(acknowledged) <= {event["id"] for event in events if event["type"] == "acknowledged"}, (
                f"seed {seed}"
            )
            replayed = foldlog.fold(events)
            assert store.view(session_id) == replayed
            running = [call["id"] for call in replayed.calls.values() if call["status"] == "running"]

            session = store.open_session(session_id)
            recovered = [event for event in store.events(session_id) if event["type"] == "session.recovered"]
            assert recovered[0]["interrupted"] == {"turns": [1], "calls": running}
            statuses = {call["status"] for call in session.view.calls.values()}
            assert statuses <= {"ok", "interrupted"}
            assert session.view.turns[1]["status"] == "interrupted"
            assert store.view(f"{session_id}/child-0001").calls[1]["status"] == "interrupted"
            assert session.view == foldlog.fold(store.events(session_id))
            call = session.add_call("leaf")
            session.update_call(call["id"], status="ok")
            session.update_status("stopped")
            assert store.verify().problems == []


def test_recovery_can_be_declined(path: Path) -> None:
    run_and_kill(path, "demo", 20)
    with foldlog.open(path) as store:
        before = list(store.events())
        session = store.open_session("demo", recover=False)
        assert list(store.events()) == before
        assert session.view == foldlog.fold(store.events("demo"))
        assert session.view.turns[1]["status"] == "running"
        session.close()
        # Declined is not done: the next one to open it without declining recovers.
        assert store.open_session("demo").view.turns[1]["status"] == "interrupted"


def test_recovery_happens_once(path: Path) -> None:
    run_and_kill(path, "demo", 20)
    for _ in range(3):
        with foldlog.open(path) as store:
            store.open_session("demo").close()
            assert [event["type"] for event in store.events()].count("session.recovered") == 2  # the child's too


def test_a_clean_close_interrupts_nothing(path: Path, config: foldlog.Config) -> None:
    with foldlog.open(path, config=config) as store:
        session = store.start_session(id="demo")
        session.add_turn()
        session.add_call("leaf", turn_id=1)
        view = session.view.document()
    with foldlog.open(path, config=config) as store:
        assert store.open_session("demo").view.document() == view


def test_a_store_whose_process_never_closed_it_opens_again(path: Path) -> None:
    code = "import foldlog, sys\ns = foldlog.new_state(sys.argv[1], id='demo')\ns.add_message('user', 'hi')\n"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=60)
    with foldlog.open(path) as store:
        assert len(store.open_session("demo").view.messages) == 1


HOLD = """
import sys, foldlog
session = foldlog.open(sys.argv[1]).open_session("demo")
print("ready", flush=True)
sys.stdin.readline()
try:
    session.add_event("late")
except foldlog.StaleWriterError:
    session.close()
    sys.exit(3)
"""


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the session until its standard input ends."""
    foldlog.new_state(path, id="demo").close()
    command = [sys.executable, "-W", "ignore", "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        if process.poll() is None:
            process.kill()


def test_a_second_writer_is_refused_with_the_name_of_the_first(path: Path, holder: subprocess.Popen[str]) -> None:
    with foldlog.open(path) as store:
        with pytest.raises(foldlog.SessionInUseError) as caught:
            store.open_session("demo")
        assert caught.value.holder is not None
        assert caught.value.holder["pid"] == holder.pid
        assert str(holder.pid) in str(caught.value)
        assert store.view("demo").session["status"] == "running"
        store.start_session(id="other").close()


def test_a_dead_writer_is_followed_at_once(path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait(60)
    with foldlog.open(path) as store:
        store.open_session("demo").add_event("mine")


def test_a_stuck_writer_can_be_pushed_aside(path: Path, holder: subprocess.Popen[str]) -> None:
    with foldlog.open(path) as store:
        session = store.open_session("demo", take_over=True)
        session.add_message("user", "mine")
        session.checkpoint()
        session.add_message("user", "mine, after the checkpoint")
        holder.communicate("\n", timeout=60)
        assert holder.returncode == 3
        types = [event["type"] for event in store.events("demo")]
        assert types == ["session.started", "session.recovered", "message.added", "message.added"]
        with pytest.raises(foldlog.SessionInUseError):
            store.open_session("demo")
        # The tables are still the new writer's: the old handle's close did not turn them back.
        assert store.verify().problems == []
        with foldlog.open(path, read_only=True) as other:
            assert len(other.view("demo").messages) == 2
        session.close()
        store.open_session("demo")


def test_a_second_handle_in_the_same_process_is_refused(store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    with pytest.raises(foldlog.SessionInUseError, match="of this process"):
        store.open_session("demo")
    session.close()
    store.open_session("demo")


def test_a_forked_child_is_refused_and_the_parent_goes_on(path: Path) -> None:
    code = """
import os, sys, foldlog
store = foldlog.open(sys.argv[1])
session = store.start_session(id="demo")
pid = os.fork()
if pid == 0:
    for action in (lambda: session.add_event("x"), lambda: store.view("demo"), lambda: store.start_session()):
        try:
            action()
        except foldlog.StoreClosedError as error:
            assert "fork" in str(error)
        else:
            os._exit(1)
    session.close()
    store.close()
    with foldlog.open(sys.argv[1]) as own:
        try:
            own.open_session("demo")
        except foldlog.SessionInUseError:
            os._exit(0)
    os._exit(2)
_, status = os.waitpid(pid, 0)
session.add_event("after")
session.close()
with foldlog.open(sys.argv[1]) as again:
    again.open_session("demo")
sys.exit(os.waitstatus_to_exitcode(status))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(path)], check=True, timeout=60)


def test_eight_processes_open_a_new_store_at_once(path: Path) -> None:
    code = "import foldlog, sys\nwith foldlog.open(sys.argv[1]) as s, s.start_session(id=sys.argv[2]): pass"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(path), f"p{n}"]) for n in range(8)]
    assert [process.wait(60) for process in processes] == [0] * 8
    with foldlog.open(path) as store:
        assert len(list(store.sessions())) == 8
        assert store.verify().problems == []
    if isinstance(path, Path):
        beside = {entry.name for entry in path.parent.iterdir()}
        assert beside <= {path.name, f"{path.name}-leases", f"{path.name}-marks"}


def test_an_interrupt_between_commit_and_fold_is_told(
    store: foldlog.Store, monkeypatch: pytest.MonkeyPatch, reopen: Callable[[], foldlog.Store]
) -> None:
    session = store.start_session(id="demo")

    def interrupted(_view: foldlog.View, _change: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(foldlog.View, "carry_out", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.add_event("a")
    with pytest.raises(foldlog.CommitUncertainError):
        session.add_event("b")
    session.reload()
    assert session.view.counters["event"] == 2
    assert session.add_event("b") == 3
