"""Recognising a store before it is used: its schema is what this version makes, object for object.

`application_id` says what a file claims to be (`foldlog.storage.sqlite`). A file from elsewhere may claim it and
bring triggers on our tables, views or virtual tables under their names, checks and columns that call functions: SQL
of somebody else's that runs when we write. So the text of every object of ours is compared with what this version
writes; an application's own tables, views and indexes beside them are none of our business. Of an older store,
before its upgrade, what it cannot have is looked for; after it, it is what a new one is.
"""

import hashlib
import re
import sqlite3
from functools import cache
from typing import Final, NamedTuple

from foldlog.core.errors import NotAStoreError
from foldlog.storage import migrate
from foldlog.storage.schema import SCHEMA_NUMBER, TRIGGERS, durable, projection
from foldlog.storage.sql_views import SQL_VIEWS

_MADE: Final = re.compile(r"CREATE (UNIQUE )?(TABLE|INDEX|TRIGGER|VIEW) (\w+)", re.ASCII)
_TABLES: Final = frozenset({*durable.tables, *projection.tables, "alembic_version"})
# What may run when an older store is upgraded: the triggers of all its versions, of which only RAISE is reached.
_OLD_TRIGGER: Final = re.compile(
    r"CREATE TRIGGER events_refuse_(update|delete) BEFORE (UPDATE|DELETE) ON events "
    r"BEGIN SELECT RAISE\(ABORT, 'events is append-only'\); END",
    re.ASCII,
)


class _Found(NamedTuple):
    """A row of sqlite_master, its names as SQLite compares them."""

    kind: str
    name: str
    table: str
    sql: str


def check_schema(connection: sqlite3.Connection, path: str, number: int) -> None:
    """Raise `NotAStoreError`, naming the first object that is not as a foldlog of this schema number makes it.

    One read of `sqlite_master`; nothing of what is in there is run.
    """
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    if number == SCHEMA_NUMBER and schema_digest(rows) == _AS_MADE:
        return
    found = [_found(row) for row in rows]
    _check_company(found, path)
    if number != SCHEMA_NUMBER:
        _check_older(found, path)
        return
    ours = {one.name: one for one in found if one.name in _expected()}
    for name, (kind, texts) in _expected().items():
        one = ours.get(name)
        if one is None:
            # What is not there runs nothing. All but the history itself can be made again.
            if name in durable.tables:
                raise _refusal(path, f"the {kind} {name} is not there")
        elif one.kind != kind or one.sql not in texts:
            raise _refusal(path, f"the {kind} {name} is not the one that foldlog makes")


# Of a store as it is made, with nothing beside: most are, and need no closer look. A test tells what it is to be.
_AS_MADE: Final = "cd455716d8741f56d33e85cb5392a2ef40976eaab9873d38a4681c4e36e859a9"


def schema_digest(rows: list[tuple[object, ...]]) -> str:
    """One name for all of a schema but the tables that FTS5 makes for itself."""
    own = sorted(repr(row) for row in rows if not (row[0] != "trigger" and str(row[2]).startswith("search_index_")))
    return hashlib.sha256("\n".join(own).encode()).hexdigest()


def _found(row: tuple[object, ...]) -> _Found:
    kind, name, table, sql = (value if isinstance(value, str) else "" for value in row)
    return _Found(kind, name.lower(), table.lower(), _plain(sql))


def _plain(sql: str) -> str:
    """SQL with one space where there are many: a migration spells some of it otherwise."""
    return " ".join(sql.split()).replace("( ", "(").replace(" )", ")").replace(" ,", ",").replace('"', "")


@cache
def _expected() -> dict[str, tuple[str, frozenset[str]]]:
    """Every object of ours: its kind, and how its SQL may read; made once a process."""
    made: dict[str, tuple[str, frozenset[str]]] = {}
    for sql in migrate.schema_statements():
        match = _MADE.match(sql)
        if match is not None:
            made[match[3]] = (match[2].lower(), frozenset({_plain(sql), *map(_plain, _OTHERWISE.get(match[3], ()))}))
    return made


# Tables that migrations have changed read otherwise than in a store that was made in one go.
_ALEMBIC: Final = "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc {})"
_OTHERWISE: Final = {"alembic_version": (_ALEMBIC.format("PRIMARY KEY (version_num)"),)}


def _check_company(found: list[_Found], path: str) -> None:
    """Nothing of somebody else's may run when we write, nor stand in our tables' way."""
    for one in found:
        if one.table not in _TABLES:
            continue
        if one.kind == "trigger" and one.name not in TRIGGERS:
            raise _refusal(path, f"there is a trigger on the table {one.table} that is not foldlog's")
        if one.kind == "index" and one.sql.upper().startswith("CREATE UNIQUE") and one.name not in _expected():
            raise _refusal(path, f"there is a unique index on the table {one.table} that is not foldlog's")


def _check_older(found: list[_Found], path: str) -> None:
    """What a store of an older schema has: plain tables and columns, and triggers that refuse."""
    for one in found:
        if one.name in _TABLES and (one.kind != "table" or _NOT_PLAIN.search(one.sql)):
            raise _refusal(path, f"the table {one.name} is not one that foldlog has ever made")
        if one.name in SQL_VIEWS and one.kind != "view":
            raise _refusal(path, f"{one.name} is no view")
        known = {_plain(sql) for sql in TRIGGERS.values()}
        if one.name in TRIGGERS and one.sql not in known and not _OLD_TRIGGER.fullmatch(one.sql):
            raise _refusal(path, f"the trigger {one.name} is not one that foldlog has ever made")


# What no version's tables have: virtual ones, checks, generated columns, defaults that call functions, collations.
_NOT_PLAIN: Final = re.compile(r"\b(VIRTUAL|CHECK|GENERATED|AS|DEFAULT|COLLATE)\b", re.IGNORECASE)


def _refusal(path: str, why: str) -> NotAStoreError:
    return NotAStoreError(
        f"{path} is not a store that foldlog made, or was changed: {why}",
        hint="do not use a database you do not trust; restore a backup, or give foldlog a file of its own",
    )
