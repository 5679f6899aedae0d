"""The doctor: what surrounds a store and could do it harm. Looks only; makes and changes nothing.

Each finding has a level and, where something can be done, a hint. Whether what is stored is whole is
`foldlog.outlets.verify`'s question. A store that cannot be opened is still looked at from outside, and the
finding says why it cannot. What SQLite tells from inside is in `foldlog.outlets.doctor_inside`, what a server
tells in `foldlog.outlets.doctor_server`.
"""

import contextlib
import os
import platform
import sqlite3
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from foldlog._version import __version__
from foldlog.core.errors import FoldlogError
from foldlog.outlets.findings import SAVE
from foldlog.storage import file_system, lease, lease_files

# From worst to best.
LEVELS: Final = ("problem", "warning", "note", "ok")
# Versions up to this one have SQLite's WAL-reset bug, but for those that got the fix on their own branch.
_WAL_RESET_FIXED: Final = (3, 51, 3)
_WAL_RESET_BACKPORTS: Final = ((3, 44, 6), (3, 50, 7))
_WAL_WARNING_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the doctor looked at: its `level` (ok, note, warning, problem), what is so, and what to do."""

    level: str
    name: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.level:<8} {self.name}: {self.what}{f' (hint: {self.hint})' if self.hint else ''}"


@dataclass(slots=True)
class Diagnosis:
    """What the doctor found; true when nothing is a problem.

    >>> bool(Diagnosis(Path("history.db")))
    True
    """

    path: Path | str
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no finding is a problem; there may be warnings."""
        return not any(finding.level == "problem" for finding in self.findings)

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        return "\n".join([str(self.path), *(f"  {finding}" for finding in self.findings)])


def examine(path: Path) -> Diagnosis:
    """Look at a store and what surrounds it; see `foldlog.doctor`."""
    found = Diagnosis(path, list(_check_programs()))
    try:
        resolved = path.resolve()
        there = _check_there(path)
    except (OSError, ValueError, RuntimeError) as error:
        found.findings.append(Finding("problem", "path", f"cannot be looked at ({error})", "check the path"))
        return found
    if there is not None:
        found.findings.append(there)
        return found
    with contextlib.suppress(FileNotFoundError):  # what came and went
        found.findings += _check_around(resolved)
    from foldlog.outlets import doctor_inside  # noqa: PLC0415  (it makes findings of this module's)

    found.findings += doctor_inside.look(path)
    return found


def _check_programs() -> Iterator[Finding]:
    version = f"SQLite {sqlite3.sqlite_version}"
    if has_wal_reset_bug(sqlite3.sqlite_version_info):
        yield Finding(
            "note",
            "sqlite",
            f"{version} has the WAL-reset bug: a commit that meets a WAL checkpoint of another connection can be lost",
            "foldlog lets its commits and WAL checkpoints never meet; do not write the store with other programs, "
            "or use SQLite 3.51.3 or later",
        )
    else:
        yield Finding("ok", "sqlite", version)
    implementation = platform.python_implementation()
    yield Finding("ok", "python", f"foldlog {__version__}, {implementation} {platform.python_version()}, its sqlite3")


def has_wal_reset_bug(version: tuple[int, ...]) -> bool:
    """Whether a version of SQLite has the WAL-reset bug (sqlite.org/wal.html#walresetbug).

    >>> has_wal_reset_bug((3, 51, 2)), has_wal_reset_bug((3, 51, 3))
    (True, False)
    """
    if version >= _WAL_RESET_FIXED or version < (3, 7, 0):
        return False
    return not any(version[:2] == fixed[:2] and version >= fixed for fixed in _WAL_RESET_BACKPORTS)


def _check_there(path: Path) -> Finding | None:
    """Why there is nothing to look into, or None."""
    try:
        found = path.stat()
    except OSError as error:
        return Finding("problem", "path", f"there is no store at {path} ({error.strerror})", "check the path")
    if not stat.S_ISREG(found.st_mode):
        return Finding("problem", "path", f"{path} is no regular file", "give the path of a database file")
    return None


def _check_around(path: Path) -> Iterator[Finding]:
    yield _check_file_system(path)
    yield from _check_modes(path)
    yield _check_wal_size(path)
    yield from _check_leases(path)
    yield from _check_beside(path)


