"""The connection to a server is cut at any message of any verb: nothing twice, nothing missing, or an error of ours."""

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from on_server import NORMAL, assert_whole, until
from server_proxy import ANSWERED, BEFORE, MIDDLE, WHENS, Cut, Proxy
from sizes import Size

import foldlog
import foldlog.aio
from postgres_server import PostgresServer

BIG = "x" * 9000


@pytest.fixture
def store(url: str, server: PostgresServer, proxy: Proxy) -> Iterator[foldlog.Store]:
    """A store whose connections can be cut; its leases and its checks go the same way."""
    with foldlog.open(proxy.url(url, server), config=NORMAL) as opened:
        yield opened


def _batch(session: foldlog.Session, mark: str, count: int) -> None:
    with session.batch():
        for _ in range(count):
            session.add_event(mark)


def _child(session: foldlog.Session, mark: str) -> None:
    session.start_child(query=mark).let_go()


def _started(session: foldlog.Session, mark: str) -> None:
    session.store.start_session(id=f"new-{mark}").let_go()


# Each verb, and how many events of the mark's type it leaves in the session.
VERBS: dict[str, tuple[Callable[[foldlog.Session, str], Any], int]] = {
    "emit": (lambda session, mark: session.add_event(mark), 1),
    "batch": (lambda session, mark: _batch(session, mark, 3), 3),
    "large batch": (lambda session, mark: _batch(session, mark, 70), 70),
    "blob": (lambda session, mark: session.add_event(mark, value=session.value_ref(BIG + mark)), 1),
    "key": (lambda session, mark: session.emit(mark, idempotency_key=mark), 1),
    "update": (lambda session, mark: session.update_call(1, mark=mark), 0),
    "checkpoint": (lambda session, mark: (session.update_call(1, mark=mark), session.checkpoint()), 0),
    "start_child": (_child, 0),
    "start_session": (_started, 0),
}


def statements_of(proxy: Proxy, verb: Callable[[], Any]) -> list[str]:
    proxy.begin()
    verb()
    return list(proxy.sent)


def go_on(session: foldlog.Session) -> None:
    """As an application does that was told of it."""
    try:
        session.add_event("next")
    except foldlog.CommitUncertainError:
        session.reload()
        session.add_event("next")


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_whose_connection_is_cut_is_done_once_or_told_of(
    url: str, store: foldlog.Store, proxy: Proxy, size: Size, seed: int, name: str, tell: Callable[[str], None]
) -> None:
    verb, count = VERBS[name]
    session = store.start_session(id="demo")
    session.add_call("leaf")
    verb(session, "m0")
    verb(session, "m1")
    statements = statements_of(proxy, lambda: verb(session, "m2"))
    assert statements
    points = [(number, when, half) for number in range(len(statements)) for when in WHENS for half in (False, True)]
    random.Random(seed).shuffle(points)
    points = points[: size.rounds(quick=12, full=120)]
    told: dict[str, int] = {}
    for place, (number, when, is_half) in enumerate(points, 3):
        mark, cut = f"m{place}", Cut(number, when, is_half=is_half)
        proxy.begin(cut)
        outcome = "done"
        try:
            verb(session, mark)
        except foldlog.FoldlogError as error:
            outcome = type(error).__name__
            why = f"{outcome} at {when} {statements[number][:60]!r}"
            told[why] = told.get(why, 0) + 1
        # The number of statements differs by a NOTIFY now and then.
        proxy.begin()
        go_on(session)
        found = sum(event["type"] == mark for event in store.events("demo"))
        assert found == count if outcome == "done" else found in (0, count), (place, cut, outcome)
        if name in ("update", "checkpoint") and outcome == "done":
            assert session.view.calls[1]["mark"] == mark
        if name == "start_child":
            children = {row["id"] for row in store.sessions()} - {"demo"}
            linked = {call["child_session_id"] for call in session.view.calls.values() if "child_session_id" in call}
            assert children == linked - {None}
        if name == "start_session":
            is_there = outcome == "done" or f"new-{mark}" in {row["id"] for row in store.sessions()}
            again = store.open_session if is_there else lambda new: store.start_session(id=new)
            again(f"new-{mark}").add_event("next")
    assert session.view == foldlog.fold(store.events("demo"))
    session.close()
    assert_whole(url)
    print(told)
    tell(f"{name}: {len(points)} cuts, {len(statements)} statements; told: {told or 'nothing'}")


