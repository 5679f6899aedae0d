"""A store on PostgreSQL: group commit, several hosts, followers, take-overs.

The server is one of the run's own, in /tmp, with syncs on and else as it comes; hosts are processes. The floor is
psycopg: one autocommit INSERT an event on one connection, under a lock for threads. How much sharing commits is worth
depends on the disk, so that is measured once more on one that does not drift (`benchmarks.slow_sync`).
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from tests.postgres_server import PostgresServer, running, why_not

import foldlog
from benchmarks import floor, slow_sync
from benchmarks.bench import Bench, say
from benchmarks.candidates import Level, emitting
from benchmarks.coroutines import COUNT, foldlog_candidate
from benchmarks.payload import calls
from benchmarks.processes import environment
from benchmarks.results import Measurement, missing, percentile
from benchmarks.slices import Candidate, Contest, Op, timed_threads

_GROUP: Final = "PostgreSQL on a unix socket"
_LEVELS: Final[tuple[Level, ...]] = ("normal", "full")
_HOSTS: Final = 4
_COMMITS_CHECKED: Final = 50
_schemas = itertools.count(1)


def servers(bench: Bench) -> Iterator[Measurement]:
    """Everything that is measured of a server; one measurement with the reason where there is none."""
    reason = why_not()
    if reason is not None:
        yield missing("server", _GROUP, "a store on PostgreSQL", reason)
        return
    with running(fsync=True) as server:
        for level in _LEVELS:
            for count in (1, 8, 32):
                yield from _emitting(bench, server, level, count)
        yield from _hosts(bench, server)
        yield _following(bench, server)
        yield _taking_over(bench, server)
    yield from _delayed(bench)


def new_url(server: PostgresServer) -> str:
    """A store of its own on a server."""
    schema = f"bench{next(_schemas)}"
    server.execute(f"CREATE SCHEMA {schema}")
    return server.url(schema)


# One host.


def _emitting(
    bench: Bench, server: PostgresServer, level: Level, count: int, *, key: str = "server", disk: str = ""
) -> Iterator[Measurement]:
    what = f"PostgreSQL{disk}, {'one caller' if count == 1 else f'{count} threads'}, {level}"
    say(what)
    with ExitStack() as stack:
        base = stack.enter_context(_raw(server, level, bench.seed, count))
        contest = Contest(f"{key}.{level}.{count}", what, base, stack)
        contest.add("one", "foldlog emit on one session", _foldlog(server, level, bench.seed, count))
        if count == 1:  # coroutines are one thread, too
            durability = f"synchronous_commit={level}"
            several = foldlog_candidate(new_url(server), level, bench.seed, durability)
            contest.add("coroutines", f"foldlog.aio emit, {COUNT} coroutines", several)
        yield from contest.run(seconds=bench.scale.slice_s, rounds=bench.scale.rounds)


def _delayed(bench: Bench) -> Iterator[Measurement]:
    """Durable commits again, on a disk that does not drift."""
    reason, disk = slow_sync.why_not(), f" on {slow_sync.DISK}"
    if reason:
        yield missing("server.tmpfs", f"PostgreSQL{disk}", "callers of a store on PostgreSQL", reason)
        return
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # the server runs as somebody else
        library = slow_sync.build(Path(folder))
        with running(settings=("fsync=on",), environment=slow_sync.environment(library)) as server:
            commit_ms = _commit_ms(server)
            if commit_ms < slow_sync.DELAY_MS:
                raise RuntimeError(f"slow_sync is not in the way: a commit takes {commit_ms:.3f} ms")
            for count in (1, 8, 32):
                yield from _emitting(bench, server, "full", count, key="server.tmpfs", disk=disk)


def _commit_ms(server: PostgresServer) -> float:
    """What a commit takes at least."""
    import psycopg  # noqa: PLC0415

    took = list[float]()
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute("CREATE TABLE probe (number int)")
        for number in range(_COMMITS_CHECKED):
            start = time.perf_counter()
            connection.execute("INSERT INTO probe VALUES (%s)", (number,))
            took.append((time.perf_counter() - start) * 1000)
    return min(took)


@contextmanager
def _raw(server: PostgresServer, level: Level, seed: int, count: int) -> Iterator[Candidate]:
    """One connection, a lock around it: one autocommit INSERT an event."""
    import psycopg  # noqa: PLC0415

    url = new_url(server)
    with foldlog.open(url) as store:
        store.start_session(id="s1").close()
    conninfo = url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(f"SET synchronous_commit = {'on' if level == 'full' else 'off'}")
        sql, lock, following = floor.INSERT.replace("?", "%s"), threading.Lock(), floor.values(seed)
        following = _after_the_first(following)

        def op() -> None:
            with lock:
                connection.execute(sql, following())

        yield Candidate("psycopg INSERT", f"synchronous_commit={level}", lambda s: timed_threads([op] * count, s))


def _after_the_first(following: Any) -> Any:
    """The values of events behind those that a session begins with."""

    def values() -> tuple[Any, ...]:
        key, event_id, *rest = following()
        return key, event_id + 100, *rest

    return values


@contextmanager
def _foldlog(server: PostgresServer, level: Level, seed: int, count: int) -> Iterator[Candidate]:
    with foldlog.open(new_url(server), config=foldlog.Config(durability=level)) as store:
        session = _session(store, "s1")
        ops: list[Op] = [emitting(session, seed + number) for number in range(count)]
        yield Candidate("foldlog emit", f"synchronous_commit={level}", lambda s: timed_threads(ops, s))


def _session(store: foldlog.Store, name: str) -> foldlog.Session:
    session = store.start_session(id=name)
    with session.batch():
        for call in calls():
            session.emit("call.started", call=call)
    return session


# Several hosts.

_HOST: Final = """
import json, sys, threading, time
from benchmarks import servers
from benchmarks.candidates import emitting
from benchmarks.slices import timed_threads
import foldlog
url, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
with foldlog.open(url) as store:
    ops = [emitting(servers._session(store, f"{name}-{number}"), number) for number in range(4)]
    print("ready", flush=True)
    sys.stdin.readline()
    found = timed_threads(ops, seconds)
    print(json.dumps(found.per_second), flush=True)
