"""Checkpoints: a view's changes written into the tables, and a view that stands on them.

Writing is one transaction and costs what changed. A view that stands on the tables is the one place where
data flows the other way: it reads their rows when it is asked for them (`foldlog.session.stored_rows`).
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from foldlog.core.base import RowsInMemory, Standing
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
from foldlog.core.documents import Edge, Node, edge_of, facts_of
from foldlog.core.measures import Totals, is_edge
from foldlog.core.rows import COUNTERS, KINDS, Changed
from foldlog.core.view import View
from foldlog.session.replaying import fold_on
from foldlog.session.stored_rows import StoredRows, told_of_damage
from foldlog.storage import journal, resumed, tables
from foldlog.storage.database import Database
from foldlog.storage.driver import Driver, sql_of
from foldlog.storage.faults import translated
from foldlog.storage.journal import Head, Stream


class Prepared(NamedTuple):
    """All that one checkpoint writes, taken from a view at one moment; writing it twice does no harm."""

    changed: Changed
    rows: dict[str, list[Columns]]


def prepare(session_id: str, view: View, *, writer: str | None) -> Prepared:
    """Take what a view has to write; if it is not written after all, `view.give_back(prepared.changed)`."""
    view.last_turn()  # what is not in memory is read before the fold is kept out
    with view.held():
        changed = view.take_changed()
        node, standing = facts_of(view), view.standing()
    try:
        return Prepared(changed, {**_rows(session_id, changed), **_facts(session_id, node, standing, writer)})
    except BaseException:
        view.give_back(changed)
        raise


def save(database: Database, stream: Stream, prepared: Prepared, last_event_id: Callable[[], int]) -> None:
    """Write what was prepared, in a transaction of its own.

    Raises `StaleWriterError` where the journal has gone on after the writer's last event.
    """
    with translated(f"session {stream.session_id!r}: checkpoint"):
        database.run(_save, database, stream, prepared, last_event_id)


def _save(
    connection: Driver, database: Database, stream: Stream, prepared: Prepared, last_event_id: Callable[[], int]
) -> None:
    if database.resumed_count:
        resumed.check_stands(connection, database, stream, last_event_id())
    try:
        connection.execute(sql_of(connection).BEGIN_CHECKPOINT)
        # The tables of a handle that was pushed aside would go back behind the new writer's.
        journal.check_last(connection, stream, last_event_id())
        write(connection, stream.session_id, prepared)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def write(connection: Driver, session_id: str, prepared: Prepared) -> None:
    """Write what was prepared, inside the caller's transaction."""
    if prepared.changed.messages_replaced:
        tables.forget_messages(connection, session_id)
    if prepared.changed.edges_gone:
        tables.forget_edges(connection, session_id, prepared.changed.edges_gone)
    for table, rows in prepared.rows.items():
        if rows:
            tables.write_rows(connection, table, rows)


def _rows(session_id: str, changed: Changed) -> dict[str, list[Columns]]:
    """The rows that changed, by table."""
    found = {
        f"{kind}s": [row_columns(kind, session_id, entry) for _, entry in rows] for kind, rows in changed.rows.items()
    }
    calls = changed.rows.get("call", ())
    found["tree"] = [tree_columns(session_id, entry) for _, entry in calls if is_edge(entry.row)]
    return found


def _facts(session_id: str, node: Node, standing: Standing, writer: str | None) -> dict[str, list[Columns]]:
    """The one row that a session has in each of the other tables."""
    folded = {
        "counters": standing.counters,
        "final_ref": standing.final[0],
        "final_preview": standing.final[1],
        "error": standing.error,
        "row_counts": standing.counts,
        "last_row_ids": standing.last_ids,
    }
    row = session_columns(
        session_id, standing.session, checkpoint_event_id=standing.counters["event"], folded=dump(folded)
    )
    return {
        "final": [final_columns(node)],
        "usage": [usage_columns(node)],
        "sessions": [{**row, "writer": writer}],
    }


def expected_tables(session_id: str, view: View) -> dict[str, dict[Any, Columns]]:
    """What the tables should hold of a freshly folded session: rows by table and key, without `writer`."""
    found = prepare(session_id, view, writer=None).rows
    del found["sessions"][0]["writer"]
    return {name: {tables.key_of(row): row for row in found.get(name, ())} for name in tables.table_names()}


def stored_node(session_id: str, rows: Mapping[str, Mapping[Any, Columns]]) -> Node:
    """What a session brings to the documents, from its rows in the tables, by table and key."""
    edges = [_edge(row, rows["calls"]) for row in sorted(rows["tree"].values(), key=lambda row: row["seq"])]
    return _node(
        session_id,
        decode(rows["final"][session_id]["data"]),
        decode(rows["usage"][session_id]["data"]),
        edges,
    )


