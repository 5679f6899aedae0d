"""The durable rows of a store in bulk, as they are: events by position, the values they name, where sessions stand.

Rows keep their keys, so that one in another store means the same. How they are put there is the dialects'
(`foldlog.storage.driver.Sql.put_rows`); what may be put where is decided in `foldlog.outlets.copying`.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from foldlog.core.parts import LIST, PART, cut, markers, unpack
from foldlog.storage import quarantine
from foldlog.storage.damage import fetch
from foldlog.storage.driver import Driver

EVENT_COLUMNS: Final = (
    "position", "session_key", "event_id", "type", "at", "data", "digest", "chain", "idempotency_key",
)  # fmt: skip
_EVENTS: Final = f"SELECT {', '.join(EVENT_COLUMNS)} FROM events WHERE position > ? AND position <= ?"
_NAME: Final = re.compile(r"sha256:[0-9a-f]{64}")
_NAME_BYTES: Final = re.compile(_NAME.pattern.encode())
_CHUNK: Final = 500


class Head(NamedTuple):
    """Where a stream stands: its key and id, how many rows, the last one's event id, position and chain value."""

    session_key: int
    session_id: str
    row_count: int
    event_id: int
    position: int
    chain: bytes


def heads(connection: Driver, through: int) -> dict[int, Head]:
    """Where each stream stands, as of a position, by key; costs a look at the key of each event."""
    # The sign keeps the engine from reading the rows themselves in order of position.
    sql = (
        "SELECT streams.session_key, streams.id, coalesce(row_count, 0), coalesce(last_id, 0), coalesce(position, 0), "
        "chain FROM streams LEFT JOIN (SELECT session_key AS k, count(*) AS row_count, max(event_id) AS last_id "
        "FROM events WHERE +position <= ? GROUP BY session_key) AS h ON k = streams.session_key "
        "LEFT JOIN events ON events.session_key = k AND event_id = last_id"
    )
    rows = connection.execute(sql, (through,))
    return {row[0]: Head(row[0], row[1], row[2], row[3], row[4], whole_chain(row[5])) for row in rows}


def last_position(connection: Driver) -> int:
    """The position of the last event; 0 where there is none."""
    return connection.execute("SELECT max(position) FROM events").fetchone()[0] or 0


def count_events(connection: Driver, after: int, through: int) -> int:
    """How many events there are after one position and through another."""
    sql = "SELECT count(*) FROM events WHERE position > ? AND position <= ?"
    return int(connection.execute(sql, (after, through)).fetchone()[0])


def read_ids(connection: Driver, keys: Sequence[int]) -> dict[int, str]:
    """The ids of streams by key."""
    return dict(_by_keys(connection, "SELECT session_key, id FROM streams WHERE session_key IN ({})", keys))


def read_chains(connection: Driver, key: int, after: int, count: int) -> list[tuple[int, bytes]]:
    """The ids and chain values of a stream's events after one, so many at most."""
    sql = "SELECT event_id, chain FROM events WHERE session_key = ? AND event_id > ? ORDER BY event_id LIMIT ?"
    return [(row[0], whole_chain(row[1])) for row in connection.execute(sql, (key, after, count))]


def whole_chain(value: object) -> bytes:
    """A chain value, or nothing where it has not the form of one."""
    return value if isinstance(value, bytes) and len(value) == 32 else b""


# Events.


def read_events(
    connection: Driver, after: int, through: int, count: int, *, some_set_apart: bool
) -> tuple[list[tuple[Any, ...]], Exception | None]:
    """Rows of `events` in order of position, so many at most, up to the first that cannot be read, and why.

    Of those set apart, what is left of them stands in their place.
    """
    kept = f" AND {quarantine.IS_KEPT}" if some_set_apart else ""
    rows, error = fetch(connection, f"{_EVENTS}{kept} ORDER BY position LIMIT ?", (after, through, count))
    if some_set_apart and error is None:
        last = rows[-1][0] if len(rows) == count else through
        rows = sorted([*rows, *_set_apart(connection, after, last)])
    return rows, error