def _check_file_system(path: Path) -> Finding:
    found = file_system.of(path)
    if found is None:
        return Finding("note", "file system", "this system does not tell its type", "keep stores on a local disk")
    what = f"{found.kind}, mounted at {found.mount_point}"
    if found.is_network:
        hint = "keep the store on a local disk: locks do not hold over a network, and opening it to write is refused"
        return Finding("problem", "file system", what, hint)
    return Finding("ok", "file system", what)


def _beside(path: Path) -> list[Path]:
    return [path, *(Path(f"{path}{suffix}") for suffix in ("-wal", "-shm"))]


def _check_modes(path: Path) -> Iterator[Finding]:
    wrong = []
    folder = lease.folder_of(path)
    for found, expected in [*((one, 0o600) for one in _beside(path)), (folder, 0o700)]:
        try:
            state = found.lstat()
        except FileNotFoundError:
            continue
        mode = stat.S_IMODE(state.st_mode)
        if mode & 0o077:
            wrong.append(f"{found.name} is {mode:04o}")
        if state.st_uid != os.geteuid():
            yield Finding(
                "warning",
                "owner",
                f"{found.name} belongs to user {state.st_uid}, not to {os.geteuid()}",
                "open a store as one user only",
            )
        if mode & 0o700 & expected != expected & 0o700:
            yield Finding(
                "warning", "modes", f"{found.name} is {mode:04o}: its owner lacks rights", f"chmod {expected:o} {found}"
            )
    if wrong:
        hint = "histories hold what users said: chmod 600 the files, 700 the folder"
        yield Finding("warning", "modes", f"others have rights: {', '.join(wrong)}", hint)
    else:
        yield Finding("ok", "modes", "nobody but the owner has rights")


def _check_wal_size(path: Path) -> Finding:
    try:
        size = Path(f"{path}-wal").stat().st_size
    except FileNotFoundError:
        return Finding("ok", "wal", "none: the database file is all there is")
    what = f"{size:,} bytes"
    if size > _WAL_WARNING_BYTES:
        return Finding("warning", "wal", what, "a reader that stays long keeps it from shrinking: end it")
    return Finding("ok", "wal", what)


def _check_leases(path: Path) -> Iterator[Finding]:
    found = lease_files.read(lease.folder_of(path))
    stale = [one for one in found if one.is_held is False]
    for one in found:
        if one.is_held is not False:
            sure = "held" if one.is_held else "perhaps held"
            yield Finding("note", "leases", f"{one.path.name}: {sure} by {who(one.holder)}")
    if stale:
        names = f"{len(stale)} of writers that are gone, such as {who(stale[0].holder)}"
        yield Finding("note", "leases", names, "nothing to do: the next writer of the session takes the file over")
    if not found:
        yield Finding("ok", "leases", "nobody writes")


def who(holder: dict[str, Any]) -> str:
    """A lease's holder in words."""
    if not holder:
        return "someone who left no name"
    return f"process {holder.get('pid')} on {holder.get('host')} since {holder.get('since')}"


# What foldlog and SQLite put beside a store, and what they leave behind when they are killed.
_OURS: Final = ("-wal", "-shm", "-leases", "-marks")


def _check_beside(path: Path) -> Iterator[Finding]:
    left, foreign, journals = [], [], []
    for entry in path.parent.iterdir():
        name = entry.name
        if name.startswith(f".{path.name}.") and name.endswith(".new"):
            left.append(name)
        elif name == f"{path.name}-journal":
            journals.append(name)
        elif name.startswith(f"{path.name}-") and name.removeprefix(path.name) not in _OURS:
            foreign.append(name)
    if journals:
        what = f"{journals[0]}: a rollback journal, which foldlog never makes"
        hint = "another program has written the store: run `foldlog verify STORE`; do not delete it"
        yield Finding("warning", "beside", what, hint)
    if left:
        hint = "remove them once nothing is at work on the store"
        yield Finding("note", "beside", f"left by a process that was killed: {', '.join(sorted(left))}", hint)
    if foreign:
        yield Finding("note", "beside", f"not made by foldlog: {', '.join(sorted(foreign))}", "see what made them")
    if not (journals or left or foreign):
        yield Finding("ok", "beside", "nothing that does not belong there")


def why(error: Exception) -> Finding:
    """The finding that a store cannot be opened."""
    if isinstance(error, FoldlogError):
        return Finding("problem", "database", error.message, error.hint)
    return Finding("problem", "database", f"SQLite says: {error}", SAVE)
