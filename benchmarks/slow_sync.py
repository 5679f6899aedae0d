"""A disk that does not drift: emitting cases again, on tmpfs with every sync delayed by 0.25 ms.

`slow_sync.c` is compiled with `cc` and loaded into a child process, which checks that SQLite's syncs really
pass through it before it measures anything. Linux only: it needs LD_PRELOAD and /dev/shm.
"""

import ctypes
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from benchmarks import floor, processes
from benchmarks.bench import FULL, QUICK, TINY, Bench, say
from benchmarks.coroutines import coroutines
from benchmarks.machine import filesystem_of, sync_latencies_ms
from benchmarks.results import Measurement, missing
from benchmarks.speed import emit, threads, update

DELAY_MS: Final = 0.25
PREFIX: Final = "tmpfs."
_SOURCE: Final = Path(__file__).with_name("slow_sync.c")
TMPFS: Final = Path("/dev/shm")
DISK: Final = f"tmpfs with every sync delayed by {DELAY_MS} ms"
_SYNCS_CHECKED: Final = 50


def why_not() -> str:
    """Why there can be no such disk here, or nothing."""
    if sys.platform != "linux":
        return f"LD_PRELOAD and /dev/shm are Linux's; this is {sys.platform}"
    if not TMPFS.is_dir() or not os.access(TMPFS, os.W_OK) or filesystem_of(TMPFS) != "tmpfs":
        return f"{TMPFS} is not a tmpfs that can be written"
    if shutil.which("cc") is None:
        return "there is no C compiler `cc`"
    return ""


def build(folder: Path) -> Path:
    """Compile the library."""
    library = folder / "slow_sync.so"
    command = ["cc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl"]
    subprocess.run(command, check=True)
    return library


def environment(library: Path) -> dict[str, str]:
    """What a process has to be started with."""
    return {"LD_PRELOAD": str(library), "SLOW_SYNC_NS": str(int(DELAY_MS * 1_000_000))}


def delayed(bench: Bench) -> Iterator[Measurement]:
    """In a child process, with the library in front of the C library."""
    reason = why_not()
    if reason:
        yield missing("tmpfs", DISK, "one caller, threads and coroutines on a disk that does not drift", reason)
        return
    with TemporaryDirectory(dir=TMPFS) as folder, bench.workspace() as built:
        library = build(built)
        say(f"again on {TMPFS}, every sync delayed by {DELAY_MS} ms")
        answer = processes.run(
            "-m",
            "benchmarks.slow_sync",
            folder,
            bench.scale.name,
            str(bench.seed),
            str(library),
            **environment(library),
        )
    yield from map(Measurement.load, answer)


def _sqlite_syncs(folder: Path, count: "ctypes._NamedFuncPointer") -> tuple[int, float]:
    """Syncs that reach the library, and milliseconds, a commit of SQLite."""
    connection = floor.connect(floor.make(folder, "probe"), "full")
    following, took = floor.values(1), list[float]()
    before = count()
    for _ in range(_SYNCS_CHECKED):
        start = time.perf_counter()
        connection.execute(floor.INSERT, following())
        took.append((time.perf_counter() - start) * 1000)
    found = count() - before
    connection.close()
    return found, statistics.median(took)


def _measure(folder: Path, scale: str, seed: str, library: str) -> Iterable[Measurement]:
    count = ctypes.CDLL(library).slow_sync_count
    count.restype = ctypes.c_ulong
    syncs, commit_ms = _sqlite_syncs(folder, count)
    delays = sync_latencies_ms(folder)
    # A Python with a SQLite that does not call the C library's fdatasync would measure a disk that costs nothing.
    if syncs < _SYNCS_CHECKED or statistics.median(delays) < DELAY_MS:
        raise RuntimeError(
            f"slow_sync is not in the way: {syncs} syncs for {_SYNCS_CHECKED} commits, "
            f"{statistics.median(delays):.3f} ms each"
        )
    details = {"SQLite's commit ms": round(commit_ms, 3), "syncs a commit": round(syncs / _SYNCS_CHECKED, 2)}
    yield Measurement("delay", "", "fdatasync as it turned out", statistics.median(delays), "ms", details=details)
    [scale_found] = [known for known in (FULL, QUICK, TINY) if known.name == scale]
    bench = Bench(folder, scale_found, int(seed))
    for case in (emit, threads, update, coroutines):
        yield from case(bench)


def _main(folder: str, scale: str, seed: str, library: str) -> None:
    found = []
    for measurement in _measure(Path(folder), scale, seed, library):
        group = f"{DISK}: {measurement.group}" if measurement.group else DISK
        found.append(replace(measurement, key=PREFIX + measurement.key, group=group).dump())
    print(json.dumps(found))


if __name__ == "__main__":
    _main(*sys.argv[1:])
