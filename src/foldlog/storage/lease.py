"""Leases: one writer a session, by a lock that dies with its process.

A lease is an advisory lock on a small file in a folder beside the database, `<store>-leases`. The
kernel lets go of it when the process ends, however it ends, so a crashed writer never has to be waited
for and no clock is trusted. The file's text names the holder, for the refusal. That a writer can be
overtaken all the same is caught by the unique event id in the journal itself.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import stat
import weakref
from pathlib import Path
from typing import Any

from foldlog.core.errors import SessionInUseError, StoreError
from foldlog.storage.gate import make_folder

_held: "weakref.WeakSet[Lease]" = weakref.WeakSet()


class Lease:
    """The right to write one session, held until released or until the process ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        _held.add(self)

    @property
    def is_held(self) -> bool:
        """Whether this still is the lease: not released, and not taken over."""
        return self._descriptor is not None and _is_at(self.path, self._descriptor)

    def release(self) -> None:
        """Give the lease back; releasing twice is fine."""
        if self._descriptor is None:
            return
        # Unlinked while still locked, and only if it is still ours: it may have been taken over.
        with contextlib.suppress(OSError):
            if _is_at(self.path, self._descriptor):
                self.path.unlink()
        self.abandon()

    def __del__(self) -> None:
        self.abandon()  # of a handle that nobody has: a signal kept its opener from having it

    def abandon(self) -> None:
        """Close the descriptor and nothing else: what a forked child does with its parent's lease."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


def _abandon_all() -> None:
    for lease in list(_held):
        lease.abandon()


os.register_at_fork(after_in_child=_abandon_all)


def folder_of(path: Path) -> Path:
    """Where the leases of the database at `path` are."""
    return path.with_name(f"{path.name}-leases")


def holder_now(since: str) -> dict[str, Any]:
    """Who would be named as the holder of a lease taken now."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": since}


def acquire(folder: Path, session_id: str, holder: dict[str, Any]) -> Lease:
    """Take a session's lease; raises `SessionInUseError` naming who has it."""
    path = path_of(folder, session_id)
    try:
        make_folder(folder)
        while True:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            held = Lease(path, descriptor)  # from here on it closes the descriptor, whatever strikes
            _check_own(path, descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                current = _read(descriptor)
                held.abandon()
                raise in_use(session_id, current) from None
            if _is_at(path, descriptor):
                break
            held.abandon()  # its holder released it between our open and our lock
        try:
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        except OSError:
            held.release()
            raise
    except OSError as error:
        raise _unusable(folder, session_id, error) from error
    return held


def _check_own(path: Path, descriptor: int) -> None:
    """What is written into the file must not be another file's content."""
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        raise StoreError(f"{path} is in the way: no file of its own", hint="remove it: leases are kept there")


def push_aside(folder: Path, session_id: str) -> None:
    """Take the name of a session's lease from its holder, who is alive but stuck.

    The holder keeps its lock on a file without a name. That it can no longer write is not the lease's
    doing: the caller appends an event first, so the old holder's next event id is taken.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            path_of(folder, session_id).unlink()
    except OSError as error:
        raise _unusable(folder, session_id, error) from error


def path_of(folder: Path, session_id: str) -> Path:
    """The file of a session's lease."""
    # An address may be longer than a file name; its hash is not.
    return folder / f"{hashlib.sha256(session_id.encode()).hexdigest()[:32]}.lock"


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))  # noqa: PTH116
    except FileNotFoundError:
        return False


def _read(descriptor: int) -> dict[str, Any]:
    try:
        found = json.loads(os.pread(descriptor, 4096, 0))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _unusable(folder: Path, session_id: str, error: OSError) -> StoreError:
    return StoreError(
        f"session {session_id!r}: cannot take the lease in {folder} ({error.strerror})",
        hint="check that the folder of the store may be written",
    )


def in_use(session_id: str, holder: dict[str, Any]) -> SessionInUseError:
    """The refusal of a second writer, naming the first."""
    who = "another handle"
    if holder:
        who = f"process {holder.get('pid')} on {holder.get('host')} since {holder.get('since')}"
        if holder.get("pid") == os.getpid() and holder.get("host") == socket.gethostname():
            who = f"another handle of this process since {holder.get('since')}"
    return SessionInUseError(
        f"session {session_id!r} is being written by {who}",
        hint="close it there, or end that process; reading goes on meanwhile. A writer that is stuck is pushed aside "
        "by opening the session with take_over",
        holder=holder,
    )
