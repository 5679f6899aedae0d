"""What a report is about: a session and those below it, each with its rows and its sums, as of one look.

A session's rows and sums are of one moment. The sums are the documents' own (`foldlog.core.documents`),
made from the very rows that are shown. What becomes of it is for the other modules here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from foldlog.core.clock import format_time
from foldlog.core.documents import Node, final_document, node_of, tree_document, usage_document
from foldlog.core.ids import RowId, check_session_id, session_name
from foldlog.core.rows import Entry, Row
from foldlog.core.view import View
from foldlog.storage import journal

if TYPE_CHECKING:
    from foldlog.store.store import Store

Document = dict[str, Any]

# The statuses of what ended as it should; anything else that is not running wants attention.
ENDED_WELL = ("ok", "final", "stopped")


@dataclass(slots=True)
class Member:
    """One session in its place below another; `view` is None where it is missing, or was met before.

    `usage` is its usage document, with the sessions below it; None where `view` is.
    """

    session_id: str
    name: str
    parent: int | None
    depth: int
    status: Any
    call_id: RowId | None = None
    edge_type: str | None = None
    usage: Document | None = None
    view: View | None = None

    @property
    def session(self) -> Row:
        """The session's row."""
        return self.view.session_row() if self.view is not None else {}

    def rows(self, kind: str) -> list[tuple[RowId, Entry]]:
        """The rows of a kind in order, turns with their lists; not to be changed."""
        return self.view.moment(kind) if self.view is not None else []


@dataclass(slots=True)
class Run:
    """A session and all below it, parents first, siblings in call order."""

    store: "Store"
    made_at: str
    final: Document
    members: list[Member] = field(default_factory=list)

    @property
    def root(self) -> Member:
        """The session that was asked for."""
        return self.members[0]

    def message_times(self, member: Member) -> dict[int, str]:
        """When each of a session's messages was recorded, by the id of its event."""
        if member.view is None:
            return {}
        with self.store.database.read() as connection:
            found = connection.exec_driver_sql(_MESSAGE_TIMES, (member.session_id,))
            return {row[0]: row[1] for row in found}


_MESSAGE_TIMES = (
    "SELECT event_id, at FROM events JOIN streams ON streams.session_key = events.session_key "
    "WHERE streams.id = ? AND type = 'message.added'"
)


def gather(store: "Store", session_id: str) -> Run:
    """Read a session and all below it. Raises `UnknownSessionError`."""
    journal.find_stream(store.database, check_session_id(session_id))
    found: dict[str, tuple[View, Node] | None] = {}

    def find(wanted: str) -> Node | None:
        if wanted not in found:
            found[wanted] = _read(store, wanted) if journal.has_stream(store.database, wanted) else None
        one = found[wanted]
        return one[1] if one is not None else None

    root = find(session_id)
    assert root is not None  # noqa: S101  (it was found above)
    usage = usage_document(root, find)
    run = Run(store, format_time(store.config.clock()), final_document(root, usage))
    run.members.append(Member(session_id, session_name(session_id), None, 0, root.status, usage=usage))
    run.members += _below(tree_document(root, find)["children"])
    for member in run.members:
        one = found.get(member.session_id)
        if member.usage is not None and one is not None:
            member.view = one[0]
    return run


def _read(store: "Store", session_id: str) -> tuple[View, Node]:
    """A view that stands still, and what it brings to the documents."""
    view = store.view(session_id)
    if store.live(session_id) is not None:
        view = view.copy()
    return view, node_of(view)


def _below(children: list[Document]) -> Iterator[Member]:
    """The sessions of a tree's entries in order, with the places of those above them."""
    todo = [(child, 0, 1) for child in reversed(children)]
    place = 0
    while todo:
        child, parent, depth = todo.pop()
        place += 1
        yield Member(
            session_id=child["session_id"] or "(unnamed)",
            name=child["name"] or "(unnamed)",
            parent=parent,
            depth=depth,
            status=child["status"],
            call_id=child["call_id"],
            edge_type=child["edge_type"],
            usage=child["usage"],
        )
        todo += [(below, place, depth + 1) for below in reversed(child["children"])]
