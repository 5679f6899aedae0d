"""The search index: texts in a table, their words in an index over it, and how far both have come.

What is a text is decided in `foldlog.core.searchable`, when it is added in `foldlog.store.searching`. All of it runs on
a driver connection; what writes, inside the caller's transaction. The index of words is the engine's own:
`foldlog.storage.fts5_index`, `foldlog.storage.postgres_index`.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from foldlog.core.match_text import Term
from foldlog.storage import fts5_index
from foldlog.storage.database import NO_POSITION
from foldlog.storage.driver import Driver, insert, sql_of
from foldlog.storage.journal import range_below
from foldlog.storage.schema import search

# What stands around a word that was found: no text has these characters.
MARKS: Final = ("\x02", "\x03")
_SNIPPET_WORDS: Final = 24


class Entry(NamedTuple):
    """One text, ready to be added."""

    session_key: int
    event_id: int
    kind: str
    field: str
    row_id: Any
    turn_id: Any
    role: str | None
    text: str


class Scope(NamedTuple):
    """Where is searched: a session with all below it, a role, a kind; None: any."""

    session_id: str | None
    role: str | None
    kind: str | None


class WordIndex(Protocol):
    """What an engine's index of words does."""

    def statements(self) -> list[str]:
        """Its DDL."""

    def drop(self, connection: Any, /) -> None:
        """Drop it, if it is there."""

    def is_made(self, connection: Any, /) -> bool:
        """Whether it is there."""

    def hold(self, connection: Any, /) -> None:
        """Keep others from writing it until the caller's transaction ends."""

    def ensure(self, connection: Any, /) -> None:
        """See that it is there."""

    def add(self, connection: Any, text_id: int, text: str, /) -> None:
        """Add the words of a text."""

    def forget(self, connection: Any, rows: Sequence[tuple[int, str]], /) -> None:
        """Remove the words of texts that are about to go."""

    def wipe(self, connection: Any, /) -> None:
        """Leave nothing of what was removed, where that is for us to do."""

    def find(
        self,
        connection: Any,
        terms: Iterable[Term],
        values: dict[str, Any],
        where: str,
        span: tuple[int, int] | None,
        /,
    ) -> list[tuple[Any, ...]]:
        """The texts that match, best first, as `Match` has them."""


def index_of(connection: Driver) -> WordIndex:
    """The index of words as this connection needs it."""
    if isinstance(connection, sqlite3.Connection):
        return fts5_index
    from foldlog.storage import postgres_index  # noqa: PLC0415  (only a store on a server needs it)

    return postgres_index


def drop(connection: Driver) -> None:
    """Drop the index and its tables, if they are there."""
    index_of(connection).drop(connection)
    for table in search.sorted_tables:
        connection.execute(f"DROP TABLE IF EXISTS {table.name}")


def is_made(connection: Driver) -> bool:
    """Whether there is an index: a SQLite without FTS5 makes stores that have none."""
    return index_of(connection).is_made(connection)


