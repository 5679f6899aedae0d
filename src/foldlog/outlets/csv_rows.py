"""Rows of a table or SQL view as CSV (RFC 4180).

Any other SELECT is `foldlog.outlets.query`'s, and the standard library's csv module. What tables and views
there are is on the schema page.
"""

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from foldlog.core.errors import QueryError
from foldlog.core.ids import check_session_id
from foldlog.storage import journal
from foldlog.storage.driver import driver_of, sql_of
from foldlog.storage.schema import durable, projection
from foldlog.storage.sql_views import SQL_VIEWS

if TYPE_CHECKING:
    from foldlog.store.store import Store

_TABLES: Final = {**projection.tables, **durable.tables}
NAMES: Final = (*SQL_VIEWS, *sorted(_TABLES))
_ROWS_A_CHUNK: Final = 500
_TIMEOUT_S: Final = 3600.0


def chunks(store: "Store", name: str, session_id: str | None = None) -> Iterator[str]:
    """The rows with a line of names before them: of all sessions, or of one and all below it.

    Those of a table are in order of its key (sorting a view could take any space). NULL is an empty cell, bytes are in
    hex. What is wrong is raised at once.
    """
    if name not in NAMES:
        raise QueryError(f"there is no table or view {name!r}", hint=f"use one of {', '.join(NAMES)}")
    with store.database.read() as connection:
        driver = driver_of(connection)
        columns = sql_of(driver).columns(driver, name)
    sql, params = f"SELECT * FROM {name}", tuple[str, ...]()
    if session_id is not None:
        journal.find_stream(store.database, check_session_id(session_id))
        if "session_id" not in columns:
            raise QueryError(f"{name} has no rows of single sessions", hint="leave the session out")
        sql += " WHERE session_id = ? OR session_id > ? AND session_id < ?"
        params = (session_id, *journal.range_below(session_id))
    if name in _TABLES:
        sql += f" ORDER BY {', '.join(column.name for column in _TABLES[name].primary_key)}"
    return _lines(columns, store.query(sql, params, timeout=_TIMEOUT_S))


def _lines(columns: list[str], rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for count, row in enumerate(rows, 1):
        writer.writerow([value.hex() if isinstance(value, bytes) else value for value in row.values()])
        if count % _ROWS_A_CHUNK == 0:
            yield out.getvalue()
            out.seek(0)
            out.truncate()
    yield out.getvalue()
