"""Writers that stop: killed, or stopped by a signal and gone on with when another has taken over."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

from forks import Line, forked
from sizes import Size

import foldlog

# Taking over is a lock, an append and a checkpoint; the figure aimed at is 1 s.
TAKE_OVER_S = 10.0


def hold(path: Path) -> Callable[[Line], None]:
    """Writes one event, waits, then tries one verb after the other."""

    def work(line: Line) -> None:
        store = foldlog.open(path)
        session = store.start_session(id="demo")
        call = session.add_call("leaf")
        line.say("ready")
        line.hear()
        tries = {
            "emit": lambda: session.add_event("late"),
            "update": lambda: session.update_call(call["id"], status="ok"),
            "batch": lambda: _batch(session),
            "checkpoint": session.checkpoint,
        }
        for verb in tries.values():
            try:
                verb()
                line.say("written")
            except foldlog.FoldlogError as error:
                line.say(type(error).__name__)
        session.let_go()
        store.close()

    return work


def _batch(session: foldlog.Session) -> None:
    with session.batch():
        session.add_event("late")


def take_over(path: Path, *, push: bool) -> float:
    """Open the session and write; how many seconds it took."""
    with foldlog.open(path) as store:
        before = time.perf_counter()
        session = store.open_session("demo", take_over=push)
        session.add_event("mine")
        taken = time.perf_counter() - before
        assert session.view.calls[1]["status"] == "interrupted"
        session.close()
    assert taken < TAKE_OVER_S
    return taken


def test_a_stopped_writer_is_taken_over_and_writes_nothing_when_it_goes_on(
    tmp_path: Path, size: Size, tell: Callable[[str], None]
) -> None:
    times = []
    for number in range(size.rounds(quick=3, full=100)):
        path = tmp_path / f"{number}.db"
        with forked(hold(path)) as [holder]:
            assert holder.hear() == "ready"
            holder.kill(signal.SIGSTOP)
            times.append(take_over(path, push=True))
            with foldlog.open(path, read_only=True) as store:
                before = list(store.events())
            holder.say("go on")
            holder.kill(signal.SIGCONT)
            assert holder.hear() == "StaleWriterError"
            holder.check()
            assert "written" not in holder.said
        with foldlog.open(path) as store:
            assert list(store.events()) == before
            assert store.verify().problems == []
    tell(f"{len(times)} take-overs of a stopped writer, the slowest {max(times) * 1e3:.0f} ms")


def test_a_killed_writer_is_followed_at_once(tmp_path: Path, size: Size, tell: Callable[[str], None]) -> None:
    times = []
    for number in range(size.rounds(quick=3, full=100)):
        path = tmp_path / f"{number}.db"
        with forked(hold(path)) as [holder]:
            assert holder.hear() == "ready"
            holder.kill()
            assert holder.join() == -signal.SIGKILL
            times.append(take_over(path, push=False))
        with foldlog.open(path) as store:
            assert store.verify().problems == []
    tell(f"{len(times)} take-overs of a killed writer, the slowest {max(times) * 1e3:.0f} ms")
