"""Calls as rows with columns, and what they used, by tree, session, turn, model or call.

For one session and all below it, everything is as of now: from the tables where they are current, else from
the folded view. For a whole store it is as of each session's last checkpoint, as in SQL. The sums are those
of the usage document (`foldlog.core.documents`), with what is not known said and not counted as 0.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from foldlog.core.codec import decode
from foldlog.core.columns import row_columns
from foldlog.core.documents import Edge, Node, usage_document
from foldlog.core.measures import LEAF_TYPES, ROOT_TYPES, TOKEN_ALIASES, Group, Totals
from foldlog.storage.driver import Sql, driver_of, sql_of

if TYPE_CHECKING:
    from foldlog.store.store import Store

Row = dict[str, Any]
Only = Mapping[str, tuple[Any, ...]]

COLUMNS: Final = (
    "session_id", "id", "turn_id", "type", "status", "provider", "model", "started_at", "ended_at",
    "input_tokens", "output_tokens", "total_tokens", "cached_tokens", "usd", "cache_status", "child_session_id",
)  # fmt: skip
# Columns of ids, which may be names.
_IDS: Final = ("id", "turn_id")
_LAGGING: Final = """
SELECT sessions.session_id FROM sessions JOIN streams ON streams.id = sessions.session_id
WHERE sessions.checkpoint_event_id
  < (SELECT max(event_id) FROM events WHERE events.session_key = streams.session_key)
