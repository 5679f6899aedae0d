"""Repair: nothing that can be read is lost, what cannot be is set apart and said, and the session goes on."""

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import foldlog
from damaged_stores import blot, change, make, pages_of, server_connection

UNDECODABLE = "UPDATE events SET data = '{' WHERE session_key = 1 AND event_id = {}"
# In the store made below: message 2 of turn 2.
AT = 8


@pytest.fixture
def damaged(path: Path | str) -> Path | str:
    make(path)
    return path


def events(path: Path | str, session_id: str | None = None) -> dict[tuple[str, int], dict[str, Any]]:
    with foldlog.open(path, read_only=True) as store:
        return {(event.session_id, event["id"]): dict(event) for event in store.events(session_id)}


def test_a_whole_store_stays_as_it_is(damaged: Path | str) -> None:
    before = events(damaged)
    with foldlog.open(damaged) as store:
        repairs = store.repair()
        assert (repairs.ok, repairs.set_apart, repairs.changes, repairs.session_count) == (True, [], [], 3)
        assert store.verify().ok
    assert events(damaged) == before


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        (f"UPDATE events SET data = '{{' WHERE session_key = 1 AND event_id = {AT}", "not what was written"),
        (f"UPDATE events SET data = replace(data, 'question', 'answer') WHERE event_id = {AT}", "not what was written"),
        (f"UPDATE events SET type = 'note' WHERE session_key = 1 AND event_id = {AT}", "chain"),
        (f"UPDATE events SET chain = zeroblob(32) WHERE session_key = 1 AND event_id = {AT}", "chain"),
        (f"DELETE FROM events WHERE session_key = 1 AND event_id = {AT}", "missing"),
    ],
)
def test_one_damaged_event_is_set_apart_and_nothing_else(damaged: Path | str, statement: str, what: str) -> None:
    before = events(damaged)
    change(damaged, statement)
    with foldlog.open(damaged) as store:
        assert not store.verify().ok
        repairs = store.repair()
        assert repairs.ok, str(repairs)
        assert [(one.session, one.event_id) for one in repairs.set_apart] == [("demo", AT)]
        assert what in repairs.set_apart[0].what
        assert repairs.set_apart[0].position == (None if what == "missing" else AT)
        assert len(store.view("demo").messages) == 29
        assert store.view("demo").counters["event"] == max(event_id for name, event_id in before if name == "demo")
        assert store.view("demo", at=AT).counters["event"] == AT
        report = store.verify()
        assert report.ok
        assert [one.event_id for one in report.set_apart] == [AT]
        assert "event 8 is set apart" in str(report)
        with store.open_session("demo") as session:
            session.add_message("user", "again")
        assert store.verify().ok
        assert store.repair().set_apart == []
    after = events(damaged)
    assert {key: value for key, value in before.items() if key != ("demo", AT)}.items() <= after.items()
    assert ("demo", AT) not in after


@pytest.mark.sqlite("a server's columns hold nothing of another type")
@pytest.mark.parametrize("change_to", ["data = CAST(x'ff00' AS TEXT)", "chain = 'x'"])
def test_a_column_of_another_type_is_set_apart(damaged: Path, change_to: str) -> None:
    statement = f"UPDATE events SET {change_to} WHERE session_key = 1 AND event_id = {AT}"
    test_one_damaged_event_is_set_apart_and_nothing_else(damaged, statement, "type")


def test_what_depends_on_a_damaged_event_is_set_apart_too(damaged: Path | str, tmp_path: Path) -> None:
    change(damaged, "DELETE FROM events WHERE session_key = 1 AND event_id = 7")  # turn 2 starts
    with foldlog.open(damaged) as store:
        repairs = store.repair()
        found = {one.event_id: one.what for one in repairs.set_apart}
        assert repairs.ok
        assert sorted(found) == [7, 8, 9, 10, 11]
        assert "has no turn 2" in found[8]
        assert list(store.view("demo").turns)[:2] == [1, 3]
        store.export(tmp_path / "files")
        assert store.verify(exported=tmp_path / "files").ok


