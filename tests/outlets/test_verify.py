"""Verification finds what was changed behind the library's back, and where; backup and export keep their word."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import foldlog
from damaged_stores import blot, change, make, pages_of
from foldlog.outlets import ledger
from foldlog.storage.driver import Driver


@pytest.fixture
def made(path: Path | str) -> Path | str:
    with foldlog.open(path) as store, store.start_session(id="demo") as session:
        with session.turn() as turn:
            turn.message("user", "hi")
            with turn.call("leaf", request_ref=session.value_ref("x" * 9000)) as call:
                call.ok(usage={"input_tokens": 3}, cost={"usd": 0.5})
        session.start_child().close()
    return path


def problems(path: Path | str, *, deep: bool = True) -> list[Any]:
    with foldlog.open(path, read_only=True) as store:
        report = store.verify(deep=deep)
    assert report.ok == (not report.problems)
    assert bool(report) == report.ok
    return report.problems


def test_a_whole_store_is_ok(made: Path | str) -> None:
    with foldlog.open(made) as store:
        report = store.verify()
        assert (report.ok, report.session_count, report.blob_count) == (True, 2, 1)
        assert str(report).startswith("ok: 2 sessions")


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE events SET data = replace(data, 'hi', 'ho') WHERE type = 'message.added'", "the data is not what"),
        ("UPDATE events SET at = '2020' WHERE type = 'message.added'", "the chain is broken"),
        ("UPDATE events SET type = 'message.lost' WHERE type = 'message.added'", "the chain is broken"),
        ("UPDATE events SET digest = x'00' WHERE type = 'message.added'", "the data is not what"),
        ("DELETE FROM events WHERE type = 'message.added'", "event 3 is missing"),
    ],
)
def test_a_changed_journal_is_found_with_its_position(made: Path | str, statement: str, what: str) -> None:
    change(made, statement)
    found = problems(made, deep=False)
    assert any(what in problem.what and problem.position and problem.session == "demo" for problem in found), found
    assert all(problem.hint for problem in found)


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("UPDATE calls SET input_tokens = 99 WHERE session_id = 'demo' AND id = 1", "calls"),
        ("UPDATE messages SET data = replace(data, 'hi', 'ho')", "messages"),
        ("DELETE FROM tree", "tree"),
        ("DELETE FROM turns", "turns"),
        ("UPDATE final SET call_count = 7 WHERE session_id = 'demo'", "final"),
        ("UPDATE usage SET leaf_usd = 9 WHERE session_id = 'demo'", "usage"),
        (
            "UPDATE sessions SET folded = replace(folded, '\"call\":2', '\"call\":9') WHERE session_id = 'demo'",
            "sessions",
        ),
        ("UPDATE sessions SET status = 'running' WHERE session_id = 'demo'", "sessions"),
        ("DELETE FROM sessions WHERE session_id = 'demo'", "sessions"),
    ],
)
def test_changed_tables_are_found(made: Path | str, statement: str, table: str) -> None:
    change(made, statement)
    assert any(f"the table {table}" in problem.what for problem in problems(made))
    assert problems(made, deep=False) == []


@pytest.mark.parametrize("statement", ["DELETE FROM blobs", "UPDATE blobs SET data = x'5b5d'"])
def test_missing_and_damaged_blobs_are_found(made: Path | str, statement: str) -> None:
    change(made, statement)
    assert any("blob sha256:" in problem.what for problem in problems(made))
    with foldlog.open(made) as store, pytest.raises(foldlog.MissingBlobError):
        session = store.open_session("demo")
        session.read_ref(session.view.calls[1]["request_ref"])


@pytest.fixture
def transcripts(path: Path | str) -> Path | str:
    """A store where five calls recorded a transcript that grew, made of shared pieces."""
    with foldlog.open(path) as store, store.start_session(id="demo") as session:
        messages = [{"role": "user", "content": f"{number} " * 500} for number in range(10)]
        for length in range(6, 11):
            session.add_call("leaf", request_ref=session.value_ref(messages[:length]))
    return path


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE parts SET data = x'5b5d' WHERE part_id = 10", "part 10 is damaged"),
        ("DELETE FROM lists WHERE list_id = 5", "blob sha256:"),
        ("UPDATE lists SET hash = zeroblob(32) WHERE list_id = 5", "list 5 is damaged"),
        ("UPDATE lists SET prefix_id = 5 WHERE list_id = 1", "list 1 is damaged"),
        ("INSERT INTO parts (part_id, hash, data) VALUES (11, zeroblob(32), x'31')", "part 11 is damaged"),
    ],
)
def test_damaged_pieces_are_found(transcripts: Path | str, statement: str, what: str) -> None:
    assert problems(transcripts) == []
    change(transcripts, statement)
    assert any(what in problem.what for problem in problems(transcripts))


def test_a_damaged_blob_is_told_of_once_and_with_its_position(transcripts: Path | str) -> None:
    change(transcripts, "UPDATE parts SET data = x'31' WHERE part_id = 10")
    found = problems(transcripts)
    assert [(problem.position, problem.what.split()[0]) for problem in found] == [(6, "blob"), (None, "part")]


def test_an_exported_blob_is_the_whole_value(transcripts: Path | str, tmp_path: Path | str) -> None:
    with foldlog.open(transcripts) as store:
        store.export(tmp_path / "files")
        for call in store.view("demo").calls.values():
            data = (tmp_path / "files" / "demo" / "blobs" / call["request_ref"]["hash"]).read_bytes()
            assert "sha256:" + hashlib.sha256(data).hexdigest() == call["request_ref"]["hash"]
    assert len(json.loads(data)) == 10
    change(transcripts, "DELETE FROM parts WHERE part_id = 10")
    with foldlog.open(transcripts) as store, pytest.raises(foldlog.MissingBlobError, match="damaged"):
        store.export(tmp_path / "others")


def test_a_damaged_row_does_not_hide_the_rest(made: Path | str) -> None:
    change(made, "UPDATE events SET data = '{' WHERE type = 'message.added'")
    found = problems(made)
    assert any("event 3" in problem.what for problem in found)
    with foldlog.open(made, read_only=True) as store:
        assert len(list(store.events("demo/child-0001"))) == 1
        with pytest.raises(foldlog.CorruptJournalError):
            foldlog.fold(store.events("demo"))


@pytest.mark.sqlite("a backup is of a file")
def test_a_backup_is_whole_while_the_store_is_written(path: Path, tmp_path: Path) -> None:
    with foldlog.open(path) as store:
        session = store.start_session(id="demo")
        for number in range(5):
            session.add_message("user", "x" * 5000)
            store.backup(tmp_path / f"copy-{number}.db")
        with pytest.raises(foldlog.AlreadyExistsError):
            store.backup(tmp_path / "copy-0.db")
        with pytest.raises(foldlog.AlreadyExistsError):
            store.backup(path)
        with pytest.raises(foldlog.StoreError):
            store.backup(tmp_path / "nowhere" / "copy.db")
    for number in range(5):
        with foldlog.open(tmp_path / f"copy-{number}.db") as copy:
            assert len(copy.view("demo").messages) == number + 1
            assert copy.verify().ok
    assert not [entry for entry in tmp_path.iterdir() if entry.name.endswith(".new")]


def test_an_export_is_complete_and_repeats_nothing(made: Path | str, tmp_path: Path | str) -> None:
    folder = tmp_path / "files"
    with foldlog.open(made) as store:
        written = store.export(folder)
        assert {str(found.relative_to(folder)) for found in written} >= {
            "demo/session.json", "demo/messages.jsonl", "demo/turns.jsonl", "demo/evals.jsonl", "demo/calls.jsonl",
            "demo/snapshots.jsonl", "demo/events.jsonl", "demo/final.json", "demo/usage.json", "demo/tree.json",
            "demo/children/child-0001/session.json",
        }  # fmt: skip
        ref = store.view("demo").calls[1]["request_ref"]
        assert json.loads((folder / "demo" / "blobs" / ref["hash"]).read_text()) == "x" * 9000
        assert store.export(folder) == []
        with store.open_session("demo") as session:
            session.add_event("note")
        changed = [found.name for found in store.export(folder)]
        assert changed == ["events.jsonl"]
        assert {found.parent.name for found in store.export(tmp_path / "one", session="demo/child-0001")} == {
            "child-0001"
        }


def symlink_file(folder: Path) -> None:
    (folder / "demo").mkdir(parents=True)
    (folder / "demo" / "session.json").symlink_to(folder.parent / "elsewhere")


def symlink_folder(folder: Path) -> None:
    folder.mkdir()
    (folder / "demo").symlink_to(folder.parent)


def file_in_the_way(folder: Path) -> None:
    folder.mkdir()
    (folder / "demo").touch()


@pytest.mark.parametrize("make", [symlink_file, symlink_folder, file_in_the_way])
def test_an_export_follows_no_symlink(made: Path | str, tmp_path: Path | str, make: Callable[[Path], None]) -> None:
    make(tmp_path / "files")
    with foldlog.open(made) as store, pytest.raises(foldlog.StoreError, match="in the way"):
        store.export(tmp_path / "files")
    assert not (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "session.json").exists()


# What else is looked at.


@pytest.mark.sqlite("pages are damaged")
def test_the_index_that_readers_use_is_held_to_the_rows(made: Path) -> None:
    # A page of the index of events, with one entry less: SQLite itself sees it only when it looks at everything.
    data = bytearray(made.read_bytes())
    start = (pages_of(made, "sqlite_autoindex_events_1")[0] - 1) * 4096
    count = int.from_bytes(data[start + 3 : start + 5], "big")
    data[start + 3 : start + 5] = (count - 1).to_bytes(2, "big")
    made.write_bytes(data)
    assert any("the index that readers use" in problem.what for problem in problems(made, deep=False))


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("INSERT INTO streams (session_key, id) VALUES (99, 'empty')", "the session has no events"),
        (
            "INSERT INTO final SELECT 'gone', status, 0, 0, 0, 0, 0, 0, 0, data FROM final LIMIT 1",
            "'gone', which is not",
        ),
        ("DELETE FROM streams WHERE id = 'demo/child-0001'", "of no session"),
        ("UPDATE blobs SET bytes = bytes + 1", "is said to have"),
        ("INSERT INTO blobs VALUES ('sha256:" + "00" * 32 + "', 1, x'31')", "is damaged"),
        (
            f"INSERT INTO blobs VALUES ('sha256:{hashlib.sha256(b'1').hexdigest()}', 1, x'31')",
            "that no event refers to",
        ),
        ("UPDATE events SET event_id = 4000 WHERE event_id = 5 AND session_key = 1", "id"),
    ],
)
def test_rows_that_lead_nowhere_are_found(made: Path | str, statement: str, what: str) -> None:
    change(made, statement)
    found = problems(made)
    assert any(what in problem.what for problem in found), found


def test_progress_goes_from_nothing_to_all(made: Path | str) -> None:
    seen: list[tuple[int, int]] = []
    with foldlog.open(made, read_only=True) as store:
        store.verify(progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1] > 0


@pytest.mark.sqlite("marks stand beside a file")
def test_a_whole_session_that_went_with_the_log_is_told(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "moved" / "history.db"
    elsewhere.parent.mkdir()
    with foldlog.open(path) as store:
        for name in ("kept", "lost"):
            store.start_session(id=name).close()
            if name == "kept":
                store.backup(elsewhere)
    elsewhere.with_name("history.db-marks").write_bytes(path.with_name(f"{path.name}-marks").read_bytes())
    for deep in (True, False):
        [problem] = problems(elsewhere, deep=deep)
        assert problem.what == "events 1 to 1, all of session 2, were committed and are gone"
    elsewhere.with_name("history.db-marks").unlink()
    assert problems(elsewhere) == []


@pytest.mark.sqlite("pages are damaged")
def test_a_page_gone_bad_is_stepped_over(path: Path) -> None:
    make(path)
    blot(path, pages_of(path, "events")[4])
    found = problems(path)
    lost = [problem for problem in found if problem.what.startswith("the table events: rows")]
    assert len(lost) == 1
    assert lost[0].position is not None
    assert any(problem.session == "demo" and "missing" in problem.what for problem in found)
    assert not any(problem.session == "other" for problem in found)


WRITER = """
import sys, foldlog
with foldlog.open(sys.argv[1], config=foldlog.Config(durability="normal")) as store:
    print("open", flush=True)
    number = 0
    while True:
        with store.start_session() as session:
            values = []
            for _ in range(20):
                number += 1
                values.append({"n": number, "text": f"{number} " * 500})
                session.add_call("leaf", status="ok", request_ref=session.value_ref(values))
            session.start_child(query="x").close()
            session.checkpoint()
