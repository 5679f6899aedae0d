"""Read-only SQL: a connection of its own that cannot write, attach, load code or run for ever.

What a query may do and take is in `foldlog.outlets.query_bounds`. On PostgreSQL all of it is
`foldlog.outlets.postgres_query`'s.

The tables and SQL views that can be asked are on the schema page; how they are filled is in
`foldlog.session.checkpoint`.
"""

import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from foldlog.core.errors import QueryError
from foldlog.core.limits import QUERY_SECONDS_MAX
from foldlog.outlets import query_names
from foldlog.outlets.query_bounds import Watch, bound, too_long
from foldlog.storage.database import Database
from foldlog.storage.sqlite import sqlite_of

if TYPE_CHECKING:
    import sqlite_utils


def run(database: Database, sql: str, params: Any = (), *, timeout_s: float | None = None) -> Iterator[dict[str, Any]]:
    """Rows of one SELECT, as dicts; raises `QueryError` at once for SQL that is refused."""
    if timeout_s is not None and not (isinstance(timeout_s, int | float) and timeout_s >= 0):
        raise QueryError("timeout is a number of seconds", hint="pass a number, or leave it out")
    limit_s = QUERY_SECONDS_MAX if timeout_s is None else float(timeout_s)
    params = _checked(params)
    if database.path is None:
        return _asked_of_server(database, sql, params, limit_s)
    database = sqlite_of(database, "this query")
    connection = database.new_reader()
    watch = Watch(limit_s)
    try:
        bound(connection, watch)
        cursor = connection.execute(sql, params)
        names = distinct([column[0] for column in cursor.description or ()])
    except (sqlite3.Error, sqlite3.Warning, TypeError, ValueError, OverflowError, MemoryError) as error:
        connection.close()
        raise _refusal(error, limit_s, watch, sql, query_names.hint(database, sql, str(error))) from None
    except BaseException:
        connection.close()
        raise
    if not names:
        connection.close()
        raise QueryError("the SQL returns no rows", hint="ask with a SELECT")
    return _Rows(database, connection, cursor, names, watch, limit_s)


def _asked_of_server(
    database: Database, sql: str, params: dict[str, Any] | list[Any], limit_s: float
) -> Iterator[dict[str, Any]]:
    from foldlog.outlets import postgres_query  # noqa: PLC0415  (its driver is an extra)
    from foldlog.storage.postgres import PostgresDatabase  # noqa: PLC0415

    assert isinstance(database, PostgresDatabase)  # noqa: S101  (there are two engines)
    return postgres_query.run(database, sql, params, limit_s)


def _checked(params: Any) -> dict[str, Any] | list[Any]:
    """Values that SQLite takes as they are, and no others: an adapter is code that runs, NaN becomes NULL."""
    if isinstance(params, Mapping):
        found: dict[str, Any] | list[Any] = dict(params)
        values = list(params.values())
    elif isinstance(params, Sequence) and not isinstance(params, str | bytes | bytearray | memoryview):
        found = values = list(params)
    else:
        raise QueryError("the parameters are no sequence or mapping", hint="pass a list for ?, a dict for :name")
    for value in values:
        if not (value is None or type(value) in (int, float, bool, str, bytes, bytearray, memoryview)):
            raise QueryError(
                f"a parameter is of class {type(value).__qualname__}", hint="pass str, int, float, bytes or None"
            )
        if type(value) is float and math.isnan(value):
            raise QueryError("a parameter is NaN", hint="SQL has no NaN: pass None, and ask with IS")
    return found


def distinct(names: list[str]) -> list[str]:
    """Names for the keys of a row: of two columns `id` the second is `id_2`, so that none is lost."""
    found: dict[str, None] = {}
    for name in names:
        number, free = 2, name
        while free in found:
            number, free = number + 1, f"{name}_{number}"
        found[free] = None
    return list(found)


