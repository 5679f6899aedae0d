"""PostgreSQL's connection in the form that the modules of this layer know: `foldlog.storage.driver.Driver`.

Statements have the marks for values that SQLite has (`?`, `:name`); here they become psycopg's. A connection
commits each statement by itself unless one has said BEGIN. Errors become `ServerError`, a kind of the driver
errors that those modules catch, without the server's details: these quote values. psycopg is an extra; only
this module and `foldlog.storage.postgres` import it.
"""

import itertools
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import psycopg
from psycopg import RawCursor, pq
from psycopg.adapt import AdaptersMap
from psycopg.types.numeric import NumericLoader
from psycopg.types.string import BytesBinaryDumper
from sqlalchemy.exc import DBAPIError

from foldlog.storage.postgres_url import way_out

# PostgreSQL's conditions by the SQLite result code that says the same; by class where no code is listed.
_CODES: Final = {
    "23503": sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY,
    "23": sqlite3.SQLITE_CONSTRAINT,
    "40": sqlite3.SQLITE_BUSY,
    "55P03": sqlite3.SQLITE_BUSY,
    "53100": sqlite3.SQLITE_FULL,
    "53200": sqlite3.SQLITE_NOMEM,
    "53300": sqlite3.SQLITE_CANTOPEN,
    "25006": sqlite3.SQLITE_READONLY,
    "42501": sqlite3.SQLITE_PERM,
    "57014": sqlite3.SQLITE_INTERRUPT,
    "58": sqlite3.SQLITE_IOERR,
    "XX": sqlite3.SQLITE_CORRUPT,
}
# The server went away, is going or is not ready; and psycopg's own, which has no code.
_LOST: Final = ("08", "57P")
# One of these was in the other's way; nothing was written, and another try may do.
_COLLIDED: Final = ("40001", "40P01")

# Rows that two writers may add at once, each for the other.
_SHARED: Final = ("blobs_pkey", "uq_parts_hash", "uq_lists_hash")

_MARK: Final = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|::|:([A-Za-z_]\w*)|\?|%")
_SAME: Final = {"BEGIN IMMEDIATE": "BEGIN"}


class ServerError(sqlite3.DatabaseError):
    """What PostgreSQL, or the way to it, answered; `constraint` names what refused a row, where one did.

    `unreachable` says in libpq's words why there is no connection, where none could be made.
    """

    def __init__(self, error: psycopg.Error, *, is_cut: bool, unreachable: str = "") -> None:
        self.sqlstate: str = error.sqlstate or ""
        # Some of the server's sentences quote the statement's values: its code and name are enough.
        super().__init__(f"{self.sqlstate or 'no answer'} {type(error).__name__}".strip())
        self.constraint: str = error.diag.constraint_name or ""
        self.unreachable = unreachable
        self.way_out = way_out(unreachable)
        self.sqlite_errorname = type(error).__name__
        self.is_lost = is_cut or self.sqlstate.startswith(_LOST)
        self.is_collision = self.sqlstate in _COLLIDED or self.constraint in _SHARED
        self.sqlite_errorcode: int = sqlite3.SQLITE_IOERR if self.is_lost else _code_of(self.sqlstate)

    @property
    def words(self) -> str:
        """What happened, as the server calls it."""
        return str(self)


def _code_of(sqlstate: str) -> int:
    return _CODES.get(sqlstate) or _CODES.get(sqlstate[:2]) or sqlite3.SQLITE_ERROR


class _Number(NumericLoader):
    """A number as Python has it: whole ones of 64 bits are int, others float, as SQLite gives them."""

    def load(self, data: Any) -> Any:
        return number_of(super().load(data))


# SQLite's whole numbers end here, and so do ours.
_WHOLE_MAX: Final = 2**63


def number_of(found: Decimal) -> int | float:
    """A number of a column of any numbers: whole ones are int, others float."""
    is_whole = found.is_finite() and -_WHOLE_MAX <= found < _WHOLE_MAX and found == int(found)
    return int(found) if is_whole else float(found)


def adapt(adapters: AdaptersMap) -> None:
    """Have a connection give numbers as SQLite does, and send bytes as they are: as text they are twice as long."""
    adapters.register_loader("numeric", _Number)
    adapters.register_dumper(bytes, BytesBinaryDumper)


