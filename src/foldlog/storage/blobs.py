"""Blobs: large values by their hash, what they have in common stored once.

A row of `blobs` is a value's JSON in which large sub-values stand as markers. A row of `parts` is such a
sub-value. A row of `lists` is a list: another list that it begins with, and the items that follow. Rows
are only ever added, in the transaction of the event that refers to the value, and refer only to rows that
were there before them. How a value is cut is in `foldlog.core.parts`, checking what is
stored in `foldlog.storage.blob_check`; nothing here reads JSON.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar

from foldlog.core.errors import MissingBlobError
from foldlog.core.parts import (
    LIST,
    PART,
    SPLIT_DEPTH_MAX,
    Cut,
    List,
    Marker,
    Part,
    Pieces,
    cut,
    markers,
    pack,
    unpack,
)
from foldlog.core.refs import Ref, hash_name
from foldlog.storage.database import Database
from foldlog.storage.driver import Driver, driver_of, insert

_T = TypeVar("_T")

# Names or ids asked for in one statement.
_CHUNK: Final = 500
# The first look for a list's prefix is at its last runs: a list mostly grows by a few items.
_FIRST_CHUNK: Final = 4
# Levels of markers inside markers that a stored value can have, and then some.
_LEVELS_MAX: Final = 2 * SPLIT_DEPTH_MAX + 2
# What a reader of many blobs keeps of them.
_KEPT_BYTES_MAX: Final = 64 * 1024 * 1024
# More than any value may take; a row that claims more is damaged.
_BYTES_MAX: Final = 2**30

_PARTS: Final = "SELECT part_id, data FROM parts WHERE part_id IN ({})"
# UNION, not UNION ALL: a chain that leads back into itself, which is damage, ends.
_LISTS: Final = (
    "WITH RECURSIVE chain (list_id) AS (SELECT list_id FROM lists WHERE list_id IN ({}) UNION "
    "SELECT prefix_id FROM chain JOIN lists ON lists.list_id = chain.list_id WHERE prefix_id IS NOT NULL) "
    "SELECT lists.list_id, prefix_id, items FROM chain JOIN lists ON lists.list_id = chain.list_id"
)


def missing(name: str, state: str) -> MissingBlobError:
    """The error for a blob that cannot be given."""
    return MissingBlobError(f"blob {name} is {state}", hint="run `foldlog verify STORE`")


# Storing.


def store(connection: Driver, refs: Iterable[Ref]) -> None:
    """Store the blobs that an event refers to, or see that they are there: a reference never dangles.

    Inside the caller's transaction; nothing is remembered beyond it.
    """
    todo, done = list(refs), set[str]()
    while todo:
        ref = todo.pop()
        name = ref["hash"]
        if name in done:
            continue
        done.add(name)
        todo += ref.inner
        if connection.execute("SELECT 1 FROM blobs WHERE hash = ?", (name,)).fetchone() is not None:
            continue
        if ref.body is None:
            raise MissingBlobError(
                f"the event refers to blob {name}, which is not in this store",
                hint="a ref belongs to its store: make another with value_ref(value)",
            )
        text = ref.body if ref.pieces is None else _Writer(connection).text(ref.pieces)
        connection.execute("INSERT INTO blobs (hash, bytes, data) VALUES (?, ?, ?)", (name, len(ref.body), pack(text)))


class _Writer:
    """Stores the pieces of one value."""

    def __init__(self, connection: Driver) -> None:
        self._connection = connection
        self._part_ids: dict[bytes, int] = {}

    def text(self, pieces: Pieces) -> bytes:
        """The text of pieces; what was cut out is stored first, so that its marker has an id."""
        self._find_parts(pieces)
        return self._text(pieces)

    def _text(self, pieces: Pieces) -> bytes:
        return b"".join([piece if isinstance(piece, bytes) else self._marker(piece) for piece in pieces])

    def _marker(self, piece: Part | List) -> bytes:
        if isinstance(piece, Part):
            return Marker(PART, self._part(piece)).text
        return Marker(LIST, self._list(piece)).text

    def _find_parts(self, pieces: Iterable[object]) -> None:
        names = {piece.name for piece in pieces if isinstance(piece, Part)} - self._part_ids.keys()
        if names:
            self._part_ids |= self._known("SELECT hash, part_id FROM parts WHERE hash IN ({})", list(names))

    def _known(self, sql: str, names: list[bytes]) -> dict[bytes, int]:
        found: dict[bytes, int] = {}
        for chunk in _chunks(names):
            found.update(self._connection.execute(sql.format(_marks(chunk)), chunk).fetchall())
        return found

    def _part(self, part: Part) -> int:
        part_id = self._part_ids.get(part.name)
        if part_id is None:
            data = pack(self.text(part.pieces))
            part_id = insert(
                self._connection, "INSERT INTO parts (hash, data) VALUES (?, ?)", (part.name, data), "part_id"
            )
            self._part_ids[part.name] = part_id
        return part_id

    def _list(self, found: List) -> int:
        """The id of a list; what of it is not stored yet is."""
        start, list_id = self._stored_prefix(found.names)
        self._find_parts(piece for pieces in found.runs[start:] for piece in pieces)
        # A later list may begin with the whole runs of this one: a row ends with them.
        for stop in sorted({found.whole_count, len(found.runs)}):
            if stop > start:
                items = b",".join([self._text(pieces) for pieces in found.runs[start:stop]])
                list_id = insert(
                    self._connection,
                    "INSERT INTO lists (hash, prefix_id, items) VALUES (?, ?, ?)",
                    (found.names[stop - 1], list_id, pack(b"[" + items + b"]")),
                    "list_id",
                )
                start = stop
        assert list_id is not None  # noqa: S101  (a list has items)
        return list_id

    def _stored_prefix(self, names: list[bytes]) -> tuple[int, int | None]:
        """How many runs of a list are stored as a list, and its id; looked for from the end."""
        stop, size = len(names), _FIRST_CHUNK
        while stop > 0:
            start = max(0, stop - size)
            found = self._known("SELECT hash, list_id FROM lists WHERE hash IN ({})", names[start:stop])
            for index in range(stop - 1, start - 1, -1) if found else ():
                if names[index] in found:
                    return index + 1, found[names[index]]
            stop, size = start, min(size * 8, _CHUNK)
        return 0, None


def _chunks(values: list[_T]) -> Iterator[list[_T]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))


def _marks(values: list[Any]) -> str:
    return ", ".join("?" * len(values))


# Reading.


def read(database: Database, name: str) -> bytes | None:
    """A blob's value as canonical JSON, by its hash; see `Reader.read`."""
    return Reader(database).read(name)