class _Rows(Iterator[dict[str, Any]]):
    """The rows of one query; its connection is closed at the end, at an error, by `close` and when it is let go of."""

    def __init__(
        self,
        database: Database,
        connection: sqlite3.Connection,
        cursor: sqlite3.Cursor,
        names: list[str],
        watch: Watch,
        limit_s: float,
    ) -> None:
        self._database = database
        self._connection: sqlite3.Connection | None = connection
        self._cursor = cursor
        self._names = names
        self._watch = watch
        self._limit_s = limit_s

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> dict[str, Any]:
        if self._connection is None:
            raise StopIteration
        self._database.check_open()
        try:
            # Between two rows too: what is being read keeps the log from shrinking.
            self._watch.check(self._limit_s)
            row = next(self._cursor, None)
        except (sqlite3.Error, UnicodeError, MemoryError) as error:
            self.close()
            raise _refusal(error, self._limit_s, self._watch) from None
        except BaseException:
            self.close()
            raise
        if row is None:
            self.close()
            raise StopIteration
        return dict(zip(self._names, row, strict=True))

    def close(self) -> None:
        """Let go of the database; there are no more rows."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def __del__(self) -> None:
        self.close()


def _refusal(error: Exception, limit_s: float, watch: Watch, sql: str = "", near: str | None = None) -> QueryError:
    """Our error for the driver's, without it as a cause: its words may be a row's, or a parameter's."""
    if watch.struck is not None:
        raise watch.struck
    code = getattr(error, "sqlite_errorcode", 0)
    text = _words(error, sql)
    if watch.took_too_much or isinstance(error, MemoryError):
        return QueryError("the query takes too much memory or disk", hint="sort, group or join less at once")
    if watch.is_over and code in (sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_AUTH):
        return too_long(limit_s)
    if code == sqlite3.SQLITE_INTERRUPT or (code == sqlite3.SQLITE_AUTH and not watch.has_denied):
        return QueryError("a signal struck during the query", hint="not all of it was read; ask again")
    if code == sqlite3.SQLITE_AUTH or "not authorized" in text or "prohibited" in text:
        return QueryError(
            f"the query is refused ({text})",
            hint="one SELECT over the tables and views, and nothing else, is allowed",
        )
    if code == sqlite3.SQLITE_TOOBIG or "user-defined function raised" in text:
        return QueryError("a value in the query is too large", hint="select less of it: substr(data, 1, 1000)")
    if isinstance(error, sqlite3.ProgrammingError | sqlite3.Warning):
        return QueryError(f"SQLite says: {text}", hint="one statement, and one value for each ? or :name in it")
    return QueryError(
        f"SQLite says: {text}", hint=near or "SELECT name, sql FROM sqlite_schema shows the tables, views and columns"
    )


def _words(error: Exception, sql: str) -> str:
    """What SQLite says, without values: a path of JSON, what is matched, text that is no UTF-8."""
    text = str(error)
    # A column that the SQL does not name is a word of what is matched.
    is_matched = text.startswith(_NO_COLUMN) and text.removeprefix(_NO_COLUMN).rpartition(".")[2] not in sql
    if isinstance(error, UnicodeError) or text.startswith(_WITH_VALUES) or is_matched:
        return f"{type(error).__name__}: a value in the query is not of the form it should be"
    return text if len(text) <= _WORDS_CHARS_MAX else f"{text[:_WORDS_CHARS_MAX]}…"


_WITH_VALUES = ("Could not decode", "JSON path error", "bad JSON path", "fts5:", "unknown special query:")
_NO_COLUMN = "no such column: "
_WORDS_CHARS_MAX = 200


def utils_database(database: Database) -> "sqlite_utils.Database":
    """A `sqlite_utils.Database` over a read-only connection, with foldlog's SQL functions."""
    import sqlite_utils  # noqa: PLC0415  (heavy, and only for those who ask)

    from foldlog.outlets import sql_functions  # noqa: PLC0415

    connection = sqlite_of(database, "sqlite_utils").new_reader()
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        found = sqlite_utils.Database(connection)
        sql_functions.register(connection)
    except BaseException:
        connection.close()
        raise
    return found
