"""The demo's own folder: made, marked, and emptied of an earlier run's files; never of anybody else's."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from foldlog.cli.demo_files import MARKER
from foldlog.core.errors import AlreadyExistsError, StoreError

DEFAULT_NAME: Final = "foldlog-demo"
DATABASE_NAME: Final = "history.db"
FILES_NAME: Final = "files"
_IGNORE_NAME: Final = ".gitignore"

# All that a run leaves behind. Whatever else is there was put there by someone.
_OWN_NAMES: Final = frozenset({
    MARKER, _IGNORE_NAME, FILES_NAME, DATABASE_NAME,
    *(f"{DATABASE_NAME}{end}" for end in ("-wal", "-shm", "-leases", "-marks")),
})  # fmt: skip


@contextlib.contextmanager
def prepared(folder: Path) -> Iterator[Path]:
    """The folder, empty but for the demo's marks, and this process's alone until the block ends."""
    check(folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder / MARKER, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"another demo is running in {folder}", hint="wait for it, or choose another folder with --output"
            ) from None
        _clear(folder)
        (folder / _IGNORE_NAME).write_text("*\n")
        yield folder
    finally:
        os.close(descriptor)


def check(folder: Path) -> None:
    """Raise unless the folder is free, empty, or holds an earlier run and nothing else."""
    if not folder.parent.is_dir():
        raise StoreError(f"there is no folder {folder.parent}", hint="make it first, or choose another with --output")
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise AlreadyExistsError(f"{folder} is in the way", hint="move it, or choose another folder with --output")
    names = {entry.name for entry in folder.iterdir()}
    if not names:
        return
    strange = sorted(names - _OWN_NAMES)
    if MARKER not in names or strange:
        what = f"has {strange[0]}, which the demo did not make" if strange else "was not made by the demo"
        raise AlreadyExistsError(f"{folder} {what}", hint="choose another folder with --output")


def _clear(folder: Path) -> None:
    for name in _OWN_NAMES - {MARKER}:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
