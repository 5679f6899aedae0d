"""Writing files so that a reader sees the old one or the new one, whole and durable.

What the files hold is decided in `foldlog.outlets.export`.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from foldlog.core.errors import StoreError
from foldlog.storage.sqlite import sync_folder


def make_folder(folder: Path, mode: int) -> None:
    """Make a folder unless it is there; refuses a symlink or anything else in the way."""
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=mode)
            folder.chmod(mode)
            sync_folder(folder.parent)
            return
        if stat.S_ISDIR(folder.lstat().st_mode):
            return
    except OSError as error:
        raise StoreError(
            f"cannot make the folder {folder} ({error.strerror})", hint="make the folder above it first, or check it"
        ) from error
    raise StoreError(f"{folder} is in the way: a symlink or no folder", hint="move it, or export to another folder")


def write_file(path: Path, chunks: Iterable[bytes], mode: int) -> bool:
    """Put a file in place atomically; whether it was written, False where the content was the same.

    Temporary file, fsync, rename, fsync of the folder. Refuses a symlink in the way.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise StoreError(
                f"{path} is in the way: a symlink or no regular file",
                hint="move it, or export to another folder",
            )
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.writelines(chunks)
            file.flush()
            if _same(path, fresh):
                return False
            os.fsync(descriptor)
        fresh.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise StoreError(f"cannot write {path} ({error.strerror})", hint="check the folder and the space") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
    return True


def _same(path: Path, fresh: Path) -> bool:
    """Whether two files hold the same bytes."""
    try:
        if path.stat().st_size != fresh.stat().st_size:
            return False
    except FileNotFoundError:
        return False
    with path.open("rb") as old, fresh.open("rb") as new:
        while block := old.read(1 << 20):
            if block != new.read(1 << 20):
                return False
    return True
