"""Processes that want the same at once: first openings, one session, its take-over, the write lock."""

import random
import shutil
import sqlite3
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from forks import Line, forked
from sizes import Size

import foldlog

# Far above what was measured (docs/performance.md); only a process that starves the others takes longer.
WORST_EMIT_S = 10.0


def at_once(work: Callable[[Line], None]) -> Callable[[Line], None]:
    """The work, begun when the parent says so."""

    def begin(line: Line) -> None:
        line.say("ready")
        line.hear()
        work(line)

    return begin


def run(*work: Callable[[Line], None]) -> list[list[Any]]:
    """Run functions in processes of their own, all at once; what each said."""
    with forked(*map(at_once, work)) as processes:
        for process in processes:
            assert process.hear() == "ready"
        for process in processes:
            process.say("go")
        for process in processes:
            process.check()
        return [process.said for process in processes]


def assert_whole(path: Path) -> None:
    with foldlog.open(path) as store:
        for row in store.sessions():
            events = list(store.events(row["id"]))
            assert [event["id"] for event in events] == list(range(1, len(events) + 1))
            assert store.view(row["id"]) == foldlog.fold(events)
        assert store.verify().problems == []


def test_eight_processes_make_one_store_and_one_of_them_gets_the_session(tmp_path: Path, size: Size) -> None:
    def work(path: Path, number: int) -> Callable[[Line], None]:
        def one(line: Line) -> None:
            with foldlog.open(path) as store, store.start_session(id=f"own-{number}") as own:
                own.add_message("user", number)
                try:
                    store.start_session(id="shared").add_message("user", number)
                    line.say("won")
                except (foldlog.SessionInUseError, foldlog.AlreadyExistsError) as error:
                    line.say(type(error).__name__)

        return one

    for attempt in range(size.rounds(quick=3, full=100)):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        path = folder / "history.db"
        said = run(*(work(path, number) for number in range(8)))
        assert [line for lines in said for line in lines].count("won") == 1
        assert_whole(path)
        assert {entry.name for entry in folder.iterdir()} <= {path.name, f"{path.name}-leases", f"{path.name}-marks"}
        shutil.rmtree(folder)


def test_a_refusal_names_the_process_that_holds_the_session(path: Path) -> None:
    def hold(line: Line) -> None:
        with foldlog.open(path) as store, store.start_session(id="shared"):
            line.say("held")
            line.hear()

    with forked(hold) as [holder]:
        assert holder.hear() == "held"

        def refused(line: Line) -> None:
            with foldlog.open(path) as store:
                try:
                    store.open_session("shared")
                except foldlog.SessionInUseError as error:
                    line.say(error.holder)

        for [told] in run(*[refused] * 7):
            assert told["pid"] == holder.pid
        holder.say("end")
        holder.check()
    assert_whole(path)


def test_whoever_takes_over_last_writes_and_nobody_interleaves(path: Path, size: Size, seed: int) -> None:
    take_overs = size.rounds(quick=8, full=100)
    foldlog.new_state(path, id="shared").close()

    def work(number: int) -> Callable[[Line], None]:
        def one(line: Line) -> None:
            chance = random.Random(f"{seed} {number}")
            with foldlog.open(path) as store:
                for _ in range(take_overs):
                    try:
                        session = store.open_session("shared", take_over=True)
                    except (foldlog.StaleWriterError, foldlog.SessionInUseError):
                        continue  # pushed aside while it was opening
                    try:
                        for _ in range(chance.randrange(1, 6)):
                            mark = chance.randrange(2**60)
                            line.say([session.add_event("mine", mark=mark), mark])
                        session.close()
                    except foldlog.StaleWriterError:
                        session.let_go()

        return one

    said = run(*map(work, range(4)))
    with foldlog.open(path) as store:
        marks = {event["id"]: event["mark"] for event in store.events("shared") if event["type"] == "mine"}
    acknowledged = [tuple(one) for lines in said for one in lines]
    assert len({event_id for event_id, _ in acknowledged}) == len(acknowledged), "an id was acknowledged twice"
    assert acknowledged
    assert all(marks[event_id] == mark for event_id, mark in acknowledged)
    assert_whole(path)


def quantiles(times: list[float]) -> str:
    found = statistics.quantiles(times, n=100)
    return f"p50 {found[49] * 1e3:.2f} ms, p99 {found[98] * 1e3:.2f} ms, worst {max(times) * 1e3:.1f} ms"


@pytest.mark.sqlite("its lock, and the figures beside plain sqlite3")
@pytest.mark.parametrize("durability", ["full", "normal"])
def test_four_processes_append_and_none_is_told_that_the_database_is_locked(
    path: Path, size: Size, durability: Any, tell: Callable[[str], None]
) -> None:
    emits, processes = size.rounds(quick=100, full=3000), 4
    foldlog.open(path).close()

    def work(number: int) -> Callable[[Line], None]:
        def one(line: Line) -> None:
            config = foldlog.Config(durability=durability)
            with foldlog.open(path, config=config) as store, store.start_session(id=f"own-{number}") as session:
                for _ in range(emits):
                    before = time.perf_counter()
                    session.emit("tool.ran", text="x" * 300)
                    line.say(time.perf_counter() - before)

        return one

    times = [taken for lines in run(*map(work, range(processes))) for taken in lines]
    assert len(times) == processes * emits
    assert max(times) < WORST_EMIT_S
    assert_whole(path)
    tell(f"4 processes, {emits:,} emits each: {quantiles(times)}")
    if size.is_full:
        tell(f"the same by SQLite alone with its busy handler: {quantiles(plain_appends(path, durability, emits))}")


def plain_appends(path: Path, durability: str, count: int) -> list[float]:
    """Rows of the same size by SQLite alone, each process with the busy handler's patience: to compare with."""
    other = path.with_name("plain.db")
    with sqlite3.connect(other) as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("CREATE TABLE events (position INTEGER PRIMARY KEY, data TEXT)")
    made.close()

    def append(line: Line) -> None:
        connection = sqlite3.connect(other, isolation_level=None, timeout=30)
        connection.execute(f"PRAGMA synchronous = {durability}")
        for _ in range(count):
            before = time.perf_counter()
            connection.execute("INSERT INTO events (data) VALUES (?)", ("x" * 500,))
            line.say(time.perf_counter() - before)
        connection.close()

    return [taken for lines in run(*[append] * 4) for taken in lines]
