"""What goes with a stream is what nothing that stays refers to, down to the pieces; rather too much stays."""

import sqlite3
from typing import Any

import pytest

from foldlog.core.chain import digest_of, first_chain, next_chain
from foldlog.core.codec import encode
from foldlog.core.errors import UnknownSessionError
from foldlog.core.parts import split
from foldlog.core.refs import Ref, hash_name
from foldlog.storage import blob_check, blobs, journal, removal, sqlite_sql
from foldlog.storage.driver import driver_of
from foldlog.storage.sqlite import SqliteDatabase as Database

pytestmark = pytest.mark.sqlite("pragmas around a deletion, a file that is made smaller")


def ref(value: Any) -> Ref:
    found = encode(value, canonical=True)
    name = {"kind": "blob", "hash": hash_name(found.data), "bytes": len(found.data)}
    return Ref(name, found.data, found.refs, split(found.wire, found.data))


def transcript(length: int) -> list[str]:
    return [f"message {number} " * 60 for number in range(length)]


def put(database: Database, session_id: str, *values: Any) -> list[Ref]:
    """A stream with one event for each value, which refers to it."""
    refs = [ref(value) for value in values]
    with database.write() as connection:
        connection.execute("BEGIN IMMEDIATE")
        key = journal.begin_stream(connection, session_id)
        for number, one in enumerate(refs, 1):
            blobs.store(connection, [one])
            connection.execute(
                "INSERT INTO events (session_key, event_id, type, at, data, digest, chain) "
                "VALUES (?, ?, 'a', '', ?, x'00', x'01')",
                (key, number, encode({"ref": one}).data.decode()),
            )
        connection.execute("COMMIT")
    return refs


def delete(database: Database, session_id: str) -> removal.Doomed:
    with database.write() as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("BEGIN IMMEDIATE")
        doomed = removal.find(connection, session_id)
        removal.remove(connection, doomed)
        connection.execute("COMMIT")
        connection.execute("PRAGMA foreign_keys = ON")
    return doomed


def ask(database: Database, sql: str) -> list[tuple[Any, ...]]:
    with database.read() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(sql)]


def test_the_pieces_that_others_use_stay(database: Database) -> None:
    long, short = transcript(40), transcript(20)
    put(database, "a", long)
    (kept,) = put(database, "b", short)
    assert delete(database, "a").blob_count == 1
    assert blobs.read(database, kept["hash"]) == kept.body
    with database.read() as connection:
        assert list(blob_check.check_pieces(driver_of(connection))) == []
    delete(database, "b")
    assert ask(database, "SELECT (SELECT count(*) FROM parts) + (SELECT count(*) FROM lists)") == [(0,)]


@pytest.mark.parametrize("growing", [True, False])
def test_a_list_that_others_go_on_from_stays(database: Database, growing: bool) -> None:
    lengths = range(10, 60) if growing else [59]
    put(database, "a", *map(transcript, lengths))
    (kept,) = put(database, "b", [*transcript(59), "more " * 200])
    assert delete(database, "a").blob_count == len(lengths)
    assert blobs.read(database, kept["hash"]) == kept.body
    with database.read() as connection:
        assert list(blob_check.check_pieces(driver_of(connection))) == []


def test_a_value_that_damaged_data_still_names_stays(database: Database) -> None:
    (one,) = put(database, "a", transcript(20))
    put(database, "b", transcript(20))
    with database.write() as connection:
        connection.execute("DROP TRIGGER events_refuse_update")
        connection.execute("UPDATE events SET data = CAST(x'ff7b' || CAST(data AS BLOB) AS TEXT) WHERE session_key = 2")
    assert delete(database, "a").blob_count == 0
    assert blobs.read(database, one["hash"]) == one.body


def test_rows_that_are_damaged_stop_nothing(database: Database) -> None:
    put(database, "a", transcript(20), {"x": "y" * 9000})
    put(database, "b", transcript(30))
    with database.write() as connection:
        connection.execute("UPDATE parts SET data = x'68ff' WHERE part_id = 3")
        connection.execute("UPDATE lists SET items = 5")
        connection.execute("UPDATE blobs SET bytes = 'many'")
    delete(database, "a")
    assert journal.stream_ids(database) == ["b"]


def test_only_those_below_go_along_parents_first(database: Database) -> None:
    for name in ("a/x", "a", "a/x/y", "a-b", "a0", "ab/x", "b"):
        put(database, name, 1)
    assert delete(database, "a").session_ids == ["a", "a/x", "a/x/y"]
    assert sorted(journal.stream_ids(database)) == ["a-b", "a0", "ab/x", "b"]


def test_there_is_nothing_to_delete(database: Database) -> None:
    put(database, "a/x", 1)
    with database.write() as connection, pytest.raises(UnknownSessionError, match="'a'"):
        removal.find(connection, "a")


def test_keys_go_on_behind_those_of_deleted_streams(database: Database) -> None:
    for name in ("a", "b", "c"):
        put(database, name, 1)
    for name in ("c", "a", "b"):
        delete(database, name)
    put(database, "a", 1)
    assert ask(database, "SELECT session_key, id FROM streams ORDER BY session_key") == [
        (-3, ".deleted/3"), (-2, ".deleted/2"), (-1, ".deleted/1"), (4, "a"),
    ]  # fmt: skip


def test_the_stores_own_stream_is_a_chain_like_any(database: Database) -> None:
    with database.write() as connection:
        first = removal.record(connection, "a", "2", b"{}")
        second = removal.record(connection, "b", "1", b'{"x":1}')
    assert (first.at, second.at, second.position) == ("2", "2", first.position + 1)
    chain = first_chain(".store")
    rows = ask(database, "SELECT event_id, type, at, data, digest, chain FROM events ORDER BY position")
    for event_id, event_type, at, data, digest, stored in rows:
        assert digest == digest_of(data.encode())
        chain = next_chain(chain, event_id, event_type, at, digest)
        assert stored == chain
    assert [row[0] for row in rows] == [1, 2]


def test_space_that_cannot_be_had_is_said(database: Database) -> None:
    put(database, "a", "x" * 100_000)
    delete(database, "a")
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with database.write() as connection:
        before = sqlite_sql.stored_bytes(connection)
        assert "database is locked" in str(sqlite_sql.give_back_space(connection))
        other.execute("ROLLBACK")
        assert sqlite_sql.give_back_space(connection) is None
        assert sqlite_sql.stored_bytes(connection) < before
    other.close()
