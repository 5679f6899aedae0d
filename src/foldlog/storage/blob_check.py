"""Checking what blobs are made of: parts and lists that are damaged, lack something, or belong to no value.

Rows are read in pages, past what cannot be read, through the last there were at the beginning: a writer
may add more meanwhile. Where something is suspected everything is looked at once more before it is told, since a
deleted session takes its pieces away. That a blob's value has the hash it is named by is checked by reading it
(`foldlog.storage.blobs`).
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from foldlog.core.parts import LIST, PART, Marker, cut, hash_text, markers
from foldlog.storage.blobs import items_of, text_of
from foldlog.storage.damage import fetch
from foldlog.storage.driver import Driver, sql_of
from foldlog.storage.rows_left import Lost

_DAMAGE: Final = (ValueError, TypeError, KeyError)
_TABLES: Final = {PART: "parts", LIST: "lists"}
_NAMED_MAX: Final = 5


def check_pieces(connection: Driver) -> Iterator[str]:
    """What is wrong with parts and lists, one line each."""
    found = _Pieces(connection)
    if found.damaged or found.unused:
        # Again, where something is: a deletion may have taken pieces away between two pages.
        again = _Pieces(connection)
        found.damaged = [marker for marker in found.damaged if marker in again.damaged]
        found.unused &= again.unused
    yield from dict.fromkeys(found.lost)
    for marker in found.damaged:
        yield f"{marker.kind.decode()} {marker.id} is damaged"
    for kind in _TABLES:
        ids = sorted(marker.id for marker in found.unused if marker.kind == kind)
        if ids:
            named = ", ".join(map(str, ids[:_NAMED_MAX]))
            yield f"{kind.decode()}s that belong to no value: {named} ({len(ids)} in all)"


class _Pieces:
    """One look at all pieces there are at one moment; those that are added later are left out."""

    def __init__(self, connection: Driver) -> None:
        self._connection = connection
        self._names: dict[Marker, bytes] = {}
        self._used: set[Marker] = set()
        self.lost: list[str] = []
        # What a piece refers to was there before it: nothing up to here refers to anything behind.
        maxima, _ = fetch(connection, "SELECT (SELECT max(part_id) FROM parts), (SELECT max(list_id) FROM lists)", ())
        last = dict(zip(_TABLES, maxima[0] if maxima else (None, None), strict=True))
        for kind, table in _TABLES.items():
            end = last[kind] if type(last[kind]) is int else 2**62
            self._names |= {Marker(kind, row_id): name for row_id, name in self._rows(table, "hash") if row_id <= end}
        self.damaged = [*self._damaged_parts(), *self._damaged_lists()]
        is_all_read = not self.lost
        for _, data in self._rows("blobs", "data"):
            try:
                self._used.update(markers(cut(text_of(data))))
            except _DAMAGE:
                is_all_read = False  # told of where the blob is read
        is_all_read = is_all_read and not self.lost and not self.damaged
        self.unused = self._names.keys() - self._used if is_all_read else set()

    def _rows(self, table: str, columns: str) -> Iterator[tuple[Any, ...]]:
        for page in sql_of(self._connection).walk(self._connection, table, columns):
            if isinstance(page, Lost):
                self.lost.append(f"the table {table}: {page}")
            else:
                yield from page

    def _damaged_parts(self) -> Iterator[Marker]:
        for part_id, name, data in self._rows("parts", "hash, data"):
            marker = Marker(PART, part_id)
            if marker not in self._names:
                continue  # added since
            try:
                text = text_of(data)
                self._used.update(markers(cut(text)))
                state = hashlib.sha256()
                hash_text(state, text, self._names)
                is_whole = state.digest() == name
            except _DAMAGE:
                is_whole = False
            if not is_whole:
                yield marker

    def _damaged_lists(self) -> Iterator[Marker]:
        states: dict[int | None, Any] = {}
        for list_id, prefix_id, name, data in self._rows("lists", "prefix_id, hash, items"):
            marker = Marker(LIST, list_id)
            if marker not in self._names:
                continue
            try:
                text = items_of(data)
                self._used.update(markers(cut(text)))
                state = hashlib.sha256(b"[") if prefix_id is None else states[prefix_id].copy()
                if prefix_id is not None:
                    self._used.add(Marker(LIST, prefix_id))
                    state.update(b",")
                hash_text(state, text, self._names)
                states[list_id] = state
                is_whole = state.digest() == name
            except _DAMAGE:
                is_whole = False
            if not is_whole:
                yield marker


def blob_rows(connection: Driver, saw_lost: Callable[[Lost], None]) -> Iterator[tuple[Any, Any]]:
    """The name and the byte count of each blob."""
    for page in sql_of(connection).walk(connection, "blobs", "hash, bytes"):
        if isinstance(page, Lost):
            saw_lost(page)
        else:
            for _, name, byte_count in page:
                yield name, byte_count
