"""Rows as columns: the typed copies that tables keep for SQL, beside the row itself as JSON.

A column is a copy for filtering and summing; what is read back is always `data`. A value of another
type than the column's is left NULL there and stays whole in `data`. The tables themselves are in
`foldlog.storage.schema`, their writing in `foldlog.storage.tables`.
"""

from collections.abc import Callable
from typing import Any, Final

import orjson

from foldlog.core.codec import canonical_json
from foldlog.core.documents import Node, edge_of
from foldlog.core.errors import FoldlogError
from foldlog.core.ids import RowId, check_row_id, parent_id, session_name
from foldlog.core.limits import NESTING_MAX
from foldlog.core.measures import COST_ALIASES, TOKEN_ALIASES, first_number
from foldlog.core.rows import Entry, Row

Columns = dict[str, Any]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _real(value: Any) -> float | None:
    return None if _number(value) is None else float(value)


def _id(value: Any) -> RowId | None:
    # What cannot be the id of a row is no column: SQLite would make a number of the text "12".
    if value is None:
        return None
    try:
        return check_row_id(value, "")
    except FoldlogError:
        return None


Reader = Callable[[Any], Any]

# The columns of each kind of row that are copies of one key.
COPIED: Final[dict[str, dict[str, Reader]]] = {
    "message": {"role": _text, "turn_id": _id, "call_id": _id},
    "turn": {"status": _text, "user_message_id": _id, "started_at": _text, "ended_at": _text},
    "eval": {
        "status": _text, "turn_id": _id, "message_id": _id, "call_id": _id, "block_index": _number,
        "started_at": _text, "ended_at": _text, "elapsed_ms": _real,
    },
    "call": {
        "type": _text, "status": _text, "turn_id": _id, "parent_eval_id": _id, "started_at": _text,
        "ended_at": _text, "provider": _text, "model": _text, "batch_id": _text, "batch_index": _number,
        "child_session_id": _text, "edge_type": _text,
    },
    "snapshot": {"kind": _text, "turn_id": _id, "message_through_id": _id, "eval_id": _id, "created_at": _text},
}  # fmt: skip


def dump(value: Any) -> str:
    """A row or document as the JSON that a `data` column holds."""
    # Documents nest deeper than values: sessions below sessions, each with a value of its own inside.
    # Sorted keys: the same row is the same text, however it came to be.
    return canonical_json(value, nesting_max=_STORED_NESTING_MAX).decode()


_STORED_NESTING_MAX: Final = NESTING_MAX + 50


def row_columns(kind: str, session_id: str, entry: Entry) -> Columns:
    """One row of the tables messages, turns, evals, calls or snapshots."""
    row = entry.row
    found: Columns = {
        "session_id": session_id,
        "id": row["id"],
        "seq": entry.seq,
        "first_event_id": entry.first_event_id,
        "last_event_id": entry.last_event_id,
        "data": dump(row),
    }
    for key, read in COPIED[kind].items():
        found[key] = read(row.get(key))
    if kind == "call":
        found |= _call_columns(row)
    return found


def _call_columns(row: Row) -> Columns:
    usage, cache = row.get("usage"), row.get("cache")
    found: Columns = {name: first_number(usage, aliases) for name, aliases in TOKEN_ALIASES.items()}
    found["usd"] = _real(first_number(row.get("cost"), COST_ALIASES))
    found["cache_status"] = _text(cache.get("status")) if isinstance(cache, dict) else None
    return found


def session_columns(session_id: str, session: Row, *, checkpoint_event_id: int, folded: str) -> Columns:
    """One row of the table sessions, but for `writer`; `folded` is what of the view is no row, as JSON."""
    lineage = session.get("lineage")
    source = lineage.get("source") if isinstance(lineage, dict) else None
    return {
        "session_id": session_id,
        "name": session_name(session_id),
        "kind": _text(session.get("kind")),
        "status": _text(session.get("status")),
        "parent_id": parent_id(session_id) or _parent(session),
        "root_id": session_id.partition("/")[0],
        "created_at": _text(session.get("created_at")),
        "ended_at": _text(session.get("ended_at")),
        "turn_count": _number(session.get("turn_count")),
        "latest_turn_id": _id(session.get("latest_turn_id")),
        "lineage_kind": _text(lineage.get("kind")) if isinstance(lineage, dict) else None,
        "source_session_id": _text(source.get("session_id")) if isinstance(source, dict) else None,
        "artifact_version": _number(session.get("artifact_version")),
        "checkpoint_event_id": checkpoint_event_id,
        "folded": folded,
        "data": dump(session),
    }


def _parent(session: Row) -> str | None:
    parent = session.get("parent")
    return _text(parent.get("session_id")) if isinstance(parent, dict) else None


def final_columns(node: Node) -> Columns:
    """One row of the table final: the final document without the nested usage."""
    found = {
        "session_id": node.session_id,
        "status": _text(node.status),
        "turn_count": node.turn_count,
        "latest_turn_id": _id(node.latest_turn_id),
        "eval_count": node.eval_count,
        "call_count": node.totals.call_count,
        "child_count": node.totals.spawned_count,
        "attached_count": node.totals.attached_count,
        "snapshot_count": node.snapshot_count,
    }
    held = {"value_ref": node.value_ref, "value_preview": node.value_preview, "error": node.error}
    return {**found, "data": dump({**found, **held})}


def usage_columns(node: Node) -> Columns:
    """One row of the table usage: the session's own sums, without the sessions below."""
    found: Columns = {"session_id": node.session_id}
    document: dict[str, Any] = {}
    for name in ("root", "leaf"):
        group = getattr(node.totals, name)
        usage, cost, cache = group.usage_document(), group.cost_document(), group.cache_document()
        document[name] = {**usage, "cost": cost, "cache": cache}
        found[f"{name}_call_count"] = group.call_count
        found[f"{name}_status"] = usage["status"]
        for tokens in TOKEN_ALIASES:
            found[f"{name}_{tokens}"] = usage[tokens].get("known")
        found[f"{name}_usd"] = _real(cost["usd"].get("known"))
    found["child_call_count"] = node.totals.edge_count
    # Numbers and words of our own: plain JSON already, which need not be looked through.
    data = orjson.dumps({**document, "sums": node.totals.dump()}, option=orjson.OPT_SORT_KEYS)
    return {**found, "data": data.decode()}


def tree_columns(session_id: str, entry: Entry) -> Columns:
    """One row of the table tree, from a call that leads to a child session."""
    edge = edge_of(entry.row)
    return {
        "session_id": session_id,
        "call_id": edge.call_id,
        "seq": entry.seq,
        "child_session_id": edge.child_session_id,
        "edge_type": edge.edge_type,
        "status": edge.status,
    }
