"""Folding in bulk: the same view as event by event, damage told with its place, the collector left as it was."""

import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import foldlog
from engines import change
from foldlog.core.view import View
from foldlog.session.replaying import collector_resting, fold_on
from foldlog.storage import journal, stream_pages


@pytest.fixture
def long(store: foldlog.Store, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(stream_pages, "_PAGE_ROWS", 4)
    with store.start_session(id="long") as session:
        turn = session.add_turn()["id"]
        for number in range(9):
            call = session.add_call("leaf", turn_id=turn, when=number, data=b"bytes")
            session.update_call(call["id"], status="ok", usage={"input_tokens": number})
    return "long"


def test_pages_fold_to_what_the_events_fold_to(store: foldlog.Store, long: str) -> None:
    events = list(store.events(long))
    stream = journal.find_stream(store.database, long)
    for through in (1, 4, 5, 8, len(events), None):
        view = fold_on(store.database, stream, View(), through=through)
        assert view == foldlog.fold(events[:through])
        assert fold_on(store.database, stream, view) == store.view(long)


UNREADABLE = ["'{'", "'[1]'", "'null'", """'{"a":{"$foldlog":"none","value":1}}'"""]


@pytest.mark.parametrize("data", UNREADABLE)
def test_an_event_that_cannot_be_read_is_told_with_its_position(store: foldlog.Store, long: str, data: str) -> None:
    assert_told(store, long, data)


@pytest.mark.sqlite("a text column holds bytes")
def test_an_event_of_bytes_is_told_with_its_position(store: foldlog.Store, long: str) -> None:
    assert_told(store, long, "x'00ff'")


def assert_told(store: foldlog.Store, long: str, data: str) -> None:
    change(store, f"UPDATE events SET data = {data} WHERE event_id = 6")
    with pytest.raises(foldlog.CorruptJournalError, match="event 6 at position 6 is damaged") as caught:
        store.view(long, at=8)
    assert caught.value.position == 6
    assert store.view(long, at=5).counters["event"] == 5
    assert gc.isenabled()


def test_data_that_is_not_what_was_written_is_told_by_every_reader(
    store: foldlog.Store, long: str, tmp_path: Path
) -> None:
    before = list(store.events(long))
    change(store, "UPDATE events SET data = replace(data, '\"when\":0', '\"when\":7') WHERE event_id = 3")
    readers: list[Callable[[], Any]] = [
        lambda: store.view(long, at=8),
        lambda: list(store.events(long)),
        lambda: list(store.events()),
        lambda: store.export(tmp_path),
    ]
    for read in readers:
        with pytest.raises(foldlog.CorruptJournalError, match="event 3 at position 3 is damaged") as caught:
            read()
        assert caught.value.position == 3
    assert list(store.events(long, after=3)) == before[3:]


@pytest.mark.parametrize("missing", [1, 3, 4, 5, 9])
def test_a_gap_is_told_with_the_position_after_it(store: foldlog.Store, long: str, missing: int) -> None:
    change(store, f"DELETE FROM events WHERE event_id = {missing}")
    with pytest.raises(foldlog.CorruptJournalError, match=f"event {missing} is missing") as caught:
        store.view(long, at=12)
    assert caught.value.position == missing + 1


@pytest.fixture
def collector() -> Iterator[None]:
    yield
    gc.enable()


def test_the_collector_rests_once_and_is_then_as_it_was(collector: None) -> None:
    with collector_resting():
        with collector_resting():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="inside"), collector_resting():
        raise ValueError("inside")
    assert gc.isenabled()
    gc.disable()
    with collector_resting():
        pass
    assert not gc.isenabled()


def test_the_last_of_several_threads_wakes_the_collector(collector: None) -> None:
    inside, leave = threading.Barrier(3), threading.Event()

    def fold() -> None:
        with collector_resting():
            inside.wait(10)
            leave.wait(10)

    threads = [threading.Thread(target=fold) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    assert not gc.isenabled()
    leave.set()
    for thread in threads:
        thread.join(10)
    assert gc.isenabled()
