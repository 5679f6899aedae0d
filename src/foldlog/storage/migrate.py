"""Bringing a database to today's schema: new ones at once, old ones by Alembic.

A new database is made from `foldlog.storage.schema` (a test holds it equal to what the migrations make),
so Alembic is imported only where there is something to upgrade. The migrations are the top-level
`migrations/` folder, shipped inside the wheel. Refilling the projection tables needs the fold and is
done by `foldlog.store.upgrade`, in the same transaction.
"""

import sqlite3
from pathlib import Path

from sqlalchemy import Connection

from foldlog.core.errors import UpgradeError
from foldlog.storage import fts5_index, search_tables, sqlite_sql
from foldlog.storage.driver import Driver, driver_of, sql_of
from foldlog.storage.schema import APPLICATION_ID, REVISION, SCHEMA_NUMBER, durable, projection, search
from foldlog.storage.sql_views import SQL_VIEWS


def schema_statements() -> list[str]:
    """The DDL of a new SQLite database, in order."""
    found = sqlite_sql.statements(durable, projection, search)
    found += fts5_index.statements()
    found += sqlite_sql.trigger_statements()
    found += sqlite_sql.view_statements()
    found.append("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
    found.append(f"INSERT INTO alembic_version (version_num) VALUES ('{REVISION}')")
    found += [f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {SCHEMA_NUMBER}"]
    return found


def make_schema(connection: Driver) -> None:
    """Fill a new database, inside the caller's transaction."""
    for statement in schema_statements():
        connection.execute(statement)


def upgrade(connection: Connection) -> None:
    """Bring the durable tables to today's revision, inside the caller's transaction.

    Raises `UpgradeError`; the caller's transaction must then be rolled back.
    """
    from alembic import command  # noqa: PLC0415  (100 ms that only an upgrade should pay)
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, REVISION)
    except Exception as error:
        raise UpgradeError(
            f"the store could not be upgraded to schema {SCHEMA_NUMBER} ({type(error).__name__})",
            hint="it is as it was; `foldlog verify STORE` says whether it is damaged; restore a backup then",
        ) from error


def remake_projection(connection: Connection) -> None:
    """Make projection tables, search index and SQL views anew, empty, inside the caller's transaction."""
    driver = driver_of(connection)
    if not isinstance(driver, sqlite3.Connection):
        from foldlog.storage import postgres_schema  # noqa: PLC0415  (its driver is an extra)

        postgres_schema.remake(driver)
        return
    for name in reversed(SQL_VIEWS):  # ours only: an application may have views of its own
        driver.execute(f"DROP VIEW IF EXISTS {name}")
    for table in projection.sorted_tables:
        driver.execute(f"DROP TABLE IF EXISTS {table.name}")
    search_tables.drop(driver)
    made = (*sqlite_sql.statements(projection, search), *fts5_index.statements())
    for statement in (*made, *sqlite_sql.view_statements()):
        driver.execute(statement)


def mark_current(connection: Connection) -> None:
    """Say that the schema is today's, inside the caller's transaction."""
    driver = driver_of(connection)
    sql_of(driver).mark_current(driver)


def migrations_folder() -> Path:
    """Where the migrations are: inside the installed package, or at the top of a checkout."""
    package = Path(__file__).parents[1]
    shipped = package / "migrations"
    return shipped if shipped.is_dir() else package.parents[1] / "migrations"
