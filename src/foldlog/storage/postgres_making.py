"""A store on a server before it is used: what its URL says, whether it is there, making it.

What is done with it then is in `foldlog.storage.postgres`.
"""

import difflib
import re
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from foldlog.core.errors import NotAStoreError, StoreError
from foldlog.storage.faults import translated
from foldlog.storage.postgres import PostgresDatabase
from foldlog.storage.postgres_driver import Server
from foldlog.storage.postgres_lease import advisory_key
from foldlog.storage.postgres_sql import schema_statements
from foldlog.storage.postgres_url import conninfo_of
from foldlog.storage.postgres_views import POSTGRES_VIEWS
from foldlog.storage.schema import MARK, durable, projection, search


def parsed(url: str) -> URL:
    """The URL of a store on a server; raises `StoreError`, which does not repeat a password."""
    try:
        found = make_url(url)
        if found.drivername == "postgres":  # as libpq takes it, and many hosts hand it out
            found = found.set(drivername="postgresql+psycopg")
        if found.drivername not in ("postgresql", "postgresql+psycopg"):
            raise _unreadable("begins with another scheme")
        if "@" in (found.host or ""):
            raise _unreadable("has more than one @ before its host")
        conninfo_to_dict(conninfo_of(found))
    except ArgumentError:
        raise _unreadable("cannot be read") from None
    except ValueError:
        raise _unreadable("has a port that is no number") from None
    except psycopg.ProgrammingError as error:
        raise _unreadable(_what_is_wrong(str(error))) from None
    return found


def _unreadable(why: str) -> StoreError:
    return StoreError(
        f"the URL is not one of a PostgreSQL server: it {why}",
        hint="such as postgresql+psycopg://user@host:5432/database; write @ : / in a password as %40 %3A %2F",
    )


def _what_is_wrong(said: str) -> str:
    """What libpq says of a URL, without any of it: it may be a password that is not written as it should be."""
    option = _NO_OPTION.search(said)
    known = [one.keyword.decode() for one in Conninfo.get_defaults()] if option else []
    near = difflib.get_close_matches(option[1], known, 1) if option else []
    return f"has an option that there is not: did you mean {near[0]}?" if near else "cannot be read"


_NO_OPTION: Final = re.compile(r'invalid URI query parameter: "(\w+)"')


def opened(url: URL, *, durability: str = "full", read_only: bool) -> PostgresDatabase:
    """The store at a URL: made if there is none and it may be; whole, or not at all."""
    database = PostgresDatabase(url, durability=durability, read_only=read_only)
    try:
        with translated(f"opening {database.name}"):
            with database.read() as connection:
                is_made = _is_store(connection.info["server"], database.name)
            if not is_made:
                _make(database, database.name)
            if not read_only:
                database.open_writer()
    except BaseException:
        database.close()
        raise
    return database


def _make(database: PostgresDatabase, name: str) -> None:
    if database.read_only:
        raise NotAStoreError(f"there is no store at {name}", hint="check the database and its search path")
    server = Server(database.connect(to_read=False))
    try:
        server.execute("BEGIN")
        server.execute("SELECT pg_advisory_xact_lock(?)", (advisory_key(f"{database.space}/making"),))
        if not _is_store(server, name):
            server.execute(";\n".join(schema_statements()))
        server.execute("COMMIT")
    finally:
        server.close()


def _is_store(server: Server, name: str) -> bool:
    """Whether the schema has a store; raises `NotAStoreError` where it has somebody else's tables of these names."""
    there = dict(server.execute(_RELATIONS).fetchall())
    if there.get("streams") == MARK:
        return True
    for table in _OURS & there.keys():
        raise NotAStoreError(
            f"{name} has a table {table} of another program", hint="give foldlog a schema or a database of its own"
        )
    return False


# In the schema that the store is or is to be, and in no other of the search path.
_RELATIONS: Final = (
    "SELECT relname::text, obj_description(oid, 'pg_class') FROM pg_class "
    "WHERE relnamespace = current_schema()::regnamespace AND relkind <> 'i'"
)
_OURS: Final = frozenset(
    {*durable.tables, *projection.tables, *search.tables, *POSTGRES_VIEWS, "search_index", "leases", "alembic_version"}
)
