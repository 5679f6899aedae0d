"""What is wanted: each target, and the measurements that tell whether it is met."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from benchmarks.results import Measurement

Verdict = Literal["met", "not met", "not measured"]


class Check(NamedTuple):
    """One figure against its limit: a measurement's value, or one of its details."""

    words: str
    key: str
    limit: float
    least: bool = False
    detail: str = ""

    @property
    def wanted(self) -> str:
        """The limit in words."""
        return f"{'>=' if self.least else '<='} {self.limit:g}"


class Target(NamedTuple):
    """One row of the table of targets."""

    work: str
    checks: tuple[Check, ...]


class Outcome(NamedTuple):
    """What became of a check."""

    check: Check
    verdict: Verdict
    measured: float | None
    unit: str
    reason: str


TARGETS = (
    Target(
        "emit, one caller",
        (
            Check("normal, of raw sqlite3", "emit.normal.foldlog", 0.75, least=True),
            Check("full, of raw sqlite3", "emit.full.foldlog", 0.90, least=True),
        ),
    ),
    Target(
        "8 threads on one session, full",
        (
            Check("this disk, of one commit an event", "threads.full.8.one", 3, least=True),
            Check("delayed tmpfs, of one commit an event", "tmpfs.threads.full.8.one", 4.5, least=True),
            Check("delayed tmpfs, p99 ms", "tmpfs.threads.full.8.one", 1.5, detail="p99 ms"),
            Check("delayed tmpfs, 32 threads", "tmpfs.threads.full.32.one", 8, least=True),
        ),
    ),
    Target(
        "8 threads, normal",
        (
            Check("of a lock around autocommit INSERTs", "threads.normal.8.one", 1, least=True),
            Check("p99, of the floor's", "threads.normal.8.one", 1, detail="p99 / floor's"),
        ),
    ),
    Target(
        "64 coroutines",
        (
            # aiosqlite commits an event in two ways: as its users write it, and in one hop to its thread.
            Check("full, of aiosqlite (execute, commit)", "coroutines.full.foldlog", 9, least=True),
            Check("normal, of aiosqlite (execute, commit)", "coroutines.normal.foldlog", 3.5, least=True),
            Check("full, of aiosqlite (autocommit)", "coroutines.full.against_autocommit", 9, least=True),
            Check("normal, of aiosqlite (autocommit)", "coroutines.normal.against_autocommit", 3.5, least=True),
        ),
    ),
    Target(
        "update_call by 8 threads",
        (
            Check("normal, of plain emit", "update.normal.call", 0.8, least=True),
            Check("full, of plain emit", "update.full.call", 0.8, least=True),
        ),
    ),
    Target(
        "replay 100k events",
        (
            # A view keeps what it folds. What was read may be kept as well, or let go of row by row.
            Check("of SELECT and orjson.loads, rows kept", "replay.100k.kept", 2.5),
            Check("of SELECT and orjson.loads, rows let go", "replay.100k", 2.5),
        ),
    ),
    Target(
        "reopen at a checkpoint, 1M events against 1k",
        (Check("time", "reopen.time", 1.5), Check("MB more memory", "reopen.memory", 100)),
    ),
    Target(
        "checkpoint of 10 rows among 100k",
        (
            Check("normal, ms", "checkpoint.normal.100k", 0.5),
            Check("full, ms", "checkpoint.full.100k", 1),
            # "Flat" is read as: no size takes more than half as much again as another.
            Check("normal, flat from 1k to 1M", "checkpoint.normal.growth", 1.5),
            Check("full, flat from 1k to 1M", "checkpoint.full.growth", 1.5),
        ),
    ),
    Target(
        "1,000 steps that record their whole transcript",
        (
            Check("blobs, of the transcript's own bytes", "steps.calls.blobs", 1.5),
            Check("the whole file, of the transcript's own bytes", "steps.calls.file", 3),
        ),
    ),
    Target(
        "WAL pages per event",
        (
            Check("the most, of 1 and many sessions, new and long", "wal.most", 2.6),
            Check("flat: the most against the least", "wal.flat", 1.1),
        ),
    ),
    Target(
        "import and open",
        (
            Check("import foldlog over import sqlalchemy, ms", "startup.over", 60),
            Check("open a current store, ms", "startup.open", 5),
        ),
    ),
    Target(
        "PostgreSQL",
        (
            Check("8 threads, full, this disk, of one commit an event", "server.full.8.one", 3, least=True),
            Check("8 threads, full, delayed tmpfs", "server.tmpfs.full.8.one", 3, least=True),
            Check("4 processes x 4 sessions, of one process", "server.hosts", 2, least=True),
            Check("take-over after SIGKILL, ms", "server.take_over", 1000),
            Check("a follower's delay, p99 ms", "server.follow", 50),
        ),
    ),
)


def judge(check: Check, measurements: Iterable[Measurement]) -> Outcome:
    """Whether a limit is kept, or why that is not known."""
    found = {measurement.key: measurement for measurement in measurements}
    measurement = found.get(check.key)
    if measurement is None:
        # A case that could not run at all stands under a shorter name.
        above = [key for key in found if found[key].value is None and check.key.startswith(f"{key}.")]
        reason = found[max(above, key=len)].reason if above else "not part of this run"
        return Outcome(check, "not measured", None, "", reason)
    if measurement.value is None:
        return Outcome(check, "not measured", None, "", measurement.reason)
    value = float(measurement.details[check.detail]) if check.detail else measurement.value
    kept = value >= check.limit if check.least else value <= check.limit
    return Outcome(check, "met" if kept else "not met", value, "" if check.detail else measurement.unit, "")