def _set_apart(connection: Driver, after: int, through: int) -> Iterator[tuple[Any, ...]]:
    """What can be read of rows that are set apart, each column by itself; "" for what is no value of its column."""
    sql = "SELECT session_key, event_id, position FROM quarantine WHERE position > ? AND position <= ?"
    for key, event_id, position in connection.execute(sql, (after, through)).fetchall():
        found, _ = fetch(connection, "SELECT session_key, event_id FROM events WHERE position = ?", (position,))
        if found != [(key, event_id)]:
            continue  # no row is left, or it is another's
        yield (position, key, event_id, *(_left(connection, position, name) for name in EVENT_COLUMNS[3:]))


def _left(connection: Driver, position: int, column: str) -> Any:
    found, _ = fetch(connection, f"SELECT {column} FROM events WHERE position = ?", (position,))
    value = found[0][0] if found else None
    if column in ("digest", "chain"):
        return value if isinstance(value, bytes) else b""
    if column == "idempotency_key":
        return value if isinstance(value, str) and "\0" not in value else None
    return value if isinstance(value, str) and "\0" not in value else ""


# Values.

# The tables that values are in, in the order in which rows may be put: their columns, the first of which is the key.
VALUE_TABLES: Final = {
    "parts": ("part_id", "hash", "data"),
    "lists": ("list_id", "hash", "prefix_id", "items"),
    "blobs": ("hash", "bytes", "data"),
}
_TABLE_OF: Final = {PART: "parts", LIST: "lists"}
_TYPES: Final = {"bytes": int, "data": bytes, "items": bytes}
_Key = tuple[str, Any]


def names_in(text: str) -> list[str]:
    """The names of blobs in a text, and what looks like one."""
    return _NAME.findall(text) if "sha256:" in text else []


def read_values(source: Driver, target: Driver, names: Iterable[str]) -> dict[str, list[tuple[Any, ...]]]:
    """The rows that blobs are made of, and those inside them, by table, without those that the target has.

    A row that is there has all that it leads to. Names that no blob has, and rows with damaged columns, are
    passed over.
    """
    found: dict[_Key, tuple[Any, ...]] = {}
    level: set[_Key] = {("blobs", name) for name in names}
    while level:
        below: set[_Key] = set()
        for table, columns in VALUE_TABLES.items():
            keys = sorted(key for one, key in level if one == table)
            known = {row[0] for row in _rows_of(target, table, columns[:1], keys)}
            for row in _rows_of(source, table, columns, [key for key in keys if key not in known]):
                named = zip(columns, row, strict=True)
                if all(type(value) is _TYPES.get(column, type(value)) for column, value in named):
                    found[table, row[0]] = row
                    below.update(_inside(columns, row))
        level = below - found.keys()
    return {table: sorted(row for (one, _), row in found.items() if one == table) for table in VALUE_TABLES}


def _inside(columns: Sequence[str], row: tuple[Any, ...]) -> Iterator[_Key]:
    """What a row leads to; a damaged one tells nothing, and its value cannot be read anyway."""
    if "prefix_id" in columns and row[columns.index("prefix_id")] is not None:
        yield "lists", row[columns.index("prefix_id")]
    try:
        text = unpack(row[-1])
    except ValueError:
        return
    if b"sha256:" in text:
        yield from (("blobs", name.decode()) for name in _NAME_BYTES.findall(text))
    yield from ((_TABLE_OF[marker.kind], marker.id) for marker in markers(cut(text)))


def _rows_of(connection: Driver, table: str, columns: Sequence[str], keys: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    return _by_keys(connection, f"SELECT {', '.join(columns)} FROM {table} WHERE {columns[0]} IN ({{}})", keys)


def _by_keys(connection: Driver, sql: str, keys: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    for start in range(0, len(keys), _CHUNK):
        chunk = list(keys[start : start + _CHUNK])
        yield from map(tuple, connection.execute(sql.format(", ".join("?" * len(chunk))), chunk).fetchall())


def blob_names(connection: Driver, after: str, count: int) -> list[str]:
    """The names of blobs in order, after one, so many at most."""
    sql = "SELECT hash FROM blobs WHERE hash > ? ORDER BY hash LIMIT ?"
    return [row[0] for row in connection.execute(sql, (after, count))]
