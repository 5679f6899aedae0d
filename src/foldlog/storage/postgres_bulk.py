"""PostgreSQL, for copies: rows in bulk by its COPY, with their keys; keeping others out; whether two stores are one.

What is copied, and in which order, is decided in `foldlog.outlets.copying`; the same for SQLite is in
`foldlog.storage.sqlite_sql`.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from foldlog.core.errors import StoreBusyError
from foldlog.storage.database import Database
from foldlog.storage.postgres_driver import Server, ServerError
from foldlog.storage.schema import durable, projection

if TYPE_CHECKING:
    from foldlog.storage.postgres import PostgresDatabase

# How long somebody else's lease is waited for who is just taking it.
_WAIT_S: Final = 5
# A Float is a Numeric, too.
_TYPES: Final = (
    (sa.LargeBinary, "bytea"),
    (sa.Float, "float8"),
    (sa.Numeric, "numeric"),
    (sa.Integer, "int8"),
    (sa.String, "text"),
)
_TABLES: Final = {**durable.tables, **projection.tables}
_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's own
# What a sequence numbers.
_NUMBERED: Final = {"events": "position", "streams": "session_key", "parts": "part_id", "lists": "list_id"}


def put_rows(connection: Server, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows with the keys they have, inside the caller's transaction."""
    types = [_type_of(table, column) for column in columns]
    sql = f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)"
    try:
        with connection.connection.cursor() as cursor, cursor.copy(sql) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)
    except psycopg.Error as error:
        raise connection.told(error) from None


@cache
def _type_of(table: str, column: str) -> str:
    kind = _TABLES[table].columns[column].type.dialect_impl(_DIALECT)
    return next(name for python, name in _TYPES if isinstance(kind, python))


def go_on_behind(connection: Server) -> None:
    """Let the sequences go on behind the keys that rows were put with, in the caller's transaction."""
    for table, column in _NUMBERED.items():
        last = f"(SELECT max({column}) FROM {table})"
        if table == "streams":  # the keys of deleted sessions are kept below 0
            last = f"greatest({last}, -(SELECT min({column}) FROM {table}))"
        connection.execute(
            f"SELECT setval(seq, greatest({last}, pg_sequence_last_value(seq))) FROM "
            f"CAST(pg_get_serial_sequence('{table}', '{column}') AS regclass) AS seq WHERE {last} IS NOT NULL"
        )


def look_again(connection: Server) -> None:
    """Have the server count anew what tables hold: until it does, it plans as if they were as small as before."""
    connection.execute("ANALYZE streams, events, blobs, parts, lists")


def is_same(one: Database, other: Database) -> bool:
    """Whether two stores on servers are one, whatever their URLs: what is locked in one is seen to be in the other."""
    key = int.from_bytes(os.urandom(7), "big")
    with closing(one.new_reader()) as here, closing(other.new_reader()) as there:
        mine = here.execute("SELECT current_schema(), pg_advisory_lock(?)", (key,)).fetchone()[0]
        theirs, is_free = there.execute("SELECT current_schema(), pg_try_advisory_lock(?)", (key,)).fetchone()
    return not is_free and mine == theirs


@contextmanager
def alone(database: "PostgresDatabase") -> Iterator[None]:
    """Keep everybody else from taking a lease: by a lock on their table, on a connection of its own."""
    guard = Server(database.connect(to_read=False))
    try:
        guard.execute("SET idle_in_transaction_session_timeout = 0")
        guard.execute(f"SET lock_timeout = '{_WAIT_S}s'")
        guard.execute("BEGIN")
        try:
            guard.execute("LOCK TABLE leases IN SHARE ROW EXCLUSIVE MODE")
        except ServerError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            raise StoreBusyError(
                f"{database.name}: another process copies into this store, or is taking a session's lease",
                hint="nothing was written; wait for it, or end it, then try again",
            ) from error
        yield
    finally:
        guard.close()
