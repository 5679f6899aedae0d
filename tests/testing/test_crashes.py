"""Crash points: each kills where it says, what was said arrives, and what is left is what the point promises."""

import os
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

import foldlog
from foldlog.outlets import export
from foldlog.session import checkpoint
from foldlog.storage import journal
from foldlog.testing import Say, check_store, crash_at, crash_points, run_until_crash


def work(path: Path | str, files: Path) -> Callable[[Say], None]:
    def record(say: Say) -> None:
        with foldlog.open(path) as store:
            session = store.start_session(id="demo")
            say(session.add_event("first"))
            say(session.add_event("second", ref=session.value_ref("x" * 9000)))
            session.checkpoint()
            say("checkpoint")
            store.export(files)

    return record


def left(path: Path | str) -> tuple[list[str], int]:
    """The types of the events, and the event at which the tables stand."""
    with foldlog.open(path) as store:
        check_store(store)
        standing = [row["n"] for row in store.query("SELECT checkpoint_event_id AS n FROM sessions")]
        return [event["type"] for event in store.events()], standing[0] if standing else 0


@pytest.mark.parametrize(
    ("point", "nth", "said", "events", "standing"),
    [
        ("before_commit", 1, [], [], 0),
        ("before_commit", 2, [], ["session.started"], 1),
        ("in_commit", 1, [], [], 0),
        ("in_commit", 3, [2], ["session.started", "first"], 1),
        ("after_commit", 1, [], ["session.started"], 1),
        ("after_commit", 2, [], ["session.started", "first"], 1),
        ("in_checkpoint", 1, [], [], 0),
        ("in_checkpoint", 2, [2, 3], ["session.started", "first", "second"], 1),
        ("after_checkpoint", 1, [2, 3], ["session.started", "first", "second"], 3),
        ("in_export", 1, [2, 3, "checkpoint"], ["session.started", "first", "second"], 3),
        ("after_export", 1, [2, 3, "checkpoint"], ["session.started", "first", "second"], 3),
    ],
)
def test_a_point_kills_there_and_nowhere_else(
    path: Path, tmp_path: Path, point: str, nth: int, said: list[object], events: list[str], standing: int
) -> None:
    crash = run_until_crash(work(path, tmp_path / "files"), point, nth=nth)
    assert crash
    assert crash.said == said
    assert left(path) == (events, standing)
    files = [entry.name for entry in (tmp_path / "files").rglob("*") if entry.is_file()]
    assert [name.startswith(".") for name in files] == {"in_export": [True], "after_export": [False]}.get(point, [])


@pytest.mark.parametrize("point", crash_points())
def test_every_moment_of_a_kind_is_reached_until_the_function_ends(
    new_path: Callable[[], Path], tmp_path: Path, point: str
) -> None:
    for nth in count(1):
        path = new_path()
        crash = run_until_crash(work(path, tmp_path / f"files-{nth}"), point, nth=nth)
        if not crash.happened:
            break
        with foldlog.open(path) as store:
            check_store(store)
    assert nth > 2
    assert crash.said == [2, 3, "checkpoint"]
    assert not crash


def test_what_is_said_by_threads_and_of_any_size_arrives(path: Path) -> None:
    def record(say: Say) -> None:
        threads = [threading.Thread(target=say, args=([number, "x\n" * 100_000],)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    crash = run_until_crash(record, "before_commit")
    assert sorted(crash.said) == [[number, "x\n" * 100_000] for number in range(8)]


def test_what_the_function_raises_is_told_here(path: Path) -> None:
    def fail(say: Say) -> None:
        say("begun")
        raise KeyError("missing")

    with pytest.raises(AssertionError, match="KeyError: 'missing'"):
        run_until_crash(fail, "before_commit")


def test_a_function_that_hangs_is_ended(path: Path) -> None:
    pids: list[int] = []

    def hang(say: Say) -> None:
        say(os.getpid())
        time.sleep(600)

    with pytest.raises(AssertionError, match=r"not over after 0\.5 s"):
        run_until_crash(hang, "before_commit", timeout_s=0.5)
    assert pids == []


@pytest.mark.parametrize(("point", "nth"), [("nowhere", 1), ("before_commit", 0)])
def test_an_unknown_point_is_refused_before_anything_runs(point: str, nth: int) -> None:
    with pytest.raises(foldlog.FoldlogError, match="no crash point"):
        run_until_crash(lambda say: None, point, nth=nth)


def test_the_library_is_as_it_was_after_the_block() -> None:
    before = (journal.append, checkpoint.write, checkpoint.save, export.write_file)
    with crash_at("in_commit", nth=1000):
        assert journal.append is not before[0]
    assert (journal.append, checkpoint.write, checkpoint.save, export.write_file) == before
