"""What statements run on: a driver's connection, of either engine.

SQLite's is `sqlite3.Connection` itself. PostgreSQL's is `foldlog.storage.postgres_driver.Server`, which takes the
same statements with the same marks for values. So the modules beside this one write plain SQL once; what reads
differently on the two engines is in `foldlog.storage.sqlite_sql` and `foldlog.storage.postgres_sql`, and
`sql_of` says which of them a connection needs.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy import Connection, MetaData, Table

from foldlog.storage import sqlite_sql


class Driver(Protocol):
    """A connection that commits each statement by itself, unless one has said BEGIN."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""

    def execute(self, sql: str, values: Any = ..., /) -> Any:
        """Run a statement; its cursor can be iterated over, and has `fetchone` and `fetchall`."""

    def executemany(self, sql: str, rows: Any, /) -> Any:
        """Run a statement for each row."""

    def close(self) -> None:
        """Close the connection."""


class Sql(Protocol):
    """What reads differently on the two engines."""

    @property
    def NAME(self) -> str:  # noqa: N802
        """The engine's, as SQLAlchemy calls it."""

    @property
    def NEW_STREAM_KEY(self) -> str:  # noqa: N802
        """An expression: the key of a stream that is about to be added."""

    @property
    def BEGIN_APPEND(self) -> str:  # noqa: N802
        """The statement that begins an append of several statements."""

    @property
    def BEGIN_CHECKPOINT(self) -> str:  # noqa: N802
        """What begins a checkpoint's transaction: once it is over, its writer takes the tables for written."""

    @property
    def DATA_BYTES(self) -> str:  # noqa: N802
        """An expression: an event's data as bytes."""

    @property
    def EDGE_CALL(self) -> str:  # noqa: N802
        """An expression: the call behind a row of the table tree, as JSON, where the row may not hold all of it."""

    @property
    def IS_WHOLE_CHAIN(self) -> str:  # noqa: N802
        """A condition: an event's chain value has the form of one."""

    def statements(self, *metadata: MetaData) -> list[str]:
        """The DDL of tables and their indexes, in order."""

    def trigger_statements(self) -> list[str]:
        """The DDL of what keeps the history from being changed."""

    def view_statements(self) -> list[str]:
        """The DDL of the SQL views, in order."""

    def elapsed_ms(self, start: str, end: str) -> str:
        """An expression: milliseconds between two times, NULL where one of them is none."""

    def columns(self, connection: Any, table: str, /) -> list[str]:
        """The names of a table's columns as it is, none where there is none."""

    def write_rows(self, connection: Any, table: Table, rows: Iterable[Mapping[str, Any]], /) -> None:
        """Insert rows, or replace those whose key is there."""

    def as_stored(self, table: Table, row: Mapping[str, Any], /) -> Mapping[str, Any]:
        """A row as reading it back gives it."""

    def add_rows(self, connection: Any, table: Table, rows: Iterable[Mapping[str, Any]], /) -> None:
        """Insert rows of which none is there; faster than `write_rows` for many."""

    def put_rows(self, connection: Any, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], /) -> None:
        """Insert rows of a durable table with the keys they have, inside the caller's transaction."""

    def go_on_behind(self, connection: Any, /) -> None:
        """Have new keys come behind those that rows were put with, in the caller's transaction."""

    def look_again(self, connection: Any, /) -> None:
        """Have the engine see how large the durable tables have become."""

    def schema_number(self, connection: Any, /) -> int:
        """The number of the schema as the database says."""

    def mark_current(self, connection: Any, /) -> None:
        """Say that the schema is today's, inside the caller's transaction."""

    def insert(self, connection: Any, sql: str, values: tuple[object, ...], key: str, /) -> int:
        """Insert a row; what the database gave it as its key."""

    def hold_stream(self, connection: Any, key: int | None, /) -> None:
        """Keep others from writing a session until the caller's transaction ends."""

    def hold_all(self, connection: Any, /) -> None:
        """Keep everybody else from writing, and none from reading, until the caller's transaction ends."""

    def deleting(self, connection: Any, /) -> AbstractContextManager[None]:
        """Around a transaction that deletes sessions."""

    def stored_bytes(self, connection: Any, /) -> int:
        """What the database takes."""

    def give_back_space(self, connection: Any, /) -> str | None:
        """Give free space back, outside of any transaction; why it could not be, if so."""

    def walk(self, connection: Any, table: str, columns: str, /) -> Iterator[Any]:
        """Pages of a table's rows, each its number and then the columns, and `rows_left.Lost` between them."""

    def row_key(self, row_id: Any, /) -> Any:
        """A row's id as the id columns hold it."""

    def id_of(self, key: Any, name: Any, /) -> Any:
        """A row's id from an id column, and from what `id_name` gave."""

    def id_name(self, column: str, key: str, /) -> str:
        """An expression for `id_of`, beside the column."""


def sql_of(connection: Driver) -> Sql:
    """What reads differently, as this connection needs it."""
    found: Sql = getattr(connection, "sql", sqlite_sql)  # only a server's connection says it
    return found


def driver_of(connection: Connection) -> Driver:
    """The driver's connection under a SQLAlchemy one."""
    found = connection.connection.driver_connection
    if isinstance(found, sqlite3.Connection):
        return found
    server: Driver = connection.info["server"]  # put there by the module that made it
    return server


def insert(connection: Driver, sql: str, values: tuple[object, ...], key: str) -> int:
    """Insert a row; what the database gave it as its `key`."""
    return sql_of(connection).insert(connection, sql, values, key)
