"""The view: the folded state of one session, in memory.

Rows are plain dicts behind mappings from id to row, in the order of their first events. A reader gets
copies and sees one moment even while other threads append; the fold replaces rows and never mutates
them. What an event does to a view is decided in `foldlog.core.fold`; here it is only carried out, each
change in O(1).

A turn's id lists are not part of its stored row: they are kept as growing lists beside it (a turn of
10,000 calls would otherwise be copied 10,000 times) and put together when the row is read.
"""

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from foldlog.core.ids import RowId
from foldlog.core.mapping import Rows
from foldlog.core.measures import Totals, is_edge
from foldlog.core.refs import copy_value
from foldlog.core.rows import (
    COUNTERS,
    KEEP,
    KINDS,
    LINK_KEYS,
    Change,
    Changed,
    Entry,
    IdList,
    Link,
    Row,
    apply_link,
    forget_lists,
    link_key,
)


class View:
    """The folded state of one session; read it freely from any thread.

    `session` is its row; `messages`, `turns`, `evals`, `calls` and `snapshots` map ids to rows in the
    order of their first events. Everything handed out is a copy.

    >>> from foldlog import fold
    >>> view = fold([
    ...     {"id": 1, "type": "session.started", "at": "…", "session": {"id": "demo", "status": "running"}},
    ...     {"id": 2, "type": "turn.started", "at": "…", "turn": {"id": 1, "status": "running"}},
    ...     {"id": 3, "type": "call.started", "at": "…", "call": {"id": 1, "type": "leaf", "turn_id": 1}},
    ... ])
    >>> view.turns[1]["call_ids"], view.counters["call"]
    ([1], 1)
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._entries: dict[str, dict[RowId, Entry]] = {kind: {} for kind in KINDS}
        self._links: dict[RowId, dict[str, IdList]] = {}
        self._session: Row = {}
        self._counters = dict.fromkeys(COUNTERS, 0)
        self._final: tuple[Any, Any] = (None, None)
        self._error: Any = None
        self._running: dict[str, dict[RowId, None]] = {"turn": {}, "call": {}}
        self._edges: dict[RowId, None] = {}
        self._totals = Totals()
        self._changed: dict[str, dict[RowId, None]] = {kind: {} for kind in KINDS}
        self._messages_replaced = False
        self._edges_gone: dict[RowId, None] = {}

    # What readers use.

    @property
    def session(self) -> Row:
        """The session's row; empty before the first event."""
        with self._lock:
            row: Row = copy_value(self._session)
        return row

    @property
    def messages(self) -> Mapping[RowId, Row]:
        """Messages by id."""
        return Rows(self, "message")

    @property
    def turns(self) -> Mapping[RowId, Row]:
        """Turns by id, with the ids of their messages, evals and calls."""
        return Rows(self, "turn")

    @property
    def evals(self) -> Mapping[RowId, Row]:
        """Evals by id."""
        return Rows(self, "eval")

    @property
    def calls(self) -> Mapping[RowId, Row]:
        """Calls by id."""
        return Rows(self, "call")

    @property
    def snapshots(self) -> Mapping[RowId, Row]:
        """Snapshots by id."""
        return Rows(self, "snapshot")

    @property
    def final_ref(self) -> Any:
        """The reference to the session's final value, or None."""
        with self._lock:
            return copy_value(self._final[0])

    @property
    def final_preview(self) -> Any:
        """The bounded preview of the session's final value, or None."""
        with self._lock:
            return copy_value(self._final[1])

    @property
    def error(self) -> Any:
        """The error that ended the session, or None."""
        with self._lock:
            return copy_value(self._error)

    @property
    def counters(self) -> dict[str, int]:
        """The highest event, message, turn, call, eval, snapshot and child numbers so far."""
        with self._lock:
            return dict(self._counters)

    def document(self) -> dict[str, Any]:
        """The whole view as one plain value: rows as lists, in order."""
        with self._lock:
            found: dict[str, Any] = {"session": self._session}
            for kind in KINDS:
                found[f"{kind}s"] = [entry.row for _, entry in self.moment(kind)]
            found |= {"final_ref": self._final[0], "error": self._error, "counters": self._counters}
            copied: dict[str, Any] = copy_value(found)
        return copied

    def __eq__(self, other: object) -> bool:
        """Whether two views show the same."""
        return self.document() == other.document() if isinstance(other, View) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # a view changes

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(entries)} {kind}s" for kind, entries in self._entries.items())
        return f"<View of {self._session.get('id')!r} at event {self._counters['event']}: {counts}>"

    # What the fold reads: the State of `foldlog.core.fold`.

    def session_row(self) -> Row:
        """The session's row itself, not to be changed."""
        return self._session

    def row(self, kind: str, row_id: RowId) -> Row | None:
        """A row as stored, without a turn's lists, not to be changed."""
        entry = self._entries[kind].get(row_id)
        return entry.row if entry is not None else None

    def row_count(self, kind: str) -> int:
        """How many rows of a kind there are."""
        return len(self._entries[kind])

    def turn_ids(self) -> list[RowId]:
        """The ids of all turns, in order."""
        return list(self._entries["turn"])

    def last_row_id(self, kind: str) -> RowId | None:
        """The id of the row added last, or None."""
        with self._lock:
            entries = self._entries[kind]
            return next(reversed(entries)) if entries else None

    def turn_lists(self, turn_id: RowId) -> dict[str, IdList]:
        """A turn's lists themselves, not to be changed."""
        return self._links[turn_id]

    def counter(self, name: str) -> int:
        """One counter."""
        return self._counters[name]

    # What the fold does.

    def carry_out(self, change: Change) -> None:
        """Make one planned change: O(1) but for what the event itself carries."""
        with self._lock:
            self._counters["event"] = change.event_id
            for name, value in change.counters.items():
                self._counters[name] = max(self._counters[name], value)
            if change.messages is not None:
                self._replace_messages(change.messages, change.event_id)
            for kind, row_id, row in change.puts:
                self._put(kind, row_id, row, change.event_id)
            for link in change.links:
                self._link(link, change.event_id)
            if change.session is not None:
                self._session = change.session
            if change.final_ref is not KEEP:
                self._final = (change.final_ref, change.preview)
            if change.error is not KEEP:
                self._error = change.error

    def _put(self, kind: str, row_id: RowId, row: Row, event_id: int) -> None:
        entries = self._entries[kind]
        old = entries.get(row_id)
        if old is None:
            entries[row_id] = Entry(row, event_id, event_id, len(entries) + 1)
            if kind == "turn":
                self._links[row_id] = {key: IdList() for key in LINK_KEYS}
        else:
            entries[row_id] = Entry(row, old.first_event_id, event_id, old.seq)
            if kind == "turn":
                forget_lists(self._links[row_id], row)
        self._changed[kind][row_id] = None
        self._index(kind, row_id, row, old.row if old is not None else None)

    def _index(self, kind: str, row_id: RowId, row: Row, old: Row | None = None) -> None:
        """Keep sums, edges and the set of running rows in step with a row."""
        running = self._running.get(kind)
        if running is not None:
            if row.get("status") == "running":
                running[row_id] = None
            else:
                running.pop(row_id, None)
        if kind == "call":
            if old is not None:
                self._totals.add(old, -1)
            self._totals.add(row)
            if is_edge(row):
                self._edges[row_id] = None
            elif row_id in self._edges:
                del self._edges[row_id]
                self._edges_gone[row_id] = None

    def _link(self, link: Link, event_id: int) -> None:
        turns, links = self._entries["turn"], self._links[link.turn_id]
        entry = turns[link.turn_id]
        row = apply_link(links, entry.row, link)
        # A derived list is not stored with its turn, so its growing does not change the stored row.
        if link.how != "reset" and not links[link.key].derived:
            turns[link.turn_id] = entry._replace(row=row, last_event_id=event_id)
            self._changed["turn"][link.turn_id] = None

    def _replace_messages(self, messages: list[Row], event_id: int) -> None:
        rows = {row["id"]: row for row in messages}
        self._entries["message"] = {
            row_id: Entry(row, event_id, event_id, seq) for seq, (row_id, row) in enumerate(rows.items(), 1)
        }
        self._changed["message"] = dict.fromkeys(rows)
        self._messages_replaced = True

    # What checkpoint, recovery and documents read.

    def moment(self, kind: str) -> list[tuple[RowId, Entry]]:
        """All entries of a kind at one moment, in order, turns with their lists; rows not to be changed."""
        with self._lock:
            entries = self._entries[kind]
            if kind != "turn":
                return list(entries.items())
            return [
                (turn_id, entry._replace(row=self._whole(turn_id, entry.row))) for turn_id, entry in entries.items()
            ]

    def read_row(self, kind: str, row_id: RowId) -> Row | None:
        """A copy of a row as readers see it, a turn with its lists, or None."""
        with self._lock:
            entry = self._entries[kind].get(row_id)
            if entry is None:
                return None
            # A turn's lists are ids, and copied as they are put in.
            copied: Row = copy_value(entry.row)
            return self._whole(row_id, copied) if kind == "turn" else copied

    def _whole(self, turn_id: RowId, row: Row) -> Row:
        return {**row, **{key: list(ids.ids) for key, ids in self._links[turn_id].items()}}

    def running_ids(self, kind: str) -> list[RowId]:
        """The ids of the turns or calls that are running."""
        with self._lock:
            return list(self._running[kind])

    def edge_calls(self) -> list[Row]:
        """The calls that lead to child sessions, in call order, not to be changed."""
        with self._lock:
            entries = [self._entries["call"][call_id] for call_id in self._edges]
        return [entry.row for entry in sorted(entries, key=lambda entry: entry.seq)]

    def last_turn(self) -> Row | None:
        """The row of the turn started last, not to be changed."""
        turn_id = self.last_row_id("turn")
        return None if turn_id is None else self.row("turn", turn_id)

    def held(self) -> AbstractContextManager[Any]:
        """Keep the fold out for a block that must see one moment."""
        return self._lock

    @property
    def totals(self) -> Totals:
        """The session's own sums, not to be changed."""
        return self._totals

    def take_changed(self) -> Changed:
        """The rows changed since the last call, as they are to be stored; forgets that they changed."""
        with self._lock:
            rows = {
                kind: [(row_id, self._stored(kind, row_id)) for row_id in ids]
                for kind, ids in self._changed.items()
                if ids
            }
            changed = Changed(rows, self._messages_replaced, list(self._edges_gone))
            self._changed = {kind: {} for kind in KINDS}
            self._messages_replaced = False
            self._edges_gone = {}
            return changed

    def give_back(self, changed: Changed) -> None:
        """Remember rows as changed again: writing them failed."""
        with self._lock:
            for kind, rows in changed.rows.items():
                present = self._entries[kind]
                self._changed[kind] |= dict.fromkeys(row_id for row_id, _ in rows if row_id in present)
            self._messages_replaced |= changed.messages_replaced
            self._edges_gone |= dict.fromkeys(changed.edges_gone)

    def _stored(self, kind: str, row_id: RowId) -> Entry:
        entry = self._entries[kind][row_id]
        if kind != "turn":
            return entry
        kept = {key: list(ids.ids) for key, ids in self._links[row_id].items() if not ids.derived}
        return entry._replace(row=entry.row | kept) if kept else entry

    # Making one from another, or from stored rows.

    def copy(self) -> "View":
        """A view of its own that shows the same; O(rows)."""
        with self._lock:
            entries = {kind: self.moment(kind) for kind in KINDS if kind != "turn"}
            entries["turn"] = [(turn_id, self._stored("turn", turn_id)) for turn_id in self._entries["turn"]]
            other = View.restore(self._session, dict(self._counters), self._final, self._error, entries)
            other._changed = {kind: dict(ids) for kind, ids in self._changed.items()}
            other._messages_replaced = self._messages_replaced
            other._edges_gone = dict(self._edges_gone)
        return other

    @classmethod
    def restore(
        cls,
        session: Row,
        counters: dict[str, int],
        final: tuple[Any, Any],
        error: Any,
        entries: dict[str, list[tuple[RowId, Entry]]],
    ) -> "View":
        """The view whose checkpoint stored these rows, with nothing left to write.

        `entries` are in order, as `take_changed` gave them: a turn's row holds only the lists that are not
        derived. Checks nothing: the rows were checked when they were events.
        """
        view = cls()
        view._session, view._final, view._error = session, final, error
        view._counters |= counters
        for turn_id, entry in entries["turn"]:
            row = {key: value for key, value in entry.row.items() if key not in LINK_KEYS}
            kept = {key: IdList(list(value), derived=False) for key, value in entry.row.items() if key in LINK_KEYS}
            view._entries["turn"][turn_id] = entry._replace(row=row)
            view._links[turn_id] = {key: IdList() for key in LINK_KEYS} | kept
            view._index("turn", turn_id, row)
        for kind in ("message", "eval", "call", "snapshot"):
            view._entries[kind] = dict(entries[kind])
            for row_id, entry in entries[kind]:
                view._relink(kind, row_id, entry)
        for call_id, entry in entries["call"]:
            view._index("call", call_id, entry.row)
        return view

    def _relink(self, kind: str, row_id: RowId, entry: Entry) -> None:
        """Put a restored row into its turn's list, where the fold had put it."""
        key, turn_id = link_key(kind, entry.row), entry.row.get("turn_id")
        if key is None or turn_id is None or turn_id not in self._links:
            return
        # A row joins its turn when it is added; one older than the turn came with session.restored.
        ids = self._links[turn_id][key]
        if ids.derived and entry.first_event_id > self._entries["turn"][turn_id].first_event_id:
            ids.add(row_id)
