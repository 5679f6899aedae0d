"""Which files the demo reads, and the folder it makes."""

import os
from pathlib import Path

import pytest

import foldlog
from foldlog.cli import demo_files, demo_folder
from foldlog.cli.demo_files import Package


def all_files(package: Package) -> list[str]:
    return [*package.files, *(path for below in package.packages for path in all_files(below))]


def test_files_fall_into_packages(project: Path, project_files: set[str]) -> None:
    plan = demo_files.find(project)
    assert not plan.is_cut
    assert set(all_files(plan.top)) == project_files
    assert [package.name for package in plan.top.packages] == [".", "app", "docs/guide"]
    assert [package.name for package in plan.top.packages[1].packages] == ["app/core"]
    assert (plan.top.file_count(), plan.top.package_count()) == (8, 4)
    assert Package.load(plan.top.document()) == plan.top


def test_limits_are_kept_and_told(tmp_path: Path) -> None:
    for number in range(demo_files.FILES_MAX + 1):
        (tmp_path / f"{number:04}.txt").touch()
    plan = demo_files.find(tmp_path)
    assert plan.is_cut
    assert plan.top.file_count() == demo_files.FILES_MAX
    (tmp_path / "0000.txt").unlink()
    assert not demo_files.find(tmp_path).is_cut


def test_packages_are_limited(tmp_path: Path) -> None:
    for number in range(demo_files.PACKAGES_MAX + 1):
        (tmp_path / f"{number:03}").mkdir()
        (tmp_path / f"{number:03}" / "a.txt").touch()
    plan = demo_files.find(tmp_path)
    assert plan.is_cut
    assert plan.top.package_count() == demo_files.PACKAGES_MAX


def test_deep_folders_are_packages_side_by_side(tmp_path: Path) -> None:
    folder = tmp_path
    for _ in range(20):
        folder /= "d"
        folder.mkdir()
        (folder / "a.txt").touch()
    plan = demo_files.find(tmp_path)
    assert (plan.top.file_count(), plan.top.package_count()) == (20, 20)


def test_odd_names_are_recorded_as_text_and_found_again(tmp_path: Path) -> None:
    names = [b"bad\xff\xfe.py", "\u65e5\u672c.txt".encode(), b"new\nline", b"literal\\x41", b"sp ace"]
    for name in names:
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(name)
    recorded = all_files(demo_files.find(tmp_path).top)
    assert len(recorded) == len(names)
    assert {demo_files.load(tmp_path, name).data for name in recorded} == set(names)
    assert all(name.encode() for name in recorded)


def test_what_is_no_plain_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "secret").symlink_to("/etc/passwd")
    assert demo_files.find(tmp_path).top.file_count() == 0
    with pytest.raises(OSError, match="symbolic links"):
        demo_files.load(tmp_path, "secret")


def test_a_large_file_is_read_in_part(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x" * 300_000)
    source = demo_files.load(tmp_path, "a.txt")
    assert (len(source.data), source.byte_count, source.is_whole) == (128 * 1024, 300_000, False)


def test_the_folder_is_cleared_of_its_own_and_no_more(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with demo_folder.prepared(folder):
        (folder / demo_folder.DATABASE_NAME).touch()
        (folder / demo_folder.FILES_NAME / "demo").mkdir(parents=True)
        with (
            pytest.raises(foldlog.StoreError, match="another demo is running"),
            demo_folder.prepared(folder),
        ):
            pass
        assert (folder / demo_folder.DATABASE_NAME).exists()
    with demo_folder.prepared(folder):
        assert sorted(path.name for path in folder.iterdir()) == [demo_files.MARKER, ".gitignore"]


@pytest.mark.parametrize("has_marker", [True, False])
def test_a_folder_with_something_else_is_refused_untouched(tmp_path: Path, has_marker: bool) -> None:
    (tmp_path / "history.db").write_text("mine")
    if has_marker:
        (tmp_path / demo_files.MARKER).touch()
        (tmp_path / "notes.txt").touch()
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(foldlog.AlreadyExistsError), demo_folder.prepared(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "history.db").read_text() == "mine"


def test_a_symlink_or_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(foldlog.AlreadyExistsError, match="in the way"):
            demo_folder.check(tmp_path / name)
    with pytest.raises(foldlog.StoreError, match="there is no folder"):
        demo_folder.check(tmp_path / "no" / "demo")