def test_a_session_without_its_first_event_still_reads(damaged: Path | str) -> None:
    change(damaged, "UPDATE events SET data = '[]' WHERE session_key = 1 AND event_id = 1")
    with foldlog.open(damaged) as store:
        repairs = store.repair()
        assert [one.event_id for one in repairs.set_apart] == [1]
        assert store.view("demo").session["id"] == "demo"
        assert len(store.view("demo").turns) == 30
        store.open_session("demo").close()
        assert store.verify().ok


def test_the_last_event_damaged_its_id_is_not_given_again(damaged: Path | str) -> None:
    last = max(event_id for name, event_id in events(damaged) if name == "other")
    change(damaged, f"UPDATE events SET data = '{{', at = 'z' WHERE session_key = 3 AND event_id = {last}")
    with foldlog.open(damaged) as store:
        assert store.repair().ok
        with store.open_session("other") as session:
            assert session.add_event("note") == last + 1
        assert store.verify().ok
        assert store.usage("other")["status"] == "unknown"


def test_the_last_event_gone_is_known_by_the_tables(damaged: Path | str) -> None:
    last = max(event_id for name, event_id in events(damaged) if name == "other")
    change(damaged, f"DELETE FROM events WHERE session_key = 3 AND event_id = {last}")
    with foldlog.open(damaged) as store:
        assert any("which is not in the journal" in problem.what for problem in store.verify().problems)
        repairs = store.repair()
        assert [(one.event_id, one.position) for one in repairs.set_apart] == [(last, None)]
        with store.open_session("other") as session:
            assert session.add_event("note") == last + 1
        assert store.verify().ok


@pytest.mark.sqlite("text that is no UTF-8")
def test_before_a_repair_readers_say_where_it_is(damaged: Path) -> None:
    change(damaged, "UPDATE events SET data = CAST(x'ff00' AS TEXT) WHERE session_key = 1 AND event_id = 8")
    with foldlog.open(damaged, read_only=True) as store:
        for read in (lambda: list(store.events()), lambda: store.view("demo", at=20)):
            with pytest.raises(foldlog.CorruptJournalError) as caught:
                read()
            assert caught.value.position == 8
        assert len(list(store.events(after=8))) > 100


@pytest.mark.sqlite("its schema is held to SQLite's words; a server's in test_postgres_schema")
def test_tables_views_indexes_and_triggers_are_made_anew(damaged: Path) -> None:
    change(
        damaged, "UPDATE calls SET usd = 9", "DELETE FROM tree", "UPDATE messages SET session_id = 'nobody' || rowid"
    )
    connection = sqlite3.connect(damaged)
    connection.executescript(
        "DROP TRIGGER events_refuse_update; DROP VIEW transcript; "
        "DROP INDEX ix_calls_running; CREATE TABLE mine (x); INSERT INTO mine VALUES (1)"
    )
    connection.close()
    with foldlog.open(damaged) as store:
        found = " ".join(problem.what for problem in store.verify().problems)
        for word in ("calls", "tree", "nobody", "events_refuse_update", "transcript", "ix_calls_running"):
            assert word in found
        repairs = store.repair()
        assert repairs.ok, str(repairs)
        assert repairs.set_apart == []
        assert repairs.changes == ["the trigger events_refuse_update is in place again"]
        assert list(store.query("SELECT x FROM mine")) == [{"x": 1}]


def test_a_table_that_is_gone_is_made_anew(damaged: Path | str) -> None:
    if isinstance(damaged, Path):
        sqlite3.connect(damaged).execute("DROP TABLE snapshots").connection.close()
    else:
        with server_connection(damaged) as server:
            server.execute("DROP TABLE snapshots CASCADE")
    with foldlog.open(damaged) as store:
        assert any("the table snapshots" in problem.what for problem in store.verify().problems)
        assert store.repair().ok


