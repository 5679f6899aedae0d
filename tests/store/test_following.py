"""Following a store from outside: every event once, in order, whatever happens to its writers and its file."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import foldlog
from foldlog.storage import event_feed
from foldlog.store import feed

WRITER = (
    "import sys, foldlog\n"
    "with foldlog.open(sys.argv[1]) as store, store.open_session('demo') as session:\n"
    "    for n in range(int(sys.argv[2]), int(sys.argv[3])): session.add_event('note', n=n)\n"
)


@pytest.fixture
def made(path: Path) -> Path:
    foldlog.new_state(path, id="demo").close()
    return path


def write(path: Path, first: int, last: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(first), str(last)])


def test_a_follower_outlasts_a_killed_writer_and_hears_the_next(made: Path) -> None:
    with foldlog.open(made, read_only=True) as store:
        events = store.follow("demo", types=["note"], idle_timeout=30)
        killed = write(made, 0, 10**6)
        seen = [next(events)["n"] for _ in range(50)]
        killed.send_signal(signal.SIGKILL)
        assert killed.wait(60) == -signal.SIGKILL
        second = write(made, -2, 0)
        while seen[-1] != -1:
            seen.append(next(events)["n"])
        assert second.wait(60) == 0
        assert seen == [*range(len(seen) - 2), -2, -1]


def test_followers_that_begin_anywhere_see_all_after_it(made: Path) -> None:
    assert write(made, 0, 100).wait(60) == 0
    with foldlog.open(made) as store:
        positions = [event.position for event in store.events()]
        for after in (0, positions[0], positions[40], positions[-1], positions[-1] + 1, 2**63 - 1):
            found = [event.position for event in store.follow(after=after, idle_timeout=0)]
            assert found == [position for position in positions if position > after]
        future = store.follow(after=positions[-1] + 2, idle_timeout=30)
        with store.open_session("demo") as session:
            for n in range(5):
                session.add_event("note", n=n)
            assert next(future).position == positions[-1] + 3


def test_several_followers_at_once(made: Path) -> None:
    with foldlog.open(made, read_only=True) as store:
        seen: list[list[int]] = [[] for _ in range(4)]

        def tail(found: list[int]) -> None:
            for event in store.follow("demo", types=["note"], idle_timeout=30):
                found.append(event["n"])
                if event["n"] == 199:
                    return

        threads = [threading.Thread(target=tail, args=(found,)) for found in seen]
        for thread in threads:
            thread.start()
        assert write(made, 0, 200).wait(60) == 0
        for thread in threads:
            thread.join(60)
        assert seen == [[*range(200)]] * 4


def test_what_is_not_wanted_is_read_once(made: Path, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    original = event_feed.read_feed

    def read_feed(database: object, *, after: int, **named: object) -> object:
        asked.append(after)
        return original(database, after=after, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(event_feed, "read_feed", read_feed)
    with foldlog.open(made) as store, foldlog.open(made, read_only=True) as reader:
        session = store.open_session("demo")
        looks = feed.looks(reader.database, feed.wanted(reader.database, None, 0, ["wanted"]))
        for n in range(5):
            session.add_event("note", n=n)
            looked = len(asked)
            while len(asked) == looked:  # a server is not asked each time
                assert next(looks) is None
        session.add_event("wanted")
        event = next(event for event in looks if event is not None)
        assert event["type"] == "wanted"
        looks.close()
    assert asked == sorted(asked)
    assert len(set(asked)) == 6
    if engine == "sqlite":  # which tells whether anything was committed
        assert len(asked) == 6


@pytest.mark.sqlite("its write-ahead log")
def test_the_log_is_copied_back_and_cut_under_a_follower(made: Path) -> None:
    with foldlog.open(made, read_only=True) as reader:
        events = reader.follow("demo", types=["note"], idle_timeout=30)
        for n in range(0, 30, 10):
            assert write(made, n, n + 10).wait(60) == 0  # closing copies the log back
            assert [next(events)["n"] for _ in range(10)] == [*range(n, n + 10)]


@pytest.mark.sqlite("a file takes the place of its file")
def test_a_follower_says_that_the_store_was_replaced(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with foldlog.open(made) as store:
        store.backup(copy)
    with foldlog.open(made, read_only=True) as reader:
        events = reader.follow(idle_timeout=30)
        assert next(events)["type"] == "session.started"
        os.replace(copy, made)  # noqa: PTH105
        with pytest.raises(foldlog.StoreError, match="another file"):
            list(events)
        made.unlink()
        with pytest.raises(foldlog.FoldlogError):
            list(reader.follow(idle_timeout=30))


def test_an_interrupted_follower_ends(made: Path) -> None:
    code = (
        "import sys, foldlog\n"
        "with foldlog.open(sys.argv[1], read_only=True) as store:\n"
        "    try:\n"
        "        for event in store.follow(): print(event['type'], flush=True)\n"
        "    except KeyboardInterrupt:\n"
        "        print('stopped')\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(made)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "session.started\n"
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()
        assert process.stdout.read().splitlines()[-1] == "stopped"


def test_a_program_ends_with_followers_in_its_threads(made: Path) -> None:
    code = (
        "import sys, threading, foldlog\n"
        "store = foldlog.open(sys.argv[1], read_only=True)\n"
        "threading.Thread(target=lambda: list(store.follow()), daemon=True).start()\n"
        "rest = store.follow(); next(rest)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(made)], timeout=60, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_looks_are_rarer_while_nothing_comes(store: foldlog.Store) -> None:
    idle_s = store.database.look_every_idle_s
    assert feed.pause_s(store.database, 0) == feed.LOOK_EVERY_S <= feed.pause_s(store.database, 60) == idle_s < 0.2
