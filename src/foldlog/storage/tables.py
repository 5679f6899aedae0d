"""The projection tables: writing what a checkpoint gives, reading it back.

Rows come and go as ready-made columns (`foldlog.core.columns`); this module knows tables, not meanings.
It runs on a connection inside the caller's transaction.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table

from foldlog.storage.journal import range_below
from foldlog.storage.schema import ROW_TABLES, messages, projection, tree


@cache
def _upsert(table: Table) -> str:
    """`INSERT … ON CONFLICT DO UPDATE`, in the dialect that SQLite and PostgreSQL share."""
    columns = [column.name for column in table.columns]
    key = [column.name for column in table.primary_key]
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    return (
        f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({', '.join(f':{name}' for name in columns)}) "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changed}"
    )


def write_rows(connection: sqlite3.Connection, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows, or replace those whose key is there."""
    connection.executemany(_upsert(projection.tables[table]), list(rows))


def key_of(row: Mapping[str, Any]) -> Any:
    """What tells a row of a session from its others."""
    return row.get("id", row.get("call_id", row["session_id"]))


def read_table(connection: Connection, table: str, session_id: str) -> dict[Any, dict[str, Any]]:
    """All of a session's rows of a projection table by key, as they are stored, without `writer`."""
    rows = connection.exec_driver_sql(f"SELECT * FROM {table} WHERE session_id = ?", (session_id,)).mappings()
    found = [{name: value for name, value in row.items() if name != "writer"} for row in rows]
    return {key_of(row): row for row in found}


def forget_messages(connection: sqlite3.Connection, session_id: str) -> None:
    """Delete a session's messages: a restore has replaced them."""
    connection.execute(f"DELETE FROM {messages.name} WHERE session_id = ?", (session_id,))


def forget_edges(connection: sqlite3.Connection, session_id: str, call_ids: Iterable[Any]) -> None:
    """Delete edges whose calls no longer lead to a child."""
    connection.executemany(
        f"DELETE FROM {tree.name} WHERE session_id = ? AND call_id = ?",
        [(session_id, call_id) for call_id in call_ids],
    )


def read_writers(connection: sqlite3.Connection) -> dict[str, str | None]:
    """Who was writing each session, as far as tables of an older schema say."""
    columns = [row[1] for row in connection.execute("PRAGMA table_info(sessions)")]
    if "writer" not in columns or "session_id" not in columns:
        return {}
    return dict(connection.execute("SELECT session_id, writer FROM sessions").fetchall())


def read_session(connection: Connection, session_id: str) -> dict[str, Any] | None:
    """A session's row of the table sessions, or None before its first checkpoint."""
    row = connection.exec_driver_sql("SELECT * FROM sessions WHERE session_id = ?", (session_id,)).mappings().first()
    return dict(row) if row is not None else None


def read_sessions(connection: Connection) -> list[dict[str, Any]]:
    """All rows of the table sessions, parents before children."""
    rows = connection.exec_driver_sql("SELECT * FROM sessions ORDER BY created_at, session_id").mappings()
    return [dict(row) for row in rows]


def read_rows(connection: Connection, kind: str, session_id: str) -> list[tuple[str, int, int, int]]:
    """A session's rows of one kind in order: data, first event id, last event id, seq."""
    table = ROW_TABLES[kind]
    rows = connection.exec_driver_sql(
        f"SELECT data, first_event_id, last_event_id, seq FROM {table.name} WHERE session_id = ? ORDER BY seq",
        (session_id,),
    )
    return [(row[0], row[1], row[2], row[3]) for row in rows]


def read_below(connection: Connection, table: str, columns: str, session_id: str) -> list[tuple[Any, ...]]:
    """Columns of a session's rows in a table and of all sessions below it, by session and place."""
    order = "session_id, seq" if table == tree.name else "session_id"
    rows = connection.exec_driver_sql(
        f"SELECT {columns} FROM {table} WHERE session_id = ? OR session_id > ? AND session_id < ? ORDER BY {order}",
        (session_id, *range_below(session_id)),
    )
    return [tuple(row) for row in rows]


def table_names() -> list[str]:
    """The names of the projection tables."""
    return [table.name for table in projection.sorted_tables]
