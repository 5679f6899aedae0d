"""Backup: a copy of a store in use, through SQLite's own backup API.

The copy is made under another name, checked, made durable, and only then given its name.
"""

import contextlib
import os
import secrets
import sqlite3
from pathlib import Path

from foldlog.core.errors import AlreadyExistsError, StoreError
from foldlog.storage.database import Database
from foldlog.storage.faults import translated
from foldlog.storage.files import make_private, sync_folder
from foldlog.storage.sqlite import sqlite_of


def backup(database: Database, path: Path) -> None:
    """Copy the database to `path`, which must be free."""
    if not path.parent.is_dir():
        raise StoreError(f"there is no folder {path.parent}", hint="make the folder first, or check the path")
    if os.path.lexists(path):
        raise AlreadyExistsError(f"{path} is there already", hint="choose a new name: a backup replaces nothing")
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(6)}.new")
    source = sqlite_of(database, "backup").new_reader()
    try:
        with translated(f"backing up to {path}"):
            make_private(fresh)
            copy = sqlite3.connect(fresh, isolation_level=None)
            try:
                source.backup(copy)
                found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
            finally:
                copy.close()
        if found != "ok":
            raise StoreError(f"the copy of {database.name} is damaged: {found}", hint="run `foldlog verify STORE`")
        descriptor = os.open(fresh, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.link(fresh, path)
        sync_folder(path.parent)
    except FileExistsError as error:
        raise AlreadyExistsError(f"{path} is there already", hint="choose a new name") from error
    except (OSError, ValueError) as error:
        raise StoreError(
            f"cannot back up to {path} ({getattr(error, 'strerror', None) or error})",
            hint="check the folder and the space",
        ) from error
    finally:
        source.close()
        for suffix in ("", "-wal", "-shm", "-journal"):
            with contextlib.suppress(OSError):
                os.unlink(f"{fresh}{suffix}")  # noqa: PTH108
