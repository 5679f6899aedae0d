"""What is measured against the floor: foldlog's `emit`, and plain ways to write events without a library for it.

Other libraries' writers are in `benchmarks.peers`; coroutines are in `benchmarks.coroutines`.
"""

import itertools
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import orjson
from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, Text, create_engine, event, insert

import foldlog
from benchmarks import floor
from benchmarks.payload import TYPE, calls, payloads
from benchmarks.slices import Candidate, Op, timed, timed_threads

Level = Literal["normal", "full"]


@contextmanager
def sessions(folder: Path, level: Level, name: str, count: int = 1) -> Iterator[list[foldlog.Session]]:
    """A new store with so many sessions, each with its calls started."""
    with foldlog.open(folder / f"{name}.db", config=foldlog.Config(durability=level)) as store:
        opened = []
        for number in range(count):
            session = store.start_session(id=f"s{number}")
            with session.batch():
                for call in calls():
                    session.emit("call.started", call=call)
            opened.append(session)
        yield opened


def emitting(session: foldlog.Session, seed: int) -> Op:
    """`emit` of the next event."""
    emit, cycle = session.emit, itertools.cycle(payloads(seed))
    return lambda: emit(TYPE, **next(cycle))


def updating(session: foldlog.Session, seed: int) -> Op:
    """`update_call` with a function of the row: read, change, emit."""
    update, found = session.update_call, payloads(seed)
    # One fewer changes than calls: a call never gets the same changes twice, which would be left out.
    call_ids = itertools.cycle([payload["call_id"] for payload in found])
    changes = itertools.cycle([payload["changes"] for payload in found[1:]])

    def op() -> None:
        following = next(changes)
        update(next(call_ids), lambda row: {**following, "tries": row.get("tries", 0) + 1})

    return op


def durability_of(store: foldlog.Store) -> str:
    """As the store's own writer connection says."""
    with store.database.write() as connection:
        assert isinstance(connection, sqlite3.Connection)
        return floor.durability(connection)


@contextmanager
def foldlog_emit(folder: Path, level: Level, seed: int) -> Iterator[Candidate]:
    """One caller."""
    with sessions(folder, level, f"foldlog-{level}") as [session]:
        op = emitting(session, seed)
        yield Candidate("foldlog emit", durability_of(session.store), lambda seconds: timed(op, seconds))


@contextmanager
def foldlog_threads(
    folder: Path, level: Level, seed: int, *, count: int, on: int, verb: str = "emit"
) -> Iterator[Candidate]:
    """So many threads on so many sessions of one store."""
    with sessions(folder, level, f"foldlog-{verb}-{level}-{count}-{on}", on) as opened:
        make = {"emit": emitting, "update_call": updating}[verb]
        ops = [make(opened[number % on], seed + number) for number in range(count)]
        where = "one session" if on == 1 else f"{on} sessions"
        yield Candidate(
            f"foldlog {verb}, {count} threads on {where}",
            durability_of(opened[0].store),
            lambda seconds: timed_threads(ops, seconds),
        )


@contextmanager
def jsonl(folder: Path, seed: int, *, sync: bool) -> Iterator[Candidate]:
    """A line a write to a file, with fsync for each line or without."""
    ids, cycle = itertools.count(1), itertools.cycle(payloads(seed))
    with (folder / f"lines-{sync}.jsonl").open("ab", buffering=0) as file:

        def op() -> None:
            line = {"id": next(ids), "type": TYPE, "at": "2026-11-22T06:41:10.344131Z", **next(cycle)}
            file.write(orjson.dumps(line) + b"\n")
            if sync:
                os.fsync(file.fileno())

        name = "JSONL file, fsync a line" if sync else "JSONL file, no fsync"
        kept = "fsync each line" if sync else "none: in the kernel's cache"
        yield Candidate(name, kept, lambda seconds: timed(op, seconds))


_EVENTS = Table(
    "events",
    MetaData(),
    *(Column(name, Integer) for name in ("session_key", "event_id")),
    *(Column(name, Text) for name in ("type", "at", "data")),
    *(Column(name, LargeBinary) for name in ("digest", "chain")),
)


@contextmanager
def sqlalchemy_core(folder: Path, level: Level, seed: int) -> Iterator[Candidate]:
    """`insert(events)`, one transaction an event, of the same values as the floor's."""
    path = floor.make(folder, f"core-{level}")
    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {level.upper()}")

    names, following, statement = [column.name for column in _EVENTS.columns], floor.values(seed), insert(_EVENTS)

    def op() -> None:
        with engine.begin() as connection:
            connection.execute(statement, dict(zip(names, following(), strict=True)))

    try:
        with engine.connect() as connection:
            pragmas = [connection.exec_driver_sql(f"PRAGMA {n}").scalar() for n in ("journal_mode", "synchronous")]
        yield Candidate("SQLAlchemy Core insert", floor.durability_of(*pragmas), lambda seconds: timed(op, seconds))
    finally:
        engine.dispose()
