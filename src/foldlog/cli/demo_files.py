"""Which files the demo reads: the walk over a folder, and the packages they fall into.

A package is a folder with files in it; the folder's own files are the package ".". What is said of a file
is `foldlog.cli.demo_reader`'s work. Symlinks are not followed, so there are no loops and nothing outside
the folder is read; hidden files are left alone, for they hold secrets.
"""

import itertools
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from foldlog.cli.demo_reader import Source

FILES_MAX: Final = 200
PACKAGES_MAX: Final = 40
_BYTES_MAX: Final = 128 * 1024
_DEPTH_MAX: Final = 6
_FOLDERS_MAX: Final = 20_000

MARKER: Final = ".foldlog-demo"
_SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages", "venv", "env", "build", "dist", "target"})
# A folder with one of these is somebody's installation, or an earlier demo's own.
_SKIPPED_IF: Final = frozenset({"pyvenv.cfg", MARKER})


@dataclass(slots=True)
class Package:
    """A folder with files, and the packages below it."""

    name: str
    files: list[str] = field(default_factory=list)
    packages: list["Package"] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The package as a plain value."""
        below = [package.document() for package in self.packages]
        return {"name": self.name, "files": self.files, "packages": below}

    @classmethod
    def load(cls, document: dict[str, Any]) -> "Package":
        """The package a plain value stands for."""
        return cls(document["name"], list(document["files"]), [cls.load(below) for below in document["packages"]])

    def file_count(self) -> int:
        """How many files it has, with those of the packages below."""
        return len(self.files) + sum(package.file_count() for package in self.packages)

    def package_count(self) -> int:
        """How many packages are below it."""
        return sum(1 + package.package_count() for package in self.packages)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that will be read: packages below a nameless top; and whether a limit left something out."""

    top: Package
    is_cut: bool


def find(folder: Path) -> Plan:
    """Walk a folder, in order of names, up to the limits."""
    top = Package("")
    places: dict[str, tuple[Package, int]] = {}
    left = FILES_MAX
    for folder_count, (current, folders, names) in enumerate(os.walk(folder)):
        relative = os.path.relpath(current, folder)
        if relative != "." and not _SKIPPED_IF.isdisjoint(names):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not _is_skipped(name))
        # One more than there is room for, so that a limit is noticed.
        taken = list(itertools.islice((name for name in sorted(names) if _is_file(current, name)), left + 1))
        if folder_count == _FOLDERS_MAX or (taken and (not left or len(places) == PACKAGES_MAX)):
            return Plan(top, is_cut=True)
        if not taken:
            continue
        package = Package(recorded_name(relative), [recorded_name(_join(relative, name)) for name in taken[:left]])
        place, depth = _above(places, relative) or (top, 0)
        place.packages.append(package)
        places[relative] = (package, depth + 1) if depth < _DEPTH_MAX else (place, depth)
        if len(taken) > left:
            return Plan(top, is_cut=True)
        left -= len(taken)
    return Plan(top, is_cut=False)


def _above(places: dict[str, tuple[Package, int]], relative: str) -> tuple[Package, int] | None:
    """The nearest package above a folder; the top folder's own files are beside its folders, above none."""
    while relative:
        relative = os.path.dirname(relative)  # noqa: PTH120  (a text of os.walk's, millions of times)
        if relative in places:
            return places[relative]
    return None


def _join(relative: str, name: str) -> str:
    return name if relative == "." else f"{relative}/{name}"


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name in _SKIPPED or name.endswith(".egg-info")


def _is_file(folder: str, name: str) -> bool:
    if name.startswith("."):
        return False
    try:
        return stat.S_ISREG(Path(folder, name).lstat().st_mode)
    except OSError:
        return False


def recorded_name(name: str) -> str:
    """A file's name as text that JSON can carry: bytes that are not UTF-8 become escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _path_of(folder: Path, recorded: str) -> Path:
    """The file a recorded name stands for."""
    path = folder / recorded
    if "\\x" not in recorded or path.exists():
        return path
    escaped = re.compile(rb"\\x([0-9a-f]{2})")
    name = escaped.sub(lambda found: bytes.fromhex(found[1].decode()), recorded.encode())
    return folder / os.fsdecode(name)


def load(folder: Path, recorded: str) -> Source:
    """Read a file, at most its first 128 KiB; raises OSError."""
    # O_NOFOLLOW, O_NONBLOCK: what was a plain file at the walk may have become a link or a pipe.
    descriptor = os.open(_path_of(folder, recorded), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(_BYTES_MAX)
        return Source(recorded, max(os.fstat(file.fileno()).st_size, len(data)), data)
