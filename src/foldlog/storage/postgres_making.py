"""A store on a server before it is used: what its URL says, whether it is there, making it.

What is done with it then is in `foldlog.storage.postgres`.
"""

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from foldlog.core.errors import NotAStoreError, StoreError
from foldlog.storage.faults import translated
from foldlog.storage.postgres import PostgresDatabase
from foldlog.storage.postgres_connect import conninfo_of
from foldlog.storage.postgres_driver import Server
from foldlog.storage.postgres_lease import advisory_key
from foldlog.storage.postgres_sql import MARK, columns, schema_statements


def parsed(url: str) -> URL:
    """The URL of a store on a server; raises `StoreError`, which does not repeat a password."""
    try:
        found = make_url(url)
        if found.drivername not in ("postgresql", "postgresql+psycopg"):
            raise ArgumentError("another driver")  # noqa: TRY301  (told as any other)
        conninfo_to_dict(conninfo_of(found))
    except (ArgumentError, psycopg.ProgrammingError, ValueError):
        raise StoreError(
            "the URL is not one of a PostgreSQL server",
            hint="such as postgresql+psycopg://user@host:5432/database",
        ) from None
    return found


def prepare(url: URL, *, read_only: bool) -> None:
    """See that there is a store: made if there is none and it may be; whole, or not at all."""
    name = url.render_as_string(hide_password=True)
    with translated(f"opening {name}"):
        database = PostgresDatabase(url, read_only=True)
        try:
            server = database.new_reader()
            try:
                is_made = _is_store(server, name)
            finally:
                server.close()
            if is_made:
                return
            if read_only:
                raise NotAStoreError(f"there is no store at {name}", hint="check the database and its search path")
            _make(database, name)
        finally:
            database.close()


def _make(database: PostgresDatabase, name: str) -> None:
    server = Server(database.connect(to_read=False))
    try:
        server.execute("BEGIN")
        server.execute("SELECT pg_advisory_xact_lock(?)", (advisory_key(f"{database.space}/making"),))
        if not _is_store(server, name):
            for statement in schema_statements():
                server.execute(statement)
        server.execute("COMMIT")
    finally:
        server.close()


def _is_store(server: Server, name: str) -> bool:
    """Whether the schema has a store; raises `NotAStoreError` where it has somebody else's tables of these names."""
    found = server.execute("SELECT obj_description(to_regclass('streams'), 'pg_class')").fetchone()[0]
    if found == MARK:
        return True
    for table in ("streams", "events", "blobs", "sessions", "alembic_version"):
        if columns(server, table):
            raise NotAStoreError(
                f"{name} has a table {table} of another program", hint="give foldlog a schema or a database of its own"
            )
    return False
