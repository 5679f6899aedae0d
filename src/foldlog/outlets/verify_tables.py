"""One session: does its journal fold, and do tables, sums, documents and the live view follow from it.

Events are read in pages; of the tables, one session's rows are read in one transaction, and compared
with the fold as of the event they stand at, so a writer at work changes nothing here. Digests and the
chain are `foldlog.outlets.ledger`'s.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from foldlog.core.documents import Node, final_document, node_of, tree_document, usage_document
from foldlog.core.errors import FoldlogError
from foldlog.core.fold import Event, advance, plan
from foldlog.core.upcast import upcast
from foldlog.core.view import View
from foldlog.outlets.findings import FINISH, REBUILD, REPAIR, Problem
from foldlog.outlets.ledger import Fault, Ledger
from foldlog.session import checkpoint
from foldlog.session.events import event_of
from foldlog.session.replaying import begin_without, end_without
from foldlog.storage import tables
from foldlog.storage.damage import fetch
from foldlog.storage.driver import Driver, driver_of, sql_of
from foldlog.storage.journal import StoredEvent
from foldlog.storage.rows_left import PAGE_ROWS
from foldlog.storage.schema import projection

if TYPE_CHECKING:
    from foldlog.store.store import Store

# What folding an event that is no longer what it was may raise.
UNFOLDABLE: Final = (FoldlogError, TypeError, AttributeError, KeyError, ValueError, OverflowError, RecursionError)
_ROW: Final = "position, event_id, type, at, data"
_PAGE: Final = (
    f"SELECT {_ROW} FROM events WHERE session_key = ? AND event_id > ? AND event_id <= ? "
    f"ORDER BY event_id LIMIT {PAGE_ROWS}"
)
_ONE: Final = f"SELECT {_ROW} FROM events WHERE session_key = ? AND event_id = ?"
_NAMED_MAX: Final = 5
LACKED: Final = "the table sessions lacks it"


def read_events(
    connection: Driver, ledger: Ledger, session_id: str, *, after: int = 0, through: int | None = None
) -> Iterator[StoredEvent | Fault]:
    """A session's rows in order of event id, past what cannot be read."""
    last = ledger.last_id if through is None else through
    while after < last:
        rows, error = fetch(connection, _PAGE, (ledger.key, after, last))
        for row in rows:
            yield _stored(row, session_id)
        after = rows[-1][1] if rows else after
        if error is not None:
            after += 1
            rows, error = fetch(connection, _ONE, (ledger.key, after))
            if rows:
                yield _stored(rows[0], session_id)
            else:
                yield Fault(ledger.key, after, "cannot be read", None, None, after)
        elif len(rows) < PAGE_ROWS:
            return


def _stored(row: tuple[Any, ...], session_id: str) -> StoredEvent:
    position, event_id, event_type, at, data = row
    return StoredEvent(position, session_id, event_id, event_type, at, data, b"", b"", None)


class Folding:
    """One session's journal, folded past the events that are set apart or are no longer what they were."""

    def __init__(self, connection: Driver, ledger: Ledger, session_id: str) -> None:
        self.view = View()
        self.faults: list[Fault] = []
        self.wrongly_noted: list[int] = []
        self._connection = connection
        self._ledger = ledger
        self._session_id = session_id
        self._without = ledger.noted | ledger.faulty_ids
        begin_without(self.view, session_id, self._without)

    def fold(self, through: int | None = None, saw: Callable[[StoredEvent, Event], None] | None = None) -> None:
        """Go on through an event, or all; `saw` hears each event that folds."""
        after = self.view.counter("event")
        for found in read_events(self._connection, self._ledger, self._session_id, after=after, through=through):
            if isinstance(found, Fault):
                if found.event_id not in self._without:
                    self.faults.append(found)
                    self._without |= {found.event_id}
                continue
            self._take(found, saw)
        end_without(self.view, self._without, through)

    def _take(self, stored: StoredEvent, saw: Callable[[StoredEvent, Event], None] | None) -> None:
        event_id = stored.event_id
        if event_id in self._ledger.whole_though_noted:
            self._look_at_noted(stored)
        if event_id in self._without:
            return
        try:
            event = event_of(stored)
            advance(self.view, event)
        except UNFOLDABLE as error:
            what = f"does not fold: {getattr(error, 'message', error)}"
            self.faults.append(Fault(self._ledger.key, event_id, what, stored.position, stored.position, event_id))
            self._without |= {event_id}
            return
        if saw is not None:
            saw(stored, event)

    def _look_at_noted(self, stored: StoredEvent) -> None:
        """An event whose row is whole is set apart rightly only if it does not fold."""
        try:
            event = event_of(stored)
            state = self.view if stored.event_id > 1 else View()
            plan(state, upcast(event, state.session_row()))
        except UNFOLDABLE:
            return
        self.wrongly_noted.append(stored.event_id)


