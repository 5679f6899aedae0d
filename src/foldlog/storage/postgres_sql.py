"""PostgreSQL's SQL, where SQLite's reads differently: see `foldlog.storage.driver.Sql`.

How a server is reached and written is in `foldlog.storage.postgres`, the SQL views in `postgres_views`.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import MetaData, Table
from sqlalchemy.dialects import postgresql

from foldlog.storage import postgres_bulk, postgres_index
from foldlog.storage.postgres_driver import Server, number_of
from foldlog.storage.postgres_views import POSTGRES_VIEWS, PostgresWords
from foldlog.storage.postgres_views import json as json_of
from foldlog.storage.schema import MARK, REVISION, durable, projection, search, table_statements

NAME: Final = "postgresql"
# A sequence gives no key twice.
NEW_STREAM_KEY: Final = "nextval(pg_get_serial_sequence('streams', 'session_key'))"
# The lock that every append takes, before anything is looked at: who deletes sessions keeps appends out by it.
BEGIN_APPEND: Final = "BEGIN; LOCK TABLE events IN ROW EXCLUSIVE MODE"
# At durability "normal" too: a writer outlives a server that crashes, and writes no row again that it has written.
BEGIN_CHECKPOINT: Final = (
    "BEGIN; SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
)
DATA_BYTES: Final = "convert_to(data, 'UTF8')"
IS_WHOLE_CHAIN: Final = "length(chain) = 32"

for _metadata in (durable, projection, search):
    for _table in _metadata.tables.values():
        for _index in _table.indexes:
            # What is partial is so on both engines; SQLAlchemy would load PostgreSQL's half of it for SQLite's users.
            _where = _index.dialect_options["sqlite"]["where"]
            if _where is not None:
                _index.dialect_options["postgresql"]["where"] = _where

_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's own
# Row ids that are names stand in the id columns as numbers below all ids: bit 62 is set, and the sign.
_NAMED: Final = -(2**62)
# An entry of an index has a third of a page, for two such texts; an address, which tables are joined by, has less.
_INDEXED_BYTES_MAX: Final = 1200

EDGE_CALL: Final = (
    f"CASE WHEN tree.call_id <= {_NAMED} OR octet_length(child_session_id) > {_INDEXED_BYTES_MAX - 4} "
    "OR strpos(concat(child_session_id, status, edge_type), '\ufffd') > 0 THEN (SELECT calls.data FROM calls "
    "WHERE calls.session_id = tree.session_id AND calls.id = tree.call_id) END"
)


# Not logged: after a crash of the server nobody holds a lease.
LEASES: Final = (
    'CREATE UNLOGGED TABLE leases (session_id TEXT COLLATE "C" PRIMARY KEY, generation BIGINT NOT NULL, '
    "holder TEXT NOT NULL)"
)


def schema_statements() -> list[str]:
    """The DDL of a new store, in order."""
    return [
        *statements(durable, projection, search),
        *postgres_index.statements(),
        *trigger_statements(),
        *view_statements(),
        LEASES,
        (
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
            "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
        ),
        f"INSERT INTO alembic_version (version_num) VALUES ('{REVISION}')",
        f"COMMENT ON TABLE streams IS '{MARK}'",
    ]


def statements(*metadata: MetaData) -> list[str]:
    """The DDL of tables and their indexes, in order."""
    return table_statements(_DIALECT, *metadata)


def trigger_statements() -> list[str]:
    """The DDL of the triggers: UPDATE, DELETE and TRUNCATE are refused, but for a deleted session's events."""
    return [
        """CREATE FUNCTION events_refuse() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF EXISTS (SELECT 1 FROM streams WHERE session_key = OLD.session_key AND substr(id, 1, 9) = '.deleted/') THEN
      RETURN OLD;
    END IF;
  END IF;
  RAISE EXCEPTION 'events is append-only' USING ERRCODE = 'restrict_violation';
END $$""",
        (
            "CREATE TRIGGER events_refuse_change BEFORE UPDATE OR DELETE ON events "
            "FOR EACH ROW EXECUTE FUNCTION events_refuse()"
        ),
        "CREATE TRIGGER events_refuse_truncate BEFORE TRUNCATE ON events EXECUTE FUNCTION events_refuse()",
    ]


def view_statements() -> list[str]:
    """The DDL of the SQL views, in order."""
    return [f"CREATE VIEW {name} AS {select.strip()}" for name, select in POSTGRES_VIEWS.items()]


def columns(connection: Server, table: str) -> list[str]:
    """The names of a table's columns."""
    sql = (
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(?) AND attnum > 0 AND NOT attisdropped "
        "ORDER BY attnum"
    )
    return [row[0] for row in connection.execute(sql, (table,))]


elapsed_ms: Final = PostgresWords().elapsed_ms


# Rows.


@cache
def _upsert(table: Table) -> str:
    names = [column.name for column in table.columns]
    key = [column.name for column in table.primary_key]
    changed = ", ".join(f"{name} = excluded.{name}" for name in names if name not in key)
    return (
        f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)}) "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changed}"
    )


