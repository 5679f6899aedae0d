"""Removing sessions: what goes with one, found and deleted.

It runs on a connection inside the caller's transaction, in which nobody else writes. Blobs go where nothing that stays
refers to them: what refers is found in the stored text itself, without knowing what an event means, so
that rather too much stays than too little. What the engines need around it is in `foldlog.storage.sqlite_sql` and
`foldlog.storage.postgres_sql`. Who may delete a session, and what is recorded of it, is decided
in `foldlog.outlets.deletion`.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from foldlog.core.chain import digest_of, first_chain, next_chain
from foldlog.core.errors import UnknownSessionError
from foldlog.core.parts import LIST, PART, cut, markers, unpack
from foldlog.storage import search_tables
from foldlog.storage.driver import Driver, insert, sql_of
from foldlog.storage.journal import begin_stream, range_below
from foldlog.storage.schema import DELETED_PREFIX, STORE_STREAM, projection

_BLOB: Final = b"blob"
_NAME: Final = re.compile(rb"sha256:[0-9a-f]{64}")
_NAMES_A_BLOB: Final = "data LIKE '%sha256:%'"
_CHUNK: Final = 500
# Tables of what values are made of: rows, and the column that names them.
_TABLES: Final = {
    _BLOB: ("SELECT hash, data, NULL FROM blobs", "hash", "blobs"),
    PART: ("SELECT part_id, data, NULL FROM parts", "part_id", "parts"),
    LIST: ("SELECT list_id, items, prefix_id FROM lists", "list_id", "lists"),
}


class _Node(NamedTuple):
    """A row of blobs, parts or lists, by what names it."""

    kind: bytes
    key: Any


@dataclass(frozen=True, slots=True)
class DoomedStream:
    """One session's stream: how many events, their bytes, the chain value of the last."""

    session_id: str
    key: int
    event_count: int
    event_bytes: int
    chain: bytes


@dataclass(slots=True)
class Doomed:
    """What goes with a session: it and those below it, parents first, their rows, blobs nobody else refers to."""

    streams: list[DoomedStream]
    row_count: int = 0
    blob_bytes: int = 0
    nodes: set[_Node] = field(default_factory=set)

    @property
    def session_ids(self) -> list[str]:
        """The sessions, parents first."""
        return [stream.session_id for stream in self.streams]

    @property
    def blob_count(self) -> int:
        """How many values go."""
        return sum(node.kind == _BLOB for node in self.nodes)


# Finding.


def find(connection: Driver, session_id: str) -> Doomed:
    """What goes with a session; raises `UnknownSessionError` where there is none."""
    sql = "SELECT id, session_key FROM streams WHERE id = ? OR id > ? AND id < ? ORDER BY id <> ?, session_key"
    found = connection.execute(sql, (session_id, *range_below(session_id), session_id)).fetchall()
    if not found or found[0][0] != session_id:
        raise UnknownSessionError(
            f"there is no session {session_id!r} to delete", hint="`foldlog ls STORE --all` lists those there are"
        )
    doomed = Doomed([_stream(connection, one, key) for one, key in found])
    for table in projection.sorted_tables:
        for one in doomed.session_ids:
            row = connection.execute(f"SELECT count(*) FROM {table.name} WHERE session_id = ?", (one,)).fetchone()
            doomed.row_count += row[0]
    keys = {stream.key for stream in doomed.streams}
    doomed.nodes = _reached(connection, _named_in_events(connection, keys))
    if doomed.nodes:
        doomed.nodes -= _reached(connection, _referred_to(connection, keys, doomed.nodes))
    doomed.blob_bytes = sum(
        row[0]
        for chunk in _chunks([node.key for node in doomed.nodes if node.kind == _BLOB])
        for row in connection.execute(f"SELECT bytes FROM blobs WHERE hash IN ({_marks(chunk)})", chunk)
        if type(row[0]) is int
    )
    return doomed


def _stream(connection: Driver, session_id: str, key: int) -> DoomedStream:
    data = sql_of(connection).DATA_BYTES
    sql = f"SELECT count(*), coalesce(sum(length({data})), 0) FROM events WHERE session_key = ?"
    count, size = connection.execute(sql, (key,)).fetchone()
    sql = "SELECT chain FROM events WHERE session_key = ? ORDER BY event_id DESC LIMIT 1"
    head = connection.execute(sql, (key,)).fetchone()
    chain = head[0] if head is not None and type(head[0]) is bytes else b""
    return DoomedStream(session_id, key, count, size, chain)


def _named_in_events(connection: Driver, keys: Iterable[int]) -> Iterator[_Node]:
    sql = f"SELECT {sql_of(connection).DATA_BYTES} FROM events WHERE session_key = ? AND {_NAMES_A_BLOB}"
    for key in keys:
        for (data,) in connection.execute(sql, (key,)):
            yield from _named_in(data)


