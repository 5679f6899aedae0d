"""Ctrl-C at any moment of any verb: it is what is raised, nothing hangs, nothing is half done, nothing stays locked.

One verb of the public API a round, in a process of its own, struck at one moment (`striking.py`). Afterwards the
handle goes on (after `reload()` where it says so), another handle writes beside it, closing ends, and whoever comes
next finds whole batches, a view that is the journal, and every session free. Programs that are struck while threads
share their commits are in `test_interrupts.py`, tasks cancelled at every await in `tests/aio`.
"""

import asyncio
import contextlib
import gc
import random
import shutil
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_disk import quick_folder
from forks import Line, forked
from sizes import Size
from striking import struck

import foldlog
import foldlog.aio

# What a store would import at its first use is imported before the rounds are forked.
from foldlog.outlets import backup, deletion, export, verify  # noqa: F401

CONFIG = foldlog.Config(durability="normal")
Held = dict[str, foldlog.Session]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with quick_folder(tmp_path) as found:
        with foldlog.open(found / "history.db", config=CONFIG) as store:
            session = store.start_session(id="demo")
            turn = session.add_turn()
            session.add_call("leaf", turn_id=turn["id"])
            session.snapshot({"x": 1}, turn_id=turn["id"])
            store.start_session(id="old").close()
            session.close()
        yield found


def _batch(store: foldlog.Store, held: Held, _: Path) -> None:
    with held["demo"].batch():
        for number in range(3):
            held["demo"].emit("in.batch", number=number)


def _blob(store: foldlog.Store, held: Held, _: Path) -> None:
    held["demo"].add_call("leaf", request_ref=held["demo"].value_ref(["b" * 400] * 50))


def _scopes(store: foldlog.Store, held: Held, _: Path) -> None:
    with held["demo"].turn() as turn, turn.call("leaf") as call:
        call.ok(usage={"input_tokens": 1})


def _child(store: foldlog.Store, held: Held, _: Path) -> None:
    with held["demo"].start_child(query="q") as child:
        child.emit("in.child")


def _start(store: foldlog.Store, held: Held, _: Path) -> None:
    held["new"] = store.start_session(id="new")


def _open(store: foldlog.Store, held: Held, _: Path) -> None:
    held["old"] = store.open_session("old")


def _fork(store: foldlog.Store, held: Held, _: Path) -> None:
    held["fork"] = store.fork_session("demo", id="fork")


def _read(store: foldlog.Store, held: Held, _: Path) -> None:
    list(store.events("demo"))
    list(store.query("SELECT * FROM events"))
    store.usage("demo")
    store.view("old").document()


VERBS: dict[str, Callable[[foldlog.Store, Held, Path], Any]] = {
    "emit": lambda store, held, path: held["demo"].emit("one"),
    "key": lambda store, held, path: held["demo"].emit("one", idempotency_key="k"),
    "batch": _batch,
    "blob": _blob,
    "scopes": _scopes,
    "update": lambda store, held, path: held["demo"].update_turn(1, lambda row: {"status": "final"}),
    "snapshot": lambda store, held, path: held["demo"].snapshot({"x": list(range(3000))}),
    "checkpoint": lambda store, held, path: (held["demo"].emit("one"), held["demo"].checkpoint()),
    "reload": lambda store, held, path: held["demo"].reload(),
    "child": _child,
    "start": _start,
    "open": _open,
    "fork": _fork,
    "close": lambda store, held, path: (held["demo"].emit("one"), held["demo"].close()),
    "close the store": lambda store, held, path: (held["demo"].emit("one"), store.close()),
    "open a store": lambda store, held, path: foldlog.open(path, config=CONFIG).close(),
    "make a store": lambda store, held, path: foldlog.open(path.with_name("new.db"), config=CONFIG).close(),
    "delete": lambda store, held, path: store.delete_session("old"),
    "read": _read,
    "verify": lambda store, held, path: store.verify(),
    "export": lambda store, held, path: store.export(path.parent / "out"),
    "backup": lambda store, held, path: store.backup(path.with_name("backup.db")),
}


