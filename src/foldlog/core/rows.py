"""The parts a view is made of: entries, a turn's id lists, and the changes an event makes.

No rules are here: what an event may do is in `foldlog.core.fold`, how changes are carried out and read
is in `foldlog.core.view`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple, TypeAlias

from foldlog.core.ids import RowId

Row: TypeAlias = dict[str, Any]

KINDS: Final = ("message", "turn", "eval", "call", "snapshot")
COUNTERS: Final = ("event", "message", "turn", "call", "eval", "snapshot", "child")

# Of a change: this part of the view stays as it is. None is a value like any other.
KEEP: Final = object()

# A turn's lists that the fold keeps, and which rows join them.
LINK_KEYS: Final = ("assistant_message_ids", "observation_message_ids", "eval_ids", "call_ids")
LINK_KINDS: Final = {
    "assistant_message_ids": "message",
    "observation_message_ids": "message",
    "eval_ids": "eval",
    "call_ids": "call",
}
ROLE_KEYS: Final = {
    "assistant": "assistant_message_ids",
    "observation": "observation_message_ids",
    "tool": "observation_message_ids",
}
_KIND_KEYS: Final = {"eval": "eval_ids", "call": "call_ids"}


def link_key(kind: str, row: Row) -> str | None:
    """The list of its turn that a row joins, or None."""
    if kind == "message":
        role = row.get("role")
        return ROLE_KEYS.get(role) if isinstance(role, str) else None
    return _KIND_KEYS.get(kind)


class Entry(NamedTuple):
    """A row as the view holds it, the events that first and last touched it, and its place in order."""

    row: Row
    first_event_id: int
    last_event_id: int
    seq: int


class IdList:
    """A turn's growing list of ids.

    It is `derived` while it is just the ids of the rows that name the turn, in the order of their first
    events, and so need not be stored; anything else that an event makes of it is kept as it is.
    """

    __slots__ = ("_ids", "_known", "_lock", "_read", "derived")

    def __init__(self, ids: list[Any] | None = None, *, derived: bool = True) -> None:
        self._ids: list[Any] = ids if ids is not None else []
        self._known: set[Any] | None = None  # made when an id is looked up: most lists only grow
        self._read: Callable[[], list[Any]] | None = None
        self._lock: AbstractContextManager[Any] | None = None
        self.derived = derived

    @classmethod
    def unread(cls, read: Callable[[], list[Any]], lock: AbstractContextManager[Any]) -> "IdList":
        """A derived list whose first ids are read when they are asked for; it grows without that.

        `lock` is held by whoever makes it grow, and is not while `read` runs.
        """
        ids = cls()
        ids._read, ids._lock = read, lock
        return ids

    @property
    def ids(self) -> list[Any]:
        """The ids, in order; not to be changed."""
        self.read()
        return self._ids

    @property
    def known(self) -> set[Any]:
        """The ids, to look them up; not to be changed."""
        self.read()
        if self._known is None:
            self._known = set(self._ids)
        return self._known

    def read(self) -> None:
        """Have the ids in memory."""
        read = self._read
        if read is not None:
            self.settle(read())

    def settle(self, first: list[Any]) -> None:
        """Put what was read before what has joined since, unless that was done meanwhile."""
        if self._lock is not None:
            with self._lock:
                if self._read is not None:
                    self._ids = first + self._ids
                    self._known = None
                    self._read = None

    def add(self, value: Any) -> None:
        """Append an id unless it is there."""
        if value not in self.known:
            self.known.add(value)
            self._ids.append(value)

    def join(self, value: Any) -> None:
        """Append the id of a new row; only a list that is not derived may hold it already."""
        if not self.derived:
            self.add(value)
        else:
            self._ids.append(value)
            if self._known is not None:
                self._known.add(value)

    def pin(self) -> None:
        """Keep the list as it is, whatever becomes of the rows."""
        self.read()
        self.derived = False

    def copy(self) -> "IdList":
        """A list of its own."""
        return IdList(list(self.ids), derived=self.derived)


class Link(NamedTuple):
    """One change of a turn's id list.

    `how` is `join` (a new row names the turn), `add` (ids named by the user), `set` (the whole list), `pin`
    (the list stays as it is, whatever becomes of the rows) or `reset` (lists of the user's own go).
    """

    turn_id: RowId
    key: str
    how: str
    ids: list[Any]


def apply_link(links: dict[str, IdList], row: Row, link: Link) -> Row:
    """Make one change to a turn's lists; the turn's row, without a list that now grows beside it."""
    if link.how == "reset":
        for key in [key for key in links if key not in LINK_KEYS]:
            del links[key]
        return row
    ids = links.get(link.key)
    if ids is None:
        # A list of the user's own, so far a value in the row like any other.
        ids = links[link.key] = IdList(list(row.get(link.key) or []), derived=False)
        row = {name: value for name, value in row.items() if name != link.key}
    if link.how == "set":
        if ids.ids != link.ids:
            links[link.key] = IdList(list(link.ids), derived=False)
    elif link.how == "pin":
        ids.pin()
    elif link.how == "join":
        for value in link.ids:
            ids.join(value)
    else:
        if not all(value in ids.known for value in link.ids):
            ids.pin()
        for value in link.ids:
            ids.add(value)
    return row


def forget_lists(links: dict[str, IdList], row: Row) -> None:
    """Let go of lists of the user's own that the row now says itself."""
    for key in [key for key in links if key not in LINK_KEYS and key in row]:
        del links[key]


class Change:
    """All that one event does to a view: made by `fold.plan`, carried out by `View.carry_out`."""

    __slots__ = (
        "counters",
        "error",
        "event_id",
        "final_ref",
        "links",
        "messages",
        "preview",
        "puts",
        "session",
    )

    def __init__(self, event_id: int) -> None:
        self.event_id = event_id
        self.puts: list[tuple[str, RowId, Row]] = []
        self.links: list[Link] = []
        self.counters: dict[str, int] = {}
        self.session: Row | None = None
        self.messages: list[Row] | None = None
        self.final_ref: Any = KEEP
        self.preview: Any = None
        self.error: Any = KEEP


class Changed(NamedTuple):
    """What a checkpoint has to write: rows by kind, whether the old messages go, calls that are edges no more."""

    rows: dict[str, list[tuple[RowId, Entry]]]
    messages_replaced: bool
    edges_gone: list[RowId]