def test_eight_threads_that_share_commits_lose_nothing_by_cuts(
    url: str, store: foldlog.Store, proxy: Proxy, size: Size, seed: int, tell: Callable[[str], None]
) -> None:
    chance = random.Random(seed)
    sessions = [store.start_session(id=f"s{number}") for number in range(3)]
    cuts, stop, errors = size.rounds(quick=10, full=200), threading.Event(), list[BaseException]()
    acknowledged: list[tuple[str, int, str]] = []

    def work(number: int) -> None:
        place = 0
        try:
            while not stop.is_set():
                session, mark = sessions[(number + place) % 3], f"{number}-{place}"
                value = session.value_ref(BIG + str(place % 7)) if place % 5 == 0 else 0
                acknowledged.append((session.id, session.add_event("step", mark=mark, value=value), mark))
                place += 1
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for _ in range(cuts):
        sql = chance.choice(("INSERT INTO events", "COMMIT", "BEGIN", "INSERT", ""))
        cut = Cut(chance.randrange(5), chance.choice(WHENS), sql, is_half=chance.random() < 0.5)
        proxy.begin(cut)
        until(lambda cut=cut: cut.fired.is_set() or errors)
    proxy.begin()
    stop.set()
    for one in threads:
        one.join(60)
        assert not one.is_alive()
    assert errors == []
    for session in sessions:
        events = {event["id"]: event.get("mark") for event in store.events(session.id, types=["step"])}
        own = {event_id: mark for session_id, event_id, mark in acknowledged if session_id == session.id}
        assert events == own, "each event is there once, under the id that its writer was told"
        session.close()
    assert_whole(url)
    tell(f"{cuts} cuts under 8 threads, {len(acknowledged)} events, none lost, none twice")


def test_a_follower_whose_connections_are_cut_goes_on(
    url: str, server: PostgresServer, proxy: Proxy, size: Size, seed: int
) -> None:
    chance, count = random.Random(seed), size.rounds(quick=12, full=120)
    with foldlog.open(url, config=NORMAL) as store, foldlog.open(proxy.url(url, server), read_only=True) as reader:
        session = store.start_session(id="demo")
        feed = reader.follow("demo", types=["step"])
        for number in range(count):
            session.add_event("step", number=number)
            proxy.begin(Cut(chance.randrange(4), chance.choice(WHENS), chance.choice(("SELECT", "BEGIN", ""))))
            assert next(feed)["number"] == number
        proxy.begin(Cut(0, BEFORE, "LISTEN"))
        late = reader.follow("demo", types=["step"], after=0)
        assert [next(late)["number"] for _ in range(count)] == [*range(count)]


def test_coroutines_that_share_commits_lose_nothing_by_cuts(
    url: str, server: PostgresServer, proxy: Proxy, size: Size, seed: int
) -> None:
    chance, rounds = random.Random(seed), size.rounds(quick=10, full=100)

    async def run() -> list[int]:
        ids: list[int] = []
        async with await foldlog.aio.open(proxy.url(url, server), config=NORMAL) as store:
            session = await store.start_session(id="demo")
            for _ in range(rounds):
                sql = chance.choice(("INSERT INTO events", "COMMIT", ""))
                proxy.begin(Cut(0, chance.choice((BEFORE, ANSWERED, MIDDLE)), sql, is_half=chance.random() < 0.5))
                ids += await asyncio.gather(*(session.add_event("step") for _ in range(8)))
            proxy.begin()
            await session.close()
        return ids

    ids = asyncio.run(run())
    with foldlog.open(url) as store:
        assert sorted(ids) == [event["id"] for event in store.events("demo", types=["step"])]
        assert len(set(ids)) == 8 * rounds
    assert_whole(url)


def test_opening_over_a_cut_connection_works_or_is_an_error_of_ours(
    url: str, server: PostgresServer, proxy: Proxy
) -> None:
    foldlog.open(url).close()
    proxy.begin()
    foldlog.open(proxy.url(url, server)).close()
    count = len(proxy.sent)
    for number in range(count):
        proxy.begin(Cut(number, BEFORE))
        with contextlib.suppress(foldlog.StoreError):
            foldlog.open(proxy.url(url, server)).close()
    proxy.begin()
    foldlog.open(proxy.url(url, server)).close()