def strike(verb: str, nth: int, path: Path, line: Line) -> None:
    """One round: strike the verb, then hold everything to what it promises; says how many moments there were."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    store = foldlog.open(path, config=CONFIG)
    held = {"demo": store.open_session("demo")}
    store.database._gate.wait_s = 5
    where = "nowhere"
    with contextlib.redirect_stderr(None):  # Python tells there what it swallows in a __del__
        try:
            with struck(nth) as strikes:
                VERBS[verb](store, held, path)
        except KeyboardInterrupt:
            where = traceback.format_exc()[-1500:]
        except foldlog.QueryError as error:  # what a function raises that SQLite calls to authorize, it does not tell
            assert "signal" in error.message  # noqa: PT017
    gc.collect()
    try:
        go_on(store, held, path)
        look(path)
    except BaseException as error:
        raise AssertionError(f"struck in {where}") from error
    line.say(strikes.seen)


def go_on(store: foldlog.Store, held: Held, path: Path) -> None:
    """With the same handles, and with another beside them."""
    if store.database.is_closed:
        return
    demo = held["demo"]
    if not demo._recorder.is_closed:
        try:
            demo.emit("after")
        except foldlog.CommitUncertainError:
            demo.reload()
            demo.emit("after")
        assert demo.view == foldlog.fold(store.events("demo"))
        demo.checkpoint()
    with foldlog.open(path, config=CONFIG) as beside:
        beside.start_session(id="beside").close()
        for row in list(beside.sessions()):
            if row["id"] not in held and "/" not in row["id"]:
                beside.open_session(row["id"]).close()  # nobody has it
    for session in held.values():
        session.close()
    store.close()


def look(path: Path) -> None:
    """As whoever comes next."""
    with foldlog.open(path, config=CONFIG) as store:
        for row in list(store.sessions()):
            session = store.open_session(row["id"])
            session.emit("last")
            events = list(store.events(row["id"]))
            assert [event["id"] for event in events] == list(range(1, len(events) + 1))
            assert session.view == foldlog.fold(events)
            assert sum(event["type"] == "in.batch" for event in events) in (0, 3)
            session.close()
        assert store.verify().problems == []


def round_of(folder: Path, work: Callable[[Path, Line], None]) -> Any:
    """What one round said, on a copy of the store."""
    place = folder / "round"
    place.mkdir()
    path = Path(shutil.copy(folder / "history.db", place))
    try:
        with forked(lambda line: work(path, line)) as [process]:
            process.check()
            return process.said[0]
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize("verb", VERBS)
def test_ctrl_c_in_a_verb(verb: str, folder: Path, size: Size, seed: int, tell: Callable[[str], None]) -> None:
    count = round_of(folder, lambda path, line: strike(verb, 2**62, path, line))
    moments = list(range(1, count + 1))
    random.Random(seed).shuffle(moments)
    tried = moments[: size.rounds(quick=2, full=100)]
    for nth in tried:
        round_of(folder, lambda path, line, nth=nth: strike(verb, nth, path, line))
    tell(f"{verb}: {count:,} moments, {len(tried)} of them struck")
    assert count > 20


def test_ctrl_c_in_a_long_query(path: Path) -> None:
    """SQLite calls back into Python all the time, and would keep to itself what that raises."""
    endless = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    with foldlog.open(path) as store:
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        for _ in range(3):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(KeyboardInterrupt):
                list(store.query(endless, timeout=60))
        assert list(store.query("SELECT 1 AS x")) == [{"x": 1}]
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


# asyncio: the first Ctrl-C cancels the main task. The second is raised wherever the loop is, and asyncio may lose a
# wake-up with it, so that the loop waits for a task for good: until the third, as people press it. What is in the
# store is whole all the same, and its sessions are free when the process has ended.


async def _tasks(path: Path) -> None:
    async with foldlog.aio.open(path, config=CONFIG) as store, store.open_session("demo") as session:
        await asyncio.gather(*(session.emit("one", number=number) for number in range(5)))
        async with session.batch():
            for number in range(3):
                await session.emit("in.batch", number=number)
        await session.value_ref(["b" * 400] * 50)
        async with session.turn() as turn, turn.call("leaf") as call:
            await call.ok()
        await session.checkpoint()
        async with store.start_session(id="new") as new:
            await new.snapshot({"x": 1})


def strike_loop(first: int, then: int | None, path: Path, line: Line) -> None:
    """One round: strike the loop once or twice; says how many moments there were."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if then is not None:
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 1, 1)
    raised = False
    with contextlib.redirect_stderr(None):
        try:
            with struck(first, then) as strikes:
                asyncio.run(_tasks(path))
        except KeyboardInterrupt:
            raised = True
        except RuntimeError as error:
            # Struck once more in Python's own Condition.wait, its lock is let go of twice.
            if then is None or not isinstance(error.__context__, KeyboardInterrupt):
                raise
    signal.setitimer(signal.ITIMER_REAL, 0)
    if then is None and strikes.happened:
        assert raised or strikes.seen - first < 2000, "the interrupt was swallowed"
        look(path)  # in this process: nothing may be left open
    line.say(strikes.seen)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_in_a_loop(folder: Path, times: int, size: Size, seed: int, tell: Callable[[str], None]) -> None:
    count = round_of(folder, lambda path, line: strike_loop(2**62, None, path, line))
    chance = random.Random(seed)
    rounds = size.rounds(quick=4, full=100)
    for _ in range(rounds):
        first = chance.randint(1, count)
        then = chance.randint(1, 2000) if times == 2 else None

        def work(path: Path, line: Line, first: int = first, then: int | None = then) -> None:
            strike_loop(first, then, path, line)

        place = folder / "kept"
        place.mkdir()
        path = Path(shutil.copy(folder / "history.db", place))
        with forked(lambda line, path=path, work=work: work(path, line)) as [process]:
            process.check()
        look(path)
        shutil.rmtree(place)
    tell(f"{times} times: about {count:,} moments, {rounds} of them struck")
