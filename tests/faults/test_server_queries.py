"""Queries whose server is lost: asked again before the first row, told of after it, waited for no longer than asked."""

import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from forks import PATIENCE_S
from on_server import NORMAL
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from server_proxy import BEFORE, WHENS, Cut, Proxy

import foldlog
from foldlog.storage import postgres_connect
from foldlog.storage.postgres_driver import ServerError
from postgres_server import PostgresServer

# More than are fetched at once.
COUNT = 1200
SQL = "SELECT event_id FROM events WHERE type = :type ORDER BY event_id"
WANTED = {"type": "step"}


@pytest.fixture
def store(url: str, server: PostgresServer, proxy: Proxy) -> Iterator[foldlog.Store]:
    """A store with many events, whose connections can be cut."""
    with foldlog.open(proxy.url(url, server), config=NORMAL) as opened:
        with opened.start_session(id="demo") as session, session.batch():
            for number in range(COUNT):
                session.add_event("step", number=number)
        yield opened


def asked(store: foldlog.Store) -> tuple[list[int], foldlog.StoreError | None]:
    """The rows as far as they came, and the error that ended them."""
    found: list[int] = []
    try:
        found.extend(row["event_id"] for row in store.query(SQL, WANTED))  # one by one: those before an error stay
    except foldlog.StoreError as error:
        return found, error
    return found, None


def test_a_query_is_whole_or_told_to_be_cut_short(store: foldlog.Store, proxy: Proxy) -> None:
    proxy.begin()
    whole, error = asked(store)
    assert len(whole) == COUNT
    assert error is None
    statements, told = list(proxy.sent), 0
    for number in range(len(statements)):
        for when in WHENS:
            cut = Cut(number, when)
            proxy.begin(cut)
            found, error = asked(store)
            assert cut.fired.wait(PATIENCE_S)
            if error is None:
                assert found == whole, f"{when} {statements[number]}"
                continue
            assert found == whole[: len(found)]
            assert found, f"{when} {statements[number]}: nothing was handed out, so it could be asked again"
            assert "in the middle of a query's rows" in error.message
            assert "ask again" in error.hint
            told += 1
    assert told


def test_a_server_that_comes_back_is_waited_for(
    store: foldlog.Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.refuse(True)
    database: Any = store.database
    connect, tries = database.connect, []

    def counted(**how: Any) -> Any:
        tries.append(how)
        proxy.refuse(len(tries) < 3)
        return connect(**how)

    monkeypatch.setattr(database, "connect", counted)
    assert len(list(store.query(SQL, WANTED))) == COUNT
    assert len(tries) == 3


@pytest.mark.parametrize(("given", "wait_s", "connect_timeout"), [
    ({}, 1.0, 2), ({}, 4.9, 4), ({}, 30.0, "10"), ({"connect_timeout": "3"}, 30.0, "3"),
    ({"connect_timeout": "3"}, 1.0, 2), ({"connect_timeout": "0"}, 30.0, 30), ({}, -1.0, 2),
])  # fmt: skip
def test_a_host_that_does_not_answer_is_waited_for_no_longer(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], wait_s: float, connect_timeout: object
) -> None:
    seen = []

    def refused(conninfo: str, **words: Any) -> None:
        seen.append(words.get("connect_timeout", conninfo_to_dict(conninfo).get("connect_timeout")))
        raise psycopg.OperationalError

    monkeypatch.setattr(psycopg, "connect", refused)
    with pytest.raises(ServerError):
        postgres_connect.connect(make_conninfo("host=db.internal", **given), wait_s=wait_s)
    assert seen == [connect_timeout]


def test_a_server_that_stays_away_is_waited_for_as_long_as_the_query_may_take(
    store: foldlog.Store, proxy: Proxy
) -> None:
    proxy.refuse(True)
    began = time.monotonic()
    with pytest.raises(foldlog.StoreError, match="the server cannot be reached") as caught:
        store.query(SQL, WANTED, timeout=0.5)
    assert 0.5 <= time.monotonic() - began < 20
    assert "see that the server runs" in caught.value.hint


def test_a_query_that_ends_its_connection_each_time_is_not_asked_for_ever(
    store: foldlog.Store, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def at(sql: str) -> Cut | None:
        if not sql.startswith("DECLARE"):
            return None
        asked.append(sql)
        return Cut(0, BEFORE)

    monkeypatch.setattr(proxy, "at", at)
    with pytest.raises(foldlog.StoreError, match="the connection to the server was lost"):
        store.query(SQL, WANTED)
    assert len(asked) == 4


def test_what_is_refused_is_refused_at_once(store: foldlog.Store, proxy: Proxy) -> None:
    proxy.begin()
    with pytest.raises(foldlog.QueryError):
        store.query("SELECT nothing FROM sessions")
    assert sum("nothing" in sql for sql in proxy.sent) == 1
