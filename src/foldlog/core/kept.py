"""The rows a view keeps in memory: those changed since its base, and those that were read from it.

A view without a base keeps all its rows. One with a base (`foldlog.core.base`) reads a row when it is
asked for it, a kind whole when it is iterated, and keeps what it has read. A row that is not kept has not
changed since the base, because every change keeps it; so reading it late shows the same moment.

The base is read outside the lock wherever many rows are read: who folds for everybody must not wait for
it. What readers see is in `foldlog.core.view`.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final

from foldlog.core.base import NO_ROWS, Base, Entries, Joined, Standing, stored_id
from foldlog.core.ids import RowId
from foldlog.core.measures import Totals, is_edge
from foldlog.core.rows import COUNTERS, KINDS, LINK_KEYS, LINK_KINDS, Entry, IdList, Link, Row, apply_link, forget_lists

# Of a base: parts that are read each at once, beside the kinds of rows.
_RUNNING: Final = {"turn": "running turns", "call": "running calls"}
_EDGES: Final = "edges"
_LISTS: Final = "lists"
_PARTS: Final = {"turn": (_RUNNING["turn"], _LISTS), "call": (_RUNNING["call"], _EDGES)}


class KeptRows:
    """The part of a `View` that keeps its rows, and reads those it has not."""

    def __init__(self, lock: AbstractContextManager[Any]) -> None:
        self._lock = lock
        self._entries: dict[str, dict[RowId, Entry]] = {kind: {} for kind in KINDS}
        self._counts = dict.fromkeys(KINDS, 0)
        self._last_ids: dict[str, RowId | None] = dict.fromkeys(KINDS)
        self._links: dict[RowId, dict[str, IdList]] = {}
        self._running: dict[str, dict[RowId, None]] = {"turn": {}, "call": {}}
        self._edges: dict[RowId, None] = {}
        self._totals = Totals()
        self._unsummed: dict[RowId, Row | None] = {}  # changed calls, with the rows that the totals know
        self._counters = dict.fromkeys(COUNTERS, 0)
        self._changed: dict[str, dict[RowId, None]] = {kind: {} for kind in KINDS}
        self._messages_replaced = False
        self._edges_gone: dict[RowId, None] = {}
        self._revisions = dict.fromkeys((*KINDS, "session"), 0)
        self._base: Base = NO_ROWS
        self._unread: set[str] = set()
        self._read_below: dict[str, int] = {}

    def _stand_on(self, base: Base, standing: Standing) -> None:
        self._base = base
        self._counters = standing.counters
        self._counts, self._last_ids = standing.counts, standing.last_ids
        self._totals = standing.totals
        # No number above its kind's counter is taken, so a new row is known to be new without a look.
        self._read_below = dict(standing.counters)
        kinds = {kind for kind in KINDS if standing.counts[kind]}
        self._unread = kinds | {part for kind in kinds for part in _PARTS.get(kind, ())}

    # Reading: what is kept, else what the base has.

    def _entry(self, kind: str, row_id: RowId) -> Entry | None:
        # Asked in this order: a kind that is read whole meanwhile is then found, here or there.
        unread = kind in self._unread
        entry = self._entries[kind].get(row_id)
        if entry is None and unread:
            entry = self._read_entry(kind, row_id)
        return entry

    def _read_entry(self, kind: str, row_id: RowId) -> Entry | None:
        wanted = stored_id(row_id)
        if wanted is None or (isinstance(wanted, int) and wanted > self._read_below[kind]):
            return None
        found = self._base.entry(kind, wanted)
        with self._lock:
            if found is not None and kind in self._unread:
                self._keep(kind, wanted, found)
            return self._entries[kind].get(wanted)

    def _keep(self, kind: str, row_id: RowId, entry: Entry) -> None:
        """Keep a row of the base, unless it was read or changed meanwhile."""
        if row_id in self._entries[kind]:
            return
        if kind == "turn":
            entry = self._keep_lists(row_id, entry)
        self._entries[kind][row_id] = entry
        self._note(kind, row_id, entry.row)

    def _keep_lists(self, turn_id: RowId, entry: Entry) -> Entry:
        """Put a stored turn's lists beside its row: those it says itself, and those that rows have joined."""
        stored, first = entry.row, entry.first_event_id
        links = {
            key: IdList(list(stored[key]), derived=False)
            if key in stored
            else IdList.unread(partial(self._joined_to, self._base, turn_id, key, first), self._lock)
            for key in LINK_KEYS
        }
        self._links[turn_id] = links
        return entry._replace(row={key: value for key, value in stored.items() if key not in LINK_KEYS})

    @staticmethod
    def _joined_to(base: Base, turn_id: RowId, key: str, first_event_id: int) -> list[RowId]:
        # A row joins its turn when it is added; one older than the turn came with session.restored.
        return [row_id for _, row_id, event_id in base.joined_to(turn_id, key) if event_id > first_event_id]

    def _read_once(self, part: str, read: Callable[[Base], Any], keep: Callable[[Any], None]) -> None:
        """Read a part of the base outside the lock and keep it, unless that was done."""
        if part in self._unread:
            found = read(self._base)
            with self._lock:
                if part in self._unread:
                    keep(found)
                    self._unread.discard(part)

    def _read_kind(self, kind: str) -> None:
        """Have all rows of a kind kept, in order; turns with their lists."""
        self._read_once(kind, lambda base: base.entries(kind), partial(self._keep_all, kind))
        if kind == "turn":
            self._read_once(_LISTS, lambda base: {key: base.joined(key) for key in LINK_KINDS}, self._settle_lists)

    def _keep_all(self, kind: str, found: Entries) -> None:
        for row_id, entry in found:
            self._keep(kind, row_id, entry)
        kept = self._entries[kind]
        ordered = {row_id: kept[row_id] for row_id, _ in found}
        self._entries[kind] = ordered | kept  # what is new is in order, and comes after
        self._unread.discard(_RUNNING.get(kind, ""))
        if kind == "call":
            self._unread.discard(_EDGES)

    def _settle_lists(self, found: dict[str, list[Joined]]) -> None:
        by_turn: dict[tuple[RowId, str], list[RowId]] = {}
        turns = self._entries["turn"]
        for key, joined in found.items():
            for turn_id, row_id, event_id in joined:
                turn = turns.get(turn_id)
                if turn is not None and event_id > turn.first_event_id:
                    by_turn.setdefault((turn_id, key), []).append(row_id)
        for turn_id, links in self._links.items():
            for key in LINK_KEYS:
                links[key].settle(by_turn.get((turn_id, key), []))

    def _keep_some(self, kind: str, found: Entries) -> None:
        for row_id, entry in found:
            self._keep(kind, row_id, entry)

    def have_lists(self, turn_id: RowId) -> None:
        """See that a turn's lists are in memory: carrying out a change must not read, and so cannot fail."""
        if _LISTS in self._unread and self._entry("turn", turn_id) is not None:
            for ids in list(self._links[turn_id].values()):
                ids.read()

    # What the fold does to rows.

    def _put(self, kind: str, row_id: RowId, row: Row, event_id: int) -> None:
        entries = self._entries[kind]
        old = entries.get(row_id)
        if old is None:
            self._counts[kind] = seq = self._counts[kind] + 1
            self._last_ids[kind] = row_id
            entries[row_id] = Entry(row, event_id, event_id, seq)
            if kind == "turn":
                self._links[row_id] = {key: IdList() for key in LINK_KEYS}
        else:
            entries[row_id] = Entry(row, old.first_event_id, event_id, old.seq)
            if kind == "turn":
                forget_lists(self._links[row_id], row)
        self._changed[kind][row_id] = None
        self._revisions[kind] = event_id
        if kind == "call":
            self._unsummed.setdefault(row_id, old.row if old is not None else None)
        if kind in self._running:
            self._note(kind, row_id, row)

    def _summed(self) -> Totals:
        """The session's own sums. A call is summed up when they are asked for, however often it changed."""
        with self._lock:
            for call_id, known in self._unsummed.items():
                row = self._entries["call"][call_id].row
                if known is None:
                    self._totals.add(row)
                else:
                    self._totals.replace(known, row)
            self._unsummed.clear()
        return self._totals

    def _note(self, kind: str, row_id: RowId, row: Row) -> None:
        """Keep the sets of running rows and of edges in step with a row that is kept."""
        running = self._running.get(kind)
        if running is not None:
            if row.get("status") == "running":
                running[row_id] = None
            else:
                running.pop(row_id, None)
        if kind == "call":
            if is_edge(row):
                self._edges[row_id] = None
            elif row_id in self._edges:
                del self._edges[row_id]
                self._edges_gone[row_id] = None

    def _link(self, link: Link, event_id: int) -> None:
        links = self._links[link.turn_id]
        self._revisions["turn"] = event_id
        if link.how == "join":
            ids = links[link.key]
            for row_id in link.ids:
                ids.join(row_id)
            if ids.derived:
                return  # nothing that is stored with the turn has changed
        turns = self._entries["turn"]
        entry = turns[link.turn_id]
        row = apply_link(links, entry.row, link) if link.how != "join" else entry.row
        # A derived list is not stored with its turn, so its growing does not change the stored row.
        if link.how != "reset" and not links[link.key].derived:
            turns[link.turn_id] = entry._replace(row=row, last_event_id=event_id)
            self._changed["turn"][link.turn_id] = None

    def _replace_messages(self, messages: list[Row], event_id: int) -> None:
        rows = {row["id"]: row for row in messages}
        self._entries["message"] = {
            row_id: Entry(row, event_id, event_id, seq) for seq, (row_id, row) in enumerate(rows.items(), 1)
        }
        self._counts["message"] = len(rows)
        self._last_ids["message"] = next(reversed(rows), None)
        self._changed["message"] = dict.fromkeys(rows)
        self._messages_replaced = True
        self._revisions["message"] = event_id
        self._unread.discard("message")

    def _read_running(self, kind: str) -> None:
        self._read_once(_RUNNING[kind], lambda base: base.running(kind), partial(self._keep_some, kind))

    def _read_edges(self) -> None:
        self._read_once(_EDGES, lambda base: base.edges(), partial(self._keep_some, "call"))

    def _whole(self, turn_id: RowId, row: Row) -> Row:
        return {**row, **{key: list(ids.ids) for key, ids in self._links[turn_id].items()}}

    def _stored(self, kind: str, row_id: RowId) -> Entry:
        entry = self._entries[kind][row_id]
        if kind != "turn":
            return entry
        kept = {key: list(ids.ids) for key, ids in self._links[row_id].items() if not ids.derived}
        return entry._replace(row=entry.row | kept) if kept else entry
