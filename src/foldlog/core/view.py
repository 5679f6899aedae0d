"""The view: the folded state of one session, in memory.

Rows are plain dicts behind mappings from id to row, in the order of their first events. A reader gets
copies and sees one moment even while other threads append; the fold replaces rows and never mutates
them. What an event does to a view is decided in `foldlog.core.fold`; here it is only carried out, each
change in O(1). Which rows are in memory, and where the others come from, is in `foldlog.core.kept`.

A turn's id lists are not part of its stored row: they are kept as growing lists beside it (a turn of
10,000 calls would otherwise be copied 10,000 times) and put together when the row is read.
"""

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Self

from foldlog.core.base import Base, Standing
from foldlog.core.ids import RowId
from foldlog.core.kept import KeptRows
from foldlog.core.mapping import Rows
from foldlog.core.measures import Totals
from foldlog.core.refs import copy_value
from foldlog.core.rows import KEEP, KINDS, LINK_KEYS, Change, Changed, Entry, IdList, Row, link_key


class View(KeptRows):
    """The folded state of one session; read it freely from any thread.

    `session` is its row; `messages`, `turns`, `evals`, `calls` and `snapshots` map ids to rows in the
    order of their first events. Everything handed out is a copy.

    The view of a session that was opened from a store reads a row from the store when it is first asked
    for it, and shows one moment all the same. Once the store is closed, rows that were not read raise
    `StoreClosedError`; `load()` reads all of them before.

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
        super().__init__(threading.RLock())
        self._session: Row = {}
        self._final: tuple[Any, Any] = (None, None)
        self._error: Any = None

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
        self.load()
        with self._lock:
            found: dict[str, Any] = {"session": self._session}
            for kind in KINDS:
                found[f"{kind}s"] = [entry.row for _, entry in self.moment(kind)]
            found |= {"final_ref": self._final[0], "error": self._error, "counters": self._counters}
            copied: dict[str, Any] = copy_value(found)
        return copied

    @property
    def is_whole(self) -> bool:
        """Whether all rows are in memory, so that no look at them reads the store."""
        return not self._unread

    def load(self) -> Self:
        """Read all rows that were not read yet, so that the view outlives its store; returns the view."""
        for kind in KINDS:
            self._read_kind(kind)
        return self

    def __eq__(self, other: object) -> bool:
        """Whether two views show the same."""
        return self.document() == other.document() if isinstance(other, View) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # a view changes

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {kind}s" for kind, count in self._counts.items())
        return f"<View of {self._session.get('id')!r} at event {self._counters['event']}: {counts}>"

    # What the fold reads: the State of `foldlog.core.fold`.

    def session_row(self) -> Row:
        """The session's row itself, not to be changed."""
        return self._session

    def row(self, kind: str, row_id: RowId) -> Row | None:
        """A row as stored, without a turn's lists, not to be changed."""
        entry = self._entry(kind, row_id)
        return entry.row if entry is not None else None

    def row_count(self, kind: str) -> int:
        """How many rows of a kind there are."""
        with self._lock:
            return self._counts[kind]

    def turn_ids(self) -> list[RowId]:
        """The ids of all turns, in order; their lists are at hand then."""
        self._read_kind("turn")
        return list(self._entries["turn"])

    def last_row_id(self, kind: str) -> RowId | None:
        """The id of the row added last, or None."""
        return self._last_ids[kind]

    def turn_lists(self, turn_id: RowId) -> dict[str, IdList]:
        """A turn's lists themselves, not to be changed."""
        self._entry("turn", turn_id)
        return self._links[turn_id]

    def counter(self, name: str) -> int:
        """One counter."""
        return self._counters[name]

    # What the fold does.

    def carry_out(self, change: Change) -> None:
        """Make one planned change: O(1) but for what the event itself carries."""
        with self._lock:
            counters = self._counters
            counters["event"] = change.event_id
            for name, value in change.counters.items():
                counters[name] = max(counters[name], value)
            if change.messages is not None:
                self._replace_messages(change.messages, change.event_id)
            for kind, row_id, row in change.puts:
                self._put(kind, row_id, row, change.event_id)
            for link in change.links:
                self._link(link, change.event_id)
            if change.session is not None:
                self._session = change.session
                self._revisions["session"] = change.event_id
            if change.final_ref is not KEEP:
                self._final = (change.final_ref, change.preview)
            if change.error is not KEEP:
                self._error = change.error

    # What checkpoint, recovery and documents read.

    def moment(self, kind: str) -> list[tuple[RowId, Entry]]:
        """All entries of a kind at one moment, in order, turns with their lists; rows not to be changed."""
        self._read_kind(kind)
        with self._lock:
            entries = self._entries[kind]
            if kind != "turn":
                return list(entries.items())
            return [
                (turn_id, entry._replace(row=self._whole(turn_id, entry.row))) for turn_id, entry in entries.items()
            ]

    def read_row(self, kind: str, row_id: RowId) -> Row | None:
        """A copy of a row as readers see it, a turn with its lists, or None."""
        if kind == "turn":
            self.have_lists(row_id)
        else:
            self._entry(kind, row_id)
        with self._lock:
            entry = self._entries[kind].get(row_id)
            if entry is None:
                return None
            # A turn's lists are ids, and copied as they are put in.
            copied: Row = copy_value(entry.row)
            return self._whole(row_id, copied) if kind == "turn" else copied

    def running_ids(self, kind: str) -> list[RowId]:
        """The ids of the turns or calls that are running, in order."""
        self._read_running(kind)
        with self._lock:
            entries = self._entries[kind]
            return sorted(self._running[kind], key=lambda row_id: entries[row_id].seq)

    def edge_calls(self) -> list[Row]:
        """The calls that lead to child sessions, in call order, not to be changed."""
        self._read_edges()
        with self._lock:
            entries = [self._entries["call"][call_id] for call_id in self._edges]
        return [entry.row for entry in sorted(entries, key=lambda entry: entry.seq)]

    def last_turn(self) -> Row | None:
        """The row of the turn started last, not to be changed."""
        turn_id = self.last_row_id("turn")
        return None if turn_id is None else self.row("turn", turn_id)

    def revision(self, part: str) -> int:
        """The last event since the view was made that changed rows of this kind, or the `session`; else 0."""
        return self._revisions[part]

    def held(self) -> AbstractContextManager[Any]:
        """Keep the fold out for a block that must see one moment."""
        return self._lock

    @property
    def totals(self) -> Totals:
        """The session's own sums, not to be changed."""
        return self._summed()

    def standing(self) -> Standing:
        """The parts that are no rows, not to be changed; hold the view for all of it to be of one moment."""
        return Standing(
            session=self._session,
            counters=dict(self._counters),
            final=self._final,
            error=self._error,
            counts=dict(self._counts),
            last_ids=dict(self._last_ids),
            totals=self._summed(),
        )

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

    # Making one from another, or from stored rows.

    def copy(self) -> "View":
        """A view of its own that shows the same; O(rows)."""
        self.load()
        with self._lock:
            other = View.restore(
                self._session, dict(self._counters), self._final, self._error, self._all_stored(),
            )  # fmt: skip
            other._changed = {kind: dict(ids) for kind, ids in self._changed.items()}
            other._messages_replaced = self._messages_replaced
            other._edges_gone = dict(self._edges_gone)
        return other

    def stored_entries(self) -> dict[str, list[tuple[RowId, Entry]]]:
        """All rows at one moment as they are to be stored, in order: what `restore` takes."""
        self.load()
        with self._lock:
            return self._all_stored()

    def _all_stored(self) -> dict[str, list[tuple[RowId, Entry]]]:
        return {kind: [(row_id, self._stored(kind, row_id)) for row_id in self._entries[kind]] for kind in KINDS}

    @classmethod
    def on(cls, base: Base, standing: Standing) -> "View":
        """The view as of a base, with nothing left to write; O(1), whatever the base has.

        The view takes over what it is given: `standing.counters` is what it counts in from then on.
        """
        view = cls()
        view._session, view._final, view._error = standing.session, standing.final, standing.error
        view._stand_on(base, standing)
        return view

    @classmethod
    def restore(
        cls,
        session: Row,
        counters: dict[str, int],
        final: tuple[Any, Any],
        error: Any,
        entries: dict[str, list[tuple[RowId, Entry]]],
    ) -> "View":
        """The view that stored these rows, with nothing left to write.

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
        for kind in KINDS:
            if kind != "turn":
                view._entries[kind] = dict(entries[kind])
            for row_id, entry in entries[kind]:
                view._relink(kind, row_id, entry)
                view._note(kind, row_id, entry.row)
            view._counts[kind] = len(entries[kind])
            view._last_ids[kind] = entries[kind][-1][0] if entries[kind] else None
        for _, entry in entries["call"]:
            view._totals.add(entry.row)
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
