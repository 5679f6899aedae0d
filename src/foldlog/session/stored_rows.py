"""A view's base over the tables: rows as of one checkpoint, each read when it is asked for.

What a view has not kept has not changed since the base (`foldlog.core.kept`), so the tables may be read
late, and after further checkpoints too, as long as they stand at no event that the view has not folded.
Each look checks that in its own read transaction. Where another process has moved the tables on, the
journal is replayed through the base's event, once, and the rows are taken from there: never wrong, and
never a mix of two moments.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection

from foldlog.core.base import Base, Entries, Joined, RowsInMemory, Standing
from foldlog.core.codec import decode
from foldlog.core.errors import CorruptJournalError, StoreClosedError
from foldlog.core.ids import RowId
from foldlog.core.rows import LINK_KINDS, ROLE_KEYS, Entry
from foldlog.session.replaying import collector_resting
from foldlog.storage import journal, tables
from foldlog.storage.database import Database
from foldlog.storage.journal import Stream

_Found = TypeVar("_Found")


@contextmanager
def told_of_damage(session_id: str | None) -> Iterator[None]:
    """Where rows of tables are not what was written, say that: raise `CorruptJournalError`."""
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        what = "the tables" if session_id is None else f"session {session_id!r}: the tables"
        raise CorruptJournalError(
            f"{what} are damaged ({type(error).__name__})",
            hint="`foldlog verify STORE` says where; `foldlog repair STORE` makes the tables anew from the journal",
        ) from None  # its words may be a row's


class StoredRows:
    """The rows of one session as its tables had them at an event; a `foldlog.core.base.Base`."""

    def __init__(
        self,
        database: Database,
        stream: Stream,
        event_id: int,
        standing: Standing,
        recall: Callable[[], RowsInMemory],
    ) -> None:
        """`standing.counters` is what the view counts in; `recall` replays the journal through `event_id`."""
        self._database = database
        self._stream = stream
        self._session_id = stream.session_id
        self._event_id = event_id
        self._counts = dict(standing.counts)
        self._counters = standing.counters
        self._recall = recall
        self._recalled: RowsInMemory | None = None
        self._lock = threading.Lock()

    def entry(self, kind: str, row_id: RowId) -> Entry | None:
        """One row, or None."""

        def read(connection: Connection) -> Entry | None:
            found = tables.read_row(connection, kind, self._session_id, row_id)
            return _entry(found)[1] if found is not None else None

        return self._ask(read, lambda base: base.entry(kind, row_id))

    def entries(self, kind: str) -> Entries:
        """All rows of a kind, in order."""
        return self._ask(
            lambda connection: _entries(tables.read_rows(connection, kind, self._session_id)),
            lambda base: base.entries(kind),
        )

    def running(self, kind: str) -> Entries:
        """The turns or calls that are running."""
        return self._ask(
            lambda connection: _entries(tables.read_rows(connection, kind, self._session_id, running=True)),
            lambda base: base.running(kind),
        )

    def edges(self) -> Entries:
        """The calls that lead to child sessions."""
        return self._ask(
            lambda connection: _entries(tables.read_edge_calls(connection, self._session_id)),
            lambda base: base.edges(),
        )

    def joined(self, key: str) -> list[Joined]:
        """The rows that name a turn and are of this list's kind, in order."""
        return self._ask(lambda connection: self._joined(connection, key, None), lambda base: base.joined(key))

    def joined_to(self, turn_id: RowId, key: str) -> list[Joined]:
        """Those of one turn."""
        return self._ask(
            lambda connection: self._joined(connection, key, turn_id), lambda base: base.joined_to(turn_id, key)
        )

    def _joined(self, connection: Connection, key: str, turn_id: RowId | None) -> list[Joined]:
        # Rows that were added since stand in the view's lists already.
        kind = LINK_KINDS[key]
        found = tables.read_joined(
            connection,
            kind,
            self._session_id,
            through=self._counts[kind],
            roles=[role for role, joins in ROLE_KEYS.items() if joins == key],
            turn_id=turn_id,
        )
        if not all(type(event_id) is int for _, _, event_id in found):
            raise TypeError("not a row")
        return found

    def _ask(self, read: Callable[[Connection], _Found], recall: Callable[[Base], _Found]) -> _Found:
        """Read from the tables if they may be read still, else from the journal."""
        if self._recalled is None:
            try:
                with told_of_damage(self._session_id), self._database.read() as connection:
                    journal.check_kept(connection, self._stream)
                    standing = tables.read_standing(connection, self._session_id)
                    if type(standing) is int and self._event_id <= standing <= self._counters["event"]:
                        return read(connection)
                with self._lock:
                    if self._recalled is None:
                        self._recalled = self._recall()
            except StoreClosedError as error:
                if not self._database.is_closed:
                    raise  # inherited by a forked child, which the error says
                raise StoreClosedError(
                    f"session {self._session_id!r}: these rows were not read before the store was closed",
                    hint="read them while the store is open, or all at once with view.load(), or open the store again",
                ) from error
        return recall(self._recalled)


def _entry(stored: tables.Stored) -> tuple[RowId, Entry]:
    row = decode(stored[0])
    # What was written is a map with an id, and its place: anything else is damage, or somebody else's work.
    if type(row) is not dict or "id" not in row or not all(type(place) is int for place in stored[1:]):
        raise TypeError("not a row")
    return row["id"], Entry(row, *stored[1:])


def _entries(stored: Iterable[tables.Stored]) -> Entries:
    with collector_resting():
        return [_entry(one) for one in stored]
