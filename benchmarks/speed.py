"""Emitting: one caller, and threads; each beside the floor at the same durability."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from benchmarks import candidates, floor, peers
from benchmarks.bench import Bench, say
from benchmarks.candidates import Level
from benchmarks.results import Measurement, missing
from benchmarks.slices import Contest

LEVELS: tuple[Level, ...] = ("normal", "full")


def emit(bench: Bench) -> Iterator[Measurement]:
    """One caller: foldlog, a file, SQLAlchemy Core."""
    for level in LEVELS:
        say(f"emit, one caller, {level}")
        with bench.workspace() as folder, ExitStack() as stack:
            base = stack.enter_context(floor.sequential(folder, level, bench.seed))
            contest = Contest(f"emit.{level}", f"One caller, {level}", base, stack)
            contest.add("foldlog", "foldlog emit", candidates.foldlog_emit(folder, level, bench.seed))
            contest.add("jsonl", "JSONL file", candidates.jsonl(folder, bench.seed, sync=level == "full"))
            contest.add("core", "SQLAlchemy Core insert", candidates.sqlalchemy_core(folder, level, bench.seed))
            yield from contest.run(seconds=bench.scale.slice_s, rounds=bench.scale.rounds)


def others(bench: Bench) -> Iterator[Measurement]:
    """One caller: other libraries' own writers, each beside foldlog and the floor of its own durability."""
    if not bench.peers:
        for peer in peers.PEERS:
            yield missing(
                f"peers.{peer.key}", "Other libraries", peer.label, "other libraries were left out of this run"
            )
        return
    for level in LEVELS:
        chosen = [peer for peer in peers.PEERS if peers.level_of(peer, bench.seed) == level]
        if not chosen:
            continue
        say(f"other libraries, one caller, {level}")
        with bench.workspace() as folder, ExitStack() as stack:
            base = stack.enter_context(floor.sequential(folder, level, bench.seed))
            contest = Contest("peers", f"Other libraries as they come, one caller, beside {level}", base, stack)
            contest.add(level, "foldlog emit", candidates.foldlog_emit(folder, level, bench.seed))
            for peer in chosen:
                contest.add(peer.key, peer.label, peer.open(folder, bench.seed), is_optional=True)
            yield from contest.run(seconds=bench.scale.slice_s, rounds=bench.scale.rounds)


def threads(bench: Bench) -> Iterator[Measurement]:
    """8 and 32 threads, on one session and on eight."""
    for level in LEVELS:
        for count in (8, 32):
            say(f"{count} threads, {level}")
            with bench.workspace() as folder, ExitStack() as stack:
                base = stack.enter_context(floor.threads(folder, level, bench.seed, count=count, sessions=1))
                contest = Contest(f"threads.{level}.{count}", f"{count} threads, {level}", base, stack)
                start = partial(candidates.foldlog_threads, folder, level, bench.seed, count=count)
                contest.add("one", "foldlog emit on one session", start(on=1))
                contest.add("eight", "foldlog emit on 8 sessions", start(on=8))
                yield from contest.run(seconds=bench.scale.slice_s, rounds=bench.scale.rounds)


def update(bench: Bench) -> Iterator[Measurement]:
    """`update_call` by 8 threads against `emit` by 8 threads: here the floor is foldlog itself."""
    for level in LEVELS:
        say(f"update_call, 8 threads, {level}")
        with bench.workspace() as folder, ExitStack() as stack:
            start = partial(candidates.foldlog_threads, folder, level, bench.seed, count=8, on=1)
            base = stack.enter_context(start())
            contest = Contest(f"update.{level}", f"update_call by 8 threads, {level}", base, stack)
            contest.add("call", "foldlog update_call", start(verb="update_call"))
            yield from contest.run(seconds=bench.scale.slice_s, rounds=bench.scale.rounds)
