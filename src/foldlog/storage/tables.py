"""The projection tables: writing what a checkpoint gives, reading it back.

Rows come and go as ready-made columns (`foldlog.core.columns`); this module knows tables, not meanings.
It runs on a connection inside the caller's transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from foldlog.storage.driver import Driver, driver_of, sql_of
from foldlog.storage.journal import range_below
from foldlog.storage.schema import ROW_TABLES, messages, projection, tree


def write_rows(connection: Driver, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows, or replace those whose key is there."""
    sql_of(connection).write_rows(connection, projection.tables[table], rows)


def add_rows(connection: Driver, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Insert rows of which none is there."""
    sql_of(connection).add_rows(connection, projection.tables[table], rows)


def key_of(row: Mapping[str, Any]) -> Any:
    """What tells a row of a session from its others."""
    return row.get("id", row.get("call_id", row["session_id"]))


def read_table(connection: Connection, table: str, session_id: str) -> dict[Any, dict[str, Any]]:
    """All of a session's rows of a projection table by key, as they are stored, without `writer`."""
    rows = connection.exec_driver_sql(f"SELECT * FROM {table} WHERE session_id = ?", (session_id,)).mappings()
    found = [{name: value for name, value in row.items() if name != "writer"} for row in rows]
    return {key_of(row): row for row in found}


def forget_messages(connection: Driver, session_id: str) -> None:
    """Delete a session's messages: a restore has replaced them."""
    connection.execute(f"DELETE FROM {messages.name} WHERE session_id = ?", (session_id,))


def forget_edges(connection: Driver, session_id: str, call_ids: Iterable[Any]) -> None:
    """Delete edges whose calls no longer lead to a child."""
    key_of_row = sql_of(connection).row_key
    connection.executemany(
        f"DELETE FROM {tree.name} WHERE session_id = ? AND call_id = ?",
        [(session_id, key_of_row(call_id)) for call_id in call_ids],
    )


def read_writers(connection: Driver) -> dict[str, str | None]:
    """Who was writing each session, as far as tables of an older schema say."""
    columns = sql_of(connection).columns(connection, "sessions")
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
    key = sql_of(driver_of(connection)).row_key(row_id)
    row = connection.exec_driver_sql(sql, (session_id, key)).first()
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
    driver = driver_of(connection)
    words = sql_of(driver)
    where.append("turn_id IS NOT NULL" if turn_id is None else "turn_id = ?")
    values += [] if turn_id is None else [words.row_key(turn_id)]
    names = f"{words.id_name('turn_id', 'turn_id')}, {words.id_name('id', 'id')}"
    table = ROW_TABLES[kind].name
    sql = f"SELECT turn_id, id, first_event_id, {names} FROM {table} WHERE {' AND '.join(where)} ORDER BY seq"
    return [
        (words.id_of(turn, turn_name), words.id_of(row, name), event_id)
        for turn, row, event_id, turn_name, name in driver.execute(sql, values)
    ]


def read_below(connection: Connection, table: str, columns: str, session_id: str) -> list[tuple[Any, ...]]:
    """Columns of a session's rows in a table and of all sessions below it, by session and place."""
    order = "session_id, seq" if table == tree.name else "session_id"
    rows = connection.exec_driver_sql(
        f"SELECT {columns} FROM {table} WHERE {_BELOW} ORDER BY {order}", (session_id, *range_below(session_id))
    )
    return [tuple(row) for row in rows]


_BELOW = "session_id = ? OR session_id > ? AND session_id < ?"


def read_edges_below(connection: Connection, session_id: str) -> list[tuple[Any, ...]]:
    """Of a session and all below it the edges, by session and place: session, call, child, status, type.

    Behind these the call's data, where the columns may not hold all of it.
    """
    words = sql_of(driver_of(connection))
    rows = connection.exec_driver_sql(
        f"SELECT session_id, call_id, child_session_id, status, edge_type, {words.EDGE_CALL} FROM {tree.name} "
        f"WHERE {_BELOW} ORDER BY session_id, seq",
        (session_id, *range_below(session_id)),
    )
    return [tuple(row) for row in rows]


def table_names() -> list[str]:
    """The names of the projection tables."""
    return [table.name for table in projection.sorted_tables]
