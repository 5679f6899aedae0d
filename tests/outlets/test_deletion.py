"""Deleting a session takes all of it, nothing else, and leaves one event that says so."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import foldlog
from damaged_stores import change
from foldlog.core.limits import REASON_CHARS_MAX
from foldlog.session.session import Session
from foldlog.storage import journal, marks, removal
from foldlog.storage.blobs import Reader
from foldlog.storage.driver import Driver
from foldlog.storage.schema import durable, projection
from foldlog.testing import Clock

in_files = pytest.mark.sqlite("of the file, and of what SQLite does with it")
Reopen = Callable[[], foldlog.Store]


def transcript(length: int) -> list[str]:
    return [f"message {number} " * 60 for number in range(length)]


def fill(store: foldlog.Store, session_id: str, *, length: int = 12) -> None:
    """A session with a child, calls that share what they sent, and values of its own."""
    with store.start_session(id=session_id) as session:
        for count in range(1, length):
            with session.call("leaf", request_ref=session.value_ref(transcript(count))) as call:
                call.ok(usage={"input_tokens": 1})
        session.snapshot({"own": f"{session_id} " * 2000})
        with session.start_child() as child:
            child.mark_final({"of": session_id, "text": "final " * 2000})


def dump(store: foldlog.Store) -> dict[str, list[tuple[Any, ...]]]:
    """Everything in the tables, but positions and keys."""
    with store.database.read() as connection:
        return {
            table.name: sorted(map(repr, connection.exec_driver_sql(f"SELECT * FROM {table.name}")))
            for table in (*durable.sorted_tables, *projection.sorted_tables)
        }


def count(store: foldlog.Store, sql: str) -> int:
    with store.database.read() as connection:
        found: int = connection.exec_driver_sql(sql).scalar()
        return found


def rows(store: foldlog.Store, sql: str) -> list[tuple[Any, ...]]:
    with store.database.read() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(sql)]


def said(store: foldlog.Store, session_id: str) -> tuple[Any, ...]:
    return store.final(session_id), store.tree(session_id), list(store.events(session_id))


@pytest.fixture
def filled(store: foldlog.Store) -> foldlog.Store:
    fill(store, "kept")
    fill(store, "demo", length=20)
    return store


def test_a_session_goes_with_all_below_it_and_nothing_else(filled: foldlog.Store) -> None:
    before = {one: said(filled, one) for one in ("kept", "kept/child-0001")}
    deletion = filled.delete_session("demo", reason="a try")
    assert deletion.sessions == ("demo", "demo/child-0001")
    assert {row["id"] for row in filled.sessions()} == set(before)
    assert before == {one: said(filled, one) for one in before}
    for gone in deletion.sessions:
        for ask in (filled.view, filled.usage, filled.open_session, filled.delete_session):
            with pytest.raises(foldlog.UnknownSessionError, match=gone):
                ask(gone)
    for table in projection.sorted_tables:
        assert count(filled, f"SELECT count(*) FROM {table.name} WHERE session_id LIKE 'demo%'") == 0
    assert filled.verify().ok, str(filled.verify())


def test_what_only_the_deleted_session_referred_to_goes(filled: foldlog.Store, path: Path | str) -> None:
    # Values that both sent stay, with the lists and parts they are made of.
    names = count(filled, "SELECT count(*) FROM blobs")
    deletion = filled.delete_session("demo")
    assert deletion.blob_count == 8 + 1 + 1  # transcripts 12 to 19, a variable, the final value
    assert count(filled, "SELECT count(*) FROM blobs") == names - deletion.blob_count
    assert len(list(filled.view("kept").calls)) == 12
    filled.delete_session("kept")
    assert [count(filled, f"SELECT count(*) FROM {name}") for name in ("blobs", "parts", "lists")] == [0, 0, 0]
    assert [count(filled, f"SELECT count(*) FROM {table.name}") for table in projection.sorted_tables] == [0] * 9
    assert filled.verify().ok


def test_a_value_inside_a_kept_value_stays(store: foldlog.Store) -> None:
    with store.start_session(id="demo") as session:
        inner = session.value_ref("inner " * 3000)
        session.emit("a", ref=inner)
    with store.start_session(id="kept") as session:
        session.emit("b", ref=session.value_ref({"inner": inner, "filling": "x" * 5000}))
    assert store.delete_session("demo").blob_count == 0
    session = store.open_session("kept")
    assert session.read_ref(session.read_ref(next(iter(store.events("kept", types=["b"])))["ref"])["inner"])
    assert store.verify().ok


def test_the_values_inside_a_value_go_with_it(store: foldlog.Store) -> None:
    with store.start_session(id="demo") as session:
        inner = session.value_ref("inner " * 3000)
        session.emit("a", ref=session.value_ref([inner, "x" * 5000]))
    assert store.delete_session("demo").blob_count == 2
    assert count(store, "SELECT count(*) FROM blobs") == 0


def test_a_dry_run_tells_the_numbers_and_changes_nothing(filled: foldlog.Store, path: Path | str) -> None:
    before = dump(filled)
    told = filled.delete_session("demo", reason="r", dry_run=True)
    assert dump(filled) == before
    with foldlog.open(path, read_only=True) as reader:
        assert reader.delete_session("demo", reason="r", dry_run=True) == told
        with pytest.raises(foldlog.StoreError, match="read-only"):
            reader.delete_session("demo")
    done = filled.delete_session("demo", reason="r")
    assert (told.dry_run, told.position, told.at) == (True, None, None)
    for name in ("sessions", "event_count", "event_bytes", "row_count", "blob_count", "blob_bytes", "reason"):
        assert getattr(told, name) == getattr(done, name) != 0, name


def test_what_was_deleted_when_and_why_stays(filled: foldlog.Store, clock: Clock) -> None:
    ((chain,),) = rows(
        filled,
        "SELECT chain FROM events JOIN streams USING (session_key) WHERE id = 'demo' ORDER BY event_id DESC LIMIT 1",
    )
    deletion = filled.delete_session("demo", reason="a try")
    (event,) = filled.events(types=["session.deleted"])
    assert (event.session_id, event.position, event["at"]) == (".store", deletion.position, deletion.at)
    assert event["sessions"][0]["chain"] == chain.hex()
    assert [one["session_id"] for one in event["sessions"]] == ["demo", "demo/child-0001"]
    clock.now = clock.now.replace(year=2000)
    later = filled.delete_session("kept")
    assert later.at == deletion.at  # time never goes back
    assert [event["session_id"] for event in filled.events(types=["session.deleted"])] == ["demo", "kept"]


@in_files
def test_the_view_of_deletions(filled: foldlog.Store) -> None:
    deletion = filled.delete_session("demo", reason="a try")
    (row,) = filled.query("SELECT * FROM deletions")
    assert (row["session_id"], row["session_count"], row["reason"]) == ("demo", 2, "a try")
    assert (row["event_count"], row["blob_count"], row["deleted_at"]) == (
        deletion.event_count, deletion.blob_count, deletion.at,
    )  # fmt: skip
    filled.delete_session("kept")
    assert [row["session_id"] for row in filled.query("SELECT session_id FROM deletions ORDER BY position")] == [
        "demo", "kept",
    ]  # fmt: skip


def test_positions_keys_and_order_are_not_given_again(store: foldlog.Store) -> None:
    for _ in range(3):
        store.start_session(id="demo").close()
        positions = [event.position for event in store.events()]
        deletion = store.delete_session("demo")
        assert deletion.position is not None
        assert deletion.position > max(positions)
    assert rows(store, "SELECT session_key, id FROM streams ORDER BY abs(session_key)") == [
        (-1, ".deleted/1"), (2, ".store"), (-3, ".deleted/3"), (-4, ".deleted/4"),
    ]  # fmt: skip


def test_the_id_can_be_given_again(filled: foldlog.Store) -> None:
    filled.delete_session("demo")
    with filled.start_session(id="demo") as session:
        session.add_message("user", "anew")
        child = session.start_child()
        child.close()
    assert child.id == "demo/child-0001"
    assert len(filled.view("demo").messages) == 1
    assert filled.verify().ok
    assert filled.delete_session("demo").sessions == ("demo", "demo/child-0001")


def test_a_session_that_is_written_is_not_deleted(filled: foldlog.Store, reopen: Reopen) -> None:
    before = dump(filled)
    for writer in (filled, reopen()):
        for held in ("demo", "demo/child-0001"):
            session = writer.open_session(held, recover=False)
            with pytest.raises(foldlog.SessionInUseError, match=held) as caught:
                filled.delete_session("demo")
            assert caught.value.holder is not None
            session.close()
    assert dump(filled)["events"] == before["events"]
    filled.delete_session("demo")


def test_a_deletion_that_was_refused_leaves_no_lease(filled: foldlog.Store) -> None:
    child = filled.open_session("demo/child-0001")
    with pytest.raises(foldlog.SessionInUseError):
        filled.delete_session("demo")
    filled.open_session("demo").close()
    child.close()


@pytest.mark.parametrize("how", ["resume", "fork", "attach", "imported"])
def test_a_session_that_others_come_from_stays_unless_told(filled: foldlog.Store, how: str) -> None:
    if how == "attach":
        with filled.start_session(id="other") as session:
            session.attach_child("demo").close()
        name = "other/attached-0001"
    elif how == "imported":
        filled.start_session(id="other", resumed_from={"session_id": "demo"}).close()
        name = "other"
    else:
        getattr(filled, f"{how}_session")("demo", id="other").close()
        name = "other"
    for dry_run in (True, False):
        with pytest.raises(foldlog.HasDescendantsError, match=name) as caught:
            filled.delete_session("demo", dry_run=dry_run)
        assert caught.value.descendants == (name,)
    view = filled.view(name).load()
    deletion = filled.delete_session("demo", despite_descendants=True)
    assert deletion.sessions == ("demo", "demo/child-0001")
    assert filled.view(name) == view
    session = filled.open_session(name)
    if how != "imported":
        assert session.restore() == {"own": "demo " * 2000}
    session.close()
    assert filled.verify().ok


def test_a_descendant_below_goes_along(filled: foldlog.Store) -> None:
    with filled.open_session("demo") as session:
        session.attach_child("demo").close()
    assert filled.delete_session("demo").sessions == ("demo", "demo/child-0001", "demo/attached-0002")


def test_a_child_alone_may_go_and_the_call_that_leads_to_it_stays(filled: foldlog.Store) -> None:
    filled.delete_session("demo/child-0001")
    (child,) = filled.tree("demo")["children"]
    assert (child["session_id"], child["status"]) == ("demo/child-0001", None)
    usage = filled.usage("demo")
    assert (usage["status"], usage["leaf"]["status"]) == ("partial", "partial")
    assert usage["children"]["children"][0]["usage"] == {"status": "unknown"}
    assert filled.verify().ok
    with filled.open_session("demo") as session:
        session.start_child().close()
    assert filled.delete_session("demo").sessions == ("demo", "demo/child-0002")


@pytest.mark.parametrize("id", ["none", "demo/none", "demo/child-0001/child-0001"])
def test_a_session_there_is_not_is_unknown(filled: foldlog.Store, id: str) -> None:
    for dry_run in (True, False):
        with pytest.raises(foldlog.UnknownSessionError):
            filled.delete_session(id, dry_run=dry_run)


@pytest.mark.parametrize("id", ["", ".store", ".deleted/1", "demo/", "../demo", 5, None])
def test_an_id_that_is_none_is_refused(filled: foldlog.Store, id: Any) -> None:
    for ask in (filled.delete_session, filled.view, filled.open_session):
        with pytest.raises(foldlog.InvalidIdError):
            ask(id)


def test_a_reason_has_a_limit(filled: foldlog.Store) -> None:
    with pytest.raises(foldlog.LimitError, match="1,000"):
        filled.delete_session("demo", reason="x" * (REASON_CHARS_MAX + 1))
    with pytest.raises(foldlog.InvalidEventError):
        filled.delete_session("demo", reason=5)  # type: ignore[arg-type]
    with pytest.raises(foldlog.NotSerializableError):
        filled.delete_session("demo", reason="\ud800")
    assert filled.delete_session("demo", reason="x" * REASON_CHARS_MAX).reason == "x" * REASON_CHARS_MAX


# Those who still hold something of it.


def test_a_view_of_a_deleted_session_never_shows_another(filled: foldlog.Store, reopen: Reopen) -> None:
    reader = reopen()
    view, old = reader.view("demo"), reader.view("demo").load()
    filled.delete_session("demo")
    fill(filled, "demo", length=20)  # as many events, and the tables at the same one
    with pytest.raises(foldlog.UnknownSessionError, match="deleted"):
        list(view.calls.values())
    with pytest.raises(foldlog.UnknownSessionError, match="deleted"):
        view.snapshots[1]
    assert len(old.calls) == 20  # what was read stays


def test_a_view_under_way_is_whole_or_refused(store: foldlog.Store, reopen: Reopen) -> None:
    with store.start_session(id="demo") as session, session.batch():
        for number in range(2500):
            session.add_event("note", number=number)
    reader = reopen()
    events = reader.events("demo")
    next(events)
    store.delete_session("demo")
    with pytest.raises(foldlog.UnknownSessionError, match="deleted"):
        list(events)


def test_a_follower_hears_that_its_session_is_gone(filled: foldlog.Store, reopen: Reopen) -> None:
    reader = reopen()
    one, everything = reader.follow("demo", idle_timeout=5), reader.follow(idle_timeout=5)
    for _ in filled.events("demo"):
        next(one)
    for _ in filled.events():
        next(everything)
    filled.delete_session("demo")
    fill(filled, "demo")
    with pytest.raises(foldlog.UnknownSessionError, match="deleted"):
        next(one)
    told = next(everything)
    assert (told.session_id, told["type"], told["session_id"]) == (".store", "session.deleted", "demo")


def test_a_handle_that_was_pushed_aside_cannot_write_into_what_is_deleted(
    filled: foldlog.Store, reopen: Reopen
) -> None:
    stale = filled.open_session("demo")
    other = reopen()
    other.open_session("demo", take_over=True).close()
    other.delete_session("demo")
    for write in (lambda: stale.emit("a"), lambda: stale.add_message("user", "b")):
        with pytest.raises((foldlog.UnknownSessionError, foldlog.StaleWriterError)):
            write()
    fill(other, "demo")
    with pytest.raises(foldlog.UnknownSessionError, match="deleted"):
        stale.emit("a", ref=stale.value_ref("x" * 9000))
    with pytest.raises(foldlog.StaleWriterError):
        stale.reload()
    stale.close()
    assert other.verify().ok


def test_other_sessions_of_the_same_commit_are_not_struck(filled: foldlog.Store, reopen: Reopen) -> None:
    stale, session = filled.open_session("demo"), filled.open_session("kept")
    other = reopen()
    other.open_session("demo", take_over=True).close()
    other.delete_session("demo")
    outcomes: list[Any] = []

    def emit(one: foldlog.Session) -> None:
        try:
            outcomes.append(one.emit("a")["id"])
        except foldlog.UnknownSessionError as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=emit, args=(one,)) for one in (stale, session)]
    with filled.database.lock:  # so that they share a commit
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(map(str, outcomes)) == sorted(map(str, [foldlog.UnknownSessionError, session.view.counters["event"]]))


def test_no_child_begins_below_what_is_deleted_meanwhile(
    filled: foldlog.Store, reopen: Reopen, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Session.begin

    def delete_and_begin(host: Any, row: Any, **more: Any) -> Any:
        filled.delete_session("demo")
        return begin(host, row, **more)

    monkeypatch.setattr(Session, "begin", delete_and_begin)
    with pytest.raises(foldlog.UnknownSessionError, match="'demo' was deleted"):
        reopen().start_session(id="demo/mine", parent="demo")
    assert filled.verify().ok
    assert {row["id"] for row in filled.sessions()} == {"kept", "kept/child-0001"}


def test_a_reader_of_many_blobs_is_not_misled_by_ids_that_are_given_again(store: foldlog.Store) -> None:
    def recorded(id: str, value: Any) -> str:
        with store.start_session(id=id) as session:
            ref = session.value_ref(value)
            session.emit("a", ref=ref)
        name: str = ref["hash"]
        return name

    first = recorded("demo", transcript(30))
    reader = Reader(store.database)
    assert reader.read(first) is not None
    store.delete_session("demo")
    second = recorded("demo", [f"other {number} " * 60 for number in range(30)])
    assert reader.read(second) is not None
    assert reader.read(first) is None


# Space and files.


@in_files
def test_space_is_given_back(store: foldlog.Store, path: Path) -> None:
    fill(store, "kept", length=3)
    small = store.delete_session("kept", dry_run=True).event_bytes
    with store.start_session(id="large") as session:
        for number in range(40):
            session.emit("a", ref=session.value_ref(f"{number:09}" * 20_000))
    deletion = store.delete_session("large")
    assert deletion.file_bytes_freed > 40 * 9 * 20_000 > small
    assert deletion.notes == ()
    assert path.stat().st_size < 400_000
    assert Path(f"{path}-wal").stat().st_size == 0
    assert store.verify().ok


@in_files
def test_nothing_that_was_deleted_can_be_found_in_the_files(store: foldlog.Store, path: Path) -> None:
    fill(store, "kept")
    with store.start_session(id="demo") as session:
        session.add_message("user", "a-secret-of-the-user")
        session.emit("a", ref=session.value_ref("another-secret" * 1000))
    store.delete_session("demo")
    store.close()
    for file in path.parent.iterdir():
        if file.is_file():
            assert b"secret" not in file.read_bytes()


@in_files
def test_a_reader_makes_the_space_wait_and_nothing_fail(filled: foldlog.Store, path: Path) -> None:
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    rows = reader.execute("SELECT count(*) FROM events").fetchone()
    deletion = filled.delete_session("demo")
    assert deletion.file_bytes_freed == 0
    assert "reader" in deletion.notes[0]
    assert reader.execute("SELECT count(*) FROM events").fetchone() == rows
    reader.close()
    assert filled.verify().ok


@in_files
def test_what_is_large_and_mostly_kept_is_not_rewritten(filled: foldlog.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foldlog.storage.sqlite_sql.VACUUM_FILE_BYTES_MAX", 0)
    monkeypatch.setattr("foldlog.storage.sqlite_sql.VACUUM_FREE_SHARE_MIN", 0.9)
    assert filled.delete_session("demo").file_bytes_freed == 0
    monkeypatch.setattr("foldlog.storage.sqlite_sql.VACUUM_FREE_SHARE_MIN", 0.1)
    assert filled.delete_session("kept").file_bytes_freed > 0


@pytest.fixture
def exporting(path: Path | str, tmp_path: Path | str, clock: Clock) -> Iterator[foldlog.Store]:
    config = foldlog.Config(durability="normal", clock=clock, export_dir=tmp_path / "out")
    with foldlog.open(path, config=config) as store:
        fill(store, "kept")
        fill(store, "demo")
        yield store


def test_exported_files_go_too(exporting: foldlog.Store, tmp_path: Path | str) -> None:
    files = [one for one in (tmp_path / "out" / "demo").rglob("*") if one.is_file()]
    kept = {one: one.read_bytes() for one in (tmp_path / "out" / "kept").rglob("*") if one.is_file()}
    deletion = exporting.delete_session("demo")
    assert (deletion.file_count, deletion.notes) == (len(files), ())
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["kept"]
    assert kept == {one: one.read_bytes() for one in (tmp_path / "out" / "kept").rglob("*") if one.is_file()}


def test_the_documents_above_a_deleted_child_are_written_anew(exporting: foldlog.Store, tmp_path: Path | str) -> None:
    exporting.delete_session("demo/child-0001")
    assert not (tmp_path / "out" / "demo" / "children").exists()
    written = tmp_path.joinpath("out", "demo", "usage.json").read_bytes()
    exporting.export(tmp_path / "again")
    assert written == tmp_path.joinpath("again", "demo", "usage.json").read_bytes()


def test_files_that_are_not_ours_stay_and_are_told_of(exporting: foldlog.Store, tmp_path: Path | str) -> None:
    folder = tmp_path / "out" / "demo"
    (folder / "notes.txt").write_text("mine")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "session.json").write_text("mine")
    below = folder / "children" / "child-0001"
    below.rename(folder / "children" / "moved")
    below.symlink_to(elsewhere)
    deletion = exporting.delete_session("demo")
    assert deletion.notes == (f"{folder} is left: it holds what foldlog did not write",)
    assert (folder / "notes.txt").read_text() == "mine"
    assert (elsewhere / "session.json").read_text() == "mine"
    assert not (folder / "session.json").exists()


def test_an_id_made_by_other_hands_leads_nowhere(exporting: foldlog.Store, tmp_path: Path | str) -> None:
    victim = tmp_path / "out" / "kept" / "session.json"
    with exporting.database.transaction() as connection:
        connection.exec_driver_sql("INSERT INTO streams (session_key, id) VALUES (98, 'demo/../../kept')")
        connection.exec_driver_sql("INSERT INTO streams (session_key, id) VALUES (99, 'demo/x/../../../../kept')")
    deletion = exporting.delete_session("demo")
    assert victim.exists()
    assert "is not a session id" in deletion.notes[0]


# Telling a deletion from a loss.


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE events SET data = replace(data, 'a try', 'to try') WHERE type = 'session.deleted'", "not what was"),
        ("UPDATE events SET at = '9' WHERE type = 'session.deleted'", "the chain is broken"),
        ("DELETE FROM events WHERE type = 'session.deleted'", "no event says that it was deleted"),
        ("DELETE FROM streams WHERE session_key < 0", "has left no stream"),
        ("UPDATE streams SET id = 'x' WHERE session_key = -3", "has the id 'x'"),
        ("UPDATE streams SET session_key = -session_key WHERE session_key < 0", "has the id"),
        ("UPDATE streams SET id = '.deleted/1', session_key = -1 WHERE session_key = 1", "no event says"),
    ],
)
def test_a_loss_is_no_deletion(filled: foldlog.Store, path: Path | str, statement: str, what: str) -> None:
    filled.delete_session("demo", reason="a try")
    filled.close()
    change(path, statement)
    with foldlog.open(path, read_only=True) as store:
        problems = store.verify().problems
    assert [one for one in problems if what in one.what], problems


@pytest.mark.sqlite("a server's columns hold nothing of another type")
def test_a_record_of_another_type_is_found(filled: foldlog.Store, path: Path) -> None:
    test_a_loss_is_no_deletion(
        filled, path, "UPDATE events SET data = x'00' WHERE type = 'session.deleted'", "a column is not of the type"
    )


def test_the_journal_of_a_kept_session_still_refuses_to_be_deleted(filled: foldlog.Store, path: Path | str) -> None:
    filled.delete_session("demo")
    with filled.database.write() as connection:
        for sql in (
            "DELETE FROM events",
            "DELETE FROM events WHERE type = 'session.deleted'",
            "DELETE FROM events WHERE session_key = 1",
            "UPDATE events SET data = '{}' WHERE type = 'session.deleted'",
        ):
            with pytest.raises(sqlite3.DatabaseError) as caught:
                connection.execute(sql)
            assert "append-only" in str(caught.value) or getattr(caught.value, "sqlstate", "") == "23001"


@in_files
def test_a_writer_goes_on_as_before_after_a_deletion(filled: foldlog.Store) -> None:
    filled.delete_session("demo")
    with filled.database.write() as connection:
        assert connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1
        assert connection.execute("PRAGMA secure_delete").fetchone()[0] == 0
        assert connection.execute("PRAGMA busy_timeout").fetchone()[0] == 30_000
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 1
        assert not connection.in_transaction


def test_a_deletion_that_fails_changes_nothing(filled: foldlog.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dump(filled)
    remove = removal.remove

    def fail(connection: Driver, doomed: removal.Doomed) -> None:
        remove(connection, doomed)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(removal, "remove", fail)
    with pytest.raises(foldlog.StoreError, match="'demo': deleting it"):
        filled.delete_session("demo")
    assert dump(filled) == before
    monkeypatch.undo()
    filled.delete_session("demo")
    assert filled.verify().ok


@in_files
def test_what_is_deleted_is_not_taken_for_lost(filled: foldlog.Store) -> None:
    assert marks.noted(filled.database, journal.find_stream(filled.database, "demo")) > 0
    filled.delete_session("demo")
    assert marks.lost(filled.database) == []
    fill(filled, "demo", length=3)
    assert marks.lost(filled.database) == []
    assert marks.noted(filled.database, journal.find_stream(filled.database, "kept")) > 0
