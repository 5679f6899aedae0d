"""Following a store on a server: how soon a follower hears, and what it does when the server, or the store, ends."""

import asyncio
import random
import re
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from forks import Line, forked
from on_server import FULL, NORMAL, thread, until
from server_proxy import Proxy, proxied
from sizes import Size

import foldlog
import foldlog.aio
from foldlog.cli.main import main
from foldlog.storage import postgres, postgres_watch
from postgres_server import PostgresServer

# Far above what is aimed at (50 ms); only a follower that misses its calls takes longer.
WORST_S = 10.0


def write(url: str, seed: int, count: int) -> Callable[[Line], None]:
    """Events at random moments, some of them after seconds of nothing; each says when it was committed."""

    def work(line: Line) -> None:
        chance = random.Random(seed)
        with foldlog.open(url, config=NORMAL) as store:
            session = store.start_session(id="demo")
            line.say("ready")
            line.hear()
            for number in range(count):
                time.sleep(chance.choice((0, 0.001, 0.03, 0.2, 0.7, chance.uniform(2, 4))))
                session.add_event("step", number=number)
                line.say(time.monotonic())
            session.let_go()

    return work


def quantiles(times: list[float]) -> str:
    cuts = statistics.quantiles(times, n=100)
    return f"p50 {cuts[49] * 1e3:.0f} ms, p99 {cuts[98] * 1e3:.0f} ms, worst {max(times) * 1e3:.0f} ms"


def test_a_follower_hears_soon_also_after_seconds_of_nothing(
    url: str, size: Size, seed: int, tell: Callable[[str], None]
) -> None:
    foldlog.open(url).close()
    count = size.rounds(quick=12, full=200)

    async def awaited(found: list[float], store: Any) -> None:
        async for _ in store.follow("demo", types=["step"]):
            found.append(time.monotonic())
            if len(found) == count:
                return

    with forked(write(url, seed, count)) as [writer]:
        assert writer.hear() == "ready"
        heard: list[float] = []
        in_loop: list[float] = []

        async def run() -> None:
            async with await foldlog.aio.open(url, read_only=True) as store:
                await awaited(in_loop, store)

        with (
            foldlog.open(url, read_only=True) as reader,
            thread(lambda: asyncio.run(run())) as failed,
        ):
            feed = reader.follow("demo", types=["step"])
            writer.say("go")
            for _ in range(count):
                next(feed)
                heard.append(time.monotonic())
        assert failed == [None]
        writer.check()
        committed = writer.said
    for name, times in (("follow", heard), ("aio", in_loop)):
        late = [got - at for got, at in zip(times, committed, strict=True)]
        assert max(late) < WORST_S
        print(f"{name}: {quantiles(late)}")
        tell(f"{name}: {quantiles(late)} over {count} events")


def test_a_follower_outlives_a_crash_of_the_server_and_misses_and_repeats_nothing(
    crashing: PostgresServer, crashing_url: str, size: Size, seed: int, tell: Callable[[str], None]
) -> None:
    restarts, stop = size.rounds(quick=2, full=20), threading.Event()
    chance = random.Random(seed)

    def work() -> int:
        number = 0
        with foldlog.open(crashing_url, config=FULL) as store, store.start_session(id="demo") as session:
            while not stop.is_set():
                session.add_event("step", number=number)
                number += 1
            session.add_event("end")
        return number

    async def awaited() -> list[int]:
        found = []
        async with await foldlog.aio.open(crashing_url, read_only=True) as store:
            async for event in store.follow(types=["step", "end"]):
                if event["type"] == "end":
                    return found
                found.append(event["number"])
        return found

    def follow() -> list[int]:
        found = []
        with foldlog.open(crashing_url, read_only=True) as store:
            for event in store.follow(types=["step", "end"]):
                if event["type"] == "end":
                    return found
                found.append(event["number"])
        return found

    foldlog.open(crashing_url).close()
    with thread(work) as wrote, thread(follow) as followed, thread(lambda: asyncio.run(awaited())) as in_loop:
        for _ in range(restarts):
            time.sleep(chance.uniform(0.1, 0.5))
            crashing.restart()
        stop.set()
    assert followed == [[*range(wrote[0])]]
    assert in_loop == followed
    tell(f"{restarts} crashes, {wrote[0]} events, each followed once")


def test_a_follower_ends_when_its_store_is_closed(url: str) -> None:
    with foldlog.open(url, config=NORMAL) as store:
        store.start_session(id="demo").close()
        reader = foldlog.open(url, read_only=True)
        heard = threading.Event()

        def follow() -> int:
            count = 0
            for _ in reader.follow():
                count += 1
                heard.set()
            return count

        with thread(follow) as found:
            assert heard.wait(60)
            reader.close()
        assert found == [1]


@pytest.fixture
def proxy(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A way to a server that is not waited for long."""
    monkeypatch.setattr(postgres, "WAIT_S", 0.2)
    monkeypatch.setattr(postgres_watch, "_WAIT_S", 0.2)
    with proxied(server) as found:
        yield found


def recorded(url: str) -> None:
    with foldlog.open(url, config=NORMAL) as store, store.start_session(id="demo") as session:
        for number in range(3):
            session.add_event("step", number=number)


def test_a_server_that_stays_away_ends_a_feed_with_where_to_go_on(
    url: str, server: PostgresServer, proxy: Proxy
) -> None:
    recorded(url)
    with foldlog.open(proxy.url(url, server), read_only=True) as store:
        feed = store.follow("demo", types=["step"])
        assert [next(feed)["number"] for _ in range(3)] == [0, 1, 2]
        last = list(store.events())[-1].position
        proxy.refuse(True)
        with pytest.raises(foldlog.StoreError, match="the server cannot be reached") as caught:
            next(feed)
        # Behind what is not wanted, too.
        goes_on = f"`foldlog events STORE demo --type step --after {last} --follow` goes on"
        assert caught.value.hint.endswith(f"; what comes next is after position {last}: {goes_on}")
        proxy.refuse(False)
        with foldlog.open(url, config=NORMAL) as other, other.open_session("demo") as session:
            session.add_event("step", number=3)
        assert [event["number"] for event in store.follow("demo", types=["step"], after=last, idle_timeout=0)] == [3]


def test_a_coroutine_is_told_as_well(url: str, server: PostgresServer, proxy: Proxy) -> None:
    recorded(url)

    async def follow() -> None:
        async with await foldlog.aio.open(proxy.url(url, server), read_only=True) as store:
            async for event in store.follow():
                found.append(event.position)
                if event.get("number") == 2:
                    proxy.refuse(True)

    found: list[int] = []
    with pytest.raises(foldlog.StoreError, match="the server cannot be reached") as caught:
        asyncio.run(follow())
    position = int(re.findall(r"`foldlog events STORE --after (\d+) --follow` goes on", caught.value.hint)[0])
    assert position >= found[-1]


def test_the_command_line_says_what_to_type(
    url: str,
    server: PostgresServer,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recorded(url)
    proxy.begin()

    def cut() -> None:
        until(lambda: any(sql.startswith("LISTEN") for sql in proxy.sent))
        proxy.refuse(True)

    words = ["events", proxy.url(url, server), "--after", "1", "--type", "none", "--follow"]
    monkeypatch.setattr("sys.argv", ["foldlog", *words])
    with thread(cut), pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert re.search(r"`foldlog events \S+ --type none --after \d+ --follow` goes on", capsys.readouterr().err)
