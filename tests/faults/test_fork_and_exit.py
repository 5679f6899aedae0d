"""fork(), pickling and the interpreter's end: no hang, no lost lock, and what was acknowledged is there."""

import copy
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import foldlog

SOON_S = 90

FORK = """
import asyncio, os, sys, threading
import foldlog, foldlog.aio

path, second_path, folder = sys.argv[1:]
config = foldlog.Config(durability="normal")
store = foldlog.open(path, config=config)
session = store.start_session(id="demo")
call = session.add_call("leaf")
for number in range(2000):
    session.add_event("note", number=number)
rows, feed, live = store.query("SELECT position FROM events"), store.events(), store.follow()
next(rows), next(feed), next(live)

loop = asyncio.new_event_loop()
astore = loop.run_until_complete(foldlog.aio.open(second_path, config=config).__aenter__())
asession = loop.run_until_complete(astore.start_session(id="async").__aenter__())

ended = threading.Event()
def write():
    while not ended.is_set():
        session.emit("thread")
threads = [threading.Thread(target=write, daemon=True) for _ in range(3)]
for thread in threads:
    thread.start()

def uses():
    yield lambda: session.emit("child")
    yield lambda: session.add_message("user", "x")
    yield lambda: session.update_call(call["id"], status="ok")
    yield lambda: session.batch().__enter__()
    yield lambda: session.checkpoint()
    yield lambda: session.reload()
    yield lambda: session.snapshot({"x": 1})
    yield lambda: session.view
    yield lambda: session.start_child()
    yield lambda: store.start_session(id="other")
    yield lambda: store.open_session("demo")
    yield lambda: list(store.sessions())
    yield lambda: list(store.events())
    yield lambda: list(store.query("SELECT 1"))
    yield lambda: store.usage("demo")
    yield lambda: store.verify()
    yield lambda: store.backup(folder + "/backup")
    yield lambda: store.export(folder + "/out")
    yield lambda: store.checkpoint()
    yield lambda: next(rows)
    yield lambda: list(feed)
    yield lambda: list(live)  # what was read of a page is there, the next is not
    yield lambda: asyncio.run(asession.emit("child"))
    yield lambda: asyncio.run(astore.checkpoint())
    yield lambda: batch.__exit__(None, None, None)

for round in range(5):
    batch = session.batch()
    batch.__enter__()
    session.emit("in.batch")
    pid = os.fork()
    if pid == 0:
        status = 0
        try:
            for number, use in enumerate(uses()):
                try:
                    use()
                except foldlog.StoreClosedError as error:
                    assert "fork" in str(error), str(error)
                else:
                    raise AssertionError(f"use {number} was not refused")
            session.close(); store.close()
            with foldlog.open(path, config=config) as own:
                with own.start_session(id=f"child-{round}") as fresh:
                    fresh.emit("from.child")
                try:
                    own.open_session("demo")
                except foldlog.SessionInUseError:
                    pass
                else:
                    raise AssertionError("the parent's lease was lost")
        except BaseException:
            import traceback
            traceback.print_exc()
            status = 1
        sys.stderr.flush()
        if round % 2:
            os._exit(status)
        sys.exit(status)  # the long way: handles are finalised in the child
    batch.__exit__(None, None, None)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    session.emit("after")
    loop.run_until_complete(asession.emit("after"))
ended.set()
for thread in threads:
    thread.join()
session.close()
next(rows), next(live)
loop.run_until_complete(astore.close())
events = list(store.events("demo"))
assert [event["id"] for event in events] == list(range(1, len(events) + 1))
assert sum(event["type"] == "in.batch" for event in events) == 5
store.close()
with foldlog.open(path) as store:
    assert store.verify().problems == []
    assert {row["id"] for row in store.sessions()} == {"demo"} | {f"child-{n}" for n in range(5)}
"""


def run(script: str, *values: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, *values],
        capture_output=True, text=True, check=False, timeout=SOON_S,
    )  # fmt: skip


def test_every_handle_refuses_in_a_forked_child_and_the_parent_goes_on(
    path: Path | str, second_path: Path | str, tmp_path: Path
) -> None:
    done = run(FORK, str(path), str(second_path), str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]


def open_when_free(store: foldlog.Store) -> foldlog.Session:
    """Open the session; a server may see a moment later that its writer is gone."""
    deadline = time.monotonic() + SOON_S
    while True:
        try:
            return store.open_session("demo")
        except foldlog.SessionInUseError:
            assert time.monotonic() < deadline
            time.sleep(0.005)


