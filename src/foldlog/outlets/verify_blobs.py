"""Blobs: each is there, whole, and led to by some event.

An event and the blobs it refers to are one transaction, so what was there when the check began is either
referred to by an event read later, or by nothing. What blobs are made of is `foldlog.storage.blob_check`'s.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from foldlog.core.codec import decode
from foldlog.core.errors import FoldlogError
from foldlog.core.ids import is_hash
from foldlog.core.refs import Ref
from foldlog.outlets.export import refs_in
from foldlog.outlets.findings import SAVE, Problem
from foldlog.storage.blob_check import blob_rows, check_pieces
from foldlog.storage.blobs import Reader
from foldlog.storage.driver import Driver
from foldlog.storage.rows_left import Lost

if TYPE_CHECKING:
    from foldlog.store.store import Store

_NAMED_MAX: Final = 5
_LOST: Final = "restore a backup; the event that refers to it can still be read"


class Blobs:
    """All blobs of a store, each looked at once."""

    def __init__(self, store: "Store", connection: Driver) -> None:
        self._connection = connection
        self._reader = Reader(store.database)
        self._lost: list[Lost] = []
        # The byte count each claims, at the beginning.
        self._claimed: dict[str, Any] = dict(blob_rows(connection, self._lost.append))
        self._seen: set[str] = set()

    @property
    def count(self) -> int:
        """How many there were at the beginning."""
        return len(self._claimed)

    def follow(self, position: int, session_id: str, refs: Iterable[Ref]) -> Iterator[Problem]:
        """That the blobs an event refers to are there and whole, and those inside them."""
        todo = [ref["hash"] for ref in refs]
        while todo:
            name = todo.pop()
            if name in self._seen:
                continue
            self._seen.add(name)
            body, what = self._look(name)
            if what is not None:
                yield Problem(position, session_id, what, _LOST)
            elif body is not None and b'$foldlog"' in body:
                todo += [ref["hash"] for ref in refs_in(decode(body))]

    def _look(self, name: str) -> tuple[bytes | None, str | None]:
        """A blob's value, or what is wrong with it."""
        try:
            body = self._reader.read(name)
        except FoldlogError as error:
            return None, error.message if name in error.message else f"blob {name}: {error.message}"
        if body is None:
            return None, f"blob {name} is missing"
        claimed = self._claimed.get(name, len(body))
        return body, None if claimed == len(body) else f"blob {name} is damaged: it is said to have {claimed!r} bytes"

    def check_rest(self, *, all_events_read: bool) -> Iterator[Problem]:
        """The blobs no event led to, and what blobs are made of."""
        for lost in self._lost:
            yield Problem(None, None, f"the table blobs: {lost}", SAVE)
        orphans = []
        for name in sorted(self._claimed.keys() - self._seen, key=str):
            body, what = self._look(name) if isinstance(name, str) and is_hash(name) else (None, None)
            if body is None and what is None:
                yield Problem(None, None, "blobs: a row has no hash for a name", SAVE)
            elif what is not None and not what.endswith("is missing"):  # or deleted since
                yield Problem(None, None, what, _LOST)
            elif what is None:
                orphans.append(name)
        if orphans and all_events_read:
            named = ", ".join(orphans[:_NAMED_MAX])
            yield Problem(None, None, f"blobs that no event refers to: {named} ({len(orphans)} in all)", SAVE)
        for what in check_pieces(self._connection):
            yield Problem(None, None, what, SAVE)
