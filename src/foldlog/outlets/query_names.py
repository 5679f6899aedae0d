"""What a query may have meant that names no table or column there is: the nearest names of the store.

Looks at the schema only. Running a query, and its other errors, are in `foldlog.outlets.query`.
"""

import contextlib
import difflib
import re
import sqlite3
from collections.abc import Iterable
from typing import Final

from foldlog.core.errors import FoldlogError
from foldlog.storage.sqlite import SqliteDatabase

_MISSING: Final = re.compile(r"no such (table|column): (\S+)")
# What SQLite and FTS5 make for themselves, and nobody asks for.
_OWN: Final = re.compile(r"sqlite_|search_index_|alembic_version$")
_NAMED_MAX: Final = 3
_NEAR: Final = 0.6


def hint(database: SqliteDatabase, sql: str, said: str) -> str | None:
    """What to write instead, where SQLite said of some SQL that there is no such table or column; else None."""
    found = _MISSING.search(said)
    if found is None:
        return None
    kind, name = found[1], found[2].strip("\"'`[]")
    try:
        with contextlib.closing(database.new_reader()) as connection:
            columns = _columns(connection)
    except (FoldlogError, sqlite3.Error):
        return None
    if kind == "table":
        return _near_tables(name, columns)
    words = set(re.findall(r"\w+", sql.lower()))
    asked = {table: names for table, names in columns.items() if table.lower() in words}
    return _near_columns(name.rpartition(".")[2], asked or columns, is_asked=bool(asked))


def _columns(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """The columns of every table and view."""
    found: dict[str, list[str]] = {}
    for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') ORDER BY name"):
        if not _OWN.match(name):
            found[name] = []
            with contextlib.suppress(sqlite3.Error):  # a view of somebody else's may be of a table that is gone
                rows = connection.execute("SELECT name FROM pragma_table_info(?)", (name,))
                found[name] = [column for (column,) in rows]
    return found


def _near_tables(name: str, columns: dict[str, list[str]]) -> str:
    near = _nearest(name.rpartition(".")[2], columns)
    return f"nearest: {', '.join(near)}" if near else f"there are {', '.join(columns)}"


def _near_columns(name: str, columns: dict[str, list[str]], *, is_asked: bool) -> str | None:
    """The nearest columns, each with the tables it is in; where none is near, all of the tables that were asked."""
    near = _nearest(name, {column for names in columns.values() for column in names})
    if near:
        named = (f"{column} ({_some([table for table in columns if column in columns[table]])})" for column in near)
        return f"nearest: {', '.join(named)}"
    return "; ".join(f"{table} has {', '.join(names)}" for table, names in columns.items()) if is_asked else None


def _some(tables: list[str]) -> str:
    return f"{', '.join(tables[:_NAMED_MAX])}{' …' if len(tables) > _NAMED_MAX else ''}"


def _nearest(name: str, names: Iterable[str]) -> list[str]:
    """The names most like one, whatever their case, nearest first."""
    by_lower = {one.lower(): one for one in sorted(names)}
    return [by_lower[one] for one in difflib.get_close_matches(name.lower(), by_lower, _NAMED_MAX, _NEAR)]
