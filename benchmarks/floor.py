"""The floor: what SQLite itself does, with nothing around it.

One autocommit INSERT an event, into the `events` table as foldlog makes it (columns, indexes, triggers), in WAL
mode at the same `synchronous`, of values that were made before. Foreign keys are not checked, as SQLite does by
default. For threads, a lock around it; for coroutines, aiosqlite.
"""

import itertools
import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

import foldlog
from benchmarks.payload import TYPE, payloads
from benchmarks.slices import Candidate, Op, timed, timed_threads

INSERT = (
    "INSERT INTO events (session_key, event_id, type, at, data, digest, chain, idempotency_key) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, NULL)"
)
_LEVELS = ("OFF", "NORMAL", "FULL", "EXTRA")


def make(folder: Path, name: str, sessions: int = 1) -> Path:
    """A database with the tables `streams` and `events` of a foldlog store, and so many sessions."""
    model = folder / f"{name}-model.db"
    foldlog.new_state(model, id="model").close()
    with sqlite3.connect(model) as connection:
        statements = connection.execute(
            "SELECT sql FROM sqlite_master WHERE tbl_name IN ('streams', 'events') AND sql IS NOT NULL ORDER BY rowid"
        ).fetchall()
    connection.close()
    path = folder / f"{name}.db"
    connection = connect(path, "normal")
    for (statement,) in statements:
        connection.execute(statement)
    for key in range(1, sessions + 1):
        connection.execute("INSERT INTO streams (session_key, id) VALUES (?, ?)", (key, f"s{key}"))
    connection.close()
    return path


def connect(path: Path, level: str) -> sqlite3.Connection:
    """WAL, one statement a commit."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {level.upper()}")
    return connection


def durability_of(journal_mode: Any, synchronous: Any) -> str:
    """In words, what a connection answered to its pragmas."""
    return f"{str(journal_mode).upper()}, synchronous={_LEVELS[int(synchronous)]}"


def durability(connection: sqlite3.Connection) -> str:
    """How durable the commits of a connection are, as it says itself."""
    [mode], [level] = (connection.execute(f"PRAGMA {name}").fetchone() for name in ("journal_mode", "synchronous"))
    return durability_of(mode, level)


def values(seed: int, session_key: int = 1) -> Callable[[], tuple[Any, ...]]:
    """The values of one INSERT after another."""
    chance = random.Random(seed)
    rows = [(orjson.dumps(row).decode(), chance.randbytes(32), chance.randbytes(32)) for row in payloads(seed)]
    ids, cycle = itertools.count(1), itertools.cycle(rows)
    return lambda: (session_key, next(ids), TYPE, "2026-11-22T06:41:10.344131Z", *next(cycle))


@contextmanager
def sequential(folder: Path, level: str, seed: int) -> Iterator[Candidate]:
    """One caller."""
    connection = connect(make(folder, f"floor-{level}"), level)
    execute, following = connection.execute, values(seed)
    try:
        yield Candidate(
            "raw sqlite3, one INSERT a commit",
            durability(connection),
            lambda seconds: timed(lambda: execute(INSERT, following()), seconds),
        )
    finally:
        connection.close()


@contextmanager
def threads(folder: Path, level: str, seed: int, *, count: int, sessions: int) -> Iterator[Candidate]:
    """Threads, a lock around the connection; thread n writes to session n modulo their number."""
    name = f"floor-{level}-{count}-{sessions}"
    connection = connect(make(folder, name, sessions), level)
    execute, lock = connection.execute, threading.Lock()
    by_session = [values(seed, key) for key in range(1, sessions + 1)]

    def op_of(number: int) -> Op:
        following = by_session[number % sessions]

        def op() -> None:
            with lock:
                execute(INSERT, following())

        return op

    ops = [op_of(number) for number in range(count)]
    try:
        yield Candidate(
            f"{count} threads, a lock around raw sqlite3",
            durability(connection),
            lambda seconds: timed_threads(ops, seconds),
        )
    finally:
        connection.close()
