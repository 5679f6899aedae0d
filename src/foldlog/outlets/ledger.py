"""The journal, row by row: digests, the chain, ids without gaps, and which rows can no longer be trusted.

Read by position, past what cannot be read (`foldlog.storage.rows_left`), with a little state for each
session, so its memory does not grow with the journal. What events mean is looked at elsewhere
(`foldlog.outlets.verify_tables`); what is done about a fault is repair's business.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from foldlog.core.chain import digest_of, first_chain, next_chain
from foldlog.core.codec import decode
from foldlog.core.errors import FoldlogError
from foldlog.storage import quarantine
from foldlog.storage.damage import fetch
from foldlog.storage.driver import Driver, sql_of
from foldlog.storage.rows_left import Lost

COLUMNS: Final = "session_key, event_id, type, at, data, digest, chain, idempotency_key"


class Row(NamedTuple):
    """A row of `events` as it is found, of whatever types."""

    position: int
    session_key: Any
    event_id: Any
    type: Any
    at: Any
    data: Any
    digest: Any
    chain: Any
    idempotency_key: Any


@dataclass(frozen=True, slots=True)
class Fault:
    """One event, or several that are missing in a row, of which a fold must go on without.

    `position` is that of the row, None where there is none; `seen_at` that of the row where it showed.
    """

    session_key: int
    event_id: int
    what: str
    position: int | None
    seen_at: int | None
    last_id: int

    def __str__(self) -> str:
        if self.last_id > self.event_id:
            return f"events {self.event_id} to {self.last_id} {self.what}"
        return f"event {self.event_id} {self.what}"


class Ledger:
    """One session's rows as they come: what the next one must be."""

    def __init__(self, session_key: int, session_id: Any, noted: frozenset[int]) -> None:
        self.key = session_key
        self.session_id = session_id
        self.noted = noted
        self.row_count = 0
        self.whole_though_noted: list[int] = []
        self.faults: list[Fault] = []
        self.misplaced: list[tuple[int, str]] = []  # position, what: rows that no note can name
        self.backward: list[tuple[int, int]] = []  # position, event id: as it was written, and before the one before
        self.bad_notes: list[int] = []  # notes of events that cannot have been
        self.true_id: str | None = None
        self._next = 1
        self._at = ""
        first = first_chain(session_id) if isinstance(session_id, str) else b""
        self._links: set[bytes] = {first}  # what the next chain value may follow; empty: not known

    @property
    def last_id(self) -> int:
        """The id of the last event so far."""
        return self._next - 1

    @property
    def faulty_ids(self) -> set[int]:
        """The events with faults that are not set apart yet."""
        return {event_id for fault in self.faults for event_id in range(fault.event_id, fault.last_id + 1)}

    def go_on(self, event_id: int, chain: bytes) -> None:
        """Take the rows through an event as looked at; `chain` is its value, empty where it tells nothing."""
        self._next = event_id + 1
        self._links = {chain} if chain else set()

    def look(self, row: Row) -> bool:
        """Take the next row; whether it may stand where it does, whole or not."""
        problem = self._misplaced(row)
        if problem is not None:
            self.misplaced.append((row.position, problem))
            return False
        self.row_count += 1
        self._missing_before(row.event_id, row.position)
        found = list(self._wrong_in(row))
        if row.event_id in self.noted:
            if not found:
                self.whole_though_noted.append(row.event_id)
        elif found:
            what = "; ".join(found)
            self.faults.append(Fault(self.key, row.event_id, what, row.position, row.position, row.event_id))
        self._next = row.event_id + 1
        return True

    def _misplaced(self, row: Row) -> str | None:
        if type(row.event_id) is not int or not 0 < row.event_id <= row.position + len(self.noted):
            # Each event of a session has, or had, a position of its own.
            return "an event's id is not what was written"
        if row.event_id < self._next:
            return f"event {row.event_id} stands twice, or not in order"
        if row.event_id > self._next and _has_types(row):
            for link in self._links:
                if next_chain(link, self._next, row.type, row.at, row.digest) == row.chain:
                    return f"event {self._next} has another id ({row.event_id})"
        return None

    def _missing_before(self, event_id: int, seen_at: int | None) -> None:
        """Note the gap before an event, but for what is set apart."""
        if event_id == self._next:
            return
        first = None
        for expected in range(self._next, event_id + 1):
            is_gone = expected < event_id and expected not in self.noted
            if is_gone and first is None:
                first = expected
            if not is_gone and first is not None:
                what = "is missing" if expected - first == 1 else "are missing"
                self.faults.append(Fault(self.key, first, what, None, seen_at, expected - 1))
                first = None
        self._links = set()
        self._next = event_id

    def _wrong_in(self, row: Row) -> Iterator[str]:
        if not _has_types(row):
            yield "is damaged: a column is not of the type it was written as"
            self._links = set()
            return
        if digest_of(row.data.encode()) != row.digest:
            yield "is damaged: the data is not what was written"
        links = self._links
        made = {next_chain(link, row.event_id, row.type, row.at, row.digest) for link in links}
        if row.event_id == 1:
            made |= self._name_in(row)
        if links and row.chain not in made:
            yield "is damaged: the chain is broken"
        elif row.event_id not in self.noted:
            if row.at < self._at:
                self.backward.append((row.position, row.event_id))
            self._at = max(self._at, row.at)
        # Where a chain value alone was changed, the next event follows what it was.
        self._links = {row.chain, *made}

    def _name_in(self, row: Row) -> set[bytes]:
        """The chain value of a first event if its session has the id it tells of itself."""
        try:
            session_id = decode(row.data)["session"]["id"]
            made = next_chain(first_chain(session_id), 1, row.type, row.at, row.digest)
        except (FoldlogError, KeyError, TypeError, AttributeError, ValueError):
            return set()
        if row.chain == made:
            self.true_id = session_id
            return {made}
        return set()

    def end(self, last_position: int) -> None:
        """Count what is set apart behind the last row of the store."""
        highest = last_position + len(self.noted)
        self.bad_notes = sorted(event_id for event_id in self.noted if event_id > highest)
        last = max((event_id for event_id in self.noted if event_id <= highest), default=0)
        if last >= self._next:
            self._missing_before(last, None)
            self._next = last + 1

    def lose(self, event_id: int, position: int | None) -> None:
        """Take an event behind the last row whose row cannot be read."""
        self._missing_before(event_id, position)
        what = "is missing" if position is None else "cannot be read"
        self.faults.append(Fault(self.key, event_id, what, None, position, event_id))
        self._next = event_id + 1
        self._links = set()


