"""The search index: texts in a table, their words in an FTS5 index over it, and how far both have come.

What is a text is decided in `foldlog.core.searchable`, when it is added in `foldlog.store.searching`. All of it runs on
a driver connection; what writes, inside the caller's transaction. The FTS5 index is filled by statements, not by
triggers: connections with trusted_schema off, ours among them, may not reach it from there in all SQLite builds.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from foldlog.core.errors import StoreError
from foldlog.storage.driver import Driver
from foldlog.storage.journal import range_below
from foldlog.storage.schema import search

INDEX: Final = "search_index"
# External content: the text is kept once, and snippet() works for everybody. Datasette reads the table's name here.
_CREATE: Final = (
    f'CREATE VIRTUAL TABLE {INDEX} USING fts5(text, content="search_texts", content_rowid="text_id", '
    'tokenize="unicode61 remove_diacritics 2")'
)
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


@cache
def has_fts5() -> bool:
    """Whether this process's SQLite can search."""
    connection = sqlite3.connect(":memory:")
    try:
        return connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchone() is not None
    finally:
        connection.close()


def check_fts5() -> None:
    """Raise where this process's SQLite cannot search."""
    if not has_fts5():
        raise StoreError(
            "this build of SQLite has no FTS5, so there is no search",
            hint="use a Python whose sqlite3 module has FTS5; all else works without it",
        )


def statements() -> list[str]:
    """The DDL of the FTS5 index, where this SQLite has it."""
    return [_CREATE] if has_fts5() else []


def drop(connection: Driver) -> None:
    """Drop the index and its tables, if they are there."""
    if is_made(connection):
        check_fts5()
        try:
            connection.execute(f"DROP TABLE {INDEX}")
        except sqlite3.DatabaseError:
            _drop_damaged(connection)
    for table in search.sorted_tables:
        connection.execute(f"DROP TABLE IF EXISTS {table.name}")


def _drop_damaged(connection: Driver) -> None:
    """Take away an index whose tables FTS5 cannot read: it would not even drop it."""
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("DELETE FROM sqlite_master WHERE type = 'table' AND name = ?", (INDEX,))
    connection.execute("PRAGMA writable_schema = RESET")
    for name in ("config", "content", "data", "docsize", "idx"):
        connection.execute(f"DROP TABLE IF EXISTS {INDEX}_{name}")


def is_made(connection: Driver) -> bool:
    """Whether there is an index: a SQLite without FTS5 makes stores that have none."""
    sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return connection.execute(sql, (INDEX,)).fetchone() is not None


def make_temporary() -> sqlite3.Connection:
    """An index of its own in memory, empty."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.execute(
        "CREATE TABLE search_texts (text_id INTEGER PRIMARY KEY, session_key, event_id, kind, field, row_id, turn_id, "
        "role, text)"
    )
    connection.execute("CREATE INDEX ix_search_texts_row ON search_texts (session_key, field, row_id)")
    connection.execute(_CREATE)
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
    connection: Driver, after: int, types: Sequence[str], limit: int
) -> list[tuple[int, int, int, str, str]]:
    """Events after a position, of sessions, repaired ones left out: position, key, event id, type, and data.

    Of types that bring no text the data is empty.
    """
    sql = (
        f"SELECT position, session_key, event_id, type, iif(type IN ({', '.join('?' * len(types))}), data, '') "
        "FROM events WHERE position > ? "
        "AND NOT EXISTS (SELECT 1 FROM quarantine WHERE quarantine.session_key = events.session_key "
        "AND quarantine.event_id = events.event_id) ORDER BY position LIMIT ?"
    )
    found: list[tuple[int, int, int, str, str]] = connection.execute(sql, (*types, after, limit)).fetchall()
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


def ensure(connection: Driver) -> None:
    """See that there is an index: a SQLite without FTS5 may have made the store."""
    if not is_made(connection):
        connection.execute(_CREATE)


def kept_keys(connection: Driver, keys: Iterable[int]) -> set[int]:
    """Those of the sessions that were not deleted meanwhile."""
    sql = "SELECT 1 FROM streams WHERE session_key = ? AND substr(id, 1, 1) <> '.'"
    return {key for key in set(keys) if connection.execute(sql, (key,)).fetchone() is not None}


def add(connection: Driver, entry: Entry) -> None:
    """Add a text."""
    sql = (
        "INSERT INTO search_texts (session_key, event_id, kind, field, row_id, turn_id, role, text) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    )
    text_id = connection.execute(sql, entry).lastrowid
    connection.execute(f"INSERT INTO {INDEX} (rowid, text) VALUES (?, ?)", (text_id, entry.text))


def forget(connection: Driver, session_key: int, field: str, row_id: Any) -> None:
    """Remove what a row has said in a field (`call.%`: in any), or any row of the session has."""
    kind, _, key = field.partition(".")
    values: list[Any] = [session_key, field]
    where = "session_key = ? AND field = ?"
    if key == "%":
        where, values = "session_key = ? AND field > ? AND field < ?", [session_key, f"{kind}.", f"{kind}/"]
    if row_id is not None:
        where += " AND row_id = ?"
        values.append(row_id)
    _forget(connection, where, values)


def remove(connection: Driver, session_keys: Iterable[int]) -> None:
    """Remove all that sessions have said; their words are not left in the index's own pages either."""
    if sum(_forget(connection, "session_key = ?", [key]) for key in session_keys):
        connection.execute(f"INSERT INTO {INDEX} ({INDEX}) VALUES ('optimize')")