def make_temporary() -> sqlite3.Connection:
    """An index of its own in memory, empty."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.execute(
        "CREATE TABLE search_texts (text_id INTEGER PRIMARY KEY, session_key, event_id, kind, field, row_id, turn_id, "
        "role, text)"
    )
    connection.execute("CREATE INDEX ix_search_texts_row ON search_texts (session_key, field, row_id)")
    fts5_index.ensure(connection)
    return connection


# How far it is.


def position(connection: Driver) -> int:
    """The position through which events are in the index."""
    row = connection.execute("SELECT position FROM search_state").fetchone()
    return row[0] if row is not None and isinstance(row[0], int) else 0  # damaged: as if nothing were in it


def last_position(connection: Driver) -> int:
    """The position of the last event, 0 where there is none."""
    return int(connection.execute("SELECT max(position) FROM events").fetchone()[0] or 0)


def due_count(connection: Driver) -> int:
    """About how many events are not in the index: positions of deleted ones count."""
    return max(0, last_position(connection) - position(connection))


def read_events(
    connection: Driver, after: int, types: Sequence[str], limit: int, *, through: int = NO_POSITION
) -> list[tuple[int, int, int, str, str]]:
    """Events after a position, through another, repaired ones left out: position, key, event id, type, and data.

    Of types that bring no text the data is empty.
    """
    sql = (
        f"SELECT position, session_key, event_id, type, "
        f"CASE WHEN type IN ({', '.join('?' * len(types))}) THEN data ELSE '' END "
        "FROM events WHERE position > ? AND position <= ? "
        "AND NOT EXISTS (SELECT 1 FROM quarantine WHERE quarantine.session_key = events.session_key "
        "AND quarantine.event_id = events.event_id) ORDER BY position LIMIT ?"
    )
    found: list[tuple[int, int, int, str, str]] = connection.execute(sql, (*types, after, through, limit)).fetchall()
    return found


def read_session(
    connection: Driver, session_key: int, types: Sequence[str]
) -> tuple[list[tuple[int, int, int, str, str]], list[tuple[Any, ...]]]:
    """A session's events that are in the index, and what the index has of it, in the order of its ids."""
    marks = ", ".join("?" * len(types))
    events = connection.execute(
        f"SELECT position, session_key, event_id, type, data FROM events WHERE session_key = ? AND type IN ({marks}) "
        "AND position <= ? AND NOT EXISTS (SELECT 1 FROM quarantine WHERE quarantine.session_key = events.session_key "
        "AND quarantine.event_id = events.event_id) ORDER BY event_id",
        (session_key, *types, position(connection)),
    ).fetchall()
    columns = ", ".join(Entry._fields)
    sql = f"SELECT {columns} FROM search_texts WHERE session_key = ? ORDER BY text_id"
    return events, connection.execute(sql, (session_key,)).fetchall()


def has_strays(connection: Driver) -> bool:
    """Whether the index is ahead of the journal, or has texts of sessions that are not in it."""
    last = connection.execute("SELECT max(position) FROM events").fetchone()[0] or 0
    sql = "SELECT 1 FROM search_texts WHERE session_key NOT IN (SELECT session_key FROM streams) LIMIT 1"
    return position(connection) > last or connection.execute(sql).fetchone() is not None


# Writing.


def set_position(connection: Driver, through: int) -> None:
    """Note how far the index is."""
    connection.execute(
        "INSERT INTO search_state (id, position) VALUES (1, ?) "
        "ON CONFLICT (id) DO UPDATE SET position = excluded.position",
        (through,),
    )


def hold(connection: Driver) -> None:
    """Keep others from writing the index until the caller's transaction ends."""
    index_of(connection).hold(connection)


def ensure(connection: Driver) -> None:
    """See that there is an index: a SQLite without FTS5 may have made the store."""
    index_of(connection).ensure(connection)


def kept_keys(connection: Driver, keys: Iterable[int]) -> set[int]:
    """Those of the sessions that were not deleted meanwhile."""
    sql = "SELECT 1 FROM streams WHERE session_key = ? AND substr(id, 1, 1) <> '.'"
    return {key for key in set(keys) if connection.execute(sql, (key,)).fetchone() is not None}


def as_stored(connection: Driver, entry: Entry) -> Entry:
    """A text as the table has it."""
    words = sql_of(connection)
    role = None if entry.role is None else entry.role.replace("\0", "\ufffd")
    return entry._replace(row_id=words.row_key(entry.row_id), turn_id=words.row_key(entry.turn_id), role=role)


