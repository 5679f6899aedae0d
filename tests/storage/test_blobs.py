"""Blobs: stored in pieces that are shared, read back whole or refused."""

import copy
import pickle
import random
import sqlite3
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

import foldlog
from engines import change, connected
from foldlog.core.codec import decode, encode
from foldlog.core.errors import MissingBlobError
from foldlog.core.parts import pack, unpack
from foldlog.core.refs import Ref
from foldlog.storage import blobs
from foldlog.storage.blob_check import check_pieces
from foldlog.storage.blobs import Reader
from foldlog.storage.database import Database
from foldlog.storage.driver import driver_of
from foldlog.storage.journal import append

Put = Callable[[Any], Ref]


def message(number: int, length: int = 1000) -> dict[str, str]:
    # Text that hardly shrinks: what is saved here is saved by sharing.
    letters = string.ascii_letters + string.digits
    return {"role": "user", "content": "".join(random.Random(number).choices(letters, k=length))}


def transcript(length: int) -> list[dict[str, str]]:
    return [message(number) for number in range(length)]


@pytest.fixture
def put(database: Database, line: Any, blob: Any) -> Put:
    def store(value: Any) -> Ref:
        ref: Ref = blob(value)
        append(database, [line.next(refs=(ref,))])
        return ref

    return store


@pytest.fixture
def get(database: Database) -> Callable[[Ref], Any]:
    def read(ref: Ref) -> Any:
        body = blobs.read(database, ref["hash"])
        assert body is not None
        return decode(body)

    return read


def rows(database: Database, table: str) -> int:
    with database.read() as connection:
        found: int = connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
    return found


def counts(database: Database) -> tuple[int, int, int]:
    return rows(database, "blobs"), rows(database, "parts"), rows(database, "lists")


def problems(database: Database) -> list[str]:
    with database.read() as connection:
        return list(check_pieces(driver_of(connection)))


# What is shared.


def test_a_transcript_that_grows_stores_its_new_messages(database: Database, put: Put, get: Any) -> None:
    for length in range(10, 20):
        put({"model": "m", "messages": transcript(length)})
        assert counts(database) == (length - 9, length, length - 9)
    refs = [put(transcript(length)) for length in range(10, 20)]
    assert counts(database) == (20, 19, 10)
    assert [get(ref) for ref in refs] == [transcript(length) for length in range(10, 20)]
    assert problems(database) == []


def test_a_branch_shares_the_prefix_it_has_in_common(database: Database, put: Put, get: Any) -> None:
    for length in (10, 20, 30):
        put(transcript(length))
    branch = [*transcript(25), message(99)]
    assert get(put(branch)) == branch
    assert counts(database) == (4, 31, 4)
    with database.read() as connection:
        items, prefix_id = connection.exec_driver_sql("SELECT items, prefix_id FROM lists WHERE list_id = 4").one()
    assert (prefix_id, len(orjson.loads(unpack(items)))) == (2, 6)


def test_a_window_that_slides_stores_its_messages_once(database: Database, put: Put, get: Any) -> None:
    whole = transcript(40)
    refs = [put(whole[start : start + 10]) for start in range(30)]
    assert counts(database) == (30, 39, 30)
    assert [get(ref) for ref in refs] == [whole[start : start + 10] for start in range(30)]


def test_a_change_in_the_middle_stores_what_changed(database: Database, put: Put, get: Any) -> None:
    value = transcript(20)
    put(value)
    value[10] = message(99)
    assert get(put(value)) == value
    assert counts(database) == (2, 21, 2)


def test_a_long_prompt_is_stored_once_wherever_it_stands(database: Database, put: Put, get: Any) -> None:
    prompt = message(0, 10_000)["content"]
    values = [
        {"system": prompt, "messages": transcript(10)}, {"messages": [{"role": "system", "content": prompt}]},
        {"request": {"body": {"system": prompt, "n": [1, 2]}}}, [prompt, 1],
    ]  # fmt: skip
    refs = [put(value) for value in values]
    assert [get(ref) for ref in refs] == values
    with database.read() as connection:
        sizes = connection.exec_driver_sql("SELECT length(data) FROM parts").scalars().all()
    assert sum(size > 5000 for size in sizes) == 1


def test_numbers_that_grow_store_the_new_ones(database: Database, put: Put, get: Any) -> None:
    values = [list(range(length)) for length in range(5001, 6000, 32)]
    refs = [put({"tokens": value}) for value in values]
    assert [get(ref)["tokens"] for ref in refs] == values
    with database.read() as connection:
        stored = connection.exec_driver_sql("SELECT sum(length(items)) FROM lists").scalar_one()
    assert stored < len(encode(values[-1]).data)
    assert problems(database) == []


