"""Read-only SQL: a connection of its own that cannot write, attach, load code or run for ever.

The tables and SQL views that can be asked are on the schema page; how they are filled is in
`foldlog.session.checkpoint`.
"""

import sqlite3
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from foldlog.core.errors import QueryError
from foldlog.core.limits import QUERY_SECONDS_MAX, QUERY_VALUE_BYTES_MAX
from foldlog.storage.sqlite import Database

if TYPE_CHECKING:
    import sqlite_utils

_ALLOWED: Final = frozenset({
    sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE,
})  # fmt: skip
# These build or scan values of any size in one step, where no deadline can interrupt them, or reach
# outside the database.
_DENIED_FUNCTIONS: Final = frozenset({
    "printf", "format", "zeroblob", "randomblob", "load_extension", "fts3_tokenizer", "readfile", "writefile",
    "edit", "eval",
})  # fmt: skip
# Steps of SQLite's virtual machine between two looks at the clock: about 0.1 ms.
_STEPS_PER_LOOK: Final = 10_000


def run(database: Database, sql: str, params: Any = (), *, timeout_s: float | None = None) -> Iterator[dict[str, Any]]:
    """Rows of one SELECT, as dicts; raises `QueryError` at once for SQL that is refused."""
    if timeout_s is not None and not isinstance(timeout_s, int | float):
        raise QueryError("timeout is a number of seconds", hint="pass a number, or leave it out")
    limit_s = QUERY_SECONDS_MAX if timeout_s is None else float(timeout_s)
    connection = database.new_reader()
    try:
        deadline = time.monotonic() + limit_s
        _bound(connection, deadline)
        cursor = connection.execute(sql, params)
        names = [column[0] for column in cursor.description or ()]
    except (sqlite3.Error, sqlite3.Warning, TypeError, ValueError, OverflowError) as error:
        connection.close()
        raise _refusal(error, limit_s) from error
    except BaseException:
        connection.close()
        raise
    if not names:
        connection.close()
        raise QueryError("the SQL returns no rows", hint="ask with a SELECT")
    return _rows(connection, cursor, names, limit_s)


def _rows(
    connection: sqlite3.Connection, cursor: sqlite3.Cursor, names: list[str], limit_s: float
) -> Iterator[dict[str, Any]]:
    try:
        for row in cursor:
            yield dict(zip(names, row, strict=True))
    except sqlite3.Error as error:
        raise _refusal(error, limit_s) from error
    finally:
        connection.close()


def _bound(connection: sqlite3.Connection, deadline: float) -> None:
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, QUERY_VALUE_BYTES_MAX)
    connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, 1_000_000)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000)
    # SQLite's own takes the product of both lengths, in one step that no deadline ends.
    connection.create_function("instr", 2, _instr, deterministic=True)
    connection.set_authorizer(_authorize)
    connection.set_progress_handler(lambda: int(time.monotonic() > deadline), _STEPS_PER_LOOK)


def _instr(text: Any, part: Any) -> int | None:
    """Where `part` first is in `text`, from 1, as SQLite's instr says it."""
    if text is None or part is None:
        return None
    if isinstance(text, bytes) and isinstance(part, bytes):
        return text.find(part) + 1
    return _as_text(text).find(_as_text(part)) + 1


def _as_text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _authorize(action: int, _first: str | None, second: str | None, *_rest: str | None) -> int:
    if action not in _ALLOWED:
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _DENIED_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _refusal(error: Exception, limit_s: float) -> QueryError:
    code = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_INTERRUPT:
        return QueryError(f"the query ran longer than {limit_s:g} s", hint="narrow it, or pass timeout=…")
    if code == sqlite3.SQLITE_AUTH or "not authorized" in str(error) or "prohibited" in str(error):
        return QueryError(
            f"the query is refused ({error})",
            hint="query() reads: one SELECT over the tables and views, nothing else",
        )
    if code == sqlite3.SQLITE_TOOBIG:
        return QueryError("a value in the query is too large", hint="select less of it: substr(data, 1, 1000)")
    if isinstance(error, sqlite3.ProgrammingError | sqlite3.Warning):
        return QueryError(f"SQLite says: {error}", hint="one statement, and one value for each ? or :name in it")
    return QueryError(f"SQLite says: {error}", hint="the schema page lists the tables, views and columns")


def utils_database(database: Database) -> "sqlite_utils.Database":
    """A `sqlite_utils.Database` over a read-only connection."""
    import sqlite_utils  # noqa: PLC0415  (heavy, and only for those who ask)

    return sqlite_utils.Database(database.new_reader())
