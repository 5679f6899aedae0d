"""Writing files so that a reader sees the old one or the new one, whole and durable; and removing them.

What the files hold is decided in `foldlog.outlets.export`.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from foldlog.core.errors import StoreError


def make_folder(folder: Path, mode: int) -> bool:
    """Make a folder unless it is there, and whether it was made; refuses a symlink or anything else in the way."""
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=mode)
            folder.chmod(mode)
            sync_folder(folder.parent)
            return True
        if stat.S_ISDIR(folder.lstat().st_mode):
            return False
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
                hint="give another file: only a regular one is replaced",
            )
        _check_no_database(path)
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
        raise _not_written(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # what is left of it is in nobody's way
            fresh.unlink()
    return True


def make_names_durable(folder: Path) -> None:
    """Sync a folder that has what was to be put there: whoever put it there may have died before the sync."""
    try:
        sync_folder(folder)
    except OSError as error:
        raise StoreError(f"cannot sync {folder} ({error.strerror})", hint="check the folder and the disk") from error


def is_folder(folder: Path, *, within: Path) -> bool:
    """Whether this is a folder, and no step to it from `within` on is a symlink."""
    try:
        while stat.S_ISDIR(folder.lstat().st_mode) and folder != within:
            folder = folder.parent
    except OSError:
        return False
    return folder == within


def remove_files(folder: Path, names: Iterable[str]) -> int:
    """Remove the regular files of these names that are in a folder; how many."""
    count = 0
    for path in map(folder.joinpath, names):
        try:
            if stat.S_ISREG(path.lstat().st_mode):
                path.unlink()
                count += 1
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _not_removed(path, error) from error
    return count


def remove_folder(folder: Path) -> bool:
    """Remove a folder if it is empty; whether there is none now."""
    try:
        folder.rmdir()
        sync_folder(folder.parent)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise _not_removed(folder, error) from error
    return True


def _not_written(path: Path, error: OSError) -> StoreError:
    if _is_full(error):
        return StoreError(
            f"cannot write {path}: no space is left there",
            hint="nothing of it was kept; make room, or give another disk",
        )
    return StoreError(f"cannot write {path} ({error.strerror})", hint="check the folder and its permissions")


def _is_full(error: OSError) -> bool:
    """Whether the disk, or what its owner may take of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def _not_removed(path: Path, error: OSError) -> StoreError:
    return StoreError(f"cannot remove {path} ({error.strerror})", hint="check its folder, and remove it by hand")


def _check_no_database(path: Path) -> None:
    """Refuse to replace a SQLite database, or what SQLite or a store keeps beside one."""
    beside = ("-wal", "-shm", "-journal", "-marks", "-leases")
    is_in_use = any(path.with_name(path.name + suffix).exists() for suffix in beside)
    is_beside = any(path.name.endswith(one) and path.with_name(path.name.removesuffix(one)).exists() for one in beside)
    if not is_in_use and not is_beside:
        try:
            with path.open("rb") as file:  # nobody has it open: there would be files beside it
                is_in_use = file.read(16) == b"SQLite format 3\0"
        except FileNotFoundError:
            raise  # gone meanwhile, so in nobody's way
        except OSError as error:
            raise StoreError(
                f"cannot look at {path} before it is replaced ({error.strerror})", hint="check the file and the folder"
            ) from error
    if is_in_use or is_beside:
        raise StoreError(f"{path} is a database, or belongs to one", hint="give another file: it was not touched")


def _same(path: Path, fresh: Path) -> bool:
    """Whether two files hold the same bytes, under the same mode."""
    try:
        old, new = path.lstat(), fresh.lstat()
        if (old.st_size, old.st_mode) != (new.st_size, new.st_mode):
            return False
    except FileNotFoundError:
        return False
    with path.open("rb") as before, fresh.open("rb") as after:
        while block := before.read(1 << 20):
            if block != after.read(1 << 20):
                return False
    return True


def make_private(path: Path) -> None:
    """Make an empty file of mode 0600, whatever the umask."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
