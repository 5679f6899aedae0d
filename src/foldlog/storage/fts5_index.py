"""The index of words on SQLite: an FTS5 table over `search_texts`, and one in memory for what is not in it yet.

What both engines share is in `foldlog.storage.search_tables`; PostgreSQL's index is
`foldlog.storage.postgres_index`. This one is filled by statements, not by triggers: connections with trusted_schema
off, ours among them, may not reach it from there in all SQLite builds.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Final

from foldlog.core.errors import StoreError
from foldlog.core.match_text import Term, fts5_match
from foldlog.storage.driver import Driver

INDEX: Final = "search_index"
# External content: the text is kept once, and snippet() works for everybody. Datasette reads the table's name here.
_CREATE: Final = (
    f'CREATE VIRTUAL TABLE {INDEX} USING fts5(text, content="search_texts", content_rowid="text_id", '
    'tokenize="unicode61 remove_diacritics 2")'
)


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
    """The DDL of the index, where this SQLite has FTS5."""
    return [_CREATE] if has_fts5() else []


def drop(connection: Driver) -> None:
    """Drop the index, if it is there."""
    if is_made(connection):
        check_fts5()
        try:
            connection.execute(f"DROP TABLE {INDEX}")
        except sqlite3.DatabaseError:
            _drop_damaged(connection)


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


def hold(connection: Driver) -> None:
    """Nobody else writes while this transaction does."""


def ensure(connection: Driver) -> None:
    """See that there is an index: a SQLite without FTS5 may have made the store."""
    if not is_made(connection):
        connection.execute(_CREATE)


def add(connection: Driver, text_id: int, text: str) -> None:
    """Add the words of a text."""
    connection.execute(f"INSERT INTO {INDEX} (rowid, text) VALUES (?, ?)", (text_id, text))


def forget(connection: Driver, rows: Sequence[tuple[int, str]]) -> None:
    """Remove the words of texts, given with their ids: FTS5 must be told the text that it is to forget."""
    check_fts5()
    connection.executemany(f"INSERT INTO {INDEX} ({INDEX}, rowid, text) VALUES ('delete', ?, ?)", rows)


def wipe(connection: Driver) -> None:
    """Leave no removed word in the index's own pages."""
    connection.execute(f"INSERT INTO {INDEX} ({INDEX}) VALUES ('optimize')")


_MATCHES: Final = """
SELECT t.session_key, t.event_id, t.kind, t.field, t.row_id, t.turn_id, t.role, found.rank,
  snippet(search_index, 0, :open, :close, '…', :words)
FROM (SELECT text_id, rank FROM (
    SELECT search_index.rowid AS text_id, search_index.rank AS rank FROM search_index {joined}
    WHERE search_index MATCH :match {where} ORDER BY search_index.rowid DESC LIMIT :ranked
  ) ORDER BY rank, text_id DESC LIMIT :hits) AS found
JOIN search_index ON search_index.rowid = found.text_id AND search_index MATCH :match
JOIN search_texts AS t ON t.text_id = found.text_id
ORDER BY found.rank, found.text_id DESC
"""


def find(
    connection: Driver, terms: Iterable[Term], values: dict[str, Any], where: str, span: tuple[int, int] | None
) -> list[tuple[Any, ...]]:
    """The texts that match, best first; `where`: conditions on the texts `s`; `span`: the first and last id."""
    joined = "CROSS JOIN search_texts AS s ON s.text_id = search_index.rowid" if where else ""
    if span is not None:
        where += " AND search_index.rowid BETWEEN :first AND :last"
        values |= {"first": span[0], "last": span[1]}
    values["match"] = fts5_match(terms)
    found: list[tuple[Any, ...]] = connection.execute(_MATCHES.format(joined=joined, where=where), values).fetchall()
    return found
