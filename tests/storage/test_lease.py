"""Leases: one writer a session, until it lets go or dies."""

import errno
import os
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest

from foldlog.core.errors import SessionInUseError, StoreError
from foldlog.storage import lease
from foldlog.storage.lease import acquire, holder_now, push_aside

SINCE = "2026-11-22T06:41:10.344131Z"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "history.db-leases"


def take(folder: Path, session_id: str = "demo") -> lease.Lease:
    return acquire(folder, session_id, holder_now(SINCE))


def fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def test_a_second_writer_is_refused_by_the_name_of_the_first(folder: Path) -> None:
    held = take(folder)
    with pytest.raises(SessionInUseError, match="'demo' is being written by another handle of this process") as caught:
        take(folder)
    assert caught.value.holder == holder_now(SINCE)
    assert set(caught.value.holder) == {"host", "pid", "since"}
    held.release()


def test_a_lease_that_was_given_back_can_be_taken(folder: Path) -> None:
    for _ in range(3):
        held = take(folder)
        held.release()
        held.release()
    assert list(folder.iterdir()) == []


def test_sessions_do_not_stand_in_each_others_way(folder: Path) -> None:
    held = [take(folder, name) for name in ("a", "a/child-0001", "b", "/".join(["x" * 128] * 32))]
    assert len(list(folder.iterdir())) == 4
    for one in held:
        one.release()


def test_nobody_else_may_look_into_the_folder(folder: Path) -> None:
    held = take(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert held.path.stat().st_mode & 0o777 == 0o600
    held.release()


def test_a_refusal_does_not_take_anything_from_the_holder(folder: Path) -> None:
    held = take(folder)
    for _ in range(3):
        with pytest.raises(SessionInUseError):
            take(folder)
    assert held.path.exists()
    held.release()
    take(folder).release()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"null"])
def test_a_holder_that_cannot_be_read_is_refused_for_all_the_same(folder: Path, content: bytes) -> None:
    held = take(folder)
    held.path.write_bytes(content)
    with pytest.raises(SessionInUseError, match="another handle") as caught:
        take(folder)
    assert caught.value.holder == {}
    held.release()


def test_a_file_left_behind_by_a_dead_writer_is_no_lease(folder: Path) -> None:
    held = take(folder)
    left = held.path.read_bytes()
    held.release()
    held.path.write_bytes(left)
    take(folder).release()


def test_a_lease_dies_with_its_process(folder: Path) -> None:
    ready, told = os.pipe()
    blocked, kept = os.pipe()
    child = fork()
    if child == 0:
        held = take(folder)
        assert held.is_held
        os.write(told, b"x")
        os.close(kept)
        os.read(blocked, 1)
        os._exit(0)
    assert os.read(ready, 1) == b"x"
    with pytest.raises(SessionInUseError, match=f"process {child} on ") as caught:
        take(folder)
    assert caught.value.holder is not None
    assert caught.value.holder["pid"] == child
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    take(folder).release()
    for descriptor in (ready, told, blocked, kept):
        os.close(descriptor)


def test_a_forked_child_has_no_part_in_its_parents_lease(folder: Path) -> None:
    held = take(folder)
    child = fork()
    if child == 0:
        held.release()
        try:
            take(folder)
        except SessionInUseError:
            os._exit(7)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert held.path.exists()
    with pytest.raises(SessionInUseError):
        take(folder)
    held.release()


def test_a_childs_life_does_not_keep_its_parents_lease(folder: Path) -> None:
    held = take(folder)
    blocked, kept = os.pipe()
    child = fork()
    if child == 0:
        os.close(kept)
        os.read(blocked, 1)
        os._exit(0)
    held.release()
    take(folder).release()
    os.close(kept)
    os.waitpid(child, 0)
    os.close(blocked)


def test_a_stuck_holder_can_be_pushed_aside(folder: Path) -> None:
    stuck = take(folder)
    push_aside(folder, "demo")
    fresh = take(folder)
    stuck.release()
    assert fresh.path.exists()
    with pytest.raises(SessionInUseError):
        take(folder)
    fresh.release()


def test_pushing_nobody_aside_is_fine(folder: Path) -> None:
    push_aside(folder, "demo")
    take(folder).release()
    push_aside(folder, "demo")


def test_a_holder_who_cannot_be_pushed_aside_is_our_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    held = take(folder)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fail)
        with pytest.raises(StoreError, match="cannot take the lease"):
            push_aside(folder, "demo")
    assert held.is_held
    held.release()


def test_a_symlink_in_the_way_is_refused_and_not_followed(folder: Path, tmp_path: Path) -> None:
    held = take(folder)
    held.release()
    target = tmp_path / "target"
    target.write_text("precious")
    held.path.symlink_to(target)
    with pytest.raises(StoreError):
        take(folder)
    assert target.read_text() == "precious"


def test_a_folder_that_cannot_be_made_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="lease"):
        take(tmp_path / "file" / "leases")


@pytest.mark.parametrize("call", ["pwrite", "ftruncate"])
def test_a_lease_whose_holder_cannot_be_written_is_our_error_and_is_not_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(lease.os, call, full)
        with pytest.raises(StoreError):
            take(folder)
    take(folder).release()


def test_a_lease_that_nobody_has_any_more_is_free(folder: Path) -> None:
    take(folder)  # and a signal kept its taker from having it
    take(folder).release()
