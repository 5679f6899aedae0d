"""The same promises where a server makes it different: forks of its clients, interrupted waits, two handles."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import foldlog
from engines import connected, locked, rows
from postgres_server import PostgresServer

pytest.importorskip("psycopg")


@pytest.fixture
def url(server: PostgresServer) -> str:
    return server.new_store()


@pytest.fixture
def store(url: str) -> Iterator[foldlog.Store]:
    with foldlog.open(url, config=foldlog.Config(durability="normal")) as opened:
        yield opened


def backends(store: foldlog.Store) -> set[int]:
    """The processes of the server behind a store's connections, whoever asks."""
    sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with connected(store) as connection:
        return {row[0] for row in connection.execute(sql).fetchall()}


def in_child(url: str, store: foldlog.Store, session: foldlog.Session, said: Any) -> None:
    try:
        for inherited in (lambda: session.add_event("no"), lambda: list(store.events()), store.checkpoint):
            with pytest.raises(foldlog.StoreClosedError, match="fork"):
                inherited()
        with pytest.raises(foldlog.SessionInUseError) as caught:
            foldlog.open(url).open_session("demo")
        assert caught.value.holder is not None
        assert caught.value.holder["pid"] == os.getppid()
        with foldlog.open(url) as own:
            with own.start_session(id=f"child-{os.getpid()}") as mine:
                for number in range(20):
                    mine.add_event("note", n=number)
            said.put(len(list(own.events("demo"))))
        store.close()
    except BaseException as error:  # noqa: BLE001  (told to the parent)
        said.put(repr(error))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_leaves_its_parents_connections_alone(url: str, store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    list(store.events())  # there is a read connection too
    before = backends(store)
    assert len(before) >= 2
    fork = multiprocessing.get_context("fork")
    said = fork.Queue()
    children = [fork.Process(target=in_child, args=(url, store, session, said)) for _ in range(2)]
    for child in children:
        child.start()
    # The parent goes on at the same time, on the connections that the child has inherited.
    for number in range(50):
        session.add_event("note", n=number)
    for child in children:
        child.join(60)
        assert child.exitcode == 0
        found = said.get(timeout=10)
        assert isinstance(found, int), found
    assert session.add_event("after") == 52
    assert before <= backends(store)
    assert [event["id"] for event in store.events("demo")] == list(range(1, 53))
    assert [len(list(store.events(f"child-{child.pid}"))) for child in children] == [22, 22]
    assert store.verify().problems == []


def test_an_interrupted_wait_leaves_a_session_that_can_go_on(store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    with locked(store):
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            session.add_event("interrupted")
        timer.join()
    session.reload()
    events = list(store.events("demo"))
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert session.add_event("next") == len(events) + 1
    assert store.verify().problems == []


def test_an_interrupted_batch_leaves_nothing_or_all_of_it(store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    with locked(store):
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt), session.batch():
            for _ in range(10):
                session.add_event("note")
        timer.join()
    session.reload()
    assert session.view.counters["event"] in (1, 11)
    assert session.add_event("next") == session.view.counters["event"]
    assert store.verify().problems == []


def test_a_stores_own_words_are_of_the_server(store: foldlog.Store) -> None:
    session = store.start_session(id="demo")
    with connected(store) as connection:
        connection.execute("ALTER TABLE events RENAME TO elsewhere")
        with pytest.raises(foldlog.StoreError) as caught:
            session.add_event("note")
        connection.execute("ALTER TABLE elsewhere RENAME TO events")
    assert "SQLite" not in str(caught.value)
    assert session.add_event("note") == 2


def test_positions_grow_and_are_given_once(store: foldlog.Store, url: str) -> None:
    one = store.start_session(id="one")
    with foldlog.open(url) as other:
        two = other.start_session(id="two")
        for _ in range(20):
            one.add_event("a")
            two.add_event("b")
        positions = [event.position for event in store.events()]
        assert positions == sorted(set(positions))
        assert rows(store, "SELECT count(*) FROM events") == [(42,)]
