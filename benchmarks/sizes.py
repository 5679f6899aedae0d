"""Bytes: what a thousand whole transcripts take, and how many pages of write-ahead log an event costs."""

import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import orjson

import foldlog
from benchmarks import candidates, floor
from benchmarks.bench import Bench, say
from benchmarks.payload import text
from benchmarks.results import Measurement

_MESSAGE_BYTES = 1_000
_STEPS = "Steps whose calls record the whole transcript so far"
_WAL = "Pages of write-ahead log an event (4,096 bytes each)"


def steps(bench: Bench) -> Iterator[Measurement]:
    """Each step adds a message of 1 KB to the transcript, and records a call whose request is all of it.

    A second store also records each message as a message, as an application does.
    """
    say(f"{bench.scale.steps} steps with their whole transcript")
    with bench.workspace() as folder:
        for key, label in (("calls", "calls only"), ("messages", "messages as well")):
            path = folder / f"steps-{key}.db"
            own, first_ms, last_ms = _take_steps(path, bench.scale.steps, bench.seed, messages=key == "messages")
            named = f"{bench.scale.steps:,} steps, {label}: "
            details = {"own KB": round(own / 1000), "first steps ms": first_ms, "last steps ms": last_ms}
            yield Measurement(f"steps.{key}.blobs", _STEPS, f"{named}blobs", _blob_bytes(path) / own, "x own bytes")
            whole = path.stat().st_size / own
            yield Measurement(f"steps.{key}.file", _STEPS, f"{named}whole file", whole, "x own bytes", details=details)


def _take_steps(path: Path, count: int, seed: int, *, messages: bool) -> tuple[int, float, float]:
    chance, transcript, took = random.Random(seed), list[dict[str, str]](), list[float]()
    config = foldlog.Config(durability="normal")
    with foldlog.open(path, config=config) as store, store.start_session(id="s") as session:
        for number in range(count):
            message = {"role": "user" if number % 2 else "assistant", "content": ""}
            message["content"] = _random_text(chance, _MESSAGE_BYTES - len(orjson.dumps(message)))
            transcript.append(message)
            start = time.perf_counter()
            if messages:
                session.add_message(message["role"], message["content"])
            call = session.add_call("root", model="m-1", request_ref=session.value_ref(transcript))
            session.update_call(call["id"], status="ok")
            took.append(time.perf_counter() - start)
        # Smaller bytes are worth nothing unless the value comes back.
        assert session.read_ref(call["request_ref"]) == transcript
        assert session.read_ref(session.view.calls[1 + count // 2]["request_ref"]) == transcript[: 1 + count // 2]
    tenth = max(1, count // 10)
    first, last = (round(sum(part) / tenth * 1000, 3) for part in (took[:tenth], took[-tenth:]))
    return len(orjson.dumps(transcript)), first, last


def _random_text(chance: random.Random, length: int) -> str:
    # Every message begins with another number, so that no two are the same blob by chance.
    return f"{chance.getrandbits(64):016x} {text(chance, length)}"[:length]


def _blob_bytes(path: Path) -> int:
    """The bytes of all columns of the blob tables."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        total = 0
        for table in (name for name in tables if name.startswith("blob")):
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            lengths = " + ".join(f"coalesce(length(CAST({column} AS BLOB)), 0)" for column in columns)
            total += connection.execute(f"SELECT coalesce(sum({lengths}), 0) FROM {table}").fetchone()[0]
        return total
    finally:
        connection.close()


class WalCount:
    """Counts the pages written into a write-ahead log between two looks.

    A reader holds its place in the log from before the first look, which keeps SQLite from starting the log
    anew; so the log only grows, whoever checkpoints it.
    """

    def __init__(self, path: Path) -> None:
        self._reader, self._asker = (sqlite3.connect(path, isolation_level=None) for _ in range(2))
        self._reader.execute("BEGIN")
        self._reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        self._start = self._pages()

    def _pages(self) -> int:
        _, pages, _ = self._asker.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return int(pages)

    def take(self) -> int:
        """The pages since the first look."""
        found = self._pages() - self._start
        self._reader.close()
        self._asker.close()
        return found


def _pages_an_event(folder: Path, level_name: str, sessions: int, before: int, events: int, seed: int) -> float:
    with candidates.sessions(folder, "normal", level_name, sessions) as opened:
        ops = [candidates.emitting(session, seed + number) for number, session in enumerate(opened)]
        for number in range(before):
            ops[number % sessions]()
        ops[0]()  # something in the log for the reader to hold
        count = WalCount(opened[0].store.path)
        for number in range(events):
            ops[number % sessions]()
        pages = count.take()
    if pages < events:
        raise RuntimeError(f"the write-ahead log was begun anew while counting: {pages} pages for {events} events")
    return pages / events


def wal(bench: Bench) -> Iterator[Measurement]:
    """One caller, one event a commit; sessions that are new and sessions that are long, one and many."""
    scale, found = bench.scale, list[float]()
    say("pages of write-ahead log")
    with bench.workspace() as folder:
        for count in (1, scale.many_sessions):
            for name, before in (("new", 0), ("long", scale.long_events)):
                pages = _pages_an_event(folder, f"wal-{count}-{name}", count, before, scale.short_events, bench.seed)
                found.append(pages)
                label = f"{count} {'session' if count == 1 else 'sessions'}, after {before:,} events in all"
                yield Measurement(f"wal.{'one' if count == 1 else 'many'}.{name}", _WAL, label, pages, "pages")
        connection = floor.connect(floor.make(folder, "wal-floor"), "normal")
        following = floor.values(bench.seed)
        connection.execute(floor.INSERT, following())
        count_floor = WalCount(folder / "wal-floor.db")
        for _ in range(scale.short_events):
            connection.execute(floor.INSERT, following())
        label = "raw sqlite3, one session, no events before"
        yield Measurement("wal.floor", _WAL, label, count_floor.take() / scale.short_events, "pages")
        connection.close()
    yield Measurement("wal.most", _WAL, "the most of foldlog's", max(found), "pages")
    yield Measurement("wal.flat", _WAL, "the most against the least", max(found) / min(found), "x")
