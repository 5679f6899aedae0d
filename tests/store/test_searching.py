"""Search: everything committed is found, once, as it stands now; by readers who write nothing."""

import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import foldlog
from foldlog.core import limits
from foldlog.outlets import repair
from foldlog.storage import fts5_index, search_tables
from foldlog.storage.blobs import Reader
from foldlog.store import searching
from foldlog.store.searching import Hits

Reopen = Callable[[], foldlog.Store]


def fields(hits: Hits) -> list[tuple[str, str, Any]]:
    return sorted((hit.session_id, hit.field, hit.row_id) for hit in hits)


def index_position(store: foldlog.Store) -> int:
    with store.database.write() as connection:
        return search_tables.position(connection)


@pytest.fixture
def filled(store: foldlog.Store) -> foldlog.Store:
    """Two trees: texts of all kinds, values behind references, rows that changed."""
    with store.start_session(id="demo") as session:
        with session.turn() as turn:
            turn.message("user", [{"type": "text", "text": "Where is the Café?"}])
            session.add_eval(turn_id=turn.id, code="open('menu')", stdout="three soups", error={"type": "OSError"})
            call = session.add_call("leaf", turn_id=turn.id, query="which soup")
            session.update_call(call["id"], result_ref=session.value_ref({"soup": ["tomato " * 1500, "basil"]}))
            turn.final("the tomato soup")
        with session.start_child() as child:
            child.add_message("user", "a soup for the child")
        session.mark_final({"answer": "soup of the day"})
    with store.start_session(id="other") as session:
        session.add_message("assistant", "no soup")
    return store


def test_every_kind_of_text_is_found(filled: foldlog.Store) -> None:
    assert fields(filled.search("cafe")) == [("demo", "message.content", 1)]
    assert fields(filled.search("menu", kind="code")) == [("demo", "eval.code", 1)]
    assert fields(filled.search("three")) == [("demo", "eval.stdout", 1)]
    assert fields(filled.search("oserror", kind="error")) == [("demo", "eval.error", 1)]
    assert fields(filled.search("basil", kind="result")) == [("demo", "call.result_ref", 1)]
    assert ("demo", "session.final", None) in fields(filled.search("day", kind="final"))
    (hit,) = filled.search("basil")
    assert (hit.kind, hit.turn_id, hit.role) == ("result", 1, None)
    assert "basil" in hit.snippet
    assert [hit.snippet[start:end] for start, end in hit.marks] == ["basil"]


def test_filters(filled: foldlog.Store) -> None:
    assert fields(filled.search("soup", session="demo/child-0001")) == [("demo/child-0001", "message.content", 1)]
    assert {one[0] for one in fields(filled.search("soup", session="demo"))} == {"demo", "demo/child-0001"}
    assert {one[0] for one in fields(filled.search("soup", role="assistant"))} == {"other"}
    assert filled.search("soup", kind="error") == []
    assert len(filled.search("soup", limit=2)) == 2


def test_bad_input_is_refused(filled: foldlog.Store) -> None:
    for error, arguments in (
        (foldlog.UnknownSessionError, {"session": "nobody"}),
        (foldlog.InvalidIdError, {"session": "no/../body"}),
        (foldlog.QueryError, {"kind": "odd"}),
        (foldlog.QueryError, {"kind": ["odd"]}),
        (foldlog.QueryError, {"role": 5}),
        (foldlog.LimitError, {"limit": 0}),
        (foldlog.LimitError, {"limit": limits.SEARCH_HITS_MAX + 1}),
        (foldlog.LimitError, {"limit": True}),
    ):
        with pytest.raises(error):
            filled.search("soup", **arguments)
    with pytest.raises(foldlog.QueryError, match="no word"):
        filled.search("***")


@pytest.mark.parametrize("is_indexed", [False, True])
def test_a_row_is_found_as_it_is_now(store: foldlog.Store, is_indexed: bool) -> None:
    session = store.start_session(id="demo")
    call = session.add_call("leaf", query="first", error="kept")
    if is_indexed:
        store.checkpoint()
        assert len(store.search("first")) == 1
    session.update_call(call["id"], query="second")
    for _ in range(2):
        assert store.search("first") == []
        assert fields(store.search("second")) == [("demo", "call.query", 1)]
        assert len(store.search("kept")) == 1
        store.checkpoint()
    session.emit("call.put", call={"id": call["id"], "type": "leaf", "query": "third"})
    for _ in range(2):
        assert [store.search(word) for word in ("second", "kept")] == [[], []]
        assert fields(store.search("third")) == [("demo", "call.query", 1)]
        store.checkpoint()


