"""Copying between stores: what arrives, what a target may be, going on, and what stops it."""

import itertools
import json
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import foldlog
from copied_stores import Place, assert_copied, fill, notes_of, rows_of, said_of
from damaged_stores import change
from foldlog.outlets import copying
from postgres_server import PostgresServer

GOLDEN = Path(__file__).parents[1] / "golden" / "runs" / "pair.json"
_schemas = itertools.count(1)

# Source and target: each engine to each.
pytestmark = pytest.mark.parametrize(
    "ways", [("sqlite", "sqlite"), ("sqlite", "postgres"), ("postgres", "sqlite"), ("postgres", "postgres")],
    ids=lambda ways: f"{ways[0]}-to-{ways[1]}",
)  # fmt: skip


@pytest.fixture
def new_place(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], Place]:
    """Where a store can be made, by engine."""

    def make(engine: str) -> Place:
        number = next(_schemas)
        if engine == "sqlite":
            return tmp_path / f"store-{number}.db"
        server: PostgresServer = request.getfixturevalue("server")
        server.execute(f"CREATE SCHEMA copy{number}")
        return server.url(f"copy{number}")

    return make


@pytest.fixture
def source(ways: tuple[str, str], new_place: Callable[[str], Place]) -> Place:
    return new_place(ways[0])


@pytest.fixture
def target(ways: tuple[str, str], new_place: Callable[[str], Place]) -> Place:
    return new_place(ways[1])


def replay_golden(store: foldlog.Store) -> None:
    for recorded in json.loads(GOLDEN.read_text())["sessions"]:
        parent = {"session_id": recorded["parent"]} if recorded["parent"] is not None else None
        session = store.start_session(id=recorded["id"], parent=parent, **recorded["start"])
        for event in recorded["events"][1:]:
            session.emit(event["type"], **{key: one for key, one in event.items() if key not in ("id", "type", "at")})
        session.close()


def test_everything_arrives_as_it_is(source: Place, target: Place) -> None:
    with foldlog.open(source) as store:
        replay_golden(store)
        fill(store)
    copied = foldlog.copy(source, target)
    assert_copied(source, target)
    events = rows_of(source)["events"]
    assert (copied.ok, copied.event_count, copied.session_count) == (True, len(events), len(said_of(source)))
    assert copied.event_bytes == sum(len(row[5].encode()) for row in events)
    assert copied.blob_count == len(rows_of(source)["blobs"]) > 3
    assert copied.found_event_count == 0


def test_a_copy_is_a_store_like_another(source: Place, target: Place) -> None:
    with foldlog.open(source) as store:
        fill(store)
    foldlog.copy(source, target)
    with foldlog.open(target) as store:
        fill(store, "other")
        session = store.open_session("demo")
        again = session.emit("note", idempotency_key="key 5' \\ %")
        assert again["id"] < session.view.counters["event"]
        assert session.add_message("user", "on it goes")["id"] > 1
        session.close()
        assert store.verify().ok
        assert [event.position for event in store.events()] == sorted(event.position for event in store.events())


def test_a_grown_source_brings_what_is_new(source: Place, target: Place) -> None:
    with foldlog.open(source) as store:
        fill(store)
    first = foldlog.copy(source, target)
    nothing = foldlog.copy(source, target)
    assert (nothing.event_count, nothing.found_event_count) == (0, first.event_count)
    with foldlog.open(source) as store:
        fill(store, "second")
        session = store.open_session("demo")
        session.emit("note", ref=session.value_ref([{"content": "1 " * 300} for _ in range(9)]))
        session.close()
    grown = foldlog.copy(source, target)
    assert grown.found_event_count == first.event_count
    assert grown.event_count == len(rows_of(source)["events"]) - first.event_count
    assert_copied(source, target)


def test_what_a_dead_writer_left_is_recovered_on_the_copy_as_well(source: Place, target: Place) -> None:
    with foldlog.open(source) as store:
        session = store.start_session(id="demo")
        session.add_call("leaf")
        # Its writer lives as far as the copy can know; to the copy it is one that died.
        foldlog.copy(source, target)
        with foldlog.open(target) as other:
            recovered = other.open_session("demo")
            assert [event["type"] for event in other.events("demo")][-2:] == ["session.recovered", "call.updated"]
            recovered.close()


