"""The benchmarks run, at the least size and without other libraries, and say something about every target.

No time is asserted here: how fast it is, is for `make bench` to say.
"""

import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks import coroutines, floor, payload, processes, report, run, sizes, slow_sync
from benchmarks.bench import TINY
from benchmarks.results import Measurement, percentile, quartiles
from benchmarks.slices import Candidate, Contest, Slice, timed, timed_threads
from benchmarks.targets import TARGETS, Check, judge


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run.run(tmp_path_factory.mktemp("bench"), TINY, peers=False)


def test_no_case_fails(results: Any) -> None:
    assert [found for found in results["measurements"] if found["failed"]] == []
    assert {found["key"].split(".")[0] for found in results["measurements"]} == set(run.CASES)


def test_every_target_has_a_measurement_or_a_reason(results: Any) -> None:
    measurements = [Measurement.load(found) for found in results["measurements"]]
    for target in TARGETS:
        for check in target.checks:
            outcome = judge(check, measurements)
            if outcome.verdict == "not measured":
                assert outcome.reason not in ("", "not part of this run"), check
                # Only these need what may not be here: another library, a Linux with a compiler.
                assert check.key.startswith(("coroutines.", "tmpfs.")), check
            else:
                assert outcome.measured is not None
                # Of these two, what is measured is a difference: of so few runs it may be noise.
                assert outcome.measured > 0 or check.key in ("reopen.memory", "startup.over"), check


def test_results_are_json_and_a_page(results: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"Before.\n\n{report.BEGIN}\nold\n{report.END}\n\nAfter.\n", encoding="utf-8")
    monkeypatch.setattr(report, "PAGE", page)
    report.write_page(json.loads(json.dumps(results)))
    text = page.read_text(encoding="utf-8")
    assert text.startswith("Before.\n")
    assert text.endswith("\nAfter.\n")
    assert "\nold\n" not in text
    for target in TARGETS:
        assert f"| {target.work} " in text
    for found in results["measurements"]:
        assert found["label"] in text


def test_a_case_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_bench: object) -> Iterator[Measurement]:
        raise OSError("no disk")

    monkeypatch.setitem(run.CASES, "wal", fails)
    results = run.run(tmp_path, TINY, only=["wal"])
    [found] = [Measurement.load(row) for row in results["measurements"]]
    assert found.failed
    outcome = judge(Check("pages", "wal.most", 2.6), [found])
    assert (outcome.verdict, outcome.reason) == ("not measured", "OSError: no disk")


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler")
def test_a_delay_that_is_not_in_the_way_is_an_error(tmp_path: Path) -> None:
    library = slow_sync.build(tmp_path)
    with pytest.raises(RuntimeError, match="slow_sync is not in the way: 0 syncs"):
        processes.run("-m", "benchmarks.slow_sync", str(tmp_path), "tiny", "3", str(library), LD_PRELOAD="")


def test_events_are_600_bytes_and_the_same_for_a_seed() -> None:
    found = payload.payloads(3)
    assert {len(orjson.dumps(row)) for row in found} == {payload.EVENT_BYTES}
    assert payload.payloads(3) == found
    assert payload.payloads(4) != found


def test_coroutines_emit_where_there_is_aio(tmp_path: Path) -> None:
    pytest.importorskip("foldlog.aio", reason="this foldlog has no aio")
    with coroutines.foldlog_candidate(tmp_path / "history.db", "normal", 3, "as asked") as candidate:
        assert len(candidate.run(0.02).latencies_s) >= coroutines.COUNT


@contextmanager
def _constant(name: str, per_second: list[float]) -> Iterator[Candidate]:
    speeds = iter(per_second)

    def run_once(_seconds: float) -> Slice:
        speed = next(speeds)
        return Slice([1 / speed] * 10, 10 / speed)

    yield Candidate(name, "none", run_once)


def test_a_ratio_is_of_slices_side_by_side() -> None:
    """The disk becomes ten times slower, and the ratio does not notice."""
    with ExitStack() as stack:
        base = stack.enter_context(_constant("floor", [9, 100, 100, 10, 10]))
        contest = Contest("key", "group", base, stack)
        # The first of each is for warming up.
        contest.add("half", "half", _constant("half", [9, 50, 27.5, 5]))
        floor, half = contest.run(seconds=1, rounds=3)
    assert floor.value == 1
    assert (half.value, half.low, half.high) == (0.5, 0.5, 0.5)


def test_a_candidate_that_breaks_is_listed_and_the_others_go_on() -> None:
    with ExitStack() as stack:
        contest = Contest("key", "group", stack.enter_context(_constant("floor", [10] * 9)), stack)
        contest.add("breaks", "breaks", _constant("breaks", [10, 10]), is_optional=True)  # then StopIteration
        contest.add("holds", "holds", _constant("holds", [20] * 4))
        contest.cannot("absent", "absent", "it is not installed")
        _, breaks, holds, absent = contest.run(seconds=1, rounds=3)
    assert (breaks.value, breaks.reason, breaks.failed) == (None, "StopIteration", False)
    assert holds.value == 2
    assert absent.reason == "it is not installed"


def test_slices_count_what_was_done() -> None:
    done: list[int] = []
    found = timed(lambda: done.append(1), 0.01)
    assert len(found.latencies_s) == len(done)
    assert found.elapsed_s >= 0.01
    done.clear()
    found = timed_threads([lambda: done.append(1)] * 3, 0.01)
    assert len(found.latencies_s) == len(done)

    def fails() -> None:
        time.sleep(0)
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        timed_threads([fails] * 2, 0.01)


def test_statistics() -> None:
    assert quartiles([4.0]) == (4, 4, 4)
    assert quartiles([1, 2, 3, 4, 5]) == (2, 3, 4)
    assert percentile(list(range(100)), 99) == 99
    assert percentile([7], 50) == 7


def test_the_wal_count_is_not_fooled_by_checkpoints(tmp_path: Path) -> None:
    """SQLite's automatic checkpoint would start the log anew every thousand pages."""
    path = floor.make(tmp_path, "wal")
    connection, following = floor.connect(path, "normal"), floor.values(1)
    connection.execute(floor.INSERT, following())
    count = sizes.WalCount(path)
    for _ in range(1500):
        connection.execute(floor.INSERT, following())
    assert count.take() > 3000
    connection.close()
