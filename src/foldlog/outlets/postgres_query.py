"""Read-only SQL on PostgreSQL: a connection of its own, one transaction that cannot write, within limits.

What a query may name is in `foldlog.outlets.postgres_query_text`, which checks every one before it comes here. The
same promises for SQLite are in `foldlog.outlets.query`, which also checks the values.
"""

import difflib
import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any, Final, Self

import psycopg
from psycopg import sql as quoting
from psycopg.postgres import types
from psycopg.types.string import TextLoader

from foldlog.core.errors import FoldlogError, QueryError, StoreError
from foldlog.core.limits import QUERY_EXTRA_BYTES_MAX, QUERY_VALUE_BYTES_MAX
from foldlog.outlets.postgres_query_text import Text, checked
from foldlog.outlets.query_bounds import too_long
from foldlog.storage import postgres
from foldlog.storage.faults import translate
from foldlog.storage.postgres import PostgresDatabase
from foldlog.storage.postgres_driver import Server, ServerError
from foldlog.storage.schema import durable, projection, search
from foldlog.storage.sql_views import SQL_VIEWS

_FETCH_ROWS: Final = 500
_TIMEOUT_MS_MAX: Final = 2**31 - 1
_WORDS_CHARS_MAX: Final = 200
# How often a query is asked again whose connection was lost: it may be what ends its server's process.
_LOSSES_MAX: Final = 3
_LEFT_IDLE: Final = "25P03"  # rows that nobody read in time
# Types that are read as Python's; all others as their text. A value of any other length is looked at before it is sent.
_READ: Final = frozenset({"bool", "int2", "int4", "int8", "float4", "float8", "numeric", "bytea"})
_LENGTH: Final = {"text": "octet_length({})", "varchar": "octet_length({})", "bytea": "octet_length({})"}
_NUMERIC: Final = types["numeric"].oid

# Not set by who may not: a server's own limit stands then, and so does one that is lower.
_DISK: Final = f"""
SELECT set_config('temp_file_limit', '{QUERY_EXTRA_BYTES_MAX // 1024}kB', true) FROM pg_settings
WHERE name = 'temp_file_limit' AND (setting::bigint < 0 OR setting::bigint > {QUERY_EXTRA_BYTES_MAX // 1024})
AND {{}}"""
_SETTINGS: Final = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "SET LOCAL standard_conforming_strings = on",  # the text is read so
    "SET LOCAL max_parallel_workers_per_gather = 0",  # limits are a process's
    "SET LOCAL jit = off",
)


def run(
    database: PostgresDatabase, sql: str, params: Mapping[str, Any] | list[Any], limit_s: float
) -> Iterator[dict[str, Any]]:
    """Rows of one SELECT, as dicts; raises `QueryError` at once for SQL that is refused.

    A server that is lost before the first row is waited for, no longer than the query may take, then `StoreError`.
    """
    text = checked(sql, params)
    for value in text.values:
        if type(value) is int and not -(2**63) <= value < 2**63:
            raise QueryError("a parameter is a number of more than 64 bits", hint="pass it as a float")
    return _Rows(_Asking(database, text, limit_s))


class _Asking:
    """A query on its way to its first row: where the server is lost, it is waited for and asked again."""

    def __init__(self, database: PostgresDatabase, text: Text, limit_s: float) -> None:
        self.database = database
        self.limit_s = limit_s
        self.deadline = time.monotonic() + limit_s
        self._text = text
        self._wait_until: float | None = None
        self._loss_count = 0

    def ask(self) -> tuple[psycopg.Connection[Any], list[str]]:
        """A connection with the query's cursor, and the names of its columns."""
        while True:
            self.database.check_open()
            connection = self._connected()
            if connection is None:
                continue
            try:
                _begin(connection, self.database, self.deadline - time.monotonic())
                _check_qualifiers(connection, self.database.schema, self._text.qualifiers)
                return connection, _declare(connection, self._text)
            except (psycopg.Error, UnicodeError) as error:
                try:
                    self.wait(error, connection)
                finally:
                    connection.close()
            except BaseException:
                connection.close()
                raise

    def _connected(self) -> psycopg.Connection[Any] | None:
        """A connection, or None where there was none to be had and another try may do."""
        left_s = self.deadline - time.monotonic()
        try:
            return self.database.connect(wait_s=left_s)
        except ServerError as error:
            self._wait(error)
            return None

    def wait(self, error: Exception, connection: psycopg.Connection[Any]) -> None:
        """Return when the query may be asked again; raise our error where it may not."""
        lost = self.lost(error, connection)
        if lost is None:
            raise _refusal(error, self.limit_s, self.deadline) from None
        self._loss_count += 1
        if self._loss_count > _LOSSES_MAX:
            raise self._unanswered(lost) from lost
        self._wait(lost)

    def _wait(self, lost: ServerError) -> None:
        now = time.monotonic()
        self._wait_until = self._wait_until or min(now + postgres.WAIT_S, self.deadline)
        if not lost.is_lost or now >= self._wait_until:
            raise self._unanswered(lost) from lost
        time.sleep(postgres.TRY_AGAIN_S)

    def _unanswered(self, error: ServerError) -> FoldlogError:
        return translate(error, f"reading {self.database.name}")

    def lost(self, error: Exception, connection: psycopg.Connection[Any]) -> ServerError | None:
        """The error, where it is that the connection was lost, and not that the query took too long."""
        if not isinstance(error, psycopg.Error):
            return None
        found = Server(connection).told(error)
        is_over = found.sqlstate == _LEFT_IDLE or (not found.sqlstate and time.monotonic() > self.deadline)
        return found if found.is_lost and not is_over else None


