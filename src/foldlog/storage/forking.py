"""What SQLite must not be left to believe when a process forks: locks that it remembers and does not have.

SQLite keeps a process's own locks in memory, also for connections that a forked child opens itself. A write
that is under way while the process forks would be under way for ever in the child; and the child would take
the parent's shared lock on the file for its own, so that a parent that closes later, as the last one for all
it can tell, takes the write-ahead log away under the child. So a fork waits for the write under way, not
long, and the child takes the locks it is believed to have. That inherited handles refuse to work is the
business of `foldlog.storage.sqlite`.
"""

import contextlib
import fcntl
import os
import weakref
from pathlib import Path
from typing import Any, Final, Protocol


class Forked(Protocol):
    """What a fork needs of an open database."""

    path: Path
    lock: Any

    @property
    def is_closed(self) -> bool:
        """Whether it holds nothing any more."""


_FORK_WAIT_S: Final = 1.0
# SQLite's shared lock on a database, and the one that says its -shm file is in use: first byte, bytes.
_SHARED: Final = (0x40000002, 510)
_SHM_IN_USE: Final = (128, 1)

_open: "weakref.WeakSet[Forked]" = weakref.WeakSet()
_held: list[Any] = []


def know(database: Forked) -> None:
    """See to it that forks take care of a database."""
    _open.add(database)


def _before() -> None:
    for database in list(_open):
        if not database.is_closed and database.lock.acquire(timeout=_FORK_WAIT_S):
            _held.append(database.lock)  # noqa: PERF401  (each as soon as it is held)


def _after() -> None:
    while _held:
        _held.pop().release()


def _after_in_child() -> None:
    _after()
    for database in list(_open):
        if not database.is_closed:
            _lock_for_good(database.path, _SHARED)
            _lock_for_good(Path(f"{database.path}-shm"), _SHM_IN_USE)


def _lock_for_good(path: Path, where: tuple[int, int]) -> None:
    """Share a lock until the process ends; the descriptor is never closed, for that would drop all its locks."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, where[1], where[0])


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after_in_child)
