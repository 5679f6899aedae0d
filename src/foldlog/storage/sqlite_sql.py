"""SQLite's SQL, where PostgreSQL's reads differently: see `foldlog.storage.driver.Sql`.

How a database is opened and written is in `foldlog.storage.sqlite`.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

from sqlalchemy import MetaData, Table
from sqlalchemy.dialects import sqlite

from foldlog.storage.schema import SCHEMA_NUMBER, TRIGGERS, table_statements
from foldlog.storage.sql_views import SQL_VIEWS, SqliteWords

NAME: Final = "sqlite"
# No key is given twice: those of deleted sessions are kept below 0.
NEW_STREAM_KEY: Final = (
    "1 + max(coalesce((SELECT max(session_key) FROM streams), 0), -coalesce((SELECT min(session_key) FROM streams), 0))"
)
BEGIN_APPEND: Final = "BEGIN IMMEDIATE"
BEGIN_CHECKPOINT: Final = "BEGIN IMMEDIATE"
# An event's data as bytes: damaged text may not decode, and tells all the same.
DATA_BYTES: Final = "CAST(data AS BLOB)"
IS_WHOLE_CHAIN: Final = "typeof(chain) = 'blob' AND length(chain) = 32"

EDGE_CALL: Final = "NULL"

_DIALECT: Final = sqlite.dialect()

# VACUUM writes the whole file anew and keeps writers waiting meanwhile. A small file is done at once; of a
# larger one so much has to be free that it is worth that. Free pages are used again in any case.
VACUUM_FILE_BYTES_MAX: Final = 64 * 1024 * 1024
VACUUM_FREE_SHARE_MIN: Final = 0.1
# How long giving space back waits for other connections: it is no error when it has to be left for later.
_SPACE_BUSY_MS: Final = 1000


def statements(*metadata: MetaData) -> list[str]:
    """The DDL of tables and their indexes, in order."""
    return table_statements(_DIALECT, *metadata)


def trigger_statements() -> list[str]:
    """The DDL of the triggers."""
    return list(TRIGGERS.values())


def view_statements() -> list[str]:
    """The DDL of the SQL views, in order."""
    return [f"CREATE VIEW {name} AS {view.select.strip()}" for name, view in SQL_VIEWS.items()]


elapsed_ms: Final = SqliteWords().elapsed_ms


def columns(connection: sqlite3.Connection, table: str) -> list[str]:
    """The names of a table's columns."""
    return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]


@cache
def _upserts(table: Table) -> tuple[str, str]:
    """`INSERT … ON CONFLICT DO UPDATE`: of rows that stay where indexes have them, and of any.

    A column that is set has its indexes written, changed or not, and a page of each for every row. So the
    first leaves indexed columns out, and rows in which one has changed untouched.
    """
    names = [column.name for column in table.columns]
    key = [column.name for column in table.primary_key]
    indexed = {column.name for index in table.indexes for column in index.columns}
    changed = [name for name in names if name not in key]
    insert = (
        f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)}) "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET"
    )
    moved = [f"{name} = excluded.{name}" for name in changed]
    staying = [f"{name} = excluded.{name}" for name in changed if name not in indexed]
    same = [f"{table.name}.{name} IS excluded.{name}" for name in changed if name in indexed] or ["TRUE"]
    return f"{insert} {', '.join(staying)} WHERE {' AND '.join(same)}", f"{insert} {', '.join(moved)}"


def write_rows(connection: sqlite3.Connection, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows, or replace those whose key is there."""
    staying, moved = _upserts(table)
    rows = list(rows)
    if connection.executemany(staying, rows).rowcount < len(rows):
        connection.executemany(moved, rows)


def add_rows(connection: sqlite3.Connection, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows of which none is there."""
    names = [column.name for column in table.columns]
    marks = ", ".join(f":{name}" for name in names)
    connection.executemany(f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({marks})", rows)


def put_rows(connection: sqlite3.Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows of a durable table with the keys they have, inside the caller's transaction."""
    marks = ", ".join("?" * len(columns))
    connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)


def go_on_behind(connection: sqlite3.Connection) -> None:
    """Nothing is to be said: the next key is always behind the last one there is."""


def look_again(connection: sqlite3.Connection) -> None:
    """Nothing is to be said: statements are planned by what indexes there are."""


def walk(connection: sqlite3.Connection, table: str, columns: str) -> Iterator[Any]:
    """Pages of a table's rows, each its rowid and then the columns, past what cannot be read."""
    from foldlog.storage import rows_left  # noqa: PLC0415  (it reads through modules that read this one)

    return rows_left.walk(connection, table, columns)


def schema_number(connection: sqlite3.Connection) -> int:
    """The number of the schema as the database says."""
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def mark_current(connection: sqlite3.Connection) -> None:
    """Say that the schema is today's, inside the caller's transaction."""
    connection.execute(f"PRAGMA user_version = {SCHEMA_NUMBER}")


def insert(connection: sqlite3.Connection, sql: str, values: tuple[object, ...], key: str) -> int:  # noqa: ARG001
    """Insert a row; the key that it got."""
    found = connection.execute(sql, values).lastrowid
    assert found is not None  # noqa: S101  (a row was added)
    return found


def hold_stream(connection: sqlite3.Connection, key: int | None) -> None:
    """Nobody else writes while this transaction does."""


def hold_all(connection: sqlite3.Connection) -> None:
    """Nobody else writes while this transaction does."""


def as_stored(table: Table, row: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG001
    """A row as reading it back gives it: as it is."""
    return row


# Deleting.


@contextmanager
def deleting(connection: sqlite3.Connection) -> Iterator[None]:
    """Foreign keys off: SQLite would look through all lists for each that goes. What goes is overwritten."""
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("PRAGMA secure_delete = ON")
    try:
        yield
    finally:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("PRAGMA foreign_keys = ON")


def stored_bytes(connection: sqlite3.Connection) -> int:
    """What the database takes, whether in its file or still in the write-ahead log."""
    page_bytes, page_count = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count")
    )
    return int(page_bytes * page_count)


def give_back_space(connection: sqlite3.Connection) -> str | None:
    """Make the file as small as is worth it, outside of any transaction; why it could not be, if so.

    Nothing is lost where it fails: free pages are used again, and the next deletion tries again.
    """
    timeout_ms = connection.execute("PRAGMA busy_timeout").fetchone()[0]
    connection.execute(f"PRAGMA busy_timeout = {_SPACE_BUSY_MS}")
    try:
        free_count, page_count = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_count")
        )
        is_small = stored_bytes(connection) <= VACUUM_FILE_BYTES_MAX
        if free_count and (is_small or free_count >= page_count * VACUUM_FREE_SHARE_MIN):
            connection.execute("VACUUM")
        is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error as error:
        return f"the file could not be made smaller now (SQLite: {error})"
    finally:
        connection.execute(f"PRAGMA busy_timeout = {timeout_ms}")
    return "a reader still needs the write-ahead log; the file gets smaller when it has left" if is_busy else None


def row_key(row_id: Any) -> Any:
    """A row's id as the id columns hold it: itself, whatever they are declared to hold."""
    return row_id


def id_of(key: Any, name: Any) -> Any:  # noqa: ARG001  (the other engine needs both)
    """A row's id from an id column."""
    return key


def id_name(column: str, key: str) -> str:  # noqa: ARG001
    """Nothing is needed beside the column."""
    return "NULL"