def test_a_name_that_is_gone_or_wrong_comes_back_from_the_first_event(damaged: Path | str) -> None:
    before = events(damaged)
    change(damaged, "DELETE FROM streams WHERE session_key = 3", "UPDATE streams SET id = 'demp' WHERE session_key = 1")
    with foldlog.open(damaged) as store:
        assert len(store.verify().problems) >= 2
        repairs = store.repair()
        assert repairs.ok, str(repairs)
        assert repairs.set_apart == []
    assert events(damaged) == before


def test_a_note_that_is_damage_itself_is_taken_back(damaged: Path | str) -> None:
    before = events(damaged)
    change(damaged, "INSERT INTO quarantine VALUES (1, 8, NULL, '', ''), (1, 9999, NULL, '', '')")
    with foldlog.open(damaged) as store:
        found = " ".join(problem.what for problem in store.verify().problems)
        assert "event 8 is set apart and whole" in found
        assert "event 9999 is set apart, and cannot have been" in found
        assert store.repair().ok
    assert events(damaged) == before


HOLD = """
import sys, foldlog
with foldlog.open(sys.argv[1]) as store:
    session = store.open_session("demo")
    print("open", flush=True)
    sys.stdin.readline()
    session.let_go()
"""


@contextlib.contextmanager
def held_elsewhere(path: Path | str) -> Iterator[None]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        yield
    finally:
        holder.communicate("\n", timeout=60)


def test_a_session_that_is_written_is_not_repaired(damaged: Path | str) -> None:
    with held_elsewhere(damaged):
        with foldlog.open(damaged) as store:
            assert store.repair().ok  # nothing of it must change
        change(damaged, UNDECODABLE.replace("{}", "8"))
        with foldlog.open(damaged) as store, pytest.raises(foldlog.SessionInUseError):
            store.repair()
        with foldlog.open(damaged, read_only=True) as store:
            assert store.verify().set_apart == []
    with foldlog.open(damaged) as store:
        assert store.repair().ok


@pytest.mark.sqlite("pages are damaged")
def test_a_damaged_file_is_refused_and_saved_into_a_new_one(damaged: Path, tmp_path: Path) -> None:
    before = events(damaged)
    page = pages_of(damaged, "events")[5]
    blot(damaged, page)
    data = damaged.read_bytes()
    with foldlog.open(damaged) as store:
        report = store.verify()
        assert any("cannot be read" in problem.what and problem.position for problem in report.problems)
        with pytest.raises(foldlog.CorruptJournalError, match="the file itself is damaged"):
            store.repair()
    repairs = foldlog.salvage(damaged, tmp_path / "saved.db")
    assert damaged.read_bytes() == data
    assert any("cannot be read" in line for line in repairs.lost)
    assert all(one.position is None for one in repairs.set_apart if one.what in ("is missing", "cannot be read"))
    after = events(tmp_path / "saved.db")
    assert after.items() <= before.items()
    gone = {(one.session, one.event_id) for one in repairs.set_apart}
    assert before.keys() - after.keys() == gone
    with foldlog.open(tmp_path / "saved.db") as store:
        assert store.verify().ok or all("blob" in problem.what for problem in store.verify().problems)
        with store.open_session("demo") as session:
            session.add_message("user", "on we go")
    with pytest.raises(foldlog.AlreadyExistsError):
        foldlog.salvage(damaged, tmp_path / "saved.db")
    assert not [entry for entry in tmp_path.iterdir() if ".new" in entry.name]


@pytest.mark.parametrize("table", ["events", "streams", "blobs", "parts", "sessions", "sqlite_autoindex_events_1"])
@pytest.mark.sqlite("pages are damaged")
def test_any_first_page_gone_is_told_and_the_rest_saved(damaged: Path, tmp_path: Path, table: str) -> None:
    before = events(damaged)
    blot(damaged, pages_of(damaged, table)[0], b"\xff")
    with foldlog.open(damaged, read_only=True) as store:
        assert not store.verify().ok
    repairs = foldlog.salvage(damaged, tmp_path / "saved.db")
    after = events(tmp_path / "saved.db")
    assert after.items() <= before.items()
    if table != "events":
        assert after == before
        assert repairs.set_apart == []