"""
CHECKPOINTER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
while True:
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    time.sleep(0.02)
"""


def test_no_false_alarm_while_another_process_writes(made: Path | str, tmp_path: Path | str) -> None:
    processes = []
    try:
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(made)], stdout=subprocess.PIPE, text=True)
        processes.append(writer)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
        if isinstance(made, Path):
            processes.append(subprocess.Popen([sys.executable, "-c", CHECKPOINTER, str(made)]))
        counts = []
        with foldlog.open(made, read_only=True) as store:
            for deep in (True, False, True, True):
                report = store.verify(deep=deep)
                assert report.ok, str(report)
                counts.append(report.event_count)
            store.export(tmp_path / "files")
            report = store.verify(exported=tmp_path / "files")
            assert report.ok, str(report)
        assert all(process.poll() is None for process in processes)
        assert counts[-1] > counts[0]
    finally:
        for process in processes:
            process.kill()
            process.communicate(timeout=60)
    assert problems(made) == []


def test_sessions_that_begin_while_it_is_read_are_no_damage(
    path: Path | str, store: foldlog.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.start_session(id="first").close()
    real, asked = ledger.read_names, []

    def read_names(connection: Driver) -> dict[int, Any]:
        # One begins before the names are read again, and one after: the walk may see the events of neither, or of one.
        asked.append(connection)
        store.start_session(id=f"before-{len(asked)}").close()
        found = real(connection)
        store.start_session(id=f"behind-{len(asked)}").close()
        return found

    monkeypatch.setattr(ledger, "read_names", read_names)
    with foldlog.open(path, read_only=True) as reading:
        report = reading.verify()
    assert report.ok, str(report)
    assert len(asked) > 1


# Exported files.


@pytest.fixture
def exported(made: Path | str, tmp_path: Path | str) -> Path | str:
    with foldlog.open(made, read_only=True) as store:
        store.export(tmp_path / "files")
    return tmp_path / "files"


def problems_of_files(path: Path | str, folder: Path) -> list[str]:
    with foldlog.open(path, read_only=True) as store:
        return [problem.what for problem in store.verify(exported=folder).problems]


def test_an_export_may_be_older_than_the_journal(made: Path | str, exported: Path) -> None:
    assert problems_of_files(made, exported) == []
    with foldlog.open(made) as store:
        with store.open_session("demo") as session:
            session.update_status("running")
            session.add_message("user", "more")
        with store.open_session("demo/child-0001") as child:
            child.add_message("user", "more")
        with store.start_session(id="not-exported") as other:
            other.add_event("note")
    assert problems_of_files(made, exported) == []
    with foldlog.open(made, read_only=True) as store:
        store.export(exported, session="demo/child-0001")
    assert problems_of_files(made, exported) == []


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("events.jsonl", "line 1 is not event 1"),
        ("messages.jsonl", "is not what the journal folds to"),
        ("session.json", "is not what the journal folds to"),
        ("usage.json", "is not what the journal gives"),
        ("tree.json", "is not what the journal gives"),
    ],
)
def test_a_changed_file_is_found(made: Path | str, exported: Path, name: str, what: str) -> None:
    file = exported / "demo" / name
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"demo", b"demp", 1).replace(b"hi", b"ho", 1).replace(b"3", b"4"))
    assert any(what in found for found in problems_of_files(made, exported))
    file.unlink()
    assert any("is missing" in found for found in problems_of_files(made, exported))
    file.symlink_to(exported)
    assert any("no regular file" in found for found in problems_of_files(made, exported))
    file.unlink()
    file.write_bytes(whole)
    assert problems_of_files(made, exported) == []


def test_exported_blobs_and_lines_beyond_the_journal(made: Path | str, exported: Path) -> None:
    blob = next((exported / "demo" / "blobs").iterdir())
    blob.write_bytes(b"1")
    assert any("does not have the hash" in found for found in problems_of_files(made, exported))
    blob.unlink()
    assert any(f"{blob.name} is missing" in found for found in problems_of_files(made, exported))
    events = exported / "demo" / "children" / "child-0001" / "events.jsonl"
    events.write_bytes(events.read_bytes() * 2)
    assert any("goes on after the journal" in found for found in problems_of_files(made, exported))


def test_the_export_folder_of_the_settings_is_looked_at(path: Path | str, tmp_path: Path | str) -> None:
    config = foldlog.Config(durability="normal", export_dir=tmp_path / "files")
    with foldlog.open(path, config=config) as store:
        with store.start_session(id="demo") as session:
            session.add_message("user", "hi")
            assert store.verify().ok  # as it is being written
        assert store.verify().exported_count == 1
        (tmp_path / "files" / "demo" / "messages.jsonl").write_text("")
        assert not store.verify().ok
        with pytest.raises(foldlog.StoreError, match="no folder"):
            store.verify(exported=tmp_path / "nowhere")