def test_a_restored_session_has_its_messages_once(store: foldlog.Store) -> None:
    with store.start_session(id="demo") as session, session.turn() as turn:
        turn.message("user", "needle")
        session.snapshot({"x": 1}, turn_id=turn.id)
    with store.resume_session("demo", id="again") as resumed:
        resumed.add_message("user", "needle too")
    for _ in range(2):
        found = fields(store.search("needle", session="again"))
        assert found == [("again", "message.content", 1), ("again", "message.content", 2)]
        store.checkpoint()


def test_readers_find_what_is_not_in_the_index_and_write_nothing(path: Path, store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    session.add_message("user", "needle")
    with foldlog.open(path, read_only=True) as reader:
        assert len(reader.search("needle")) == 1
        reader.checkpoint()
    assert index_position(store) == 0


def test_a_checkpoint_adds_what_waits_in_portions(store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    for _ in range(limits.SEARCH_PORTION_EVENTS - 2):
        session.emit("note")
    session.checkpoint()
    assert index_position(store) == 0
    session.add_message("user", "needle")
    session.checkpoint()
    assert index_position(store) == limits.SEARCH_PORTION_EVENTS
    most = limits.SEARCH_PORTION_EVENTS * limits.SEARCH_PORTIONS_MAX
    with session.batch():
        for _ in range(most + limits.SEARCH_TAIL_EVENTS_MAX + 10):
            session.emit("note")
    session.checkpoint()
    assert index_position(store) == limits.SEARCH_PORTION_EVENTS + most
    assert store.search("needle").unsearched_count == 10
    store.checkpoint()
    assert store.search("needle").unsearched_count == 0
    assert index_position(store) == session.view.counters["event"]


def test_closing_adds_the_rest(filled: foldlog.Store, reopen: Reopen) -> None:
    filled.close()
    again = reopen()
    assert index_position(again) == list(again.events())[-1].position
    assert len(again.search("soup")) == 5


@pytest.mark.sqlite("the check is FTS5's")
def test_the_index_that_closing_leaves_is_whole(filled: foldlog.Store, path: Path) -> None:
    filled.close()
    connection = sqlite3.connect(path)
    sql = "SELECT count(*) FROM search_index WHERE search_index MATCH 'soup'"
    assert connection.execute(sql).fetchone()[0] == 5
    connection.execute("INSERT INTO search_index (search_index) VALUES ('integrity-check')")
    connection.close()


def test_the_index_and_the_newest_say_the_same(store: foldlog.Store) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    session = store.start_session(id="demo")
    words = ["alpha", "beta", "gamma", "delta"]
    for _ in range(60):
        what = chance.randrange(4)
        calls = list(session.view.calls)
        if what == 0:
            session.add_message("user", chance.choice(words))
        elif what == 1:
            session.add_call("leaf", query=chance.choice(words), error=chance.choice([*words, None]))
        elif calls:
            session.update_call(chance.choice(calls), **{chance.choice(["query", "error"]): chance.choice(words)})
        if chance.random() < 0.1:
            store.checkpoint()
    before = {word: fields(store.search(word, limit=1000)) for word in words}
    store.checkpoint()
    assert {word: fields(store.search(word, limit=1000)) for word in words} == before
    view = session.view
    for word in words:
        expected = [("demo", "message.content", key) for key, row in view.messages.items() if row["content"] == word]
        for key, row in view.calls.items():
            said = [name for name in ("query", "error") if row.get(name) == word]
            expected += [("demo", f"call.{name}", key) for name in said]
        assert before[word] == sorted(expected)


def test_what_is_deleted_is_found_no_more(filled: foldlog.Store) -> None:
    with filled.start_session(id="secret") as session:
        session.add_message("user", "xylophone")
    filled.checkpoint()
    assert len(filled.search("xylophone")) == 1
    filled.delete_session("secret")
    assert filled.search("xylophone") == []
    assert len(filled.search("soup")) == 5
    with filled.start_session(id="secret") as session:
        session.add_message("user", "again")
    assert fields(filled.search("again", session="secret")) == [("secret", "message.content", 1)]


@pytest.mark.sqlite("it looks into the file")
def test_what_is_deleted_is_not_in_the_file(filled: foldlog.Store, path: Path) -> None:
    with filled.start_session(id="secret") as session:
        session.add_message("user", "xylophone")
    filled.checkpoint()
    filled.delete_session("secret")
    filled.close()
    assert b"xylophone" not in path.read_bytes()
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO search_index (search_index) VALUES ('integrity-check')")
    connection.close()


def test_a_session_deleted_while_it_is_added_is_not_added(
    filled: foldlog.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(database: Any, reader: Reader) -> Any:
        found = original(database, reader)
        if found is not None and found.after == 0:
            filled.delete_session("other")
        return found

    original = searching._read
    monkeypatch.setattr(searching, "_read", read)
    filled.checkpoint()
    assert list(filled.query("SELECT DISTINCT session_id FROM searchable ORDER BY 1")) == [
        {"session_id": "demo"}, {"session_id": "demo/child-0001"},
    ]  # fmt: skip
    assert filled.search("no") == []


def test_two_processes_add_each_event_once(filled: foldlog.Store, path: Path) -> None:
    code = (
        "import sys, foldlog\n"
        "with foldlog.open(sys.argv[1]) as store:\n"
        "    session = store.start_session()\n"
        "    for n in range(30):\n"
        "        session.add_message('user', f'needle {n}')\n"
        "        store.checkpoint()\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    filled.checkpoint()
    assert len(filled.search("needle", limit=200)) == 90
    assert list(filled.query("SELECT count(*) AS n FROM search_texts WHERE text LIKE 'needle%'")) == [{"n": 90}]


@pytest.mark.sqlite("it damages the file")
def test_damaged_events_and_values_do_not_stop_the_index(filled: foldlog.Store, path: Path) -> None:
    filled.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE search_state SET position = 0")
    connection.execute("DELETE FROM search_texts")
    connection.execute("INSERT INTO search_index (search_index) VALUES ('rebuild')")
    connection.execute("DROP TRIGGER events_refuse_update")
    connection.execute("UPDATE events SET data = '{not json' WHERE type = 'eval.added'")
    connection.execute("UPDATE blobs SET data = x'00'")
    connection.commit()
    connection.close()
    with foldlog.open(path, read_only=True) as reader:
        assert [len(reader.search(word)) for word in ("soup", "basil", "menu", "three")] == [5, 0, 0, 0]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE search_texts SET text = 'soup!' WHERE kind = 'message'",
        "UPDATE search_texts SET row_id = 9 WHERE field = 'eval.code'",
        "DELETE FROM search_texts WHERE text_id = 2",
        "UPDATE search_state SET position = 3",
        "UPDATE search_state SET position = 1000",
        "UPDATE search_texts SET session_key = 77 WHERE text_id = 1",
        "DROP TABLE search_state",
    ],
)
def test_an_index_that_says_something_else_is_reported(
    filled: foldlog.Store, reopen: Reopen, path: Path, damage: str
) -> None:
    session = filled.open_session("demo")
    session.update_call(1, query="another soup")
    session.emit("call.put", call={"id": 1, "type": "leaf", "query": "this soup", "error": "no"})
    filled.checkpoint()
    assert filled.verify().ok, str(filled.verify())
    with filled.database.write() as connection:
        connection.execute(damage)
    with foldlog.open(path, read_only=True) as store:
        assert any("search" in problem.what for problem in store.verify().problems)
    session.close()
    with reopen() as store:
        repair.repair(store)
        assert store.verify().ok


@pytest.mark.sqlite("it damages FTS5's own pages")
def test_a_repair_makes_the_index_anew(filled: foldlog.Store, path: Path) -> None:
    filled.close()
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM search_texts")
    connection.execute("UPDATE search_index_data SET block = x'ffffffffffffffffffff'")
    connection.commit()
    connection.close()
    with foldlog.open(path) as store:
        with pytest.raises(foldlog.StoreError, match="damaged"):
            store.search("soup")
        repair.repair(store)
        assert len(store.search("soup")) == 5
        assert store.verify().ok


@pytest.mark.sqlite("a server's index is not FTS5's")
def test_without_fts5_there_is_no_search_and_all_else(
    path: Path, config: foldlog.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(fts5_index, "has_fts5", lambda: False)
        with foldlog.open(path, config=config) as store:
            with store.start_session(id="demo") as session:
                session.add_message("user", "needle")
            store.checkpoint()
            with pytest.raises(foldlog.StoreError, match="FTS5"):
                store.search("needle")
            assert store.verify().ok
            store.start_session(id="gone").close()
            store.delete_session("gone")
    with foldlog.open(path, config=config, read_only=True) as store:
        assert len(store.search("needle")) == 1
    foldlog.open(path, config=config).close()
    with foldlog.open(path, config=config, read_only=True) as store:
        assert len(list(store.query("SELECT 1 FROM search_index WHERE search_index MATCH 'needle'"))) == 1


@pytest.mark.sqlite("the SQL is FTS5's; test_postgres_query has PostgreSQL's")
def test_sql_may_match_and_may_not_write_the_index(filled: foldlog.Store) -> None:
    filled.checkpoint()
    sql = (
        "SELECT searchable.session_id, kind, snippet(search_index, 0, '[', ']', '…', 8) AS found, "
        "highlight(search_index, 0, '<', '>') AS whole FROM search_index "
        "JOIN searchable ON searchable.text_id = search_index.rowid "
        "WHERE search_index MATCH 'NEAR(three soups) NOT basil' ORDER BY bm25(search_index) LIMIT 5"
    )
    assert list(filled.query(sql)) == [
        {"session_id": "demo", "kind": "output", "found": "[three] [soups]", "whole": "<three> <soups>"}
    ]
    for bad in (
        "INSERT INTO search_index (search_index) VALUES ('rebuild')",
        "DELETE FROM search_texts RETURNING 1",
        "SELECT * FROM search_index WHERE search_index MATCH 'AND ('",
        "PRAGMA data_version = 5",
        "PRAGMA user_version",
    ):
        with pytest.raises(foldlog.QueryError):
            list(filled.query(bad))


def test_an_index_that_cannot_be_read_is_no_error_of_a_checkpoint(store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    with store.database.write() as connection:
        connection.execute("DROP TABLE search_state")
    session.add_message("user", "kept")
    session.checkpoint()
    assert store.view("demo").messages[1]["content"] == "kept"


def test_case_marks_phrases_and_prefixes_mean_the_same(store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    texts = [
        "Un CAFÉ crème",
        "cafe\u0301 au lait",
        "snake_case main.py",
        "no space left on device",
        "left no space",
        "Ünïcode 42%",
    ]
    for text in texts:
        session.add_message("user", text)
    expected = {
        "cafe": [1, 2], "CAFÉ": [1, 2], "crem*": [1], "crem": [], '"cafe au"': [2], '"au cafe"': [], "case": [3],
        "snake_case": [3], "main.py": [3], "py main": [3], '"py main"': [], '"no space"': [4, 5], '"space left"': [4],
        "space left": [4, 5], '"no spa"*': [4, 5], "unicode 42": [6], "AND": [], "dev* lef*": [4],
    }  # fmt: skip
    for _ in range(2):  # not in the index yet, and in it
        for words, ids in expected.items():
            assert sorted(hit.row_id for hit in store.search(words)) == ids, words
        store.checkpoint()
    (hit,) = store.search('"space left"')
    assert [hit.snippet[start:end] for start, end in hit.marks] == ["space left"]


def test_ids_that_are_names_are_found_as_they_are(store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    session.add_turn(id="first")
    session.add_call("leaf", id="asked", turn_id="first", query="needle")
    session.add_message("user\0", "needle too", id="said")
    for _ in range(2):
        found = {(hit.field, hit.row_id, hit.turn_id) for hit in store.search("needle")}
        assert found == {("call.query", "asked", "first"), ("message.content", "said", None)}
        session.update_call("asked", query="needle again")
        assert len(store.search("again")) == 1
        store.checkpoint()
    session.update_call("asked", query="nothing")
    store.checkpoint()
    assert [hit.row_id for hit in store.search("needle")] == ["said"]


def test_the_longest_texts_and_words_are_found(store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    session.add_message("user", "x" * limits.SEARCH_TEXT_CHARS_MAX)
    session.add_message("user", " ".join(f"w{number}" for number in range(limits.SEARCH_TEXT_CHARS_MAX)))
    session.add_message("user", "a b " * limits.SEARCH_TEXT_CHARS_MAX)
    session.add_message("user", "".join(chr(0x4E00 + number % 20_000) + " " for number in range(16_000)))
    for _ in range(2):
        assert [hit.row_id for hit in store.search("w4000")] == [2]
        assert [hit.row_id for hit in store.search('"a b"')] == [3]
        assert [hit.row_id for hit in store.search("xxx*")] == [1]
        assert [hit.row_id for hit in store.search(chr(0x4E00 + 999))] == [4]
        store.checkpoint()


def test_an_event_that_is_committed_late_is_indexed(store: foldlog.Store, path: Path) -> None:
    """One transaction is given a position, and another one behind it commits first."""
    if store.path is not None:
        pytest.skip("SQLite has one writer at a time")
    late = store.start_session(id="late")
    early = store.start_session(id="early")
    with foldlog.open(path) as other:
        server = other.database.new_reader()
        (stream,) = other.query("SELECT session_key FROM streams WHERE id = 'late'")
        server.execute("SET default_transaction_read_only = off")
        server.execute("BEGIN")
        server.execute(
            "INSERT INTO events (session_key, event_id, type, at, data, digest, chain) "
            "SELECT ?, 99, 'message.added', at, ?, digest, chain FROM events LIMIT 1",
            (stream["session_key"], '{"message":{"content":"belated","id":9,"role":"user"}}'),
        )
        early.add_message("user", "prompt")
        keeping = threading.Thread(target=searching.keep_up, args=(store.database,))
        keeping.start()
        keeping.join(0.5)
        assert keeping.is_alive()  # it waits for what may still come in front
        server.execute("COMMIT")
        keeping.join(30)
        server.close()
    assert {row["text"] for row in store.query("SELECT text FROM search_texts")} == {"belated", "prompt"}
    late.close()