@lru_cache(maxsize=1024)
def translated_marks(sql: str) -> str:
    """A statement with psycopg's marks for values in place of SQLite's.

    >>> translated_marks("SELECT id FROM calls WHERE model = ? AND id LIKE '%?'")
    "SELECT id FROM calls WHERE model = %s AND id LIKE '%%?'"
    """

    def mark(found: re.Match[str]) -> str:
        text = found[0]
        if text == "?":
            return "%s"
        if found[1] is not None:
            return f"%({found[1]})s"
        return text.replace("%", "%%")

    return _SAME.get(sql) or _MARK.sub(mark, sql)


@lru_cache(maxsize=1024)
def _numbered_marks(sql: str) -> str:
    """A statement as the server takes it: with a number for each value.

    psycopg makes the same of its own marks, but looks at each statement of many values anew.
    """
    numbers = itertools.count(1)
    return _SAME.get(sql) or _MARK.sub(lambda found: f"${next(numbers)}" if found[0] == "?" else found[0], sql)


class Server:
    """One connection to a server, as `foldlog.storage.driver.Driver`."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    @property
    def sql(self) -> Any:
        """What reads differently on a server: see `foldlog.storage.driver.sql_of`."""
        from foldlog.storage import postgres_sql  # noqa: PLC0415  (it writes through this class)

        return postgres_sql

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open, failed or not."""
        status = self.connection.pgconn.transaction_status
        return status in (pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR)

    @property
    def is_cut(self) -> bool:
        """Whether nothing can be asked on it any more."""
        return bool(self.connection.closed) or self.connection.broken

    def execute(self, sql: str, values: Sequence[object] | Mapping[str, object] = (), /) -> Any:
        """Run a statement."""
        try:
            if not values:  # then a mark is no mark, and a statement may be several
                return self.connection.execute(_SAME.get(sql, sql))
            if isinstance(values, Mapping):
                return self.connection.execute(translated_marks(sql), values)
            return RawCursor(self.connection).execute(_numbered_marks(sql), values)
        except psycopg.Error as error:
            raise self.told(error) from None
        except BaseException:
            self.close()  # interrupted by a signal: what is still on its way would be taken for the next answer
            raise

    def executemany(self, sql: str, rows: Iterable[Any], /) -> Any:
        """Run a statement for each row, all on their way before the first answer is waited for."""
        try:
            cursor = self.connection.cursor()
            cursor.executemany(translated_marks(sql), rows if isinstance(rows, list) else list(rows))
        except psycopg.Error as error:
            raise self.told(error) from None
        except BaseException:
            self.close()
            raise
        return cursor

    def pages(self, name: str, sql: str, row_count: int) -> Iterator[list[Any]]:
        """The rows of a SELECT as of one moment, so many at a time; the server keeps those that are to come."""
        try:
            with self.connection.cursor(name=name, withhold=True) as cursor:
                cursor.execute(sql)
                while rows := cursor.fetchmany(row_count):
                    yield rows
        except psycopg.Error as error:
            raise self.told(error) from None

    def told(self, error: psycopg.Error) -> ServerError:
        """An error of psycopg's, in the words of this layer."""
        return ServerError(error, is_cut=self.is_cut)

    def close(self) -> None:
        """Close the connection; closing twice is fine."""
        self.connection.close()


def server_error(error: DBAPIError) -> ServerError:
    """psycopg's error inside SQLAlchemy's."""
    assert isinstance(error.orig, psycopg.Error)  # noqa: S101  (no other driver's errors have such a code)
    return ServerError(error.orig, is_cut=error.connection_invalidated)


def translate(
    _connection: Any, _cursor: Any, statement: str, parameters: Any, context: Any, _executemany: bool
) -> tuple[str, Any]:
    """A statement on its way through SQLAlchemy, with psycopg's marks."""
    # What SQLAlchemy compiled has psycopg's marks already; ours come as they are.
    is_compiled = context is not None and context.compiled is not None
    return (statement if is_compiled or parameters is None else translated_marks(statement)), parameters
