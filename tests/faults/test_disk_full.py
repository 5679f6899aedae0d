"""A disk that fills: what was acknowledged is there, what was refused is not, and room is all it takes."""

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from forks import Line, forked

import foldlog
from foldlog.storage import journal
from foldlog.testing import check_store

pytestmark = pytest.mark.sqlite("the disk that fills is the one of the file; a server's is in test_server_limits")

MANY = 3000  # so often, at most, until the disk is full


def emit(session: foldlog.Session, _: Path) -> None:
    session.add_message("user", "x" * 3000, turn_id=1)


def batch(session: foldlog.Session, _: Path) -> None:
    with session.batch():
        for _place in range(5):
            session.add_message("user", "x" * 3000, turn_id=1)


def call(session: foldlog.Session, _: Path) -> None:
    session.add_call("leaf", turn_id=1, request_ref=session.value_ref("y" * 30_000 + str(session.view.counters)))


def child(session: foldlog.Session, _: Path) -> None:
    session.start_child(turn_id=1, query="z" * 9000).close()


def checkpoint(session: foldlog.Session, _: Path) -> None:
    session.add_message("user", "x" * 20_000, turn_id=1)
    session.checkpoint()


def export(session: foldlog.Session, folder: Path) -> None:
    session.store.export(folder / "files")


def backup(session: foldlog.Session, folder: Path) -> None:
    path = folder / "backup.db"
    path.unlink(missing_ok=True)
    session.store.backup(path)


WRITING = (emit, batch, call, child, checkpoint)
COPYING = (export, backup)
Action = Callable[[foldlog.Session, Path], None]


def opened(path: Path) -> foldlog.Session:
    session = foldlog.open(path).start_session(id="demo")
    session.add_turn()
    for _ in range(5):
        session.add_message("user", "w" * 20_000)
    session.checkpoint()
    return session


def refuse_and_go_on(
    session: foldlog.Session, folder: Path, action: Action, fill: Callable[[], Any], empty: Callable[[], Any]
) -> None:
    """Act until the disk is full, three times; then make room, and act once more."""
    fill()
    refused = 0
    for _ in range(MANY):
        try:
            action(session, folder)
        except foldlog.StoreError as error:
            assert type(error) is foldlog.StoreError, error  # noqa: PT017  (certain: nothing was written)
            assert error.hint  # noqa: PT017
            refused += 1
            events = list(session.store.events("demo"))
            assert session.view == foldlog.fold(events), "the view is not what the journal holds"
            if refused == 3:
                break
    assert refused == 3, "the disk never filled"
    empty()
    before = len(list(session.store.events()))
    action(session, folder)
    assert action in COPYING or len(list(session.store.events())) > before
    session.checkpoint()
    check_store(session.store)
    session.store.close()


@pytest.mark.parametrize("action", [*WRITING, *COPYING])
def test_a_full_disk_refuses_and_goes_on_when_there_is_room(path: Path, action: Action) -> None:
    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def work(line: Line) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        size = 1_500_000 if action in WRITING else 1000
        refuse_and_go_on(opened(path), path.parent, action, lambda: limit(size), lambda: limit(resource.RLIM_INFINITY))

    with forked(work) as [process]:
        process.check()
    assert_left_well(path)


def assert_left_well(path: Path) -> None:
    with foldlog.open(path) as store:
        check_store(store)
        assert store.open_session("demo").add_event("went.on")
    names = [entry.name for entry in path.parent.rglob("*") if entry.name.endswith((".new", ".tmp"))]
    assert names == [], "a half-written file was left"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory with little room."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no small file system can be mounted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily: a process that a failed test left there must not keep it.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("action", [*WRITING, *COPYING])
def test_a_small_disk_refuses_and_goes_on_when_there_is_room(small_disk: Path, action: Action) -> None:
    path, ballast = small_disk / "history.db", small_disk / "ballast"

    def fill() -> None:
        left = 0 if action in COPYING else 200_000
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        os.truncate(ballast, max(0, ballast.stat().st_size - left))

    def work(line: Line) -> None:
        refuse_and_go_on(opened(path), small_disk, action, fill, ballast.unlink)

    with forked(work) as [process]:
        process.check()
    assert_left_well(path)


def test_an_uncertain_commit_stops_the_handle_until_the_journal_is_read_again(
    store: foldlog.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = store.start_session(id="demo")
    append: Callable[..., None] = journal.append

    def committed_but_unsure(*arguments: object) -> None:
        append(*arguments)
        raise foldlog.CommitUncertainError("the disk failed during the commit", hint="reload()")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "append", committed_but_unsure)
        with pytest.raises(foldlog.CommitUncertainError):
            session.emit("tool.ran", idempotency_key="k")
    assert session.view.counters["event"] == 1
    with pytest.raises(foldlog.CommitUncertainError):
        session.add_event("next")
    session.reload()
    assert session.view.counters["event"] == 2
    assert session.emit("tool.ran", idempotency_key="k")["id"] == 2
    assert session.add_event("next") == 3
    assert store.verify().problems == []
