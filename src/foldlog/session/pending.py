"""Events stamped but not yet committed, and the state they would make.

The view shows committed events only. Verbs of the same session must see more (an update of a call that
the same batch started), so plans are made against this: the view with the pending changes on top.

Whoever commits moves events from here into the view while verbs read, so both are guarded by the view's
lock: plans and changes are made while it is held, and what verbs read takes it itself.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from foldlog.core.fold import State
from foldlog.core.ids import RowId
from foldlog.core.refs import copy_value
from foldlog.core.rows import LINK_KEYS, Change, IdList, Link, Row, apply_link, forget_lists
from foldlog.core.view import View
from foldlog.storage.journal import Head, Stamped


class PendingEvent(NamedTuple):
    """One event on its way: what is stored, what it says, what it changes, and where the line then stands."""

    stamped: Stamped
    event: dict[str, Any]
    change: Change
    head: Head


class Pending:
    """The pending events of one session over its view; a `foldlog.core.fold.State`."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.events: list[PendingEvent] = []  # the recorder adds to it
        self._reset()

    def _reset(self) -> None:
        self._taken_count = 0
        self._rows: dict[tuple[str, RowId], Row] = {}
        self._new: dict[str, list[RowId]] = {}
        self._steps: dict[RowId, list[Link | Row]] = {}
        self._lists: dict[RowId, tuple[dict[str, IdList], Row, int]] = {}
        self._keys: dict[str, dict[str, Any]] = {}
        self._counters: dict[str, int] = {}
        self._session: Row | None = None
        self._restored = False

    def state(self) -> State:
        """What the next event is planned against."""
        if not self.events:
            return self._view
        self._catch_up()
        return self

    def _catch_up(self) -> None:
        """Take in what was added: only now, since most events are committed before anybody asks."""
        for event in self.events[self._taken_count :]:
            self._take(event)
        self._taken_count = len(self.events)

    def cut_after(self, event_id: int) -> None:
        """Drop the events after one: they will not be committed."""
        kept = [event for event in self.events if event.stamped.event_id <= event_id]
        if len(kept) < len(self.events):
            self.events = kept
            self._reset()

    def drop_through(self, event_id: int) -> None:
        """Drop the events up to one: they are committed, and the view shows them."""
        if self.events and self.events[-1].stamped.event_id <= event_id:  # the usual case, and the hot one
            self.events = []
        elif self.events and self.events[0].stamped.event_id <= event_id:
            # Ids have no gaps; and many callers that share a commit each drop their own.
            del self.events[: event_id + 1 - self.events[0].stamped.event_id]
        else:
            return
        if self._taken_count:
            self._reset()

    def _take(self, event: PendingEvent) -> None:
        change = event.change
        if event.stamped.idempotency_key is not None:
            self._keys[event.stamped.idempotency_key] = event.event
        if change.messages is not None:
            self._restored = True
            for key in [key for key in self._rows if key[0] == "message"]:
                del self._rows[key]
            for row in change.messages:
                self._rows["message", row["id"]] = row
        for kind, row_id, row in change.puts:
            if self.row(kind, row_id) is None:
                self._new.setdefault(kind, []).append(row_id)
            self._rows[kind, row_id] = row
            if kind == "turn":
                self._steps.setdefault(row_id, []).append(row)
        for link in change.links:
            self._steps.setdefault(link.turn_id, []).append(link)
            turn = self.row("turn", link.turn_id)
            if turn is not None and link.key not in LINK_KEYS and link.key in turn and link.how != "reset":
                # A list of the user's own now grows beside the row, as it will in the view.
                self._rows["turn", link.turn_id] = {key: value for key, value in turn.items() if key != link.key}
        for name, value in change.counters.items():
            self._counters[name] = max(value, self._counters.get(name, 0))
        if change.session is not None:
            self._session = change.session

    # The State of the fold.

    def session_row(self) -> Row:
        """The session's row."""
        return self._session if self._session is not None else self._view.session_row()

    def row(self, kind: str, row_id: RowId) -> Row | None:
        """A row as stored, or None."""
        found = self._rows.get((kind, row_id))
        if found is None and not (kind == "message" and self._restored):
            found = self._view.row(kind, row_id)
        return found

    def row_count(self, kind: str) -> int:
        """How many rows of a kind there are (messages aside: nobody plans by their number)."""
        return self._view.row_count(kind) + len(self._new.get(kind, ()))

    def turn_ids(self) -> list[RowId]:
        """All turns, in order."""
        return [*self._view.turn_ids(), *self._new.get("turn", ())]

    def have_lists(self, turn_id: RowId) -> None:
        """See that a turn's lists are in memory, as far as the view has the turn."""
        self._view.have_lists(turn_id)

    # What verbs read.

    def counter(self, name: str) -> int:
        """One counter, pending events included."""
        with self._view.held():
            self._catch_up()
            return max(self._view.counter(name), self._counters.get(name, 0))

    def find_key(self, idempotency_key: str) -> dict[str, Any] | None:
        """The pending event with this idempotency key, or None."""
        with self._view.held():
            self._catch_up()
            return self._keys.get(idempotency_key)

    def last_row_id(self, kind: str) -> RowId | None:
        """The id of the row added last, pending rows included, or None."""
        with self._view.held():
            self._catch_up()
            if kind == "message" and self._restored:
                rows = [row_id for found, row_id in self._rows if found == kind]
                return rows[-1] if rows else None
            new = self._new.get(kind)
            return new[-1] if new else self._view.last_row_id(kind)

    def read_row(self, kind: str, row_id: RowId) -> Row | None:
        """A copy of a row as a reader would see it once the pending events are committed, or None."""
        with self._view.held():
            if not self.events:
                return self._view.read_row(kind, row_id)
            self._catch_up()
            row = self.row(kind, row_id)
            if row is None:
                return None
            copied: Row = copy_value(row)
            if kind == "turn":
                copied |= {key: list(ids.ids) for key, ids in self._turn_lists(row_id).items()}
            return copied

    def stored_row(self, kind: str, row_id: RowId) -> Row | None:
        """A row as `read_row` gives it, a turn without its lists; not to be changed."""
        with self._view.held():
            return self.state().row(kind, row_id)

    def not_listed(self, turn_id: RowId, key: str, values: list[RowId]) -> list[RowId]:
        """Those of the ids that a turn's list does not hold yet; all of them where there is no such turn."""
        with self._view.held():
            self._catch_up()
            ids = self._turn_lists(turn_id).get(key) if self.row("turn", turn_id) is not None else None
            return [value for value in values if ids is None or value not in ids.known]

    def _turn_lists(self, turn_id: RowId) -> dict[str, IdList]:
        """A turn's lists, pending changes included; not to be changed."""
        steps = self._steps.get(turn_id, ())
        stored = self._view.row("turn", turn_id)
        if stored is not None and turn_id not in self._lists and not self._changes_lists(turn_id, steps):
            return self._view.turn_lists(turn_id)
        lists, row, done = self._lists.get(turn_id) or (self._first_lists(turn_id, stored), stored or {}, 0)
        for step in steps[done:]:
            if isinstance(step, Link):
                row = apply_link(lists, row, step)
            else:
                row = step
                forget_lists(lists, row)
        self._lists[turn_id] = (lists, row, len(steps))
        return lists

    def _changes_lists(self, turn_id: RowId, steps: Sequence[Link | Row]) -> bool:
        """Whether any step is more than a row that leaves the lists alone; copying them costs their length."""
        custom = self._view.turn_lists(turn_id).keys() - LINK_KEYS
        return any(isinstance(step, Link) or not custom.isdisjoint(step) for step in steps)

    def _first_lists(self, turn_id: RowId, stored: Row | None) -> dict[str, IdList]:
        if stored is None:
            return {key: IdList() for key in LINK_KEYS}
        return {key: ids.copy() for key, ids in self._view.turn_lists(turn_id).items()}
