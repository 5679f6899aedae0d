"""Checkpoints: a view's changes written into the tables, and a view read back from them.

Writing happens in one transaction and costs what changed. Reading back is the one place where data
flows the other way: a session is opened from its tables and the events after them.
"""

import sqlite3
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection

from foldlog.core.codec import decode
from foldlog.core.columns import (
    Columns,
    dump,
    final_columns,
    row_columns,
    session_columns,
    tree_columns,
    usage_columns,
)
from foldlog.core.documents import Edge, Node, node_of
from foldlog.core.errors import CorruptJournalError
from foldlog.core.fold import advance
from foldlog.core.ids import RowId
from foldlog.core.measures import Totals, is_edge
from foldlog.core.rows import KINDS, Changed, Entry
from foldlog.core.view import View
from foldlog.session.recorder import event_of
from foldlog.storage import journal, tables
from foldlog.storage.journal import Head, StoredEvent, Stream
from foldlog.storage.sqlite import Database


def write(connection: sqlite3.Connection, session_id: str, view: View, changed: Changed, *, writer: str | None) -> None:
    """Write the changed rows and the derived tables, inside the caller's transaction."""
    if changed.messages_replaced:
        tables.forget_messages(connection, session_id)
    if changed.edges_gone:
        tables.forget_edges(connection, session_id, changed.edges_gone)
    for table, rows in _table_rows(session_id, view, changed).items():
        if table == "sessions":
            rows[0]["writer"] = writer
        if rows:
            tables.write_rows(connection, table, rows)


def _table_rows(session_id: str, view: View, changed: Changed) -> dict[str, list[Columns]]:
    """What a checkpoint stores, as rows by table."""
    found = {
        f"{kind}s": [row_columns(kind, session_id, entry) for _, entry in rows] for kind, rows in changed.rows.items()
    }
    calls = changed.rows.get("call", ())
    found["tree"] = [tree_columns(session_id, entry) for _, entry in calls if is_edge(entry.row)]
    node = node_of(view)
    found["final"], found["usage"] = [final_columns(node)], [usage_columns(node)]
    row = session_columns(
        session_id, view.session_row(), checkpoint_event_id=view.counter("event"), folded=dump(_folded(view))
    )
    found["sessions"] = [row]
    return found


def expected_tables(session_id: str, view: View) -> dict[str, dict[Any, Columns]]:
    """What the tables should hold of a freshly folded session: rows by table and key, without `writer`."""
    found = _table_rows(session_id, view, view.take_changed())
    return {name: {tables.key_of(row): row for row in found.get(name, ())} for name in tables.table_names()}


def _folded(view: View) -> dict[str, Any]:
    """The parts of a view that are no rows."""
    return {
        "counters": view.counters,
        "final_ref": view.final_ref,
        "final_preview": view.final_preview,
        "error": view.error,
    }


def read(database: Database, stream: Stream) -> tuple[View, Head | None]:
    """A session's view as of now: from its tables, then the events after them; and the last event in it."""
    with database.read() as connection:
        row = tables.read_session(connection, stream.session_id)
        entries = {kind: _read_entries(connection, kind, stream.session_id) for kind in KINDS} if row else {}
    if row is None:
        return replay(database, stream)
    standing = row["checkpoint_event_id"]
    try:
        folded = decode(row["folded"])
        final = (folded["final_ref"], folded["final_preview"])
        view = View.restore(decode(row["data"]), folded["counters"], final, folded["error"], entries)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CorruptJournalError(
            f"session {stream.session_id!r}: the tables are damaged ({type(error).__name__})",
            hint="store.view(id, at=<its last event>) reads the journal alone; a backup brings its tables back",
        ) from error
    head = journal.head_of(database, stream, standing)
    return _fold_on(view, head, journal.read_stream(database, stream, after=standing))


def decode_row(data: str) -> dict[str, Any]:
    """A row from its data column."""
    row: dict[str, Any] = decode(data)
    return row


def writer_of(database: Database, session_id: str) -> str | None:
    """Who the tables say is writing a session: after a crash, the one who died."""
    with database.read() as connection:
        row = tables.read_session(connection, session_id)
    return row["writer"] if row is not None else "unknown"


def replay(database: Database, stream: Stream, *, through: int | None = None) -> tuple[View, Head | None]:
    """A session's view folded from its journal alone, through one event or all; and the last event in it."""
    return _fold_on(View(), None, journal.read_stream(database, stream, through=through))


def _fold_on(view: View, head: Head | None, stored_events: Iterator[StoredEvent]) -> tuple[View, Head | None]:
    for stored in stored_events:
        advance(view, event_of(stored))
        head = Head(stored.event_id, stored.at, stored.chain)
    return view, head


def _read_entries(connection: Connection, kind: str, session_id: str) -> list[tuple[RowId, Entry]]:
    found: list[tuple[RowId, Entry]] = []
    for data, first, last, seq in tables.read_rows(connection, kind, session_id):
        row = decode(data)
        found.append((row["id"], Entry(row, first, last, seq)))
    return found


def read_nodes(database: Database, session_id: str) -> dict[str, Node]:
    """What a session and those below it bring to the documents, where their tables are current; by id."""
    with database.read() as connection:
        standing = tables.read_below(connection, "sessions", "session_id, checkpoint_event_id", session_id)
        finals = dict(tables.read_below(connection, "final", "session_id, data", session_id))
        usages = dict(tables.read_below(connection, "usage", "session_id, data", session_id))
        edges: dict[str, list[Edge]] = {}
        for row in tables.read_below(connection, "tree", _EDGE_COLUMNS, session_id):
            edges.setdefault(row[0], []).append(Edge(*row[1:5]))
        heads = journal.last_event_ids(connection, session_id)
    return {
        found: _node(found, decode(finals[found]), decode(usages[found]), edges.get(found, []))
        for found, event_id in standing
        if heads.get(found) == event_id and found in finals and found in usages
    }


_EDGE_COLUMNS = "session_id, call_id, child_session_id, status, edge_type, seq"


def _node(session_id: str, final: dict[str, Any], usage: dict[str, Any], edges: list[Edge]) -> Node:
    return Node(
        session_id=session_id,
        status=final["status"],
        totals=Totals.load(usage["sums"]),
        edges=edges,
        turn_count=final["turn_count"],
        latest_turn_id=final["latest_turn_id"],
        eval_count=final["eval_count"],
        snapshot_count=final["snapshot_count"],
        value_ref=final["value_ref"],
        value_preview=final["value_preview"],
        error=final["error"],
    )
