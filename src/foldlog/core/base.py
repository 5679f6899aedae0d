"""What a view stands on: the rows of a session as of one event, read when they are asked for.

A view that was opened from tables holds only what was read or changed since (`foldlog.core.kept`); the
other rows are its base's. The base over the tables is `foldlog.session.stored_rows`; the one here is for
rows that are in memory already.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from foldlog.core.errors import FoldlogError
from foldlog.core.ids import RowId, check_row_id
from foldlog.core.measures import Totals, is_edge
from foldlog.core.rows import KINDS, LINK_KINDS, Entry, Row, link_key

Entries = list[tuple[RowId, Entry]]
# A row that joined a turn's list: the turn, the row, the event that added the row.
Joined = tuple[RowId, RowId, int]


class Base(Protocol):
    """Rows as of one event; a turn's row holds only those of its lists that are not derived.

    Rows that the view has changed since may be told as they were or as they are: it asks for none of
    them, and leaves out those it has.
    """

    def entry(self, kind: str, row_id: RowId) -> Entry | None:
        """One row, or None."""

    def entries(self, kind: str) -> Entries:
        """All rows of a kind, in order."""

    def running(self, kind: str) -> Entries:
        """The turns or calls that are running."""

    def edges(self) -> Entries:
        """The calls that lead to child sessions."""

    def joined(self, key: str) -> list[Joined]:
        """The rows that name a turn and are of this list's kind, in order."""

    def joined_to(self, turn_id: RowId, key: str) -> list[Joined]:
        """Those of one turn."""


@dataclass(slots=True)
class Standing:
    """The parts of a view that are no rows, as of one event; small, whatever the session's length.

    `counts` and `last_ids` are the number of rows of each kind, and the id of the row added last.
    """

    session: Row
    counters: dict[str, int]
    final: tuple[Any, Any]
    error: Any
    counts: dict[str, int]
    last_ids: dict[str, RowId | None]
    totals: Totals


def stored_id(value: object) -> RowId | None:
    """The row id that equals a value, or None where none can: 1.0 and True are 1, as keys of a dict are."""
    if not isinstance(value, int | str):
        try:
            value = value if value != int(value) else int(value)  # type: ignore[call-overload]
        except (TypeError, ValueError, ArithmeticError):
            return None
    try:
        return check_row_id(int(value) if isinstance(value, int) else value, "")
    except FoldlogError:
        return None


class RowsInMemory:
    """A base of rows that are held: what replaying a journal gives."""

    def __init__(self, entries: Mapping[str, Mapping[RowId, Entry]]) -> None:
        self._entries: Final = entries
        self._by_turn: dict[str, dict[RowId, list[Joined]]] = {}

    def entry(self, kind: str, row_id: RowId) -> Entry | None:
        """One row, or None."""
        return self._entries[kind].get(row_id)

    def entries(self, kind: str) -> Entries:
        """All rows of a kind, in order."""
        return list(self._entries[kind].items())

    def running(self, kind: str) -> Entries:
        """The turns or calls that are running."""
        return [item for item in self._entries[kind].items() if item[1].row.get("status") == "running"]

    def edges(self) -> Entries:
        """The calls that lead to child sessions."""
        return [item for item in self._entries["call"].items() if is_edge(item[1].row)]

    def joined(self, key: str) -> list[Joined]:
        """The rows that name a turn and are of this list's kind, in order."""
        kind = LINK_KINDS[key]
        return [
            (entry.row["turn_id"], row_id, entry.first_event_id)
            for row_id, entry in self._entries[kind].items()
            if entry.row.get("turn_id") is not None and link_key(kind, entry.row) == key
        ]

    def joined_to(self, turn_id: RowId, key: str) -> list[Joined]:
        """Those of one turn."""
        if key not in self._by_turn:
            by_turn: dict[RowId, list[Joined]] = {}
            for found in self.joined(key):
                by_turn.setdefault(found[0], []).append(found)
            self._by_turn[key] = by_turn
        return self._by_turn[key].get(turn_id, [])


# The base of a view that keeps all its rows.
NO_ROWS: Final = RowsInMemory({kind: {} for kind in KINDS})