def test_the_same_item_twice_is_stored_once(database: Database, put: Put, get: Any) -> None:
    value = [message(0)] * 20
    assert get(put(value)) == value
    assert counts(database) == (1, 1, 1)


def test_lists_inside_items_share_too(database: Database, put: Put, get: Any) -> None:
    blocks = [message(number)["content"] for number in range(30)]
    refs = [put([{"role": "user", "content": blocks[:length]}]) for length in range(10, 30)]
    assert [get(ref) for ref in refs] == [[{"role": "user", "content": blocks[:length]}] for length in range(10, 30)]
    assert rows(database, "parts") == 29


def test_the_hash_is_of_the_whole_value_however_it_is_stored(store: foldlog.Store) -> None:
    first = transcript(10)
    with store.start_session(id="demo") as session:
        session.add_call("leaf", request_ref=session.value_ref(first))
        grown = session.add_call("leaf", request_ref=session.value_ref([*first, message(11)]))["request_ref"]
    with store.start_session(id="other") as session:
        assert session.value_ref([*first, message(11)])["hash"] == grown["hash"]
        assert session.read_ref(grown) == [*first, message(11)]


def test_sessions_children_and_forks_share(store: foldlog.Store) -> None:
    value = transcript(20)
    with store.start_session(id="one") as session:
        session.add_call("leaf", request_ref=session.value_ref(value))
        session.snapshot({"messages": value})
        with session.start_child() as child:
            child.add_call("leaf", request_ref=child.value_ref([*value, message(21)]))
    with store.fork_session("one", id="two") as fork:
        assert fork.restore() == {"messages": value}
        ref = fork.add_call("leaf", request_ref=fork.value_ref([*value, message(22)]))["request_ref"]
        assert fork.read_ref(ref) == [*value, message(22)]
    assert list(store.query("SELECT count(*) AS n FROM parts")) == [{"n": 22}]
    assert list(store.query("SELECT count(*) AS n FROM lists")) == [{"n": 3}]
    assert store.verify().problems == []


def test_writers_of_two_processes_share(new_database: Any, new_line: Any, blob: Any, get: Any) -> None:
    one, other = new_database(), new_database()
    lines = new_line("one"), new_line("other")
    for length in range(10, 20, 2):
        for writer, line, more in ((one, lines[0], 0), (other, lines[1], 1)):
            append(writer, [line.next(refs=(blob(transcript(length + more)),))])
    assert counts(one) == counts(other) == (10, 19, 10)
    assert problems(one) == []


def test_a_reference_holds_the_value_as_it_was_given(store: foldlog.Store) -> None:
    session, value = store.start_session(id="demo"), transcript(20)
    ref = session.value_ref({"messages": value})
    value[3]["content"] = "changed"
    value.append({})
    for kept in (ref, pickle.loads(pickle.dumps(ref)), copy.deepcopy(ref)):
        call = session.add_call("leaf", request_ref=kept)
        assert session.read_ref(session.view.calls[call["id"]]["request_ref"]) == {"messages": transcript(20)}


