"""Files: the old one or the new one, whole; and nothing is followed out of the folder."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from foldlog.core.errors import StoreError
from foldlog.storage.files import (
    is_folder,
    make_folder,
    make_names_durable,
    remove_files,
    remove_folder,
    write_file,
)


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_a_file_is_written_whole_with_its_mode(tmp_path: Path) -> None:
    assert write_file(tmp_path / "a.json", [b"{", b"}"], 0o640)
    assert (tmp_path / "a.json").read_bytes() == b"{}"
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o640
    assert names(tmp_path) == ["a.json"]


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_file(tmp_path / "a.json", [b"x"], 0o644)
        make_folder(tmp_path / "folder", 0o755)
    finally:
        os.umask(before)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("content", [b"", b"same", b"x" * (1 << 20), b"x" * ((1 << 20) + 1)])
def test_a_file_whose_content_is_the_same_is_not_written_again(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.json"
    write_file(file, [content], 0o600)
    before = file.stat()
    assert not write_file(file, [content], 0o600)
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("content", [b"", b"shorter", b"different", b"x" * 9 + b"y", b"longer than it was before"])
def test_another_content_takes_its_place_at_once(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.json"
    write_file(file, [b"x" * 10], 0o600)
    with file.open("rb") as reader:
        assert write_file(file, [content], 0o600)
        assert reader.read() == b"x" * 10
    assert file.read_bytes() == content


def test_a_failure_halfway_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_file(file, [b"old"], 0o600)

    def broken() -> Iterator[bytes]:
        yield b"new"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_file(file, broken(), 0o600)
    assert file.read_bytes() == b"old"
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("kind", ["symlink", "dangling", "folder", "pipe"])
def test_what_stands_in_the_way_is_refused_and_left(tmp_path: Path, kind: str) -> None:
    file, target = tmp_path / "a.json", tmp_path / "target"
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to(target)
        if kind == "symlink":
            target.write_bytes(b"precious")
    with pytest.raises(StoreError, match="in the way"):
        write_file(file, [b"x"], 0o600)
    assert file.is_symlink() == (kind in ("symlink", "dangling"))
    assert target.exists() == (kind == "symlink")


def test_what_cannot_be_taken_away_again_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    file = tmp_path / "a.json"
    write_file(file, [b"x"], 0o600)
    monkeypatch.setattr(os, "unlink", fail)
    assert not write_file(file, [b"x"], 0o600)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match="cannot write"):
        write_file(file, [b"y"], 0o600)
    with pytest.raises(StoreError, match="cannot sync"):
        make_names_durable(tmp_path)
    assert file.read_bytes() == b"x"


def test_a_missing_folder_is_our_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot write"):
        write_file(tmp_path / "missing" / "a.json", [b"x"], 0o600)


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a", 0o700)
    (tmp_path / "a" / "kept").write_text("")
    assert not make_folder(tmp_path / "a", 0o755)
    assert (tmp_path / "a" / "kept").exists()
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("kind", ["symlink", "file"])
def test_no_folder_is_made_through_what_is_in_the_way(tmp_path: Path, kind: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    if kind == "symlink":
        (tmp_path / "a").symlink_to(tmp_path / "elsewhere")
    else:
        (tmp_path / "a").write_text("")
    with pytest.raises(StoreError, match="in the way"):
        make_folder(tmp_path / "a", 0o700)


def test_a_folder_that_cannot_be_made_is_our_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        make_folder(tmp_path / "missing" / "a", 0o700)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        make_folder(tmp_path / "file" / "a", 0o700)


def test_only_regular_files_of_the_names_are_removed(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to(tmp_path / "c")
    (tmp_path / "folder").mkdir()
    assert remove_files(tmp_path, ["a", "link", "folder", "none"]) == 1
    assert names(tmp_path) == ["b", "c", "folder", "link"]
    assert remove_files(tmp_path / "none", ["a"]) == 0


def test_only_an_empty_folder_is_removed(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("a")
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    assert [remove_folder(tmp_path / name) for name in ("link", "empty", "none", "full")] == [False, True, True, False]
    assert names(tmp_path) == ["full", "link"]


def test_a_folder_beyond_a_symlink_is_none(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "file").write_text("")
    assert is_folder(tmp_path / "a" / "b", within=tmp_path)
    assert is_folder(tmp_path, within=tmp_path)
    for name in ("link", "link/b", "file", "none", "a/b/none"):
        assert not is_folder(tmp_path / name, within=tmp_path), name


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-marks"])
def test_a_database_and_what_is_beside_one_are_not_replaced(tmp_path: Path, suffix: str) -> None:
    store = tmp_path / "history.db"
    store.write_bytes(b"SQLite format 3\0 and so on")
    target = tmp_path / f"history.db{suffix}"
    before = target.read_bytes() if target.exists() else b"what SQLite keeps there"
    target.write_bytes(before)
    with pytest.raises(StoreError, match="belongs to one"):
        write_file(target, [b"a page"], 0o600)
    assert target.read_bytes() == before