def _begin(connection: psycopg.Connection[Any], database: PostgresDatabase, limit_s: float) -> None:
    version = connection.info.server_version
    timeout_ms = _ms(limit_s)
    settings = [
        *_SETTINGS,
        f"SET LOCAL statement_timeout = {timeout_ms}",
        f"SET LOCAL idle_in_transaction_session_timeout = {timeout_ms}",  # rows that nobody reads hold no vacuum up
        quoting.SQL("SET LOCAL search_path = {}").format(quoting.Identifier(database.schema)).as_string(connection),
    ]
    if version >= 140000:
        settings.append("SET LOCAL client_connection_check_interval = 1000")
    is_allowed = (
        "has_parameter_privilege('temp_file_limit', 'SET')"
        if version >= 150000
        else "current_setting('is_superuser') = 'on'"
    )
    connection.execute(f"{'; '.join(settings)}; {_DISK.format(is_allowed)}".encode())
    for info in types:
        if info.name not in _READ:
            connection.adapters.register_loader(info.oid, TextLoader)
        if info.array_oid:
            connection.adapters.register_loader(info.array_oid, TextLoader)


def _ms(seconds: float) -> int:
    return max(1, int(min(seconds * 1000, _TIMEOUT_MS_MAX)))


def _check_qualifiers(connection: psycopg.Connection[Any], own: str, qualifiers: frozenset[str]) -> None:
    """Refuse names in other schemas: what stands before a dot is a table's name or alias, or the store's schema."""
    names = sorted(qualifiers - {own})
    if not names:
        return
    found = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname = ANY(%s)", (names,)).fetchone()
    if found is not None:
        raise QueryError(
            f"the query is refused ({found[0]} is another schema)",
            hint="ask for the store's own tables and views, by names that are no schema's",
        )


def _declare(connection: psycopg.Connection[Any], text: Text) -> list[str]:
    """Make a cursor of the query; the names of its columns.

    In brackets, where it can be nothing but a SELECT. Its last column says whether another is too long, which is
    then not sent: a row comes to this process whole.
    """
    cursor = psycopg.RawCursor(connection)
    # A new line ends a comment.
    cursor.execute(f"SELECT * FROM ({text.sql}\n) AS query LIMIT 0".encode(), text.values)
    columns = cursor.description or []
    if not columns:
        raise QueryError("the SQL returns no columns", hint="select something")
    kept, too_long_ones = [], ["false"]
    for number, column in enumerate(columns):
        if column.internal_size is not None or column.type_code == _NUMERIC:
            kept.append(f"c{number}")
            continue
        known = types.get(column.type_code)
        length = _LENGTH.get(known.name if known else "", "octet_length({}::text)").format(f"c{number}")
        kept.append(f"CASE WHEN {length} <= {QUERY_VALUE_BYTES_MAX} THEN c{number} END")
        too_long_ones.append(f"coalesce({length} > {QUERY_VALUE_BYTES_MAX}, false)")
    # OFFSET 0: each value is made once.
    cursor.execute(
        f"DECLARE query NO SCROLL CURSOR FOR SELECT {', '.join(kept)}, {' OR '.join(too_long_ones)} "
        f"FROM (SELECT * FROM ({text.sql}\n) AS inside OFFSET 0) "
        f"AS query({', '.join(f'c{number}' for number in range(len(columns)))})".encode(),
        text.values,
        binary=True,  # what is no simple query can be one statement only
    )
    return [column.name for column in columns]


def _fetched(connection: psycopg.Connection[Any], deadline: float) -> Generator[tuple[Any, ...]]:
    """Rows, a page at a time, of which one row at a time is in this process's memory."""
    count = _FETCH_ROWS
    while count == _FETCH_ROWS:
        connection.execute(f"SET LOCAL statement_timeout = {_ms(deadline - time.monotonic())}".encode())
        count = 0
        fetched = connection.cursor().stream(f"FETCH {_FETCH_ROWS} FROM query".encode())
        for count, row in enumerate(fetched, 1):  # noqa: B007  (how many there were)
            yield row