def test_what_no_event_carries_stores_nothing(store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    session.value_ref(transcript(20))
    with pytest.raises(foldlog.UnknownRowError):
        session.add_call("leaf", turn_id=9, request_ref=session.value_ref(transcript(20)))
    for table in ("blobs", "parts", "lists"):
        assert list(store.query(f"SELECT count(*) AS n FROM {table}")) == [{"n": 0}]


def test_a_commit_that_fails_leaves_nothing_that_is_taken_for_stored(
    database: Database, line: Any, blob: Any, get: Any
) -> None:
    ref = blob(transcript(20))

    def fail(_: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    stamped = line.next(refs=(ref,))
    with pytest.raises(foldlog.FoldlogError):
        append(database, [stamped], fail)
    assert counts(database) == (0, 0, 0)
    append(database, [stamped])
    assert counts(database) == (1, 20, 1)
    assert get(ref) == transcript(20)


def test_a_value_that_is_there_is_not_looked_at_again(database: Database, put: Put) -> None:
    put(transcript(20))
    ref = put(transcript(20))
    ref.pieces = ()
    put(transcript(20))
    assert counts(database) == (1, 20, 1)


# How many bytes: counts, not times.


# All pages of the tables that hold values, with their indexes.
BLOB_BYTES = {
    "sqlite": "SELECT sum(pgsize) FROM dbstat JOIN sqlite_master USING (name) "
    "WHERE tbl_name IN ('blobs', 'parts', 'lists')",
    "postgres": "SELECT sum(pg_total_relation_size(name::regclass)) "
    "FROM unnest(array['blobs', 'parts', 'lists']) AS name",
}


@pytest.mark.parametrize("shape", ["a request", "the bare list"])
def test_bytes_grow_with_the_transcript_not_with_its_square(
    engine: str, path: Path, config: foldlog.Config, shape: str
) -> None:
    messages: list[Any] = []
    with foldlog.open(path, config=config) as store, store.start_session(id="demo") as session:
        for number in range(1000):
            messages.append(message(number))
            value = {"model": "a-model", "messages": messages} if shape == "a request" else messages
            session.add_call("leaf", request_ref=session.value_ref(value))
        session.checkpoint()
        for length in (1, 10, 500, 1000):
            found = session.read_ref(session.view.calls[length]["request_ref"])
            assert (found["messages"] if shape == "a request" else found) == messages[:length]
        with connected(store) as connection:
            held = connection.execute(BLOB_BYTES[engine]).fetchone()[0]
    own = len(encode(messages).data)
    assert held <= {"sqlite": 1.5, "postgres": 2}[engine] * own
    if isinstance(path, Path):
        assert path.stat().st_size <= 3 * own


# Old and damaged rows.


def test_a_blob_of_before_is_read_as_it_stands(database: Database, put: Put, get: Any, blob: Any) -> None:
    value = {"at": "2026", "$foldlog": "part", "id": 1, "messages": transcript(20), "seen": {1, 2}}
    ref = blob(value)
    with database.write() as connection:
        connection.execute("INSERT INTO blobs VALUES (?, ?, ?)", (ref["hash"], len(ref.body), ref.body))
    assert get(ref) == value
    put(value)
    assert counts(database) == (1, 0, 0)
    assert get(put([value, value])) == [value, value]
    assert problems(database) == []


def test_a_blob_that_is_not_there_is_none(database: Database) -> None:
    assert blobs.read(database, "sha256:" + "0" * 64) is None


DAMAGE = [
    "DELETE FROM parts WHERE part_id = 3", "UPDATE parts SET data = x'' WHERE part_id = 3",
    "UPDATE parts SET data = x'78' WHERE part_id = 3",
    "UPDATE parts SET data = substr(data, 1, 100) WHERE part_id = 3",
    "UPDATE parts SET data = (SELECT data FROM parts WHERE part_id = 4) WHERE part_id = 3",
    "UPDATE parts SET data = CAST('{\"$foldlog\":\"part\",\"id\":3}' AS BLOB) WHERE part_id = 3",
    "UPDATE parts SET data = CAST('{\"$foldlog\":\"part\",\"id\":999}' AS BLOB) WHERE part_id = 3",
    "UPDATE parts SET data = CAST('{\"$foldlog\":\"list\",\"id\":3}' AS BLOB) WHERE part_id = 3",
    "DELETE FROM lists WHERE list_id = 1", "UPDATE lists SET prefix_id = 3 WHERE list_id = 1",
    "UPDATE lists SET prefix_id = 1 WHERE list_id = 1", "UPDATE lists SET prefix_id = 99 WHERE list_id = 2",
    "UPDATE lists SET prefix_id = NULL WHERE list_id = 2",
    "UPDATE lists SET items = x'5b5d' WHERE list_id = 2", "UPDATE lists SET items = x'' WHERE list_id = 2",
]  # fmt: skip
OTHER_TYPES = [
    "UPDATE parts SET data = 'text' WHERE part_id = 3", "UPDATE parts SET data = 17 WHERE part_id = 3",
    "UPDATE lists SET prefix_id = 'x' WHERE list_id = 2",
    "UPDATE lists SET items = 'x' WHERE list_id = 2", "UPDATE lists SET items = 1.5 WHERE list_id = 2",
]  # fmt: skip


@pytest.mark.parametrize("statement", DAMAGE)
def test_damaged_pieces_are_told_of_and_never_followed_for_ever(database: Database, put: Put, statement: str) -> None:
    assert_told_of(database, put, statement)


@pytest.mark.sqlite("columns hold values of any type")
@pytest.mark.parametrize("statement", OTHER_TYPES)
def test_pieces_of_another_type_are_told_of(database: Database, put: Put, statement: str) -> None:
    assert_told_of(database, put, statement)


def assert_told_of(database: Database, put: Put, statement: str) -> None:
    refs = [put(transcript(length)) for length in (10, 20, 30)]
    other = put([message(number) for number in range(50, 70)])
    assert problems(database) == []
    change(database, statement)
    reader = Reader(database)
    with pytest.raises(MissingBlobError, match="is damaged"):
        reader.read(refs[2]["hash"])
    assert reader.read(other["hash"]) == other.body
    assert problems(database) != []


@pytest.mark.parametrize(
    "statement",
    ["UPDATE blobs SET data = x'5b5d'", "UPDATE blobs SET data = x''", "UPDATE blobs SET bytes = 100",
     "UPDATE blobs SET data = substr(data, 2)"],
)  # fmt: skip
def test_a_damaged_blob_is_told_of(database: Database, put: Put, statement: str) -> None:
    ref = put(transcript(20))
    change(database, statement)
    with pytest.raises(MissingBlobError, match=ref["hash"]):
        blobs.read(database, ref["hash"])


@pytest.mark.sqlite("columns hold values of any type")
@pytest.mark.parametrize(
    "statement", ["UPDATE blobs SET data = 'text'", "UPDATE blobs SET data = 1", "UPDATE blobs SET bytes = 'x'"]
)
def test_a_blob_of_another_type_is_told_of(database: Database, put: Put, statement: str) -> None:
    ref = put(transcript(20))
    change(database, statement)
    with pytest.raises(MissingBlobError, match=ref["hash"]):
        blobs.read(database, ref["hash"])


def test_pieces_that_grow_without_end_are_not_followed(database: Database, put: Put) -> None:
    """Each of the parts is a hundred of the one before: more bytes, or more steps, than there are."""
    ref = put(transcript(20))
    with database.write() as connection:
        for part_id in range(2, 15):
            text = b'{"$foldlog":"part","id":%d}' % (part_id - 1) * 100
            connection.execute("UPDATE parts SET data = ? WHERE part_id = ?", (pack(text), part_id))
    for least in (b"", b"1"):
        with database.write() as connection:
            connection.execute("UPDATE parts SET data = ? WHERE part_id = 1", (least,))
            connection.execute("UPDATE blobs SET bytes = 50000")
        with pytest.raises(MissingBlobError, match="damaged"):
            blobs.read(database, ref["hash"])


def test_a_long_chain_of_pieces_is_not_followed(database: Database, put: Put) -> None:
    ref = put(transcript(1))
    with database.write() as connection:
        connection.execute("UPDATE blobs SET data = ?", (b'{"$foldlog":"part","id":1001}',))
        connection.executemany(
            "INSERT INTO parts (part_id, hash, data) VALUES (?, ?, ?)",
            [(number, b"%d" % number, b'{"$foldlog":"part","id":%d}' % (number + 1)) for number in range(1001, 3000)],
        )
    with pytest.raises(MissingBlobError, match="damaged"):
        blobs.read(database, ref["hash"])


def test_after_damage_a_reader_still_reads_the_rest(database: Database, put: Put) -> None:
    long = message(0, 9000)
    shared = {"content": [long["content"], *transcript(9)], **{f"key {number}": number for number in range(50)}}
    whole, broken = put([shared, 1]), put([shared, 1, message(77)])
    change(database, "UPDATE parts SET data = x'17' WHERE part_id = (SELECT max(part_id) FROM parts)")
    reader = Reader(database)
    with pytest.raises(MissingBlobError):
        reader.read(broken["hash"])
    assert reader.read(whole["hash"]) == whole.body


def test_pieces_that_nothing_refers_to_are_reported(database: Database, put: Put) -> None:
    put(transcript(20))
    change(database, "DELETE FROM blobs")
    assert problems(database) == ["lists that belong to no value: 1 (1 in all)"]
    change(database, "DELETE FROM lists")
    assert problems(database) == ["parts that belong to no value: 1, 2, 3, 4, 5 (20 in all)"]


def test_a_chain_of_thousands_is_read_without_recursion(database: Database, blob: Any, put: Put, get: Any) -> None:
    """Longer than Python's stack: each list begins with the one before it."""
    value = ["item " + "x" * 90 for _ in range(50)]
    ref = put(value)
    with database.write() as connection:
        connection.execute("BEGIN")
        for _ in range(1200):
            value.append("item " + "y" * 90)
            ref = blob(value)
            blobs.store(connection, [ref])
        connection.execute("COMMIT")
    assert rows(database, "lists") == 1201
    assert get(ref) == value
