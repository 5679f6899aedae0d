"""The projection tables: writing what a checkpoint gives, reading it back.

Rows come and go as ready-made columns (`foldlog.core.columns`); this module knows tables, not meanings.
It runs on a connection inside the caller's transaction.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table

from foldlog.storage.journal import range_below
from foldlog.storage.schema import ROW_TABLES, messages, projection, tree
from foldlog.storage.sqlite import driver_of


@cache
def _upserts(table: Table) -> tuple[str, str]:
    """`INSERT … ON CONFLICT DO UPDATE`: of rows that stay where indexes have them, and of any.

    A column that is set has its indexes written, changed or not, and a page of each for every row. So the
    first leaves indexed columns out, and rows in which one has changed untouched.
    """
    columns = [column.name for column in table.columns]
    key = [column.name for column in table.primary_key]
    indexed = {column.name for index in table.indexes for column in index.columns}
    changed = [name for name in columns if name not in key]
    insert = (
        f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({', '.join(f':{name}' for name in columns)}) "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET"
    )
    moved = [f"{name} = excluded.{name}" for name in changed]
    staying = [f"{name} = excluded.{name}" for name in changed if name not in indexed]
    same = [f"{table.name}.{name} IS excluded.{name}" for name in changed if name in indexed] or ["TRUE"]
    return f"{insert} {', '.join(staying)} WHERE {' AND '.join(same)}", f"{insert} {', '.join(moved)}"


def write_rows(connection: sqlite3.Connection, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows, or replace those whose key is there."""
    staying, moved = _upserts(projection.tables[table])
    rows = list(rows)
    if connection.executemany(staying, rows).rowcount < len(rows):
        connection.executemany(moved, rows)


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


# What is read of a row: data, first event id, last event id, seq.
Stored = tuple[str, int, int, int]
_STORED = "data, first_event_id, last_event_id, seq"


def read_standing(connection: Connection, session_id: str) -> int | None:
    """The event at which a session's tables stand, or None before its first checkpoint."""
    sql = "SELECT checkpoint_event_id FROM sessions WHERE session_id = ?"
    row = connection.exec_driver_sql(sql, (session_id,)).first()
    return row[0] if row is not None else None


def read_usage(connection: Connection, session_id: str) -> str | None:
    """A session's own sums, as the table usage holds them."""
    row = connection.exec_driver_sql("SELECT data FROM usage WHERE session_id = ?", (session_id,)).first()
    return row[0] if row is not None else None


def read_row(connection: Connection, kind: str, session_id: str, row_id: Any) -> Stored | None:
    """One row, or None."""
    sql = f"SELECT {_STORED} FROM {ROW_TABLES[kind].name} WHERE session_id = ? AND id = ?"
    row = connection.exec_driver_sql(sql, (session_id, row_id)).first()
    return None if row is None else (row[0], row[1], row[2], row[3])


def read_rows(connection: Connection, kind: str, session_id: str, *, running: bool = False) -> list[Stored]:
    """A session's rows of one kind in order, or those that are running."""
    only = " AND status = 'running'" if running else ""
    sql = f"SELECT {_STORED} FROM {ROW_TABLES[kind].name} WHERE session_id = ?{only} ORDER BY seq"
    # Past SQLAlchemy, whose rows cost more than what is in them.
    found: list[Stored] = driver_of(connection).execute(sql, (session_id,)).fetchall()
    return found


def read_edge_calls(connection: Connection, session_id: str) -> list[Stored]:
    """The calls that lead to child sessions, in order."""
    sql = (
        "SELECT calls.data, calls.first_event_id, calls.last_event_id, calls.seq FROM tree "
        "JOIN calls ON calls.session_id = tree.session_id AND calls.id = tree.call_id "
        "WHERE tree.session_id = ? ORDER BY calls.seq"
    )
    found: list[Stored] = driver_of(connection).execute(sql, (session_id,)).fetchall()
    return found


def read_joined(
    connection: Connection,
    kind: str,
    session_id: str,
    *,
    through: int,
    roles: Sequence[str] = (),
    turn_id: Any = None,
) -> list[tuple[Any, Any, int]]:
    """Which rows name a turn, any or one, through one place in order: turn, row, first event id; in order.

    `roles`: messages of these only.
    """
    where, values = ["session_id = ?", "seq <= ?"], [session_id, through]
    if roles:
        where.append(f"role IN ({', '.join('?' * len(roles))})")
        values += roles
    where.append("turn_id IS NOT NULL" if turn_id is None else "turn_id = ?")
    values += [] if turn_id is None else [turn_id]
    table = ROW_TABLES[kind].name
    sql = f"SELECT turn_id, id, first_event_id FROM {table} WHERE {' AND '.join(where)} ORDER BY seq"
    return driver_of(connection).execute(sql, values).fetchall()


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