def test_a_source_that_is_written_meanwhile_gives_what_it_had(source: Place, target: Place) -> None:
    with foldlog.open(source) as store:
        fill(store)
        session = store.open_session("demo")
        before = len(list(store.events()))

        def write(_done: int, _total: int) -> None:
            session.emit("note", ref=session.value_ref(["late " * 100] * 50))

        copied = foldlog.copy(source, target, progress=write)
        assert copied.event_count >= before
        with foldlog.open(target, read_only=True) as other:
            events = list(other.events())
            assert list(map(dict, events)) == [dict(event) for event in store.events()][: len(events)]
            assert other.verify().ok
        session.close()
    foldlog.copy(source, target)
    assert_copied(source, target)


def test_writers_at_work_lose_nothing_in_the_copy(source: Place, target: Place) -> None:
    config = foldlog.Config(durability="normal")

    def write(name: str) -> None:
        with foldlog.open(source, config=config) as own, own.start_session(id=name) as session:
            for number in range(40):
                with session.batch():
                    session.add_message("user", name)
                    session.emit("note", ref=session.value_ref([f"{name} {number} " * 40] * 9))

    foldlog.open(source).close()
    threads = [threading.Thread(target=write, args=(f"writer-{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            foldlog.copy(source, target)
    finally:
        for thread in threads:
            thread.join()
    foldlog.copy(source, target)
    assert_copied(source, target)


def test_many_values_come_in_many_pages(source: Place, target: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_PAGE_VALUES_MAX", 2)
    with foldlog.open(source) as store:
        fill(store)
    pages = []
    foldlog.copy(source, target, progress=lambda done, _total: pages.append(done))
    assert len(pages) > 3
    assert_copied(source, target)


def test_an_interrupted_copy_goes_on(source: Place, target: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_FIRST_PAGE_ROWS", 7)
    monkeypatch.setattr(copying, "_PAGE_ROWS_MAX", 7)
    with foldlog.open(source) as store:
        fill(store)
    total = len(rows_of(source)["events"])
    brought = 0
    for _ in range(3):

        def stop(done: int, _total: int) -> None:
            if done >= 14:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            foldlog.copy(source, target, progress=stop)
        brought += 14
        assert len(rows_of(target)["events"]) == brought
    copied = foldlog.copy(source, target)
    assert (copied.found_event_count, copied.event_count) == (brought, total - brought)
    assert_copied(source, target)


def test_half_a_copy_is_told_once_and_looks_like_no_other_damage(
    source: Place, target: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, bring = via_file(tmp_path, source)
    with foldlog.open(first) as store:
        for name in ("one", "two"):
            fill(store, name)
        store.delete_session("one", despite_descendants=True)
        fill(store, "three")
    bring()
    monkeypatch.setattr(copying, "_FIRST_PAGE_ROWS", 7)
    monkeypatch.setattr(copying, "_PAGE_ROWS_MAX", 7)

    def stop(done: int, total: int) -> None:
        if done >= total // 2 - 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        foldlog.copy(source, target, progress=stop)
    brought = len(rows_of(target)["events"])
    with foldlog.open(target, read_only=True) as store:
        names = {event.session_id for event in store.events()}
        (problem,) = store.verify().problems
        assert problem.what.startswith(f"{len(names - {'.store'})} sessions in the journal, but not in the tables")
        assert "a copy that was not finished" in problem.what
        assert "the same `foldlog copy` again goes on" in problem.hint
        assert "`foldlog repair STORE`" in problem.hint
    (finding,) = [one for one in foldlog.doctor(target).findings if one.name == "tables"]
    assert (finding.level, finding.what, finding.hint) == ("warning", problem.what, problem.hint)
    with foldlog.open(target) as store:
        assert store.repair()
        assert store.verify().ok
    assert "up to date" in str(next(one for one in foldlog.doctor(target).findings if one.name == "tables"))
    assert foldlog.copy(source, target).found_event_count == brought
    assert_copied(source, target)


def test_another_history_is_not_added_to(source: Place, target: Place) -> None:
    with foldlog.open(source) as store:
        fill(store)
    with foldlog.open(target) as store:
        store.start_session(id="own").close()
    before = rows_of(target)
    with pytest.raises(foldlog.AlreadyExistsError, match="'own'"):
        foldlog.copy(source, target)
    assert rows_of(target) == before


def test_a_copy_that_was_written_to_is_told_from_the_source(source: Place, target: Place) -> None:
    with foldlog.open(source) as store:
        fill(store)
    foldlog.copy(source, target)
    with foldlog.open(target) as store:
        session = store.open_session("demo")
        event_id = session.add_event("of.its.own")
        session.close()
    with foldlog.open(source) as store:
        session = store.open_session("demo")
        session.add_event("of.the.source")
        session.close()
    with pytest.raises(foldlog.AlreadyExistsError, match=f"'demo': event {event_id} "):
        foldlog.copy(source, target)


def test_a_target_in_use_is_refused(source: Place, target: Place) -> None:
    with foldlog.open(source) as store:
        fill(store)
    foldlog.copy(source, target)
    with foldlog.open(target) as store:
        session = store.open_session("demo-fork")
        with pytest.raises(foldlog.SessionInUseError, match="demo-fork"):
            foldlog.copy(source, target)
        session.close()


def test_no_source_makes_no_target(source: Place, target: Place) -> None:
    with pytest.raises(foldlog.NotAStoreError):
        foldlog.copy(source, target)
    with pytest.raises(foldlog.NotAStoreError):
        foldlog.open(target, read_only=True)


def test_an_empty_store_and_a_store_itself(source: Place, target: Place) -> None:
    foldlog.open(source).close()
    assert foldlog.copy(source, target).event_count == 0
    if isinstance(source, Path):
        with pytest.raises(foldlog.StoreError, match="the source itself"):
            foldlog.copy(source, source)


def via_file(tmp_path: Path, source: Place) -> tuple[Path, Callable[[], None]]:
    """A file in which something is done that is a file's own, and what brings it to the source of a test."""
    first = tmp_path / "first.db"

    def bring() -> None:
        foldlog.copy(first, source)

    return first, bring


def test_deletions_stay_what_they_are(source: Place, target: Place, tmp_path: Path) -> None:
    first, bring = via_file(tmp_path, source)
    with foldlog.open(first) as store:
        for name in ("one", "two", "three"):
            fill(store, name)
        store.delete_session("two-fork")
        store.delete_session("two", reason="a try")
        store.delete_session("three", despite_descendants=True)
        store.start_session(id="two").close()
    bring()
    foldlog.copy(source, target)
    assert rows_of(first) == rows_of(target)
    assert_copied(source, target)
    with foldlog.open(target) as store:
        store.start_session(id="new").close()
        keys = {event.session_id: event.position for event in store.events()}
        assert keys["new"] == max(keys.values())
        assert store.verify().ok
    with foldlog.open(first) as store:
        store.delete_session("one", despite_descendants=True)
    with pytest.raises(foldlog.AlreadyExistsError, match=r"'one' is in .* was deleted"):
        bring()


def test_a_target_with_deletions_of_its_own_is_told_so(source: Place, target: Place) -> None:
    with foldlog.open(source) as store:
        fill(store)
    foldlog.copy(source, target)
    with foldlog.open(target) as store:
        store.delete_session("demo", despite_descendants=True)
    with pytest.raises(foldlog.AlreadyExistsError, match=r"holds records of deletions that .* does not") as caught:
        foldlog.copy(source, target)
    assert "copy into a new store" in caught.value.hint
    assert ".deleted" not in str(caught.value)
    with foldlog.open(source) as store:
        store.delete_session("demo", despite_descendants=True)
    with pytest.raises(foldlog.AlreadyExistsError, match=r"holds records of deletions that .* does not"):
        foldlog.copy(source, target)


def test_a_target_without_a_deletion_is_told_so(source: Place, target: Place) -> None:
    for place in (source, target):
        with foldlog.open(place) as store:
            store.start_session(id="demo").close()
            store.start_session(id=f"of-{place == source}").close()
    with foldlog.open(source) as store:
        store.delete_session("of-True")
    with pytest.raises(foldlog.AlreadyExistsError) as caught:
        foldlog.copy(source, target)
    assert ".store" not in str(caught.value)
    assert ".deleted" not in str(caught.value)


def test_what_is_set_apart_stays_so(source: Place, target: Place, tmp_path: Path) -> None:
    first, bring = via_file(tmp_path, source)
    with foldlog.open(first) as store:
        fill(store)
        store.start_session(id="late").close()
    change(
        first,
        "UPDATE events SET data = CAST(x'7bff00' AS TEXT) WHERE session_key = 1 AND event_id = 5",
        "UPDATE events SET data = '{}' WHERE session_key = 1 AND event_id = 9",
        "DELETE FROM events WHERE session_key = 1 AND event_id = 12",
        "UPDATE events SET chain = 'x' WHERE (session_key, event_id) = (SELECT 1, max(event_id) FROM events)",
    )  # fmt: skip
    with foldlog.open(first) as store:
        repairs = store.repair()
        assert len(repairs.set_apart) >= 4
    bring()
    foldlog.copy(source, target)
    assert said_of(first) == said_of(target)
    assert notes_of(first) == notes_of(target)
    reports = []
    for place in (first, target):
        with foldlog.open(place, read_only=True) as store:
            reports.append(store.verify())
    assert reports[1].ok, str(reports[1])
    assert sorted(map(str, reports[1].set_apart)) == sorted(map(str, reports[0].set_apart))
    with foldlog.open(first) as store:
        session = store.open_session("demo")
        session.add_event("goes.on")
        session.close()
    bring()
    foldlog.copy(source, target)
    assert said_of(first) == said_of(target)


class TestDamage:
    """A source in a file that is damaged: the target gets what stands before, and no more is said of it."""

    @pytest.fixture(autouse=True)
    def _of_files(self, ways: tuple[str, str]) -> None:
        if ways[0] != "sqlite":
            pytest.skip("what is damaged here is a file")

    @pytest.mark.parametrize(
        "damage",
        [
            "UPDATE events SET data = '{}' WHERE position = 20",
            "UPDATE events SET data = CAST(x'7bff' AS TEXT) WHERE position = 20",
            "UPDATE events SET chain = zeroblob(32) WHERE position = 20",
            "UPDATE events SET type = 'other' WHERE position = 20",
        ],
        ids=["data", "undecodable", "chain", "type"],
    )
    def test_a_damaged_event_stops_it_with_its_position(self, source: Path, target: Place, damage: str) -> None:
        with foldlog.open(source) as store:
            fill(store)
        change(source, damage)
        for _ in range(2):
            with pytest.raises(foldlog.CorruptJournalError) as caught:
                foldlog.copy(source, target)
            assert caught.value.position == 20
        assert [row[0] for row in sorted(rows_of(target)["events"])] == list(range(1, 20))
        assert said_of(target) == {}
        with foldlog.open(source) as store:
            store.repair()
        foldlog.copy(source, target)
        assert said_of(source) == said_of(target)

    def test_a_missing_event_stops_it(self, source: Path, target: Place) -> None:
        with foldlog.open(source) as store:
            fill(store)
        change(source, "DELETE FROM events WHERE position = 20")
        with pytest.raises(foldlog.CorruptJournalError) as caught:
            foldlog.copy(source, target)
        assert caught.value.position == 21

    def test_a_damaged_value_is_told(self, source: Path, target: Place) -> None:
        with foldlog.open(source) as store:
            fill(store)
        connection = sqlite3.connect(source)
        connection.execute("UPDATE parts SET data = x'00' WHERE part_id = 1")
        connection.commit()
        connection.close()
        copied = foldlog.copy(source, target)
        assert not copied
        assert any("sha256:" in line for line in copied.damaged)
        assert "damaged" in str(copied)
        assert rows_of(source) == rows_of(target)