class Tables:
    """A session's rows in all tables, read at one moment."""

    def __init__(self, store: "Store", session_id: str) -> None:
        with store.database.read() as connection:
            self.words = sql_of(driver_of(connection))
            self.session = tables.read_session(connection, session_id)
            self.rows = {name: tables.read_table(connection, name, session_id) for name in tables.table_names()}

    @property
    def standing(self) -> Any:
        """The event they stand at, or None."""
        return self.session["checkpoint_event_id"] if self.session is not None else None

    def differing(self, name: str, expected: Mapping[Any, Mapping[str, Any]]) -> list[str]:
        """The ids of the rows of a table that are not as they should be, gone, or too many."""
        table, names, wanted = projection.tables[name], dict[Any, Any](), dict[Any, Any]()
        for row_id, row in expected.items():
            stored = self.words.as_stored(table, row)
            key = tables.key_of(stored)
            names[key], wanted[key] = row_id, stored
        found = self.rows[name]
        keys = wanted.keys() | found.keys()
        return sorted(str(names.get(key, key)) for key in keys if wanted.get(key) != found.get(key))


def compare(session_id: str, view: View, stored: Tables) -> Iterator[Problem]:
    """What differs between a fold and the tables as of the same event."""
    for name, expected in checkpoint.expected_tables(session_id, view).items():
        differing = stored.differing(name, expected)
        if differing:
            more = len(differing) - _NAMED_MAX
            rows = ", ".join(differing[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
            yield Problem(None, session_id, f"the table {name} differs from the journal: {rows}", REBUILD)
    try:
        documents = _documents(checkpoint.stored_node(session_id, stored.rows))
    except UNFOLDABLE:
        documents = {}
    for name, document in _documents(node_of(view)).items():
        if documents.get(name) != document:
            yield Problem(None, session_id, f"the tables give another {name} than the journal", REBUILD)


def _documents(node: Node) -> dict[str, Any]:
    """The documents of a session by itself; those that nest others are made of the same nodes."""
    usage = usage_document(node, lambda _: None)
    return {"usage": usage, "final": final_document(node, usage), "tree": tree_document(node, lambda _: None)}


def check_session(
    store: "Store",
    folding: Folding,
    ledger: Ledger,
    session_id: str,
    saw: Callable[[StoredEvent, Event], None],
) -> Iterator[Problem]:
    """Everything about one session but its rows in `events` themselves."""
    stored = None
    try:
        stored = Tables(store, session_id)
    except FoldlogError as error:
        yield Problem(None, session_id, f"its rows in the tables cannot be read: {error.message}", REBUILD)
    standing, last_id = stored.standing if stored is not None else None, ledger.last_id
    is_whole = not ledger.faults and not ledger.misplaced
    if stored is not None and stored.session is None:
        yield Problem(None, session_id, LACKED, FINISH)
    elif stored is not None and not _is_in_journal(store, ledger, standing):
        what = f"the tables stand at event {standing}, which is not in the journal"
        yield Problem(None, session_id, what, REPAIR)
        standing = None
    if stored is not None and standing is not None and is_whole:
        folding.fold(standing, saw)
        if not folding.faults:
            yield from compare(session_id, folding.view, stored)
    folding.fold(max(last_id, standing or 0), saw)
    for fault in folding.faults:
        yield Problem(fault.seen_at, session_id, str(fault), REPAIR)
    for event_id in folding.wrongly_noted:
        yield Problem(None, session_id, f"event {event_id} is set apart and whole", REPAIR)
    live = store.live(session_id)
    if live is not None and is_whole and not folding.faults:
        at, differs = live.view.counter("event"), live.view != folding.view
        if differs and at == live.view.counter("event") == folding.view.counter("event"):
            yield Problem(None, session_id, "the live view differs from the journal", "open the session again")


def _is_in_journal(store: "Store", ledger: Ledger, event_id: Any) -> bool:
    """Whether a session has got to an event; if not when its rows were looked at, then since."""
    if type(event_id) is not int or event_id < 1:
        return False
    if event_id <= ledger.last_id:
        return True
    with store.database.read() as connection:
        sql = "SELECT max(event_id) FROM events WHERE session_key = ?"
        row = connection.exec_driver_sql(sql, (ledger.key,)).first()
    return row is not None and row[0] is not None and bool(row[0] >= event_id)
