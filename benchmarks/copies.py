"""Copying a history between stores: files and a server, each to each; events a second, with checks and tables."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.postgres_server import running, why_not

import foldlog
from benchmarks.bench import Bench, say
from benchmarks.results import Measurement, missing
from benchmarks.servers import new_url

_GROUP: Final = "Copying a history (journal of 600-byte events; checked, tables made)"


def copies(bench: Bench) -> Iterator[Measurement]:
    """A journal from one store into a new one; those of a server are left out, with the reason, where there is none."""
    source = bench.journal("100k")
    reason = why_not()
    with bench.workspace() as folder, ExitStack() as stack:
        yield _copied("files", "file to file", source, folder / "file.db")
        if reason is not None:
            yield missing("copy.server", _GROUP, "file to server, and back", reason)
            return
        server = stack.enter_context(running(fsync=True))
        url = new_url(server)
        yield _copied("to_server", "file to server", source, url)
        yield _copied("from_server", "server to file", url, folder / "back.db")
        yield _copied("servers", "server to server", url, new_url(server))


def _copied(key: str, label: str, source: Path | str, target: Path | str) -> Measurement:
    say(f"copying, {label}")
    start, start_cpu = time.perf_counter(), time.process_time()
    journal_s = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal journal_s
        if 2 * done <= total:  # the second half is folding
            journal_s = time.perf_counter() - start

    copied = foldlog.copy(source, target, progress=progress)
    took_s = time.perf_counter() - start
    details = {
        "events": copied.event_count,
        "own CPU us/event": round((time.process_time() - start_cpu) / copied.event_count * 1e6, 1),
        "journal alone events/s": round(copied.event_count / max(journal_s, 1e-9)),
    }
    return Measurement(f"copy.{key}", _GROUP, label, copied.event_count / took_s, "events/s", details=details)