def add(connection: Driver, entry: Entry) -> None:
    """Add a text."""
    sql = (
        "INSERT INTO search_texts (session_key, event_id, kind, field, row_id, turn_id, role, text) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    )
    text_id = insert(connection, sql, as_stored(connection, entry), "text_id")
    index_of(connection).add(connection, text_id, entry.text)


def forget(connection: Driver, session_key: int, field: str, row_id: Any) -> None:
    """Remove what a row has said in a field (`call.%`: in any), or any row of the session has."""
    kind, _, key = field.partition(".")
    values: list[Any] = [session_key, field]
    where = "session_key = ? AND field = ?"
    if key == "%":
        where, values = "session_key = ? AND field > ? AND field < ?", [session_key, f"{kind}.", f"{kind}/"]
    if row_id is not None:
        where += " AND row_id = ?"
        values.append(sql_of(connection).row_key(row_id))
    _forget(connection, where, values)


def remove(connection: Driver, session_keys: Iterable[int]) -> None:
    """Remove all that sessions have said; their words are not left in the index's own pages either."""
    hold(connection)
    if sum(_forget(connection, "session_key = ?", [key]) for key in session_keys):
        index_of(connection).wipe(connection)


def _forget(connection: Driver, where: str, values: list[Any]) -> int:
    rows = connection.execute(f"SELECT text_id, text FROM search_texts WHERE {where}", values).fetchall()
    if rows:
        index_of(connection).forget(connection, rows)
        connection.execute(f"DELETE FROM search_texts WHERE {where}", values)
    return len(rows)


# Searching.


class Match(NamedTuple):
    """A text that was found, its snippet with marks around the words."""

    session_key: int
    event_id: int
    kind: str
    field: str
    row_id: Any
    turn_id: Any
    role: str | None
    rank: float
    snippet: str


def find(
    connection: Driver, terms: Iterable[Term], keys: Sequence[int] | None, scope: Scope, *, ranked: int, hits: int
) -> list[Match]:
    """The best of the newest texts that match, best first.

    `keys`: of these sessions only. `ranked`: how many are looked at for the best.
    """
    where = "".join(f"AND s.{name} = :{name} " for name in ("role", "kind") if getattr(scope, name) is not None)
    span = None
    if keys is not None:
        if not keys:
            return []
        where += f"AND s.session_key IN ({', '.join(map(str, keys))})"
        span = _span(connection, keys)
    values: dict[str, Any] = {
        "ranked": ranked, "hits": hits, "words": _SNIPPET_WORDS, "open": MARKS[0], "close": MARKS[1],
        "role": scope.role, "kind": scope.kind,
    }  # fmt: skip
    return [Match(*row) for row in index_of(connection).find(connection, terms, values, where, span)]


def _span(connection: Driver, keys: Sequence[int]) -> tuple[int, int]:
    """Between which ids the texts of sessions are: much less than all, mostly."""
    sql = f"SELECT min(text_id), max(text_id) FROM search_texts WHERE session_key IN ({', '.join(map(str, keys))})"
    first, last = connection.execute(sql).fetchone()
    return (1, 0) if first is None else (first, last)


def keys_below(connection: Driver, session_id: str) -> list[int]:
    """The keys of a session and of all below it."""
    sql = "SELECT session_key FROM streams WHERE (id = ? OR id > ? AND id < ?) AND session_key > 0"
    return [row[0] for row in connection.execute(sql, (session_id, *range_below(session_id)))]


def session_ids(connection: Driver, keys: Iterable[int]) -> dict[int, str]:
    """The ids of sessions by key."""
    sql = "SELECT id FROM streams WHERE session_key = ?"
    found = {key: connection.execute(sql, (key,)).fetchone() for key in set(keys)}
    return {key: row[0] for key, row in found.items() if row is not None}


def read_event(connection: Driver, session_key: int, event_id: int) -> tuple[str, str] | None:
    """The type and the data of an event."""
    sql = "SELECT type, data FROM events WHERE session_key = ? AND event_id = ?"
    found: tuple[str, str] | None = connection.execute(sql, (session_key, event_id)).fetchone()
    return found


def turn_of_call(connection: Driver, session_id: str, call_id: Any) -> Any:
    """The turn that a call belongs to, as far as the tables know it."""
    words = sql_of(connection)
    sql = f"SELECT turn_id, {words.id_name('turn_id', 'turn_id')} FROM calls WHERE session_id = ? AND id = ?"
    row = connection.execute(sql, (session_id, words.row_key(call_id))).fetchone()
    return None if row is None else words.id_of(*row)
