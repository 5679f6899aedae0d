"""The SQL functions: what they give for references, values, and what is neither."""

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

import foldlog
from foldlog.outlets import sql_functions

pytestmark = pytest.mark.sqlite("SQL functions are given to SQLite connections")


@pytest.fixture
def session(store: foldlog.Store) -> foldlog.Session:
    return store.start_session(id="demo")


@pytest.fixture
def connection(store: foldlog.Store, session: foldlog.Session) -> Iterator[sqlite3.Connection]:
    found = store.database.new_reader()
    sql_functions.register(found)
    yield found
    found.close()


def asked(connection: sqlite3.Connection, function: str, value: Any) -> Any:
    return connection.execute(f"SELECT foldlog_{function}(?)", (value,)).fetchone()[0]


def stored(session: foldlog.Session, value: Any) -> dict[str, Any]:
    """A value as a blob, whatever its size."""
    ref = session.value_ref(value, inline_bytes_max=0)
    session.add_event("kept", ref=ref)
    return ref


TAGGED = '{{"$foldlog":"ref","bytes":1,"hash":"{}","kind":"blob"}}'
VALUES: list[Any] = [
    {"prompt": "word " * 3000, "steps": [{"n": n, "text": "x" * 400} for n in range(50)]},
    "a text of its own " * 500,
    [1, 2.5, None, True, "ü"],
]


@pytest.mark.parametrize("value", VALUES, ids=["map", "text", "list"])
def test_a_value_is_found_by_its_reference_and_by_its_hash(
    session: foldlog.Session, connection: sqlite3.Connection, value: Any
) -> None:
    name = stored(session, value)["hash"]
    for ref in (name, TAGGED.format(name)):
        found = asked(connection, "value", ref)
        assert (found if isinstance(value, str) else json.loads(found)) == value
        shown = json.loads(asked(connection, "preview", ref))
        assert shown == foldlog.project_value(value)


@pytest.mark.parametrize("function", ["value", "preview", "text"])
def test_what_is_not_there_is_null(connection: sqlite3.Connection, function: str) -> None:
    assert asked(connection, function, None) is None
    assert asked(connection, function, "sha256:" + "0" * 64) is None


def test_what_is_no_reference_is_no_value(connection: sqlite3.Connection) -> None:
    for value in ("", "hello", 1, 2.5, b"bytes", "{", '{"$foldlog":"ref"}', '{"$foldlog":1,"hash":"x"}', "[1]"):
        assert asked(connection, "value", value) is None


def test_a_preview_is_bounded_whatever_it_is_of(connection: sqlite3.Connection) -> None:
    for value, shown in (
        ("[1, 2]", [1, 2]), ("plain", "plain"), (7, 7), ('{"a": {"$foldlog": "date", "value": 1}', None),
    ):  # fmt: skip
        found = asked(connection, "preview", value)
        assert shown is None or json.loads(found) == shown
    assert len(asked(connection, "preview", json.dumps(["x" * 5000] * 1000))) < 150_000
    assert json.loads(asked(connection, "preview", b"\xff"))["class"] == "bytes"


def test_text_is_what_a_message_says(session: foldlog.Session, connection: sqlite3.Connection) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "image", "url": "…"}, {"text": 2}, "two"]
    assert asked(connection, "text", "said") == "said"
    assert asked(connection, "text", "[not json") == "[not json"
    assert asked(connection, "text", json.dumps(parts)) == "one\ntwo"
    assert asked(connection, "text", '{"b": 1}') == '{"b":1}'
    assert asked(connection, "text", stored(session, parts)["hash"]) == "one\ntwo"
    assert asked(connection, "text", stored(session, "long " * 1000)["hash"]) == "long " * 1000


def test_a_value_that_is_too_large_says_how_large(
    session: foldlog.Session, connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = stored(session, "x" * 5000)
    monkeypatch.setattr(sql_functions, "VALUE_BYTES_MAX", 5001)
    for function in ("value", "preview", "text"):
        found = json.loads(asked(connection, function, ref["hash"]))
        assert found == {"truncated": True, "bytes": 5002, "hash": ref["hash"]}


def test_they_read_many_rows_of_one_query(session: foldlog.Session, connection: sqlite3.Connection) -> None:
    for number in range(50):
        stored(session, {"number": number, "text": "x" * 3000})
    rows = connection.execute("SELECT foldlog_value(hash) FROM blobs ORDER BY rowid").fetchall()
    assert [json.loads(found)["number"] for (found,) in rows] == list(range(50))


def test_only_a_store_is_one(store: foldlog.Store, connection: sqlite3.Connection) -> None:
    assert sql_functions.is_store(connection)
    other = sqlite3.connect(":memory:")
    assert not sql_functions.is_store(other)
    other.close()
    assert not sql_functions.is_store(other)  # nothing can be asked of it