def _edge(row: Columns, calls: Mapping[Any, Columns]) -> Edge:
    """An edge: its call's, where some engine's columns may not hold all of that."""
    call_id, texts = row["call_id"], (row["child_session_id"], row["status"], row["edge_type"])
    is_name = type(call_id) is int and call_id < 0
    if call_id in calls and (
        is_name or any("\ufffd" in text or len(text) > _PLAIN_CHARS_MAX for text in texts if text)
    ):
        return edge_of(decode_row(calls[call_id]["data"]))
    return Edge(call_id, *texts)


# Longer texts may have been cut where an index has them.
_PLAIN_CHARS_MAX: Final = 256


def read(database: Database, stream: Stream) -> tuple[View, Head | None]:
    """A session's view as of now: on its tables, with the events after them; and the last event in it.

    Costs those events; rows are read when they are asked for.
    """
    for _ in range(_OPENINGS_MAX):
        # A writer may move the tables on while the events are folded; then we are late, and begin again.
        with contextlib.suppress(_TablesMovedError):
            return _open(database, stream, begin_again=True)
    return _open(database, stream, begin_again=False)


# How often opening begins again before it folds the whole journal instead.
_OPENINGS_MAX: Final = 5


class _TablesMovedError(Exception):
    """Never leaves this module."""


def _open(database: Database, stream: Stream, *, begin_again: bool) -> tuple[View, Head | None]:
    row, usage = database.look(lambda connection: _facts_of(connection, stream))
    if row is None:
        return replay(database, stream)
    event_id = row["checkpoint_event_id"]
    with told_of_damage(stream.session_id):
        if type(event_id) is not int:
            raise TypeError
        standing = _standing(decode_row(row["data"]), decode(row["folded"]), decode(usage or "null"))

    opening = begin_again

    def recall() -> RowsInMemory:
        if opening:
            raise _TablesMovedError
        entries = replay(database, stream, through=event_id)[0].stored_entries()
        return RowsInMemory({kind: dict(found) for kind, found in entries.items()})

    view = View.on(StoredRows(database, stream, event_id, standing, recall), standing)
    found = _folded(database, stream, view)
    opening = False
    return found


def _standing(session: dict[str, Any], folded: dict[str, Any], usage: dict[str, Any]) -> Standing:
    numbers = [folded["counters"][name] for name in COUNTERS] + [folded["row_counts"][kind] for kind in KINDS]
    if any(type(number) is not int for number in numbers) or folded["last_row_ids"].keys() != set(KINDS):
        raise TypeError
    return Standing(
        session=session,
        counters=folded["counters"],
        final=(folded["final_ref"], folded["final_preview"]),
        error=folded["error"],
        counts=folded["row_counts"],
        last_ids=folded["last_row_ids"],
        totals=Totals.load(usage["sums"]),
    )


def decode_row(data: str) -> dict[str, Any]:
    """A row from its data column."""
    with told_of_damage(None):
        row = decode(data)
        if type(row) is not dict:
            raise TypeError
    return row


def _facts_of(connection: Connection, stream: Stream) -> tuple[Any, Any]:
    journal.check_kept(connection, stream)
    return tables.read_session(connection, stream.session_id), tables.read_usage(connection, stream.session_id)


def writer_of(database: Database, session_id: str) -> str | None:
    """Who the tables say is writing a session: after a crash, the one who died."""
    row = database.look(lambda connection: tables.read_session(connection, session_id))
    return row["writer"] if row is not None else "unknown"


def replay(database: Database, stream: Stream, *, through: int | None = None) -> tuple[View, Head | None]:
    """A session's view folded from its journal alone, through one event or all; and the last event in it."""
    return _folded(database, stream, View(), through)


def _folded(database: Database, stream: Stream, view: View, through: int | None = None) -> tuple[View, Head | None]:
    fold_on(database, stream, view, through=through)
    return view, journal.head_of(database, stream, view.counter("event"))


def read_nodes(database: Database, session_id: str) -> dict[str, Node]:
    """What a session and those below it bring to the documents, where their tables are current; by id."""
    with database.read() as connection:
        standing = tables.read_below(connection, "sessions", "session_id, checkpoint_event_id", session_id)
        finals = dict(tables.read_below(connection, "final", "session_id, data", session_id))
        usages = dict(tables.read_below(connection, "usage", "session_id, data", session_id))
        edges: dict[str, list[Edge]] = {}
        for found, *edge, call in tables.read_edges_below(connection, session_id):
            edges.setdefault(found, []).append(Edge(*edge) if call is None else edge_of(decode_row(call)))
        heads = journal.last_event_ids(connection, session_id)
    with told_of_damage(session_id):
        return {
            found: _node(found, decode(finals[found]), decode(usages[found]), edges.get(found, []))
            for found, event_id in standing
            if heads.get(found) == event_id and found in finals and found in usages
        }


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
