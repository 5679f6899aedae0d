"""The write-ahead log: copying it back into the database before it grows.

SQLite would copy it back by itself, at every commit once it is long, and a blocked copy again at every
commit. Here it is copied about every thousand pages, and a blocked copy (somebody reads an old moment) is
tried again after a hundred commits. Afterwards the log is written over from its beginning, which syncs
faster than a log that grows. All of it happens behind the gate (`foldlog.storage.gate`).
"""

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

SIZE_LIMIT_BYTES: Final = 4 * 1024 * 1024
# A commit writes two or three pages, so this is a thousand pages at most; larger ones show in the file's size.
_COMMITS_MAX: Final = 350
_BLOCKED_COMMITS_MAX: Final = 100
# Twice the pages that are aimed at: the log was copied, but somebody kept it from starting anew.
_PAGES_MAX: Final = 2000
_LOOK_EVERY_ROWS: Final = 16


class WalKeeper:
    """Copies one database's log back when that is due; used only behind the gate."""

    def __init__(self, path: Path) -> None:
        self._wal = f"{path}-wal"
        self._commits = 0
        self._rows = 0
        self._look_at_rows = 0
        self._size_bytes = 0
        self.is_blocked = False

    def after_commit(self, connection: sqlite3.Connection) -> None:
        """Count a commit, and copy the log back if that is due."""
        self._commits += 1
        rows = connection.total_changes
        if rows >= self._look_at_rows and self._is_due(rows) and not connection.in_transaction:
            self._copy_back(connection)

    def _is_due(self, rows: int) -> bool:
        self._look_at_rows = rows + _LOOK_EVERY_ROWS
        if self.is_blocked:  # by rows too: callers that share commits make few
            return max(self._commits, rows - self._rows) >= _BLOCKED_COMMITS_MAX
        if self._commits >= _COMMITS_MAX:
            return True
        try:
            size_bytes = os.stat(self._wal).st_size  # noqa: PTH116
        except OSError:
            return False
        return size_bytes - self._size_bytes >= SIZE_LIMIT_BYTES

    def _copy_back(self, connection: sqlite3.Connection) -> None:
        self._commits, self._rows = 0, connection.total_changes
        # The commit before stands whatever becomes of this; a disk that fails here fails the next commit too.
        try:
            _, pages, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            size_bytes = os.stat(self._wal).st_size  # noqa: PTH116
        except (sqlite3.Error, OSError):
            self.is_blocked = True
            return
        self.is_blocked = copied < pages or pages > _PAGES_MAX
        self._size_bytes = min(size_bytes, SIZE_LIMIT_BYTES)

    def at_close(self, connection: sqlite3.Connection) -> None:
        """Leave nothing in the log, unless somebody reads from it."""
        with contextlib.suppress(sqlite3.Error):
            connection.execute("PRAGMA busy_timeout = 0")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def settle(connection: Connection) -> None:
    """Make final what can be read now, after a commit whose sync failed; inside a transaction of the caller's.

    What that commit wrote may stand in the log behind the last one that counts, whole: seen by nobody, and
    back after a crash. A commit of one page, of no other effect, takes its place.
    """
    number = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    connection.exec_driver_sql(f"PRAGMA user_version = {number}")
