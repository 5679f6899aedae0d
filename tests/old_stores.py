"""Stores as an older foldlog left them: made by the migrations alone, filled from a store of today."""

import sqlite3
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import create_engine

from foldlog.storage import blobs, migrate, schema
from foldlog.storage.sqlite import SqliteDatabase as Database


def alembic_config(connection: Any) -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(migrate.migrations_folder()))
    config.attributes["connection"] = connection
    return config


def migrated(path: Path, revision: str) -> None:
    """A database as a foldlog of that revision left it: made by the migrations alone."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        command.upgrade(alembic_config(connection), revision)
        connection.exec_driver_sql(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.exec_driver_sql(f"PRAGMA user_version = {int(revision)}")
    engine.dispose()


def first_schema(path: Path, current: Path) -> None:
    """A store of schema 1, as it was before idempotency keys, with the history of another: a journal and no tables."""
    database = Database(current, read_only=True)
    connection = database.new_reader()
    hashes = [row[0] for row in connection.execute("SELECT hash FROM blobs")]
    connection.close()
    whole = [(one, body) for one in hashes for body in [blobs.read(database, one)]]  # whole, as blobs were
    database.close()
    migrated(path, "0001")
    connection = sqlite3.connect(path)
    connection.execute("ATTACH ? AS new", (str(current),))
    connection.execute("INSERT INTO streams SELECT * FROM new.streams")
    connection.executemany("INSERT INTO blobs VALUES (?, ?, ?)", [(one, len(body), body) for one, body in whole])
    columns = "position, session_key, event_id, type, at, data, digest, chain"
    connection.execute(f"INSERT INTO events ({columns}) SELECT {columns} FROM new.events")
    connection.execute("CREATE VIEW mine AS SELECT id FROM streams")
    connection.commit()
    connection.close()