@pytest.mark.sqlite("the header of a file")
def test_a_header_that_says_something_else_is_no_hindrance(damaged: Path, tmp_path: Path) -> None:
    before = events(damaged)
    connection = sqlite3.connect(damaged)
    connection.execute("PRAGMA application_id = 7")
    connection.close()
    with pytest.raises(foldlog.NotAStoreError):
        foldlog.open(damaged)
    assert foldlog.salvage(damaged, tmp_path / "saved.db").ok
    assert events(tmp_path / "saved.db") == before


@pytest.mark.parametrize("bad", ["schema", "header", "text", "other"])
@pytest.mark.sqlite("a file is saved")
def test_what_cannot_be_saved_is_said(damaged: Path, tmp_path: Path, bad: str) -> None:
    if bad == "schema":
        data = bytearray(damaged.read_bytes())
        data[100:4096] = b"\xff" * 3996
        damaged.write_bytes(data)
    elif bad == "header":
        damaged.write_bytes(b"\0" * 100 + damaged.read_bytes()[100:])
    elif bad == "text":
        damaged.write_text("just some text " * 1000)
    else:
        damaged.unlink()
        sqlite3.connect(damaged).execute("CREATE TABLE mine (x)").connection.close()
    with pytest.raises((foldlog.CorruptJournalError, foldlog.NotAStoreError)) as caught:
        foldlog.salvage(damaged, tmp_path / "saved.db")
    assert "damaged" in caught.value.message or "no table" in caught.value.message
    assert not (tmp_path / "saved.db").exists()


def test_a_server_has_no_file_to_save_anything_of(tmp_path: Path) -> None:
    with pytest.raises(foldlog.StoreError, match="a server's files are not foldlog's to read"):
        foldlog.salvage("postgresql+psycopg://nobody@nowhere/none", tmp_path / "saved.db")
    assert not (tmp_path / "saved.db").exists()


def test_progress_is_told(damaged: Path | str) -> None:
    seen: list[tuple[int, int]] = []
    with foldlog.open(damaged) as store:
        store.repair(progress=lambda done, total: seen.append((done, total)))
    assert seen
    assert all(0 <= done <= total for done, total in seen)
    assert seen[-1][0] == seen[-1][1]


def test_a_read_only_store_is_not_repaired(damaged: Path | str) -> None:
    with foldlog.open(damaged, read_only=True) as store, pytest.raises(foldlog.StoreError, match="read-only"):
        store.repair()


@pytest.mark.sqlite("a file is saved")
def test_deletions_stay_deletions(damaged: Path, tmp_path: Path) -> None:
    with foldlog.open(damaged) as store:
        store.delete_session("other")
        assert store.verify().ok
        assert store.repair().ok
    repairs = foldlog.salvage(damaged, tmp_path / "saved.db")
    assert repairs.ok, str(repairs)
    assert repairs.lost == []
    for path in (damaged, tmp_path / "saved.db"):
        with foldlog.open(path, read_only=True) as store:
            assert [row["session_id"] for row in store.query("SELECT session_id FROM deletions")] == ["other"]
            assert store.verify().ok
            assert foldlog.doctor(path).ok


@pytest.mark.sqlite("a file is saved")
def test_salvage_goes_past_keys_that_are_no_numbers(damaged: Path, tmp_path: Path) -> None:
    before = events(damaged, "other")
    change(damaged, "UPDATE events SET session_key = 'x' WHERE position = (SELECT max(position) - 1 FROM events)")
    repairs = foldlog.salvage(damaged, tmp_path / "saved.db")
    assert len(repairs.lost) == 1
    assert len(repairs.set_apart) == 1
    saved = events(tmp_path / "saved.db", "other")
    assert saved == {name: event for name, event in before.items() if name in saved}
    assert len(saved) == len(before) - 1
