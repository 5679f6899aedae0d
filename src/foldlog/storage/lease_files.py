"""Leases as they are seen from outside: who holds which, without taking any.

Trying a lock would refuse it to a writer who comes at that moment. Linux tells which locks there are in
/proc/locks; elsewhere it is not known whether a lease is held. Taking leases is `foldlog.storage.lease`'s.
"""

import contextlib
import json
import os
import re
import socket
from pathlib import Path
from typing import Any, Final, NamedTuple

LOCKS: Final = Path("/proc/locks")
_TEXT_BYTES_MAX: Final = 4096
# Other files in the folder are no leases: the locks that all writers of a store share.
_NAME: Final = re.compile(r"[0-9a-f]{32}\.lock")


class LeaseFile(NamedTuple):
    """A lease's file: what it says of its holder, and whether it is held (None where that is not known)."""

    path: Path
    holder: dict[str, Any]
    is_held: bool | None


def read(folder: Path, *, locks: Path = LOCKS) -> list[LeaseFile]:
    """The lease files in a folder, in order of name; none where there is no folder."""
    locked = locked_files(_text_of(locks))
    found = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for path in sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name)):
            with contextlib.suppress(FileNotFoundError):  # released meanwhile
                found.append(_look(path, locked))
    return found


def _look(path: Path, locked: set[tuple[int, int, int]] | None) -> LeaseFile:
    state = path.lstat()
    holder: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            text = json.loads(os.pread(descriptor, _TEXT_BYTES_MAX, 0))
        finally:
            os.close(descriptor)
        holder = text if isinstance(text, dict) else {}
    if locked is None:
        return LeaseFile(path, holder, None)
    device = state.st_dev
    if (os.major(device), os.minor(device), state.st_ino) in locked:
        return LeaseFile(path, holder, True)
    # Layered file systems may tell of locks under another device.
    return LeaseFile(path, holder, None if _may_live(holder) else False)


def _may_live(holder: dict[str, Any]) -> bool:
    """Whether a process like the one named is there on this machine."""
    pid = holder.get("pid")
    if holder.get("host") != socket.gethostname() or type(pid) is not int or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None


def locked_files(text: str | None) -> set[tuple[int, int, int]] | None:
    """The files that are locked, by device and inode, from the text of /proc/locks; None where there is none.

    >>> locked_files("1: FLOCK  ADVISORY  WRITE 4171 fd:01:1573 0 EOF")
    {(253, 1, 1573)}
    """
    if text is None:
        return None
    found = set()
    for line in text.splitlines():
        for word in line.split():
            parts = word.split(":")
            if len(parts) == 3:
                with contextlib.suppress(ValueError):
                    found.add((int(parts[0], 16), int(parts[1], 16), int(parts[2])))
    return found