"""


def below(store: "Store", session_id: str) -> list[str]:
    """A session and all that calls lead to below it, in order, each once."""
    found: dict[str, None] = {session_id: None}

    def walk(children: list[dict[str, Any]]) -> None:
        for child in children:
            if child["session_id"] is not None and child["usage"] is not None:
                found[child["session_id"]] = None
            walk(child["children"])

    walk(store.tree(session_id)["children"])
    return list(found)


def lagging(store: "Store") -> list[str]:
    """The sessions whose tables stand before their last event, so that SQL does not show all of them."""
    return [row["session_id"] for row in store.query(_LAGGING)]


def read(store: "Store", session_id: str | None = None, only: Only | None = None) -> Iterator[Row]:
    """The calls of a session and all below it, or of all; in order of session and start.

    `only`: for some columns the values that count.
    """
    where, values = _where(only or {})
    if session_id is None:
        yield from _asked(store, f"WHERE true{where} ORDER BY session_id, seq", values)
        return
    wanted, behind = below(store, session_id), set(lagging(store))
    for one in wanted:
        if one not in behind:
            yield from _asked(store, f"WHERE session_id = ?{where} ORDER BY seq", (one, *values))
            continue
        for _, entry in store.view(one).moment("call"):
            columns = row_columns("call", one, entry)
            if all(columns[name] in wanted_values for name, wanted_values in (only or {}).items()):
                yield {name: columns[name] for name in COLUMNS}


def first(store: "Store", order: str, count: int, only: Only) -> Iterator[Row]:
    """The `slowest` or `costliest` calls of all sessions, found by SQL: the others never come to Python."""
    where, values = _where(only)
    words = _words(store)
    elapsed_ms = words.elapsed_ms("started_at", "ended_at")
    known, by = {
        "slowest": (elapsed_ms, f"{elapsed_ms} DESC"),
        "costliest": ("usd", "usd DESC, coalesce(total_tokens, -1) DESC"),
    }[order]
    rest = f"WHERE {known} IS NOT NULL{where} ORDER BY {by}, session_id, seq LIMIT ?"
    return _asked(store, rest, (*values, count))


def _words(store: "Store") -> Sql:
    with store.database.read() as connection:
        return sql_of(driver_of(connection))


def _asked(store: "Store", rest: str, values: tuple[Any, ...]) -> Iterator[Row]:
    """Calls with their ids as they are, wherever the columns have numbers for names."""
    words = _words(store)
    names = ", ".join(f"{words.id_name(name, name)} AS {name}_name" for name in _IDS)
    for row in store.query(f"SELECT {', '.join(COLUMNS)}, {names} FROM calls {rest}", values):
        for name in _IDS:
            row[name] = words.id_of(row[name], row.pop(f"{name}_name"))
        yield row


def _where(only: Only) -> tuple[str, tuple[Any, ...]]:
    parts = [f" AND {name} IN ({', '.join('?' * len(values))})" for name, values in only.items()]
    return "".join(parts), tuple(value for values in only.values() for value in values)


# Usage.


def by_tree(store: "Store", session_id: str | None = None) -> Iterator[Row]:
    """What each session took with all below it: a tree of sessions, or every one that stands at the top."""
    if session_id is not None:
        yield from _tree_rows(session_id, store.usage(session_id), 0)
        return
    tops = store.query("SELECT session_id FROM sessions WHERE parent_id IS NULL ORDER BY created_at DESC, session_id")
    documents = usage_documents(store)
    for row in tops:
        document = documents(row["session_id"])
        if document is not None:
            yield {"depth": 0, "session_id": row["session_id"], **measures_of(document)}


def _tree_rows(session_id: str | None, document: dict[str, Any], depth: int) -> Iterator[Row]:
    yield {"depth": depth, "session_id": session_id, **measures_of(document)}
    for child in document.get("children", {}).get("children", ()):
        yield from _tree_rows(child["session_id"], child["usage"], depth + 1)


def by_session(store: "Store", session_id: str | None = None) -> Iterator[Row]:
    """What each session took itself, without those below it."""
    if session_id is None:
        for found, node in _nodes(store).items():
            yield {"session_id": found, **_own(node.totals)}
        return
    for one in below(store, session_id):
        yield {"session_id": one, **_own(store.view(one).totals)}


def _own(totals: Totals) -> Row:
    group = totals.root.copy()
    group.merge(totals.leaf)
    return measures(group)


def by_turn(store: "Store", session_id: str | None = None) -> Iterator[Row]:
    """What each turn took: the model calls that name it, without those of sessions below."""
    return _grouped(store, session_id, ("session_id", "turn_id"))


def by_model(store: "Store", session_id: str | None = None) -> Iterator[Row]:
    """What each model of each provider took, the most tokens first."""
    rows = list(_grouped(store, session_id, ("provider", "model")))
    return iter(sorted(rows, key=lambda row: -(row["total_tokens"] or 0)))


def by_call(store: "Store", session_id: str | None = None) -> Iterator[Row]:
    """What each model call took."""
    for call in read(store, session_id, {"type": MODEL_TYPES}):
        group = Group()
        _add(group, call)
        named = {"session_id": call["session_id"], "call_id": call["id"]}
        yield {**named, **{key: call[key] for key in ("turn_id", "type", "provider", "model")}, **measures(group)}


BY: Final = {"tree": by_tree, "session": by_session, "turn": by_turn, "model": by_model, "call": by_call}
MODEL_TYPES: Final = tuple(sorted(ROOT_TYPES | LEAF_TYPES))
_TOKENS: Final = tuple(TOKEN_ALIASES)


def _grouped(store: "Store", session_id: str | None, keys: tuple[str, ...]) -> Iterator[Row]:
    if session_id is None:
        yield from _grouped_in_sql(store, keys)
        return
    groups: dict[tuple[Any, ...], Group] = {}
    for call in read(store, session_id, {"type": MODEL_TYPES}):
        _add(groups.setdefault(tuple(call[key] for key in keys), Group()), call)
    for found, group in groups.items():
        yield {**dict(zip(keys, found, strict=True)), **measures(group)}


def _grouped_in_sql(store: "Store", keys: tuple[str, ...]) -> Iterator[Row]:
    sums = ", ".join(f"sum({name}) AS {name}, count({name}) AS {name}_known" for name in (*_TOKENS, "usd"))
    words = _words(store)
    name = f"max({words.id_name('turn_id', 'turn_id')})" if "turn_id" in keys else "NULL"
    sql = (
        f"SELECT {', '.join(keys)}, {name} AS turn_name, count(*) AS call_count, {sums} FROM calls "
        f"WHERE type IN ({', '.join('?' * len(MODEL_TYPES))}) GROUP BY {', '.join(keys)} "
        f"ORDER BY {', '.join(f'{key} NULLS FIRST' for key in keys)}"
    )
    for row in store.query(sql, MODEL_TYPES):
        group = Group(row["call_count"])
        for name, measure in (*group.tokens.items(), ("usd", group.usd)):
            measure.add(row[name])
            measure.count = row[f"{name}_known"]
        if "turn_id" in keys:
            row["turn_id"] = words.id_of(row["turn_id"], row["turn_name"])
        yield {**{key: row[key] for key in keys}, **measures(group)}


def _add(group: Group, call: Row) -> None:
    group.call_count += 1
    for name, measure in (*group.tokens.items(), ("usd", group.usd)):
        measure.add(call[name])


def measures(group: Group) -> Row:
    """A group's sums as columns: None where nothing is known, and how much is known beside it."""
    usage, cost = group.usage_document(), group.cost_document()
    return _measures(usage, cost, usage["status"])