def _forget(connection: Driver, where: str, values: list[Any]) -> int:
    rows = connection.execute(f"SELECT text_id, text FROM search_texts WHERE {where}", values).fetchall()
    if rows:
        check_fts5()
        # FTS5 must be told the text that it is to forget.
        connection.executemany(f"INSERT INTO {INDEX} ({INDEX}, rowid, text) VALUES ('delete', ?, ?)", rows)
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


_MATCHES: Final = """
SELECT t.session_key, t.event_id, t.kind, t.field, t.row_id, t.turn_id, t.role, found.rank,
  snippet(search_index, 0, char(2), char(3), '…', {words})
FROM (SELECT text_id, rank FROM (
    SELECT search_index.rowid AS text_id, search_index.rank AS rank FROM search_index {joined}
    WHERE search_index MATCH :match {where} ORDER BY search_index.rowid DESC LIMIT :ranked
  ) ORDER BY rank, text_id DESC LIMIT :hits) AS found
JOIN search_index ON search_index.rowid = found.text_id AND search_index MATCH :match
JOIN search_texts AS t ON t.text_id = found.text_id
ORDER BY found.rank, found.text_id DESC
"""


def find(
    connection: Driver, match: str, keys: Sequence[int] | None, scope: Scope, *, ranked: int, hits: int
) -> list[Match]:
    """The best of the newest texts that match, best first.

    `keys`: of these sessions only. `ranked`: how many are looked at for the best.
    """
    if keys is None and scope.role is None and scope.kind is None:
        joined, where = "", ""
    else:
        joined = "CROSS JOIN search_texts AS s ON s.text_id = search_index.rowid"
        where = "".join(f"AND s.{name} = :{name} " for name in ("role", "kind") if getattr(scope, name) is not None)
    values: dict[str, Any] = {"match": match, "ranked": ranked, "hits": hits, **scope._asdict()}
    if keys is not None:
        where += f"AND s.session_key IN ({', '.join(map(str, keys))}) "
        first, last = _span(connection, keys)
        where += "AND search_index.rowid BETWEEN :first AND :last"
        values |= {"first": first, "last": last}
    sql = _MATCHES.format(words=_SNIPPET_WORDS, joined=joined, where=where)
    return [Match(*row) for row in connection.execute(sql, values)]


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


def turn_of_call(connection: Driver, session_id: str, call_id: Any) -> Any:
    """The turn that a call belongs to, as far as the tables know it."""
    sql = "SELECT turn_id FROM calls WHERE session_id = ? AND id = ?"
    row = connection.execute(sql, (session_id, call_id)).fetchone()
    return None if row is None else row[0]