def _has_types(row: Row) -> bool:
    return type(row.type) is type(row.at) is type(row.data) is str and type(row.digest) is type(row.chain) is bytes


@dataclass(slots=True)
class Journal:
    """What a walk over all events found."""

    names: dict[int, Any] = field(default_factory=dict)  # session key -> id
    others: dict[int, str] = field(default_factory=dict)  # streams that are no sessions
    ledgers: dict[int, Ledger] = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)
    row_count: int = 0
    last_position: int = 0

    def nameless(self) -> list[int]:
        """The keys of sessions that have events and no name."""
        return [key for key in self.ledgers if key not in self.names and key not in self.others]


def read_journal(
    connection: Driver, *, each: Callable[[Row, bool], None] | None = None, saw: Callable[[int], None]
) -> Journal:
    """Look at every event of a store; `saw` hears how many rows were, `each` every row and whether it may stand."""
    found = Journal()
    noted = _read_notes(connection)
    found.names = read_names(connection)
    for page in sql_of(connection).walk(connection, "events", COLUMNS):
        if isinstance(page, Lost):
            found.lost.append(page)
            found.last_position = max(found.last_position, page.last or page.first)
            continue
        began = {row[1] for row in page} - found.ledgers.keys() - found.names.keys()
        if began:  # meanwhile; those that began later still may have their events behind what is walked over
            found.names |= {key: name for key, name in read_names(connection).items() if key in began}
        for values in page:
            row = Row(*values)
            ledger = found.ledgers.get(row.session_key)
            if ledger is None:
                name = found.names.get(row.session_key)
                ledger = Ledger(row.session_key, name, noted.get(row.session_key, frozenset()))
                found.ledgers[row.session_key] = ledger
            stands = ledger.look(row)
            if each is not None:
                each(row, stands)
            found.last_position = max(found.last_position, row.position)
        found.row_count += len(page)
        saw(found.row_count)
    streams = _read_streams(connection)
    found.others = {key: name for key, name in streams.items() if not quarantine.is_session(name)}
    for key in found.names.keys() & found.others.keys():
        del found.names[key]  # deleted meanwhile
    for key in found.names.keys() - found.ledgers.keys():
        found.ledgers[key] = Ledger(key, found.names[key], noted.get(key, frozenset()))
    for key, ledger in found.ledgers.items():
        if found.lost:
            _lose_rest(connection, key, ledger, found.last_position)
        ledger.end(found.last_position)
    return found


def _lose_rest(connection: Driver, key: int, ledger: Ledger, last_position: int) -> None:
    """What the index knows of a session's events behind the last that could be read."""
    rows, _ = fetch(
        connection,
        "SELECT event_id, position FROM events WHERE session_key = ? AND event_id > ? ORDER BY event_id",
        (key, ledger.last_id),
    )
    for event_id, position in rows:
        if type(event_id) is int and type(position) is int and position <= last_position and event_id <= position:
            ledger.lose(event_id, position)


def read_names(connection: Driver) -> dict[int, Any]:
    """The id of each session by its key, as far as they can be read; not those of streams that are no sessions."""
    return {key: name for key, name in _read_streams(connection).items() if quarantine.is_session(name)}


def _read_streams(connection: Driver) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for page in sql_of(connection).walk(connection, "streams", "id"):
        if not isinstance(page, Lost):
            found |= dict(page)
    return found


def _read_notes(connection: Driver) -> dict[int, frozenset[int]]:
    found: dict[int, set[int]] = {}
    for page in sql_of(connection).walk(connection, "quarantine", "session_key, event_id"):
        if not isinstance(page, Lost):
            for _, key, event_id in page:
                if type(event_id) is int and event_id > 0:
                    found.setdefault(key, set()).add(event_id)
    return {key: frozenset(ids) for key, ids in found.items()}
