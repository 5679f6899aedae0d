"""The database file as SQLite sees it: its pages, its indexes, and that the schema is ours.

SQLite's own check reads the whole file in one transaction, at the speed of the disk; everything else
here is small. What the rows say is checked elsewhere.
"""

import sqlite3
from collections.abc import Iterator

from foldlog.outlets.findings import SAVE, Problem
from foldlog.storage.driver import Driver
from foldlog.storage.faults import DRIVER_ERRORS
from foldlog.storage.schema import APPLICATION_ID, SCHEMA_NUMBER, TRIGGERS, durable, projection, search
from foldlog.storage.sql_views import SQL_VIEWS
from foldlog.storage.sqlite_sql import view_statements

_LINES_MAX = 100
_ANEW = "`foldlog repair STORE` makes it anew"
# What SQLite says of an index that does not fit its table: the table itself may be whole.
_OF_INDEXES = ("missing from index", "wrong # of entries in index", "non-unique entry in index")


def check_file(connection: Driver, *, deep: bool) -> Iterator[Problem]:
    """What SQLite finds wrong with the file; a server checks its own."""
    if not isinstance(connection, sqlite3.Connection):
        return
    try:
        for (line,) in connection.execute(f"PRAGMA {'integrity' if deep else 'quick'}_check({_LINES_MAX})"):
            if line != "ok":
                yield Problem(None, None, f"SQLite: {_one_line(line)}", _hint(str(line)))
    except (*DRIVER_ERRORS, MemoryError) as error:
        yield Problem(None, None, f"SQLite cannot check the file: {error}", SAVE)


def is_of_index(problem: Problem) -> bool:
    """Whether SQLite complains of an index only."""
    return any(words in problem.what for words in _OF_INDEXES)


def _hint(line: str) -> str:
    return "`foldlog repair STORE` makes the indexes anew" if any(words in line for words in _OF_INDEXES) else SAVE


def _one_line(text: object) -> str:
    return "; ".join(str(text).splitlines())


def check_schema(connection: sqlite3.Connection) -> Iterator[Problem]:
    """What differs between the file's schema and ours; an application may have added to it."""
    try:
        yield from _check_schema(connection)
    except (*DRIVER_ERRORS, MemoryError) as error:
        yield Problem(None, None, f"the schema cannot be read: {error}", SAVE)


def _check_schema(connection: sqlite3.Connection) -> Iterator[Problem]:
    for name, expected in (("application_id", APPLICATION_ID), ("user_version", SCHEMA_NUMBER)):
        found = connection.execute(f"PRAGMA {name}").fetchone()[0]
        if found != expected:
            yield Problem(None, None, f"{name} is {found}, not {expected}", SAVE)
    stored = {
        (kind, name): sql
        for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_schema")
        if isinstance(name, str)
    }
    for name in wrong_triggers(stored):
        yield Problem(None, None, f"the trigger {name} is not in place: events could be changed", _ANEW)
    for name, sql in zip(SQL_VIEWS, view_statements(), strict=True):
        if _plain(stored.get(("view", name))) != _plain(sql):
            yield Problem(None, None, f"the SQL view {name} is not what it should be", _ANEW)
    for metadata, hint in ((durable, SAVE), (projection, _ANEW), (search, _ANEW)):
        for table in metadata.sorted_tables:
            columns = [(row[1], row[2]) for row in connection.execute(f"PRAGMA table_info({table.name})")]
            expected_columns = [(column.name, str(column.type.compile())) for column in table.columns]
            if _upper(columns) != _upper(expected_columns):
                yield Problem(None, None, f"the table {table.name} does not have the columns it should", hint)
            for index in sorted(str(index.name) for index in table.indexes):
                if ("index", index) not in stored:
                    yield Problem(None, None, f"the index {index} is missing", hint)


def _upper(columns: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, kind.upper()) for name, kind in columns]


def wrong_triggers(stored: dict[tuple[str, str], str]) -> list[str]:
    """The triggers of ours that are not there, or do something else; `stored` is SQL by type and name."""
    return [name for name, sql in TRIGGERS.items() if _plain(stored.get(("trigger", name))) != _plain(sql)]


def _plain(sql: object) -> str:
    return " ".join(sql.split()) if isinstance(sql, str) else ""
