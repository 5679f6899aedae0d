"""Does the search index say what the journal says; the words under the texts are FTS5's own and not looked at.

The order of things is `foldlog.outlets.verify`'s.
"""

from collections.abc import Iterator

from foldlog.core.searchable import FIELDS, TYPES
from foldlog.outlets.findings import Problem
from foldlog.storage import blobs, search_tables
from foldlog.storage.database import Database
from foldlog.storage.driver import driver_of
from foldlog.storage.faults import translated
from foldlog.storage.search_tables import Entry
from foldlog.store import searching

_HINT = "the journal is whole; `foldlog repair STORE` makes the index anew from it"


def check_texts(database: Database, session_key: int, session_id: str, reader: blobs.Reader) -> Iterator[Problem]:
    """Whether the index has the texts of a session that its events bring, and no others."""
    with translated("checking the search index"), database.read() as connection:
        driver = driver_of(connection)
        events, rows = search_tables.read_session(driver, session_key, TYPES)
    expected: dict[tuple[str, object], Entry] = {}
    for said in searching.what_is_said(events, reader):
        for field, (_, row_id) in said.replaced:
            _replace(expected, field, row_id)
        expected |= {(entry.field, entry.row_id): entry for entry in said.entries}
    stored = [search_tables.as_stored(driver, entry) for entry in expected.values()]
    if sorted(map(repr, stored)) != sorted(repr(Entry(*row)) for row in rows):
        yield Problem(None, session_id, "the search index gives other texts than the journal", _HINT)


def _replace(expected: dict[tuple[str, object], Entry], field: str, row_id: object) -> None:
    kind, _, key = field.partition(".")
    if row_id is None:  # all that the session has of this
        gone = [one for one in expected if one[0] == field]
    else:
        gone = [(f"{kind}.{name}", row_id) for name in (FIELDS[kind] if key == "%" else [key])]
    for one in gone:
        expected.pop(one, None)


def check_strays(database: Database) -> Iterator[Problem]:
    """Whether the index is of this journal at all."""
    with translated("checking the search index"), database.read() as connection:
        if search_tables.has_strays(driver_of(connection)):
            yield Problem(None, None, "the search index has what is not in the journal", _HINT)
