"""The machine a run was made on: what the figures depend on beside the code."""

import contextlib
import importlib.metadata
import os
import platform
import sqlite3
import statistics
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import sqlalchemy

import foldlog
from benchmarks.results import percentile

_SYNCS = 200
_PACKAGES = (
    "orjson", "aiosqlite", "eventsourcing", "langgraph-checkpoint-sqlite", "openai-agents", "google-adk"
)  # fmt: skip


def sync_latencies_ms(folder: Path) -> list[float]:
    """How long `fdatasync` takes after 4 KB more, many times."""
    found = []
    with TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(bytes(4096))
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            found.append((time.perf_counter() - start) * 1000)
    return sorted(found)


def filesystem_of(folder: Path) -> str:
    """The type of the file system under a folder, where the kernel says it."""
    best, kind = "", "unknown"
    with contextlib.suppress(OSError):
        for line in Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
            _, place, found, *_ = line.split()
            if folder.resolve().is_relative_to(place) and len(place) >= len(best):
                best, kind = place, found
    return kind


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _memory_gb() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)


def _revision() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def describe(folder: Path) -> dict[str, Any]:
    """Everything, as the results keep it."""
    syncs = sync_latencies_ms(folder)
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "processor": _processor(),
        "cores": len(affinity(0)) if affinity is not None else os.cpu_count(),
        "memory GB": _memory_gb(),
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": filesystem_of(folder),
        "load before the run": f"{os.getloadavg()[0]:.2f}",
        "fdatasync ms": f"{statistics.median(syncs):.3f} median, {percentile(syncs, 99):.3f} p99",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "SQLite": sqlite3.sqlite_version,
        "SQLAlchemy": sqlalchemy.__version__,
        "foldlog": f"{foldlog.__version__}, {_revision()}",
        **_versions(),
    }