@cache
def _fitted(table: Table) -> tuple[tuple[str, ...], ...]:
    """The columns of a table that hold whole numbers, numbers, text, and those of text that an index has."""
    whole, numbers, texts = [], [], []
    for column in table.columns:
        kind = column.type.dialect_impl(_DIALECT)
        if isinstance(kind, sa.Numeric) and not isinstance(kind, sa.Float):
            numbers.append(column.name)
        elif isinstance(kind, sa.Integer):
            whole.append(column.name)
        elif isinstance(kind, sa.String):
            texts.append(column.name)
    in_index = {column.name for index in table.indexes for column in index.columns}
    return tuple(whole), tuple(numbers), tuple(texts), tuple(name for name in texts if name in in_index)


def write_rows(connection: Server, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows, or replace those whose key is there."""
    connection.executemany(_upsert(table), [_row(table, row) for row in rows])


def add_rows(connection: Server, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows of which none is there."""
    names = [column.name for column in table.columns]
    fitted = (_row(table, row) for row in rows)
    postgres_bulk.put_rows(connection, table.name, names, ([row[name] for name in names] for row in fitted))


def _row(table: Table, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as PostgreSQL takes it: names of rows as numbers, floats exactly, no NUL in text, no long text in indexes.

    What is changed here is a copy; `data` has it as it is.
    """
    found = dict(row)
    whole, numbers, texts, indexed = _fitted(table)
    for name in whole:
        if type(found[name]) is not int:
            found[name] = row_key(found[name])
    for name in numbers:
        if type(found[name]) is float:
            found[name] = Decimal(repr(found[name]))
    for name in texts:
        text = found.get(name)
        if text is not None and "\0" in text:
            text = found[name] = text.replace("\0", "\ufffd")
        if text is not None and len(text) > _INDEXED_BYTES_MAX // 4 and name in indexed:
            found[name] = text.encode()[:_INDEXED_BYTES_MAX].decode(errors="ignore")
    return found


def as_stored(table: Table, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row as reading it back gives it."""
    return {name: number_of(value) if isinstance(value, Decimal) else value for name, value in _row(table, row).items()}


def row_key(row_id: Any) -> Any:
    """A row's id as the id columns hold it: an int itself, a name as a number below 0 made from it."""
    if not isinstance(row_id, str):
        return row_id
    return _NAMED - (int.from_bytes(hashlib.sha256(row_id.encode()).digest()[:8], "big") >> 2)


def id_of(key: Any, name: Any) -> Any:
    """A row's id from an id column, and from what `id_name` gave."""
    return key if name is None else name


def id_name(column: str, key: str) -> str:
    """An expression: the name where the id column holds the number of one."""
    return f"CASE WHEN {column} <= {_NAMED} THEN {json_of('data')} ->> '{key}' END"


# Rows in bulk.

_PAGE_ROWS: Final = 1000
# What numbers a table's rows; the others are numbered in order of their keys.
_NUMBERS: Final = {"events": "position", "parts": "part_id", "lists": "list_id", "streams": "session_key"}


def walk(connection: Server, table: str, columns: str) -> Iterator[list[tuple[Any, ...]]]:
    """Pages of a table's rows, each its number and then the columns, in order; of one moment.

    Nothing is read past what cannot be: damage to a server's files is the server's to tell and to mend.
    """
    key = ", ".join(column.name for column in _TABLES[table].primary_key)
    number = _NUMBERS.get(table, f"row_number() OVER (ORDER BY {key})")
    sql = f"SELECT {number}, {columns} FROM {table} ORDER BY {_NUMBERS.get(table, key)}"
    yield from connection.pages(f"walk_{next(_walks)}", sql, _PAGE_ROWS)


_TABLES: Final = {**durable.tables, **projection.tables, **search.tables}
_walks: Final = itertools.count()


# Deleting.


def hold_all(connection: Server) -> None:
    """Keep everybody else from writing, and none from reading, until the caller's transaction ends.

    Every append of several statements has locked `events` before it looks at anything, every checkpoint looks for
    its stream to hold it first: both wait here, so neither can refer to what is being taken away.
    """
    connection.execute("LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE")
    connection.execute("LOCK TABLE streams IN EXCLUSIVE MODE")


@contextmanager
def deleting(connection: Server) -> Iterator[None]:  # noqa: ARG001
    """Nothing is to be switched: foreign keys hold while a session goes."""
    yield


def stored_bytes(connection: Server) -> int:  # noqa: ARG001
    """Nothing to compare: what a server's files take is its own business."""
    return 0


def give_back_space(connection: Server) -> str | None:  # noqa: ARG001
    """Nothing is left to do: the server's autovacuum frees the space for new rows."""
    return None


put_rows: Final = postgres_bulk.put_rows
go_on_behind: Final = postgres_bulk.go_on_behind
look_again: Final = postgres_bulk.look_again

# The schema.


def schema_number(connection: Server) -> int:
    """The number of the schema, which is that of its revision; 0 where there is none."""
    if connection.execute("SELECT to_regclass('alembic_version')").fetchone()[0] is None:
        return 0
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return int(row[0]) if row is not None and row[0].isdecimal() else 0


def mark_current(connection: Server) -> None:
    """Nothing is to be said beside the revision, which Alembic notes."""


def insert(connection: Server, sql: str, values: tuple[object, ...], key: str) -> int:
    """Insert a row; what the database gave it as its `key`."""
    return int(connection.execute(f"{sql} RETURNING {key}", values).fetchone()[0])


def hold_stream(connection: Server, key: int | None) -> None:
    """Keep others from appending to a session, and from writing its tables, until the transaction ends."""
    connection.execute("SELECT 1 FROM streams WHERE session_key = ? FOR UPDATE", (key,)).fetchone()
