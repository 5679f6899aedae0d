"""Whether anything was committed to a SQLite file since the last look, by any process.

Who follows a store asks; what was committed is read by `foldlog.storage.event_feed`.
"""

from pathlib import Path

from foldlog.storage.database import replaced
from foldlog.storage.faults import translated
from foldlog.storage.sqlite import SqliteDatabase, reading_mode


class FileWatch:
    """Waits on SQLite's data version, which costs one page's look and no read of the tables."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._file = _file_of(database.path)
        self._open()

    def _open(self) -> None:
        self._takes_file_as_unchanging = reading_mode(self._database.path) != "ro"
        self._reader = self._database.new_reader()
        self._version: int | None = None

    def is_new(self) -> bool:
        """Whether anything was committed since the last look."""
        with translated(f"reading {self._database.path}"):
            version = self._reader.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._version = version
            return True
        if _file_of(self._database.path) != self._file:
            raise replaced(self._database)
        if self._takes_file_as_unchanging:
            self._reader.close()
            self._open()
        return False

    def close(self) -> None:
        """Look no more."""
        self._reader.close()


def _file_of(path: Path) -> tuple[int, int] | None:
    """Which file the store is, None where it is gone; without opening it."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