def measures_of(document: dict[str, Any]) -> Row:
    """The same of a usage document, with all below."""
    total, cost = document.get("total_tree", {"call_count": None}), document.get("cost", {}).get("total_tree", {})
    return _measures(total, cost, document["status"])


def _measures(usage: dict[str, Any], cost: dict[str, Any], status: str) -> Row:
    return {
        "call_count": usage["call_count"],
        **{name: usage.get(name, {}).get("known") for name in _TOKENS},
        "usd": cost.get("usd", {}).get("known"),
        "status": status,
        "usd_status": cost.get("status", "unknown"),
    }


# Beyond so many trees all are read: a statement takes no more values than SQLite's limit.
_ROOTS_MAX: Final = 500


# Whole stores: what the tables know of each session, read at once.


def usage_documents(store: "Store", roots: list[str] | None = None) -> Callable[[str], dict[str, Any] | None]:
    """A function from a session's id to its usage document, from the tables; of all sessions or some trees."""
    if roots is not None and len(roots) > _ROOTS_MAX:
        roots = None
    nodes = _nodes(store, roots)

    def find(session_id: str) -> Node | None:
        if session_id not in nodes and roots is not None:
            nodes.update(_nodes(store, [session_id.partition("/")[0]]))
        return nodes.get(session_id)

    def document(session_id: str) -> dict[str, Any] | None:
        node = find(session_id)
        return None if node is None else usage_document(node, find)

    return document


def _nodes(store: "Store", roots: list[str] | None = None) -> dict[str, Node]:
    only, params = "", tuple[str, ...]()
    if roots == []:
        return {}
    if roots is not None:
        only, params = f" WHERE root_id IN ({', '.join('?' * len(roots))})", tuple(roots)
    nodes = {}
    sql = (
        "SELECT sessions.session_id, status, usage.data FROM sessions JOIN usage USING (session_id)"
        f"{only} ORDER BY sessions.root_id, sessions.session_id"
    )
    for row in store.query(sql, params):
        nodes[row["session_id"]] = Node(row["session_id"], row["status"], Totals.load(decode(row["data"])["sums"]))
    edges = (
        "SELECT tree.session_id, call_id, child_session_id, tree.status, edge_type FROM tree "
        f"JOIN sessions ON sessions.session_id = tree.session_id{only} ORDER BY tree.session_id, seq"
    )
    for row in store.query(edges, params):
        if row["session_id"] in nodes:
            edge = Edge(row["call_id"], row["child_session_id"], row["status"], row["edge_type"])
            nodes[row["session_id"]].edges.append(edge)
    return nodes