def text_of(data: object) -> bytes:
    """The text in a data column; raises `TypeError` or `ValueError` for what was not written there."""
    if not isinstance(data, bytes):
        if not isinstance(data, memoryview):
            raise TypeError("a column is not of the type it was written as")
        data = bytes(data)  # as some drivers give it
    return unpack(data)


def items_of(data: object) -> bytes:
    """The items in a row of `lists`, without the brackets; raises as `text_of`."""
    text = text_of(data)
    if len(text) < 3 or text[:1] != b"[" or text[-1:] != b"]":
        raise ValueError("the items are no list")
    return text[1:-1]


class Reader:
    """Reads blobs, one or many: what they have in common is read once, within bounds of memory."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._assembly = Assembly()

    def read(self, name: str) -> bytes | None:
        """A blob's value as canonical JSON, by its hash; None where there is no such blob.

        Costs in the order of the value. Raises `MissingBlobError` where what it is made of is missing or
        damaged.
        """
        with self._database.read() as connection:
            return self._assembly.read(driver_of(connection), name)


class Assembly:
    """Puts blobs together from rows that it reads on a connection it is given, and keeps for the next blob."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._parts: dict[int, Cut] = {}
        self._lists: dict[int, tuple[int | None, Cut]] = {}
        self._kept_bytes = 0

    def read(self, connection: Driver, name: str) -> bytes | None:
        """As `Reader.read`."""
        row = connection.execute("SELECT data, bytes FROM blobs WHERE hash = ?", (name,)).fetchone()
        if row is None:
            return None
        body = self._body(connection, name, *row)
        if body is None:  # the ids of pieces that were deleted may have been given again since
            body = self._body(connection, name, *row)
        if self._kept_bytes > _KEPT_BYTES_MAX:
            self._forget()
        if body is None:
            raise missing(name, "damaged")
        return body

    def _body(self, connection: Driver, name: str, data: object, bytes_max: int) -> bytes | None:
        """A blob's value from its row and what it leads to; None, with nothing kept, where that is not it."""
        try:
            found = cut(text_of(data))
            self._fetch(connection, found)
            body = self._put_together(found, min(bytes_max, _BYTES_MAX))
        except (ValueError, TypeError, KeyError):
            body = b""
        if hash_name(body) == name:
            return body
        self._forget()  # of some rows that were read, not all they lead to was
        return None

    def _fetch(self, connection: Driver, found: Cut) -> None:
        """Read the rows that markers lead to: a few statements for each level of them."""
        level = [found]
        for _ in range(_LEVELS_MAX):
            wanted = {marker for one in level for marker in markers(one)}
            level = []
            parts = [marker.id for marker in wanted if marker.kind == PART and marker.id not in self._parts]
            for part_id, data in _rows(connection, _PARTS, parts):
                level.append(self._keep(text_of(data)))
                self._parts[part_id] = level[-1]
            lists = [marker.id for marker in wanted if marker.kind == LIST and marker.id not in self._lists]
            for list_id, prefix_id, data in _rows(connection, _LISTS, lists):
                if list_id not in self._lists:
                    level.append(self._keep(items_of(data)))
                    self._lists[list_id] = (prefix_id, level[-1])
            if not level:
                return
        raise ValueError("pieces inside pieces without end")

    def _keep(self, text: bytes) -> Cut:
        self._kept_bytes += len(text)
        return cut(text)

    def _put_together(self, found: Cut, bytes_max: int) -> bytes:
        out: list[bytes] = []
        size = 0
        # Every row that belongs to a value brings at least one byte, on each level.
        steps_left = _LEVELS_MAX * bytes_max
        stack = [iter(found)]
        while stack:
            for piece in stack[-1]:
                if not isinstance(piece, Marker):
                    size += len(piece)
                    out.append(piece)
                    continue
                inside, row_count = self._inside(piece)
                steps_left -= row_count
                if size > bytes_max or steps_left < 0 or len(stack) > _LEVELS_MAX:
                    raise ValueError("more than the value has")
                stack.append(iter(inside))
                break
            else:
                stack.pop()
        return b"".join(out)

    def _inside(self, marker: Marker) -> tuple[Cut, int]:
        """What a marker stands for, and how many rows that took."""
        if marker.kind == PART:
            return self._parts[marker.id], 1
        chain: list[Cut] = []
        at: int | None = marker.id
        while at is not None:
            at, items = self._lists[at]
            chain.append(items)
            if len(chain) > len(self._lists):
                raise ValueError("a list that begins with itself")
        inside: Cut = []
        before = b"["
        for items in reversed(chain):
            inside.append(before)
            inside += items
            before = b","
        inside.append(b"]")
        return inside, len(chain)


def _rows(connection: Driver, sql: str, ids: list[int]) -> Iterator[tuple[Any, ...]]:
    for chunk in _chunks(ids):
        yield from connection.execute(sql.format(_marks(chunk)), chunk).fetchall()
