"""SQL functions for what SQL cannot read by itself: references to blobs, and large values.

    foldlog_value(ref)        the value a reference leads to: a text as it is, else JSON
    foldlog_preview(json)     a bounded picture of a JSON value, or of what a reference leads to, as JSON
    foldlog_text(content)     the text in a message's content: a text itself, or that of its parts, a line each

They read and change nothing, and give NULL for NULL. `store.sqlite_utils()` has them, and with the plugins in
`foldlog.adapters` the program sqlite-utils and Datasette have them too. `store.query()` does not: it runs SQLite's
own functions only.
"""

import contextlib
import sqlite3
from typing import Any, Final

import orjson

from foldlog.core.codec import TAG, decode
from foldlog.core.errors import FoldlogError
from foldlog.core.ids import is_hash
from foldlog.core.limits import QUERY_VALUE_BYTES_MAX
from foldlog.core.preview import project_value
from foldlog.storage.blobs import Assembly
from foldlog.storage.schema import APPLICATION_ID

# What a function gives at most; of a larger value it says how large it is.
VALUE_BYTES_MAX: Final = min(4_000_000, QUERY_VALUE_BYTES_MAX)
NAMES: Final = ("foldlog_value", "foldlog_preview", "foldlog_text")


def is_store(connection: sqlite3.Connection) -> bool:
    """Whether this connection's main database is a foldlog store; False where it cannot be read."""
    with contextlib.suppress(sqlite3.Error):
        return bool(tuple(connection.execute("PRAGMA main.application_id").fetchone()) == (APPLICATION_ID,))
    return False


def register(connection: sqlite3.Connection) -> None:
    """Add the functions to a connection to a store.

    The functions read through the connection and keep it until it is closed.
    """
    reading = _Reading(connection)
    for name, function in zip(NAMES, (reading.value, reading.preview, reading.text), strict=True):
        connection.create_function(name, 1, function)


class _Reading:
    """The functions of one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._assembly = Assembly()

    def value(self, ref: Any) -> Any:
        name = _hash_in(ref)
        return None if name is None else _given(self._read(name))

    def preview(self, found: Any) -> str | None:
        if found is None:
            return None
        name = _hash_in(found)
        if name is None:
            return _json(project_value(_plain(found)))
        body = self._read(name)
        return None if body is None else _json(project_value(decode(body)) if isinstance(body, bytes) else body)

    def text(self, content: Any) -> str | None:
        name = _hash_in(content)
        value: Any = content
        if name is not None:
            body = self._read(name)
            value = orjson.loads(body) if isinstance(body, bytes) else body
        elif isinstance(content, str) and content[:1] in ("[", "{"):
            with contextlib.suppress(ValueError):
                value = orjson.loads(content)
        return _text_in(value)

    def _read(self, name: str) -> bytes | dict[str, Any] | None:
        """A blob's JSON, what stands for one that is too large, or None where there is no such blob."""
        row = self._connection.execute("SELECT bytes FROM blobs WHERE hash = ?", (name,)).fetchone()
        if row is None:
            return None
        (size,) = row
        if size > VALUE_BYTES_MAX:
            return {"truncated": True, "bytes": size, "hash": name}
        return self._assembly.read(self._connection, name)


def _given(body: bytes | dict[str, Any] | None) -> Any:
    if not isinstance(body, bytes):
        return None if body is None else _json(body)
    return orjson.loads(body) if body[:1] == b'"' else body.decode()


def _hash_in(ref: Any) -> str | None:
    """The hash in a reference, as it stands in `data`; or the hash alone."""
    if not isinstance(ref, str):
        return None
    if is_hash(ref):
        return ref
    if not ref.startswith("{") or f'"{TAG}"' not in ref:
        return None
    try:
        found = orjson.loads(ref)
    except ValueError:
        return None
    name = found.get("hash") if found.get(TAG) == "ref" else None
    return name if is_hash(name) else None


def _plain(found: Any) -> Any:
    """A value from the JSON that a column holds, or the column's own."""
    if isinstance(found, str) and len(found) <= VALUE_BYTES_MAX:
        with contextlib.suppress(FoldlogError):
            return decode(found)
    return found


def _text_in(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        texts = [part.get("text") if isinstance(part, dict) else part for part in value]
        return "\n".join(text for text in texts if isinstance(text, str))
    return _json(value)


def _json(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=repr).decode()