def _named_in(text: bytes) -> Iterator[_Node]:
    return (_Node(_BLOB, name.decode()) for name in _NAME.findall(text))


def _reached(connection: Driver, start: Iterable[_Node]) -> set[_Node]:
    """The rows that these lead to, themselves included, as far as they are there."""
    found, asked, level = set[_Node](), set[_Node](), set(start)
    while level:
        asked |= level
        below = set[_Node]()
        for kind, (sql, key_name, _) in _TABLES.items():
            for chunk in _chunks([node.key for node in level if node.kind == kind]):
                rows = connection.execute(f"{sql} WHERE {key_name} IN ({_marks(chunk)})", chunk)
                for key, data, prefix_id in rows:
                    found.add(_Node(kind, key))
                    below.update(_inside(data, prefix_id))
        level = below - asked
    return found


def _inside(data: object, prefix_id: int | None) -> Iterator[_Node]:
    """What a row refers to; a damaged one tells nothing, and its value cannot be read anyway."""
    if prefix_id is not None:
        yield _Node(LIST, prefix_id)
    if type(data) is bytes:
        try:
            text = unpack(data)
        except ValueError:
            return
        yield from _named_in(text)
        yield from (_Node(marker.kind, marker.id) for marker in markers(cut(text)))


def _referred_to(connection: Driver, keys: set[int], nodes: set[_Node]) -> Iterator[_Node]:
    """Those of `nodes` that a kept event, or a row that is not among them, refers to."""
    sql = f"SELECT session_key, {sql_of(connection).DATA_BYTES} FROM events WHERE {_NAMES_A_BLOB}"
    for key, data in connection.execute(sql):
        if key not in keys:
            yield from (node for node in _named_in(data) if node in nodes)
    for kind, (sql, _, _) in _TABLES.items():
        for key, data, prefix_id in connection.execute(sql):
            if _Node(kind, key) not in nodes:
                yield from (node for node in _inside(data, prefix_id) if node in nodes)


# Deleting.


def remove(connection: Driver, doomed: Doomed) -> None:
    """Delete what was found, in the same transaction; of each stream its key stays, under another name."""
    search_tables.remove(connection, [stream.key for stream in doomed.streams])
    for stream in doomed.streams:
        # First the name: the events of any other stream cannot be deleted.
        name = f"{DELETED_PREFIX}{stream.key}"
        connection.execute("UPDATE streams SET id = ? WHERE session_key = ?", (name, stream.key))
        connection.execute("DELETE FROM events WHERE session_key = ?", (stream.key,))
        connection.execute("DELETE FROM quarantine WHERE session_key = ?", (stream.key,))
        connection.execute("UPDATE streams SET session_key = ? WHERE session_key = ?", (-stream.key, stream.key))
        for table in projection.sorted_tables:
            connection.execute(f"DELETE FROM {table.name} WHERE session_id = ?", (stream.session_id,))
    for kind, (_, key_name, name) in _TABLES.items():
        keys = [(node.key,) for node in doomed.nodes if node.kind == kind]
        connection.executemany(f"DELETE FROM {name} WHERE {key_name} = ?", keys)


class Recorded(NamedTuple):
    """An event of the store's own: where it stands, and when it was recorded."""

    position: int
    at: str


def record(connection: Driver, event_type: str, at: str, data: bytes) -> Recorded:
    """Append an event to the store's own stream, in the caller's transaction; the stream begins with the first.

    Before anything is deleted: so it gets a position that no event ever had.
    """
    row = connection.execute("SELECT session_key FROM streams WHERE id = ?", (STORE_STREAM,)).fetchone()
    key = begin_stream(connection, STORE_STREAM) if row is None else row[0]
    sql = "SELECT event_id, at, chain FROM events WHERE session_key = ? ORDER BY event_id DESC LIMIT 1"
    event_id, last_at, chain = connection.execute(sql, (key,)).fetchone() or (0, "", first_chain(STORE_STREAM))
    event_id, at, digest = event_id + 1, max(at, last_at), digest_of(data)
    sql = "INSERT INTO events (session_key, event_id, type, at, data, digest, chain) VALUES (?, ?, ?, ?, ?, ?, ?)"
    chain = next_chain(chain, event_id, event_type, at, digest)
    position = insert(connection, sql, (key, event_id, event_type, at, data.decode(), digest, chain), "position")
    return Recorded(position, at)


def _chunks(keys: list[Any]) -> Iterator[list[Any]]:
    return (keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK))


def _marks(chunk: list[Any]) -> str:
    return ", ".join("?" * len(chunk))
