"""A copy that is killed, or whose disk or server fails, leaves what the next copy goes on with, and ends equal."""

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sizes import Size

import foldlog
from copied_stores import Place, assert_copied, fill, rows_of
from foldlog.outlets import copying
from postgres_server import PostgresServer

SOURCES = Path(foldlog.__file__).parents[1]
_COPY = """
import sys
import foldlog
from foldlog.outlets import copying
copying._FIRST_PAGE_ROWS = copying._PAGE_ROWS_MAX = copying._TABLES_EVENTS = int(sys.argv[3])
foldlog.copy(sys.argv[1], sys.argv[2], progress=lambda done, total: print(done, total, flush=True))
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    with foldlog.open(tmp_path / "source.db", config=foldlog.Config(durability="normal")) as store:
        for name in ("one", "two", "three", "four"):
            fill(store, name)
        store.delete_session("three-fork")
    return tmp_path / "source.db"


def start(source: Path, target: Place, page_rows: int) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    words = [sys.executable, "-P", "-c", _COPY, str(source), str(target), str(page_rows)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)


def test_a_killed_copy_goes_on(source: Path, path: Place, size: Size, seed: int) -> None:
    choice = random.Random(seed)
    total = 2 * len(rows_of(source)["events"])
    for _ in range(size.rounds(quick=3, full=40)):
        page_rows = choice.randrange(1, 30)
        with start(source, path, page_rows) as process:
            assert process.stdout is not None
            for _line in range(choice.randrange(total // page_rows)):
                if not process.stdout.readline():
                    break
            time.sleep(choice.uniform(0, 0.01))
            process.send_signal(signal.SIGKILL)
        with contextlib.suppress(foldlog.NotAStoreError):  # killed before it had made one
            brought = sorted(rows_of(path)["events"])
            assert brought == sorted(rows_of(source)["events"])[: len(brought)]
    foldlog.copy(source, path)
    assert_copied(source, path)


@pytest.mark.sqlite("it is a file that cannot grow")
def test_a_full_disk_stops_it_and_room_lets_it_go_on(source: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_FIRST_PAGE_ROWS", 10)
    monkeypatch.setattr(copying, "_PAGE_ROWS_MAX", 10)
    foldlog.open(path).close()
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
        with pytest.raises(foldlog.StoreError) as caught:
            foldlog.copy(source, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert caught.value.hint
    brought = len(rows_of(path)["events"])
    copied = foldlog.copy(source, path)
    assert copied.found_event_count == brought < brought + copied.event_count
    assert_copied(source, path)


@pytest.mark.parametrize("whose", ["source", "target"])
def test_a_lost_connection_stops_it_and_the_next_goes_on(
    source: Path, server: PostgresServer, tmp_path: Path, whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_FIRST_PAGE_ROWS", 10)
    monkeypatch.setattr(copying, "_PAGE_ROWS_MAX", 10)
    server.execute(f"DROP SCHEMA IF EXISTS lost_{whose} CASCADE", f"CREATE SCHEMA lost_{whose}")
    url = server.url(f"lost_{whose}")
    origin: Place = source
    place: Place = url
    if whose == "source":
        foldlog.copy(source, url)
        origin, place = url, tmp_path / "target.db"

    def cut(done: int, _total: int) -> None:
        if done == 30:
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'foldlog' AND pid <> pg_backend_pid()"
            )

    if whose == "target":
        with pytest.raises(foldlog.StoreError, match="connection"):
            foldlog.copy(origin, place, progress=cut)
        assert len(rows_of(place)["events"]) == 30
    else:
        # Each page is read on a connection that is made anew where it is lost.
        foldlog.copy(origin, place, progress=cut)
    foldlog.copy(origin, place)
    assert_copied(source, place)
