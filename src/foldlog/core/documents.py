"""The derived documents: usage, final and tree of a session and of all sessions below it.

Each session brings a `Node`: its own sums (kept by the fold) and its edges to children. The nested
documents are put together from nodes when they are read, in O(sessions below), never over calls, so
they are right at any moment, whatever order sessions checkpoint in. Where nodes come from (a live view,
the tables, other documents) is the caller's business.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from foldlog.core.ids import session_name
from foldlog.core.limits import TREE_DEPTH_MAX
from foldlog.core.measures import Group, Totals, combine
from foldlog.core.view import View

Document = dict[str, Any]


@dataclass(slots=True)
class Edge:
    """A call that leads to a child session; the child may be missing, or not be known yet."""

    call_id: Any
    child_session_id: str | None
    status: str | None
    edge_type: str


@dataclass(slots=True)
class Node:
    """What one session brings to the documents: its own facts and sums, and its edges in call order."""

    session_id: str | None
    status: Any
    totals: Totals
    edges: list[Edge] = field(default_factory=list)
    turn_count: int = 0
    latest_turn_id: Any = None
    eval_count: int = 0
    snapshot_count: int = 0
    value_ref: Any = None
    value_preview: Any = None
    error: Any = None
    given: Mapping[str, Any] | None = None


@dataclass(slots=True)
class _Tree:
    """A session with everything below it, put together once."""

    node: Node
    usage: Document
    group: Group
    total_call_count: int
    children: list[Document]
    complete: bool


def node_of(view: View) -> Node:
    """The node of a folded session; O(edges)."""
    view.edge_calls()  # what is not in memory is read before the fold is kept out
    view.last_turn()
    with view.held():
        node = facts_of(view)
        node.edges = [edge_of(call) for call in view.edge_calls()]
    return node


def facts_of(view: View) -> Node:
    """The node of a folded session without its edges: its own facts and sums; O(1).

    Hold the view (`View.held`) for all of it to be of one moment.
    """
    session = view.session_row()
    turn = view.last_turn() or {}
    ref, preview = view._final
    if ref is None or ref == turn.get("final_ref"):
        # The turn that gave the value recorded its preview from the value itself.
        ref = turn.get("final_ref") if ref is None else ref
        preview = turn.get("final_preview") if turn.get("final_preview") is not None else preview
    return Node(
        session_id=session.get("id"),
        status=session.get("status"),
        totals=view.totals.copy(),
        turn_count=view.row_count("turn"),
        latest_turn_id=turn.get("id"),
        eval_count=view.row_count("eval"),
        snapshot_count=view.row_count("snapshot"),
        value_ref=ref,
        value_preview=preview,
        error=view.error,
    )


def edge_of(call: Mapping[str, Any]) -> Edge:
    """The edge that a call stands for; what is no text in it counts as not there, as in the tables."""
    child, status, kind = (
        found if isinstance(found, str) else None
        for found in (call.get("child_session_id"), call.get("status"), call.get("edge_type"))
    )
    return Edge(call["id"], child, status, kind or ("attached" if call.get("type") == "attached_child" else "spawned"))


def usage_document(root: Node, find: Callable[[str], Node | None]) -> Document:
    """Tokens, cost and cache of a session and of every session below it; `find` gives nodes by id."""
    return _assemble(root, find, set()).usage


def tree_document(root: Node, find: Callable[[str], Node | None]) -> Document:
    """The session and, nested, the sessions below it."""
    tree = _assemble(root, find, set())
    return {
        "session_id": root.session_id,
        "status": root.status,
        "call_count": root.totals.call_count,
        "children": tree.children,
    }


def final_document(root: Node, usage: Document) -> Document:
    """What became of the session: counts, its usage, and its value or error where it has one."""
    found: Document = {
        "session_id": root.session_id,
        "status": root.status,
        "turn_count": root.turn_count,
        "latest_turn_id": root.latest_turn_id,
        "eval_count": root.eval_count,
        "call_count": root.totals.call_count,
        "child_count": root.totals.spawned_count,
        "usage": usage,
    }
    if root.totals.attached_count:
        found["attached_count"] = root.totals.attached_count
    if root.error is not None:
        found["error"] = root.error
    if root.value_ref is not None:
        found |= {"value_ref": root.value_ref, "value_preview": root.value_preview}
    return found


# Hand-made edges may go deeper than sessions can; documents may not, or no JSON could hold them.
_DEPTH_MAX = TREE_DEPTH_MAX + 10


def _assemble(node: Node, find: Callable[[str], Node | None], seen: set[str], depth: int = 0) -> _Tree:
    """Put a session and everything below it together; a session met again is only named."""
    if node.session_id is not None:
        seen.add(node.session_id)
    if node.given is not None:
        return _given(node, node.given, seen)
    own = node.totals
    group = Group()
    group.merge(own.root)
    group.merge(own.leaf)
    total_call_count, complete = own.call_count, True
    usages: list[Document] = []
    children: list[Document] = []
    for edge in node.edges:
        child = None
        if edge.child_session_id is not None and depth < _DEPTH_MAX:
            child = find(edge.child_session_id)
        if child is None or edge.child_session_id in seen:
            # Whatever a missing session used is not in the sums; one met again is, once.
            complete &= edge.child_session_id is None or child is not None
            usage: Document = {"status": "unknown"}
            children.append(_absent(edge, child))
        else:
            below = _assemble(child, find, seen, depth + 1)
            group.merge(below.group)
            total_call_count += below.total_call_count
            complete &= below.complete
            usage = below.usage
            children.append(_present(edge, below))
        usages.append(
            {
                "call_id": edge.call_id,
                "session_id": edge.child_session_id,
                "status": edge.status,
                "usage": usage,
            }
        )
    usage = _usage(own, group, total_call_count, usages, complete=complete)
    return _Tree(node, usage, group, total_call_count, children, complete)


def _usage(own: Totals, group: Group, total_call_count: int, usages: list[Document], *, complete: bool) -> Document:
    total = {**group.usage_document(), "total_call_count": total_call_count}
    if not complete:
        total["status"] = combine([total["status"], "unknown"])
    groups = {"root": own.root, "leaf": own.leaf, "total_tree": group}
    return {
        "status": total["status"],
        "root": own.root.usage_document(),
        "leaf": own.leaf.usage_document(),
        "total_tree": total,
        "child_calls": {"call_count": own.edge_count},
        "children": {"child_count": len(usages), "children": usages},
        "cost": {name: found.cost_document() for name, found in groups.items()},
        "cache": {name: found.cache_document() for name, found in groups.items()},
    }


def _present(edge: Edge, below: _Tree) -> Document:
    node = below.node
    return _entry(
        edge,
        status=node.status,
        call_count=node.totals.call_count,
        eval_count=node.eval_count,
        snapshot_count=node.snapshot_count,
        usage=below.usage,
        final_preview=node.value_preview,
        children=below.children,
    )


def _absent(edge: Edge, node: Node | None) -> Document:
    """A child that is not in the store, or was shown already."""
    status = None if node is None else "referenced"
    return _entry(
        edge,
        status=status,
        call_count=0,
        eval_count=0,
        snapshot_count=0,
        usage=None,
        final_preview=None,
        children=[],
    )


def _entry(edge: Edge, **found: Any) -> Document:
    child = edge.child_session_id
    return {
        "session_id": child,
        "name": None if child is None else session_name(child),
        "call_id": edge.call_id,
        "edge_type": edge.edge_type,
        **found,
    }


# The public forms, over views and documents.


def derive_usage(view: View, children: Mapping[str, Any] | None = None) -> Document:
    """The usage document of a folded session.

    `children` maps session ids to what is known of the sessions below: a `View` each, or a map of their
    own documents (`usage`, and `tree` or `final`). A child that is not in it counts as unknown, never 0.

    >>> from foldlog import fold
    >>> view = fold([
    ...     {"id": 1, "type": "session.started", "at": "…", "session": {"id": "demo"}},
    ...     {"id": 2, "type": "call.started", "at": "…",
    ...      "call": {"id": 1, "type": "leaf", "usage": {"input_tokens": 12}}},
    ... ])
    >>> derive_usage(view)["leaf"]["input_tokens"]
    {'status': 'known', 'call_count': 1, 'known': 12}
    """
    return usage_document(node_of(view), _finder(children))


def derive_tree(view: View, children: Mapping[str, Any] | None = None) -> Document:
    """The tree document of a folded session; `children` as for `derive_usage`.

    >>> from foldlog import fold
    >>> derive_tree(fold([{"id": 1, "type": "session.started", "at": "…", "session": {"id": "demo"}}]))["children"]
    []
    """
    return tree_document(node_of(view), _finder(children))


def _finder(children: Mapping[str, Any] | None) -> Callable[[str], Node | None]:
    def find(session_id: str) -> Node | None:
        found = (children or {}).get(session_id)
        if found is None:
            return None
        return node_of(found) if isinstance(found, View) else _node_of_documents(session_id, found)

    return find


def _node_of_documents(session_id: str, documents: Mapping[str, Any]) -> Node:
    """A node that stands for finished documents."""
    view = documents.get("view")
    if isinstance(view, View):
        return node_of(view)
    tree, final = documents.get("tree") or {}, documents.get("final") or {}
    node = Node(session_id, tree.get("status", final.get("status")), Totals())
    node.totals.call_count = tree.get("call_count", final.get("call_count", 0))
    node.eval_count = final.get("eval_count", 0)
    node.snapshot_count = documents.get("snapshot_count", len(documents.get("snapshots") or ()))
    node.value_preview = final.get("value_preview")
    node.given = documents
    return node


def _given(node: Node, documents: Mapping[str, Any], seen: set[str]) -> _Tree:
    """What finished documents say of a session and of all below it."""
    children = (documents.get("tree") or {}).get("children", [])
    complete = _walk(children, seen)
    usage: Document = documents.get("usage") or {"status": "unknown"}
    total = usage.get("total_tree") or {}
    return _Tree(
        node,
        usage,
        Group.of_documents(
            total, (usage.get("cost") or {}).get("total_tree"), (usage.get("cache") or {}).get("total_tree")
        ),
        total.get("total_call_count", 0),
        children,
        complete=bool(total) and complete,
    )


def _walk(children: list[Document], seen: set[str]) -> bool:
    """Note the sessions that a finished tree shows; whether none of them is missing."""
    complete = True
    for child in children:
        if child.get("usage") is not None:
            seen.add(child["session_id"])
        elif child.get("session_id") is not None and child.get("status") != "referenced":
            complete = False
        complete &= _walk(child.get("children", []), seen)
    return complete