EXIT = """
import asyncio, atexit, os, sys, threading, time
import foldlog, foldlog.aio

path, how, acknowledged = sys.argv[1:]
config = foldlog.Config(durability="normal")
log = open(acknowledged, "w")

def say(event):
    log.write(f"{event['id']}\\n")
    log.flush()

def in_loop():
    async def main():
        async with foldlog.aio.open(path, config=config) as store:
            session = await store.start_session(id="demo")
            for _ in range(10):
                say(await session.emit("note"))
            if how == "aio exit":
                sys.exit(7)
            if how == "aio gather":
                tasks = [asyncio.create_task(session.emit("note")) for _ in range(50)]
                await asyncio.sleep(0)
                raise SystemExit(7)
            await asyncio.sleep(3600)
    asyncio.run(main())

def begin():
    store = foldlog.open(path, config=config)
    session = store.start_session(id="demo")
    for _ in range(10):
        say(session.emit("note"))
    return store, session

if how.startswith("aio"):
    if how == "aio thread":
        threading.Thread(target=in_loop, daemon=True).start()
        while len(open(acknowledged).readlines()) < 10:
            time.sleep(0.01)
        sys.exit(7)
    in_loop()
elif how == "atexit after":
    store, session = begin()
    atexit.register(lambda: say(session.emit("at.exit")))
elif how == "atexit close":
    store, session = begin()
    atexit.register(store.close)
    sys.exit(7)
else:
    store, session = begin()
    if how == "daemons":
        def emit():
            while True:
                say(session.emit("daemon"))
        for _ in range(4):
            threading.Thread(target=emit, daemon=True).start()
        time.sleep(0.2)
    if how == "batch":
        with session.batch():
            session.emit("never")
            sys.exit(7)
    if how == "open batch":
        batch = session.batch()
        batch.__enter__()
        session.emit("never")
    if how == "dying threads":
        def die():
            say(session.emit("dying"))
            batch = session.batch()
            batch.__enter__()
            raise SystemExit
        thread = threading.Thread(target=die, daemon=True)
        thread.start()
        thread.join()
    if how == "query":
        rows = store.query("SELECT * FROM events")
        next(rows)
    if how == "with":
        with session:
            sys.exit(7)
    if how != "falls off":
        sys.exit(7)
"""


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("falls off", 0), ("sys.exit", 7), ("daemons", 7), ("batch", 7), ("open batch", 7), ("dying threads", 7),
        ("query", 7), ("with", 7), ("atexit after", 0), ("atexit close", 7), ("aio exit", 7), ("aio gather", 7),
        ("aio thread", 7),
    ],
)  # fmt: skip
def test_the_process_ends_and_what_was_acknowledged_is_there(
    path: Path | str, tmp_path: Path, how: str, code: int
) -> None:
    log = tmp_path / "acknowledged"
    done = run(EXIT, str(path), how, str(log))
    assert done.returncode == code, done.stderr[-3000:]
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    acknowledged = {int(line) for line in log.read_text().split()}
    assert len(acknowledged) >= 10
    with foldlog.open(path, config=foldlog.Config(durability="normal")) as store:
        with open_when_free(store) as session:
            session.emit("goes.on")
        events = list(store.events("demo"))
        assert acknowledged <= {event["id"] for event in events}
        assert [event["id"] for event in events] == list(range(1, len(events) + 1))
        assert not [event for event in events if event["type"] == "never"]
        assert store.verify().problems == []


def handles(store: foldlog.Store) -> dict[str, Any]:
    session = store.start_session(id="demo")
    return {"store": store, "session": session, "batch": session.batch(), "turn": session.turn(), "view": session.view}


@pytest.mark.parametrize("name", ["store", "session", "batch", "turn"])
def test_a_handle_is_neither_pickled_nor_copied(store: foldlog.Store, name: str) -> None:
    handle = handles(store)[name]
    for action in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(foldlog.StoreError, match="cannot be"):
            action(handle)


def _in_child(path: str, number: int) -> int:
    with foldlog.open(path) as store, store.start_session(id=f"child-{number}") as session:
        return int(session.emit("note")["id"])


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_path_goes_to_another_process_and_a_handle_does_not(
    path: Path | str, store: foldlog.Store, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*sys.path, str(Path(__file__).parent)]))
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        assert pool.starmap(_in_child, [(str(path), number) for number in range(3)]) == [2, 2, 2]
        with pytest.raises(foldlog.StoreError, match="cannot be"):
            pool.starmap(_in_child, [(store, 9)])


def test_a_store_that_a_forked_child_opened_itself_outlives_its_parents_handle(path: Path) -> None:
    store = foldlog.open(path)
    store.start_session(id="parent").close()
    (heard, say), (wait, go) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            own = foldlog.open(path).start_session(id="child")
            os.write(say, b"!")
            os.read(wait, 1)
            own.emit("parent.closed")
        finally:
            os._exit(0)
    assert os.read(heard, 1) == b"!"
    store.close()
    os.write(go, b"!")
    os.waitpid(child, 0)
    for descriptor in (heard, say, wait, go):
        os.close(descriptor)
    with foldlog.open(path, read_only=True) as reader:
        assert [event["id"] for event in reader.events("child")] == [1, 2]
        assert reader.verify().ok


def test_a_fork_waits_for_the_write_under_way(path: Path) -> None:
    store = foldlog.open(path)
    inside, leave = threading.Event(), threading.Event()

    def write() -> None:
        with store.database.transaction():
            inside.set()
            leave.wait(0.2)

    thread = threading.Thread(target=write)
    thread.start()
    inside.wait(10)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        foldlog.open(path).start_session(id="child")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()
    store.close()
