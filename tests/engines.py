"""What tests do to a store behind the library's back, whichever engine has it."""

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import foldlog
from foldlog.storage import sqlite
from foldlog.storage.database import Database
from foldlog.storage.driver import Driver
from foldlog.storage.schema import TRIGGERS


@contextmanager
def connected(store: foldlog.Store | Database) -> Iterator[Driver]:
    """A connection past the library, which commits each statement by itself."""
    database = store if isinstance(store, Database) else store.database
    connection: Driver
    if database.path is not None:
        connection = sqlite3.connect(database.path, isolation_level=None)
    else:
        from foldlog.storage.postgres_driver import Server  # noqa: PLC0415

        connection = Server(database.connect(to_read=False))  # type: ignore[attr-defined]
    with contextlib.closing(connection):
        yield connection


def change(store: foldlog.Store | Database, *statements: str) -> None:
    """Change rows, those of the history too: triggers do not run, and foreign keys do not hold."""
    with connected(store) as connection:
        if store.path is None:
            connection.execute("SET session_replication_role = replica")
            for statement in statements:
                ours = re.sub(r"x'([0-9a-f]*)'", r"'\\x\1'::bytea", statement)
                ours = re.sub(r"CAST\(('.*?') AS BLOB\)", r"convert_to(\1, 'UTF8')", ours)
                assert connection.execute(ours).rowcount > 0, statement
            return
        for name in TRIGGERS:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, statement
        for trigger in TRIGGERS.values():
            connection.execute(trigger)


def rows(store: foldlog.Store, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """What a SELECT gives."""
    with store.database.read() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(sql, values)]


def holds(path: Path | str, folder: Path, text: str) -> list[str]:
    """The files in a folder, and the columns of a closed store on a server, that have a text anywhere in them."""
    found = [str(one) for one in sorted(folder.rglob("*")) if one.is_file() and text.encode() in one.read_bytes()]
    if isinstance(path, Path):
        return found
    with foldlog.open(path, read_only=True) as store:
        for table, column, kind in rows(store, _COLUMNS):
            value = f"encode({column}, 'hex')" if kind == "bytea" else f"{column}::text"
            wanted = text.encode().hex() if kind == "bytea" else text
            if rows(store, f"SELECT 1 FROM {table} WHERE position(? IN {value}) > 0", wanted):
                found.append(f"{table}.{column}")
    return found


_COLUMNS = (
    "SELECT table_name, column_name, data_type FROM information_schema.columns JOIN information_schema.tables "
    "USING (table_schema, table_name) WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'"
)


@contextmanager
def locked(store: foldlog.Store | Database) -> Iterator[None]:
    """Somebody else's transaction, which keeps every writer of the history waiting."""
    with connected(store) as connection:
        connection.execute("BEGIN IMMEDIATE")
        if store.path is None:
            connection.execute("LOCK TABLE streams, events IN EXCLUSIVE MODE")
        yield
        connection.execute("ROLLBACK")


def be_impatient(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have stores that are opened from now on wait for nobody's lock."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.05)
    if engine == "postgres":
        from foldlog.storage.postgres import PostgresDatabase  # noqa: PLC0415

        connect = PostgresDatabase._connect_writer

        def impatient(database: PostgresDatabase) -> Any:
            connection = connect(database)
            connection.execute("SET lock_timeout = '50ms'")
            return connection

        monkeypatch.setattr(PostgresDatabase, "_connect_writer", impatient)