"""


def _hosts(bench: Bench, server: PostgresServer) -> Iterator[Measurement]:
    """4 processes x 4 sessions against one process x 4 sessions, in turn."""
    say(f"PostgreSQL, {_HOSTS} hosts")
    ratios, ones, all_of_them = list[float](), list[float](), list[float]()
    for _ in range(max(1, bench.scale.rounds // 2)):
        ones.append(_together(server, 1, bench.scale.slice_s * 5))
        all_of_them.append(_together(server, _HOSTS, bench.scale.slice_s * 5))
        ratios.append(all_of_them[-1] / ones[-1])
    middle = sorted(ratios)[len(ratios) // 2]
    details = {"one host /s": round(max(ones)), "4 hosts /s": round(max(all_of_them)), "cores": os.cpu_count() or 0}
    label = f"{_HOSTS} processes x 4 sessions, of one process x 4"
    yield Measurement("server.hosts", _GROUP, label, middle, "x", min(ratios), max(ratios), details=details)


def _together(server: PostgresServer, count: int, seconds: float) -> float:
    """Events a second of so many processes at once."""
    url = new_url(server)
    foldlog.open(url).close()
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", _HOST, url, f"host{number}", str(seconds)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(),
        )
        for number in range(count)
    ]  # fmt: skip
    for host in hosts:
        assert _line(host) == "ready\n"
    for host in hosts:
        assert host.stdin is not None
        host.stdin.write("go\n")
        host.stdin.flush()
    return sum(float(json.loads(host.communicate(timeout=120)[0])) for host in hosts)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


# Following, taking over.


def _following(bench: Bench, server: PostgresServer) -> Measurement:
    """From the moment an event's `emit` begins to the moment another connection has it; gaps of all sizes."""
    say("PostgreSQL, following")
    count = max(20, bench.scale.steps // 2)
    url, seen_s = new_url(server), list[float]()
    with foldlog.open(url) as store:
        session = store.start_session(id="s1")

        def follow() -> None:
            with foldlog.open(url, read_only=True) as reading:
                for event in reading.follow(types=["tick"], idle_timeout=10):
                    seen_s.append(time.time() - event["sent"])
                    if len(seen_s) == count:
                        return

        follower = threading.Thread(target=follow)
        follower.start()
        time.sleep(0.5)
        for number in range(count):
            session.add_event("tick", sent=time.time())
            time.sleep((0.003, 0.02, 0.1)[number % 3] if number % 50 else 1.5)
        follower.join(60)
    seen_s.sort()
    details = {"p50 ms": round(percentile(seen_s, 50) * 1e3, 1), "events": len(seen_s)}
    p99_ms = percentile(seen_s, 99) * 1e3
    return Measurement("server.follow", _GROUP, "a follower's delay, p99", p99_ms, "ms", details=details)


_HOLDER: Final = """
import sys, time
import foldlog
with foldlog.open(sys.argv[1]) as store:
    session = store.open_session("s1")
    print("ready", flush=True)
    while True:
        session.add_event("tick")
"""


def _taking_over(bench: Bench, server: PostgresServer) -> Measurement:
    """From SIGKILL of a writer to another's open session."""
    say("PostgreSQL, taking over")
    url, took_s = new_url(server), list[float]()
    with foldlog.open(url) as store:
        store.start_session(id="s1").close()
        for _ in range(bench.scale.repeats):
            holder = subprocess.Popen(
                [sys.executable, "-c", _HOLDER, url], stdout=subprocess.PIPE, text=True, env=environment()
            )
            assert _line(holder) == "ready\n"
            time.sleep(0.1)
            holder.send_signal(signal.SIGKILL)
            start = time.perf_counter()
            while True:
                try:
                    store.open_session("s1").close()
                    break
                except foldlog.SessionInUseError:
                    time.sleep(0.001)
            took_s.append(time.perf_counter() - start)
            holder.wait()
            assert holder.stdout is not None
            holder.stdout.close()
    worst_ms = max(took_s) * 1e3
    return Measurement(
        "server.take_over", _GROUP, "take-over after SIGKILL, worst", worst_ms, "ms", details={"times": len(took_s)}
    )
