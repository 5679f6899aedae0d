"""The rows that are left of a table, one after the other, past pages and values that cannot be read.

For checking and saving a damaged file: every other reader stops at damage (`foldlog.storage.damage`).
Rows are walked by rowid, in pages of their own, in the table's own tree and never by an index. Text that
is no UTF-8 comes as bytes. What the rows mean is not known here.
"""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from foldlog.storage.damage import fetch
from foldlog.storage.driver import Driver
from foldlog.storage.faults import DRIVER_ERRORS, is_damage
from foldlog.storage.sqlite import BUSY_TIMEOUT_S, reading_mode

PAGE_ROWS: Final = 1000
# How many rowids are asked for one by one, and how often each step is made that follows.
_ONE_BY_ONE: Final = 2000
_STEPS: Final = 64
_END: Final = 2**40
_FIRST: Final = -(2**63)
# A server's words for a table or column that is not there.
_UNDEFINED: Final = ("42P01", "42703")


class Lost(NamedTuple):
    """Rowids, first to last, between which nothing can be read; the last is None where that is not known."""

    first: int
    last: int | None
    why: str

    def __str__(self) -> str:
        if self.first == self.last:
            return f"row {self.first} cannot be read ({self.why})"
        to = "the end" if self.last is None else str(self.last)
        return f"rows {self.first} to {to} cannot be read ({self.why})"


def lenient(connection: Driver) -> Driver:
    """Make a connection to a file give text that is no UTF-8 as bytes, and look at each cell of a page before use."""
    if isinstance(connection, sqlite3.Connection):
        connection.text_factory = _text
        connection.execute("PRAGMA cell_size_check = ON")
    return connection


def open_left(path: Path) -> sqlite3.Connection:
    """A lenient read-only connection to a file that may be no whole store, to be closed by the caller."""
    path = path.resolve()
    uri = f"file:{quote(os.fsencode(path))}?mode={reading_mode(path)}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_S)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA mmap_size = 0")
        lenient(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def walk(
    connection: sqlite3.Connection, table: str, columns: str, *, last: int | None = None
) -> Iterator[list[tuple[Any, ...]] | Lost]:
    """Pages of a table's rows in order of rowid, and what is lost between them.

    Each row is its rowid and then the columns. `last`: the highest rowid, where the caller knows it.
    """
    sql = f"SELECT rowid, {columns} FROM {table} NOT INDEXED WHERE rowid > ? ORDER BY rowid LIMIT ?"
    after = _FIRST
    while True:
        rows, error = fetch(connection, sql, (after, PAGE_ROWS))
        is_full = len(rows) == PAGE_ROWS
        if is_full and rows[-1][0] - rows[-2][0] > PAGE_ROWS:
            rows.pop()  # a jump at the end of a page may be a damaged rowid: what follows it is to be seen
        if rows:
            yield rows
            after = max(rows[-1][0], after + 1)
        if error is None and not is_full:
            return
        if error is not None:
            last = _last(connection, table) if last is None else last
            found = _next_readable(connection, sql, after, last)
            # A first row that cannot be read has rowid 1, or what is before it is not known.
            first = max(after + 1, 1)
            if found is None:
                yield Lost(first, last if last is not None and last >= first else None, _why(error))
                return
            if found == after + 1 and not rows:
                found += 1  # it can be read by itself and not here: what is reported is never walked twice
            yield Lost(first, found - 1, _why(error))
            after = found - 1


def _last(connection: sqlite3.Connection, table: str) -> int | None:
    rows, _ = fetch(connection, f"SELECT rowid FROM {table} NOT INDEXED ORDER BY rowid DESC LIMIT 1", ())
    return rows[0][0] if rows else None


def _next_readable(connection: sqlite3.Connection, sql: str, after: int, last: int | None) -> int | None:
    """The next rowid whose row can be read, or None.

    Asks for one rowid after the other, and, where thousands cannot be read, in steps that grow: what is
    found then is looked for backwards. So the time is bounded, whatever the file claims to hold.
    """
    failed, step, asked = max(after, 0), 1, 0
    end = _END if last is None else last
    while failed < end:
        probe = min(failed + step, end)
        rows, error = fetch(connection, sql, (probe - 1, 1))
        if rows and rows[0][0] >= probe:
            return _first_readable(connection, sql, failed, int(rows[0][0]))
        if error is None:
            return None  # nothing behind it
        failed, asked = probe, asked + 1
        if asked > _ONE_BY_ONE and asked % _STEPS == 0:
            step *= 2
    return None


def _first_readable(connection: sqlite3.Connection, sql: str, failed: int, found: int) -> int:
    """The first rowid that can be read behind one that cannot, up to one that can."""
    row, start = found, found  # from `start` on there is `row`
    while start - failed > 1:
        probe = (failed + start) // 2
        rows, _ = fetch(connection, sql, (probe - 1, 1))
        if rows and rows[0][0] >= probe:
            row, start = int(rows[0][0]), probe
        else:
            failed = probe
    return row


def _why(error: Exception) -> str:
    return getattr(error, "sqlite_errorname", None) or type(error).__name__


def count(connection: Driver, table: str) -> int:
    """About how many rows a table has, for a progress bar: by its highest rowid; 0 where that cannot be read."""
    if isinstance(connection, sqlite3.Connection):
        return _last(connection, table) or 0
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def can_be_read(connection: Driver, table: str, columns: str) -> bool:
    """Whether a table has these columns."""
    try:
        connection.execute(f"SELECT {columns} FROM {table} LIMIT 0")
    except DRIVER_ERRORS as error:
        is_missing = "no such" in str(error) or getattr(error, "sqlstate", "") in _UNDEFINED
        if not is_missing and not is_damage(error):
            raise
        return False
    return True
