"""Rows as readers see them: mappings from id to row, each read a copy, each iteration one moment.

The rows themselves are the view's (`foldlog.core.view`).
"""

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from contextlib import AbstractContextManager
from typing import Any, Protocol

from foldlog.core.ids import RowId
from foldlog.core.refs import copy_value
from foldlog.core.rows import Entry, Row


class Source(Protocol):
    """Where the rows are: a view."""

    def held(self) -> AbstractContextManager[Any]:
        """Keep the fold out for a block."""

    def row_count(self, kind: str) -> int:
        """How many rows of a kind there are."""

    def row(self, kind: str, row_id: RowId) -> Row | None:
        """A row as stored, or None."""

    def read_row(self, kind: str, row_id: RowId) -> Row | None:
        """A copy of a row, or None."""

    def moment(self, kind: str) -> list[tuple[RowId, Entry]]:
        """All entries of a kind at one moment."""


class Rows(Mapping[RowId, Row]):
    """The rows of one kind, in the order of their first events."""

    def __init__(self, source: Source, kind: str) -> None:
        self._source = source
        self._kind = kind

    def __getitem__(self, row_id: RowId) -> Row:
        row = self._source.read_row(self._kind, row_id)
        if row is None:
            raise KeyError(row_id)
        return row

    def __iter__(self) -> Iterator[RowId]:
        return iter([row_id for row_id, _ in self._source.moment(self._kind)])

    def __len__(self) -> int:
        return self._source.row_count(self._kind)

    def __contains__(self, row_id: object) -> bool:
        with self._source.held():
            return self._source.row(self._kind, row_id) is not None  # type: ignore[arg-type]

    def values(self) -> ValuesView[Row]:
        """The rows, as they are when iterating begins."""
        return _MomentValues(self)

    def items(self) -> ItemsView[RowId, Row]:
        """Ids with their rows, as they are when iterating begins."""
        return _MomentItems(self)

    def moment(self) -> list[tuple[RowId, Entry]]:
        """The entries at one moment."""
        return self._source.moment(self._kind)

    def __repr__(self) -> str:
        return f"<{len(self)} {self._kind}s>"


class _MomentValues(ValuesView[Row]):
    _mapping: Rows

    def __iter__(self) -> Iterator[Row]:
        return iter([copy_value(entry.row) for _, entry in self._mapping.moment()])


class _MomentItems(ItemsView[RowId, Row]):
    _mapping: Rows

    def __iter__(self) -> Iterator[tuple[RowId, Row]]:
        return iter([(row_id, copy_value(entry.row)) for row_id, entry in self._mapping.moment()])