class _Rows(Iterator[dict[str, Any]]):
    """The rows of one query; its connection is closed at the end, at an error, by `close` and when it is let go of."""

    _connection: psycopg.Connection[Any] | None = None

    def __init__(self, asking: _Asking) -> None:
        self._asking = asking
        self._is_begun = False
        self._ask()

    def _ask(self) -> None:
        from foldlog.outlets.query import distinct  # noqa: PLC0415  (it calls this module)

        connection, names = self._asking.ask()
        self._connection, self._names = connection, distinct(names)
        self._found = _fetched(connection, self._asking.deadline)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> dict[str, Any]:
        if self._connection is None:
            raise StopIteration
        asking = self._asking
        asking.database.check_open()
        if time.monotonic() > asking.deadline:
            self.close()
            raise too_long(asking.limit_s)
        try:
            row = self._next()
        except BaseException:
            self.close()
            raise
        if row is None:
            self.close()
            raise StopIteration
        *values, is_too_long = row
        if is_too_long:
            self.close()
            raise _too_large()
        return dict(zip(self._names, values, strict=True))

    def _next(self) -> tuple[Any, ...] | None:
        """The next row as it comes; the query is asked again only while it has given none."""
        while True:
            connection = self._connection
            assert connection is not None  # noqa: S101  (`__next__` has looked)
            try:
                row = next(self._found, None)
            except (psycopg.Error, UnicodeError) as error:
                if self._is_begun:
                    raise self._cut_short(error, connection) from None
                self._asking.wait(error, connection)
            else:
                self._is_begun = True
                return row
            self.close()
            self._ask()

    def _cut_short(self, error: Exception, connection: psycopg.Connection[Any]) -> FoldlogError:
        """What is wrong when there are rows already: they were handed out, and are not read twice."""
        asking = self._asking
        if asking.lost(error, connection) is None:
            return _refusal(error, asking.limit_s, asking.deadline)
        return StoreError(
            f"reading {asking.database.name}: the connection to the server was lost in the middle of a query's rows",
            hint="ask again, from the first row: what there is meanwhile may differ",
        )

    def close(self) -> None:
        """Let go of the connection; there are no more rows."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
            self._found.close()

    def __del__(self) -> None:
        self.close()


def _too_large() -> QueryError:
    return QueryError("a value in the query is too large", hint="select less of it: substr(data, 1, 1000)")


# Errors. The server's sentences about the form of a query quote the query; those about values quote rows.


def _refusal(error: Exception, limit_s: float, deadline: float) -> QueryError:
    state = getattr(error, "sqlstate", None) or ""
    # A server that goes away to end us has run out of time as we have.
    if state in ("57014", _LEFT_IDLE) or (not state and time.monotonic() > deadline):
        return too_long(limit_s)
    if state.startswith("53"):
        return QueryError("the query takes too much memory or disk", hint="sort, group or join less at once")
    if state in ("54001", "54011"):
        return QueryError("the query is too large", hint="take fewer brackets and columns")
    if state.startswith("54"):
        return _too_large()
    if state in ("0A000", "25006", "42501"):
        return QueryError(
            f"the query is refused ({_words(error)})",
            hint="one SELECT over the tables and views, and nothing else, is allowed",
        )
    if state.startswith("42"):
        return QueryError(
            f"the server says: {_words(error)}",
            hint=_near(error) or "the schema page lists the tables, views and columns",
        )
    return QueryError(
        f"the server says: {type(error).__name__}, a value in the query is not of the form it should be"
        if state.startswith("22") or not state
        else f"the server says: {type(error).__name__}",
        hint="see that each value is of the type that the function or operator takes",
    )


def _words(error: Exception) -> str:
    text = getattr(getattr(error, "diag", None), "message_primary", None) or type(error).__name__
    return text if len(text) <= _WORDS_CHARS_MAX else f"{text[:_WORDS_CHARS_MAX]}…"


def _near(error: Exception) -> str | None:
    """The nearest names to one that is not there, and what else is easily put right."""
    state = getattr(error, "sqlstate", "")
    if state == "42883" and "->" in _words(error):
        return "JSON is text in the tables: write data::json ->> 'key'"
    if state in ("42883", "42P18"):
        return "see that types fit; of a value, say what it is: CAST(:name AS text)"
    tables = {**durable.tables, **projection.tables, **search.tables}
    if state == "42P01":
        names = {*tables, *SQL_VIEWS}
    elif state == "42703":
        names = {column.name for table in tables.values() for column in table.columns}
    else:
        return None
    wanted = _words(error).split('"')
    if len(wanted) < 3:
        return None
    name = wanted[1].rpartition(".")[2]
    # A column may be there, in another table than is asked.
    near = difflib.get_close_matches(name, sorted(names - {name}), 3)
    has_it = [table.name for table in tables.values() if name in table.columns]
    return f"{name} is in {', '.join(has_it)}" if has_it else f"did you mean {' or '.join(near)}?" if near else None
