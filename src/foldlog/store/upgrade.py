"""Opening a store: making it, checking it, bringing an older one up to date.

An upgrade is one transaction: the durable tables by Alembic, the projection tables dropped, made and
refilled from the journal. It succeeds whole or leaves the file as it was.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from foldlog.core.errors import NotAStoreError, SchemaTooNewError, StoreError
from foldlog.session import checkpoint
from foldlog.session.config import Config
from foldlog.session.replaying import fold_on_connection
from foldlog.storage import file_system, migrate, recognise, sqlite, tables
from foldlog.storage.database import Database
from foldlog.storage.driver import driver_of, sql_of
from foldlog.storage.faults import translated
from foldlog.storage.journal import Stream
from foldlog.storage.schema import SCHEMA_NUMBER
from foldlog.storage.sqlite import SqliteDatabase
from foldlog.store import searching


def open_database(place: Path | str, config: Config, *, read_only: bool) -> Database:
    """The database at a path or on a server, made if there is none and upgraded if it is older."""
    if isinstance(place, str):
        return _open_on_server(place, config, read_only=read_only)
    path, real = place, _resolved(place)
    if not read_only and not config.allow_network_file_system:
        file_system.check_local(real)
    if not real.exists() and not read_only:
        sqlite.create(real, migrate.make_schema)
    number = sqlite.probe(path)
    _check_number(number, str(path), read_only=read_only)
    with translated(f"opening {path}"), contextlib.closing(sqlite.glance(path)) as connection:
        recognise.check_schema(connection, str(path), number)
    return _upgraded(SqliteDatabase(real, name=str(path), durability=config.durability, read_only=read_only), number)


def _open_on_server(url: str, config: Config, *, read_only: bool) -> Database:
    making = server_module()
    database: Database = making.opened(making.parsed(url), durability=config.durability, read_only=read_only)
    try:
        with database.read() as connection:
            driver = driver_of(connection)
            number = sql_of(driver).schema_number(driver)
        _check_number(number, database.name, read_only=read_only)
    except BaseException:
        database.close()
        raise
    return _upgraded(database, number)


def number_at(place: Path | str) -> int:
    """The number of the schema of a store, which is not opened; raises where there is no store."""
    if isinstance(place, Path):
        return sqlite.probe(place)
    making = server_module()
    found = making.opened(making.parsed(place), read_only=True)
    with contextlib.closing(found) as database, database.read() as connection:
        driver = driver_of(connection)
        return sql_of(driver).schema_number(driver)


def server_module() -> Any:
    """What opens stores on a server, which needs an extra; raises `StoreError` where it is not installed."""
    try:
        from foldlog.storage import postgres_making  # noqa: PLC0415  (its driver is an extra)
    except ImportError as error:
        raise StoreError(
            "a store on PostgreSQL needs psycopg, which is not installed",
            hint="pip install 'foldlog[postgres]'",
        ) from error
    return postgres_making


def _check_number(number: int, name: str, *, read_only: bool) -> None:
    if number > SCHEMA_NUMBER:
        raise SchemaTooNewError(
            f"{name} has schema {number}; this foldlog knows up to {SCHEMA_NUMBER}",
            hint="install a newer foldlog; the store was not touched",
        )
    if number < SCHEMA_NUMBER and read_only:
        raise StoreError(
            f"{name} has the older schema {number} and was opened read-only",
            hint="`foldlog upgrade STORE` brings it up to date, and so does opening it to write",
        )


def _upgraded(database: Database, number: int) -> Database:
    """The database with today's schema; closed where that fails."""
    if number < SCHEMA_NUMBER:
        try:
            upgrade(database)
            searching.keep_up(database)
        except BaseException:
            database.close()
            raise
    return database


def _resolved(path: Path) -> Path:
    """One name for one file: leases stand beside it, and the working directory may change."""
    try:
        if path.is_symlink() and not path.exists():
            raise NotAStoreError(f"{path} is a symlink to nothing", hint="check the path")
        return path.resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise StoreError(f"{str(path)[:100]!r} is not the path of a file ({error})", hint="check the path") from error


# Streams whose ids begin with a dot are no sessions.
_SESSIONS: Final = "SELECT id, session_key FROM streams WHERE substr(id, 1, 1) <> '.' ORDER BY session_key"


def upgrade(database: Database) -> None:
    """Bring an older database to today's schema; whole, or not at all."""
    with translated(f"upgrading {database.name}"), database.transaction() as connection:
        driver = driver_of(connection)
        sql_of(driver).hold_all(driver)
        # Another process may have been faster; the transaction now shows what it did.
        if sql_of(driver).schema_number(driver) >= SCHEMA_NUMBER:
            return
        writers = tables.read_writers(driver)
        migrate.upgrade(connection)
        for _ in rebuild_tables(connection, writers):
            pass
        migrate.mark_current(connection)
        if isinstance(driver, sqlite3.Connection):
            recognise.check_schema(driver, database.name, SCHEMA_NUMBER)


def rebuild_tables(connection: Connection, writers: Mapping[str, str | None]) -> Iterator[str]:
    """Make the tables and SQL views anew from the journal, inside the caller's transaction; each session done.

    `writers` tells who was writing each session. Raises `CorruptJournalError` where a journal does not fold.
    """
    driver = driver_of(connection)
    migrate.remake_projection(connection)
    for session_id, key in driver.execute(_SESSIONS).fetchall():
        view = fold_on_connection(driver, Stream(session_id, key))
        # Where no table said who was writing, the next open looks for what was interrupted.
        writer = writers.get(session_id, "unknown")
        checkpoint.write(driver, session_id, checkpoint.prepare(session_id, view, writer=writer))
        yield session_id
