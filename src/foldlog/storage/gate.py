"""The gate: one writer at a time among all processes that have one store open.

Every commit, every checkpoint and every copying back of the write-ahead log happens behind it. SQLite's own
lock would do for commits alone, but up to SQLite 3.51.2 a commit that races a WAL checkpoint of another
connection can lose data, and SQLite's waiting knows no order. Readers have nothing to do with the gate, and
other programs' writers know nothing of it: against those SQLite's lock and its busy timeout stand.

It is an advisory lock (`flock`) on a small file, so the kernel opens it again when its process ends,
however that ends. A second file is where one stands in line: whoever waits long holds it, and whoever
comes then waits behind. Threads of one process share one hold, by the lock of their `Database`
(`foldlog.storage.sqlite`).

A handle that is dropped without `close()` is closed outside of the gate, for a finaliser must not wait.
No commit can race that: SQLite copies the log back at a close only where nobody else has the file open,
under its own exclusive lock.
"""

import contextlib
import os
import stat
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from pathlib import Path
from typing import Final

from foldlog.core.errors import StoreBusyError, StoreError

# How long somebody tries his luck before he stands in line, and how long he sleeps between two looks.
_PATIENCE_S: Final = 0.004
_LOOK_AGAIN_S: Final = 0.0001

_opened: "weakref.WeakSet[Gate]" = weakref.WeakSet()


class Gate:
    """One handle's way through the gate of a store.

    A signal may raise anywhere between two calls of Python, so letting go must not be a call to be
    interrupted in: whoever takes the gate writes, in a `finally`, `gate.is_taken = False` and then
    `flock(gate.descriptor, LOCK_UN)`, with nothing before it that Python could stop at.
    """

    def __init__(self, folder: Path, lock: threading.RLock, wait_s: float, *, name: str | None = None) -> None:
        """Open the gate's files in `folder`, and make what is not there.

        `lock`: what the threads of this handle share it by. `wait_s`: how long `take` waits.
        `name`: what messages call what is behind it, the gate's own path if left out.
        """
        self._lock = lock
        self.path = folder / "gate"
        self._name = str(self.path) if name is None else name
        self.wait_s = wait_s
        self.is_taken = False
        self.descriptor = self._line = -1
        try:
            make_folder(folder)
            self.descriptor = _open(self.path)
            self._line = _open(folder / "line")
        except OSError as error:
            self.close()
            raise StoreError(
                f"cannot open the gate for writers in {folder} ({error.strerror})",
                hint="check that the folder of the store may be written; a store opened read-only needs no gate",
            ) from error
        _opened.add(self)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock and the gate; who holds them already holds them on."""
        with self._lock:
            if self.is_taken:
                yield
                return
            try:
                self.take()
                yield
            finally:
                self.is_taken = False
                if self.descriptor >= 0:
                    flock(self.descriptor, LOCK_UN)

    def take(self) -> None:
        """Wait for the gate; raises `StoreBusyError` when somebody holds it for longer than the bound."""
        try:
            if not self._try_luck():
                self._wait()
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be locked ({error.strerror})",
                hint="nothing was written; a store needs a local file system that can lock files",
            ) from error

    def _try_luck(self) -> bool:
        """Take the gate if it is free, and nobody stands in line before it."""
        line = self._line
        try:
            flock(line, LOCK_EX | LOCK_NB)
            flock(self.descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            flock(line, LOCK_UN)
        self.is_taken = True
        return True

    def _wait(self) -> None:
        began = time.monotonic()
        in_line = False
        try:
            while True:
                time.sleep(_LOOK_AGAIN_S)
                waited_s = time.monotonic() - began
                if waited_s < _PATIENCE_S:
                    if self._try_luck():
                        return
                    continue
                in_line = in_line or _try(self._line)
                if in_line and _try(self.descriptor):
                    self.is_taken = True
                    return
                if waited_s > self.wait_s:
                    raise self._busy()
        finally:
            flock(self._line, LOCK_UN)

    def _busy(self) -> StoreBusyError:
        pid = _holder(self.descriptor)
        who = f"process {pid}" if pid is not None else "another handle"
        return StoreBusyError(
            f"{self._name}: {who} has been writing for longer than {self.wait_s:g} s, or was stopped while it did",
            hint="nothing was written; let that process go on (kill -CONT) or end it, then try again",
        )

    def close(self) -> None:
        """Close the files, which lets go of the gate as far as this process holds it."""
        self.is_taken = False
        descriptors, self.descriptor, self._line = (self.descriptor, self._line), -1, -1
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)

    def __del__(self) -> None:
        self.close()  # of a store that nobody closed


def _close_all() -> None:
    # A forked child holds what its parent holds until it closes its copies, which opens nothing for others.
    for gate in list(_opened):
        gate.close()


os.register_at_fork(after_in_child=_close_all)


def make_folder(folder: Path) -> None:
    """Make the folder that leases and gate are in, for its owner alone; a symlink is not followed."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):  # made by another process meanwhile
            folder.mkdir(mode=0o700)
            folder.chmod(0o700)
        found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise StoreError(
            f"{folder} is in the way: a symlink or no folder",
            hint="move it: leases and the writers' gate are kept there",
        )


def _open(path: Path) -> int:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _try(descriptor: int) -> bool:
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(descriptor: int) -> int | None:
    """The process that holds a lock, where the system tells."""
    with contextlib.suppress(OSError, ValueError):
        found = os.fstat(descriptor)
        file = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if words[1:4] == ["FLOCK", "ADVISORY", "WRITE"] and words[5] == file:
                return int(words[4])
    return None
