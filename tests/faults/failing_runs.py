"""Runs over the public API on a disk that fails at its k-th call; a script, run with `faulty_disk.c` in front.

Each run is a forked process: a scenario, one fault. The long scenario is two, a store that is made and one that
is found, so that not each run of the second makes the store again: it gets a copy. Some runs, as chance has it,
play the two as one. Whenever a call fails, the disk is
taken for repaired and looked at: does the view say what the journal says, what would a crash now leave, does
the next event get its place; then the call is made again, and the fault goes on where it was (one that
sticks strikes the next call as well). Prints a line of JSON for each run: what fired, which errors came out,
and what was wrong.
"""

import contextlib
import errno
import gc
import json
import os
import random
import select
import shutil
import signal
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fault_modes import MODES, Mode
from faulty_disk import Disk, Kind

import foldlog

# What a store would import at its first use is here before the runs are forked.
from foldlog.outlets import backup, export, verify  # noqa: F401

_PATIENCE_S = 120
_THREADS = 8
_CP = shutil.which("cp") or "cp"
_WHOLE_RUNS = 200  # at full size, beside each k of each half
# Where an uncertain commit leaves its caller without a handle to reload: what was kept is open until the next try.
_OPENINGS = frozenset({"start", "start another", "open a session", "take over"})


# About how many calls of each kind the two scenarios make, to choose from; where fewer are made, nothing fires.
CALLS = {Kind.OPEN: 246, Kind.WRITE: 753, Kind.SYNC: 165, Kind.NAME: 157, Kind.SIZE: 22}
SHORT_CALLS = {Kind.WRITE: 217, Kind.SYNC: 18, Kind.NAME: 13}


@dataclass
class Run:
    """One run of the scenario: what was acknowledged, which handles are open, what was wrong."""

    disk: Disk
    folder: Path
    store: Any = None
    open: dict[str, Any] = field(default_factory=dict)
    acknowledged: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    rows: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    probes: int = 0

    @property
    def path(self) -> Path:
        return self.folder / "history.db"

    # Doing.

    def step(self, name: str, do: Callable[[], Any], *, is_single: bool = True, again: Callable[[], Any] | None = None):
        """One call, and when it fails the look at what it left, and the call again on a healthy disk.

        `is_single`: it records one thing or nothing, so that an error that is certain must leave nothing.
        """
        before = {name: session.view.counters for name, session in self.open.items()}
        try:
            return do()
        except foldlog.FoldlogError as error:
            self.hear(name, error)
            with self.disk.paused():
                self.look(name, error, before if is_single else {})
                return (again or do)()

    def hear(self, name: str, error: foldlog.FoldlogError) -> None:
        self.errors.append(f"{name}: {type(error).__name__}: {error.message.replace(str(self.folder), '…')}")
        if not error.hint:
            self.problems.append(f"{name}: no hint: {error!r}")

    def look(self, name: str, error: foldlog.FoldlogError, before: dict[str, dict[str, int]]) -> None:
        for session_id, session in list(self.open.items()):
            if session._recorder.is_closed:
                del self.open[session_id]
                continue
            was_uncertain = session._recorder.is_uncertain
            if was_uncertain:
                if not isinstance(error, foldlog.CommitUncertainError):
                    self.problems.append(f"{name}: {session_id} is uncertain, and the error is {error!r}")
                session.reload()
            journal = list(self.store.events(session_id))
            if session.view != foldlog.fold(journal):
                self.problems.append(f"{name}: {session_id}: view != journal after {error!r}")
            if (
                session_id in before
                and not was_uncertain
                and before[session_id] != session.view.counters
                and "recorded through event" not in error.message
            ):
                self.problems.append(f"{name}: {session_id}: something was left by {error!r}")
        has_handle = name not in _OPENINGS or not isinstance(error, foldlog.CommitUncertainError)
        if has_handle and self.store is not None and not self.store.database.is_closed:
            self.look_after_crash(f"{name}: {error!r}")
        for session_id, session in self.open.items():
            self.probe(name, session_id, session)

    def probe(self, name: str, session_id: str, session: Any) -> None:
        if self.store is None or self.store.database.is_closed:
            return
        self.probes += 1
        expected = session.view.counters["event"] + 1
        event = session.emit("probe", number=self.probes)
        if event["id"] != expected:
            self.problems.append(f"{name}: {session_id}: the next event is {event['id']}, not {expected}")
        self.acknowledged.append((session_id, event))

    def look_after_crash(self, name: str) -> None:
        """What the journal would be if the process were killed now."""
        copy = self.folder / "crashed"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        files = [f"{self.path}{suffix}" for suffix in ("", "-wal") if os.path.lexists(f"{self.path}{suffix}")]
        # By a process of its own: closing a descriptor of the database drops the locks that this one has on it.
        assert os.waitpid(os.posix_spawn(_CP, [_CP, *files, str(copy)], {}), 0)[1] == 0
        connection = sqlite3.connect(copy / self.path.name)
        found = connection.execute("SELECT hex(chain) FROM events ORDER BY position").fetchall()
        connection.close()
        live = self.store.database.new_reader()
        expected = live.execute("SELECT hex(chain) FROM events ORDER BY position").fetchall()
        live.close()
        if found != expected:
            self.problems.append(f"{name}: {len(expected)} events, but {len(found)} after a crash")

    def emit(self, session_id: str, event_type: str, **fields: Any) -> None:
        key = f"{event_type}-{len(self.acknowledged)}"

        def do() -> None:
            event = self.open[session_id].emit(event_type, idempotency_key=key, **fields)
            self.acknowledged.append((session_id, event))

        self.step(event_type, do)

    def take(self, session: Any) -> Any:
        self.open[session.id] = session
        return session

    # The scenario.

    def play(self) -> None:
        self.play_making()
        self.play_finding()

    def play_making(self) -> None:
        self.open_store(foldlog.Config(export_dir=self.folder / "files"))
        self.take(self.step("start", lambda: self.store.start_session(id="demo"), again=self.started))
        demo = self.open["demo"]
        self.emit("demo", "first", text="hello")
        self.step("batch", lambda: self.batch(demo))
        self.step("turn", lambda: self.rows.append(("demo", "turn", {"id": demo.add_turn()["id"]})))
        self.step("blob", lambda: self.blob(demo))
        self.step("update", lambda: demo.update_call(1, status="ok", result_ref=demo.value_ref("r" * 9000)))
        self.step("checkpoint", demo.checkpoint)
        self.child(demo)
        self.step("stop", lambda: demo.update_status("stopped"), is_single=False)
        self.step("close a session", demo.close)
        self.step("close", self.store.close, is_single=False)
        self.open.clear()

    def play_finding(self) -> None:
        self.open_store(foldlog.Config())
        self.step("open a session", lambda: self.take(self.store.open_session("demo")), is_single=False)
        demo = self.open["demo"]
        self.threads()
        self.step("snapshot", lambda: demo.snapshot({"x": 1}), is_single=False)
        self.step("backup", lambda: self.store.backup(self.folder / "backup.db"), again=self.back_up_again)
        self.step("verify", self.verify)
        self.step("export", lambda: self.store.export(self.folder / "other", session="other"))
        self.emit("demo", "second")
        self.take_over()
        self.step("close again", self.store.close, is_single=False)
        self.open.clear()

    def play_short(self) -> None:
        """A store is made, and one session in it: short enough to let each call fail every time."""
        self.open_store(foldlog.Config())
        self.take(self.step("start", lambda: self.store.start_session(id="demo"), again=self.started))
        self.emit("demo", "first")
        self.step("close", self.store.close, is_single=False)
        self.open.clear()

    def open_store(self, config: foldlog.Config) -> None:
        self.store = None

        def do() -> None:
            self.store = foldlog.open(self.path, config=config)

        self.step("open", do)

    def started(self) -> Any:
        try:
            return self.store.start_session(id="demo")
        except foldlog.AlreadyExistsError:  # it was started, and what came after that failed
            return self.store.open_session("demo")

    def batch(self, session: Any) -> None:
        with session.batch():
            events = [session.emit("in.batch", number=number) for number in range(3)]
        self.acknowledged += [(session.id, event) for event in events]

    def blob(self, session: Any) -> None:
        row = session.add_call("leaf", turn_id=1, request_ref=session.value_ref("b" * 20_000))
        self.rows.append((session.id, "call", {"id": row["id"]}))

    def child(self, demo: Any) -> None:
        child = self.step("start a child", lambda: demo.start_child(query="q"), is_single=False)
        self.take(child)
        self.emit(child.id, "in.child")
        self.step("close a child", child.close)
        del self.open[child.id]

    def back_up_again(self) -> None:
        with contextlib.suppress(foldlog.AlreadyExistsError):  # the name is given last, and then made durable
            self.store.backup(self.folder / "backup.db")

    def verify(self) -> None:
        report = self.store.verify()
        if not report.ok:
            raise foldlog.StoreError(f"verify: {report.problems}", hint="is it the fault, or the store?")

    def threads(self) -> None:
        """Callers that share a commit: each gets its event or its error."""
        self.take(self.step("start another", lambda: self.store.start_session(id="other"), again=self.other))
        outcomes: dict[int, Any] = {}
        ids = ["demo", "other"]

        def emit(number: int) -> None:
            session = self.open[ids[number % 2]]
            try:
                outcomes[number] = session.emit("shared", number=number, idempotency_key=f"shared-{number}")
            except BaseException as error:  # noqa: BLE001
                outcomes[number] = error

        self.all_at_once(emit)
        errors = [error for error in outcomes.values() if isinstance(error, BaseException)]
        if errors:
            self.hear_all(errors)
            for number, outcome in outcomes.items():
                if isinstance(outcome, BaseException):
                    with self.disk.paused():
                        emit(number)
        self.acknowledged += [(ids[number % 2], event) for number, event in outcomes.items()]
        self.step("close another", self.open["other"].close)
        del self.open["other"]

    def all_at_once(self, emit: Callable[[int], None]) -> None:
        started = [threading.Thread(target=emit, args=(number,), daemon=True) for number in range(_THREADS)]
        with self.store.database.lock:  # one leads, and waits; the others queue up behind it
            for thread in started:
                thread.start()
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                ended_count = sum(not thread.is_alive() for thread in started)  # refused before they could queue up
                if len(self.store.committer._queue) + ended_count >= _THREADS - 1:
                    break
                time.sleep(0.0005)
        for thread in started:
            thread.join(60)
            assert not thread.is_alive(), "somebody hangs"

    def hear_all(self, errors: list[BaseException]) -> None:
        for error in errors:
            if not isinstance(error, foldlog.FoldlogError):
                raise error
            self.hear("threads", error)
        worst = next((error for error in errors if isinstance(error, foldlog.CommitUncertainError)), errors[0])
        assert isinstance(worst, foldlog.FoldlogError)
        with self.disk.paused():
            self.look("threads", worst, {})

    def other(self) -> Any:
        try:
            return self.store.start_session(id="other")
        except foldlog.AlreadyExistsError:
            return self.store.open_session("other")

    def take_over(self) -> None:
        stale = self.open.pop("demo")
        second = self.step("open beside it", lambda: foldlog.open(self.path))
        first, self.store = self.store, second
        self.step("take over", lambda: self.take(second.open_session("demo", take_over=True)), is_single=False)
        try:
            stale.emit("stale")
            self.problems.append("a stale writer was let in")
        except foldlog.StaleWriterError:
            pass
        except foldlog.FoldlogError as error:  # the fault
            self.hear("stale", error)
        self.emit("demo", "overtaken")
        self.step("close the first", first.close, is_single=False)
        self.emit("demo", "alone")

    # Afterwards.

    def settle(self) -> None:
        """Without faults: everything that was acknowledged is there, and the store is sound."""
        with foldlog.open(self.path) as store:
            report = store.verify()
            if not report.ok:
                self.problems.append(f"verify: {report.problems}")
            journals = {row["id"]: list(store.events(row["id"])) for row in store.sessions()}
            for session_id, events in journals.items():
                if [event["id"] for event in events] != list(range(1, len(events) + 1)):
                    self.problems.append(f"{session_id}: ids are not gap-free")
                keys = [(event["type"], event.get("number")) for event in events if event["type"] == "shared"]
                if len(keys) != len(set(keys)):
                    self.problems.append(f"{session_id}: an event was recorded twice")
            for session_id, event in self.acknowledged:
                if journals.get(session_id, [])[event["id"] - 1 : event["id"]] != [event]:
                    self.problems.append(f"{session_id}: acknowledged and lost: {event}")
            for session_id, kind, row in self.rows:
                if row["id"] not in getattr(store.view(session_id), f"{kind}s"):
                    self.problems.append(f"{session_id}: acknowledged and lost: {kind} {row['id']}")
            for session_id in journals:
                session = store.open_session(session_id)
                session.emit("last")
                session.close()


Scenario = Callable[[Run], None]


@dataclass(frozen=True)
class Prepared:
    """What a run finds: the files of a store, and what was acknowledged while it was made."""

    folder: Path | None = None
    acknowledged: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    rows: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)


NOTHING = Prepared()


def prepared(disk: Disk, folder: Path) -> Prepared:
    """The store that the first half of the long scenario leaves when nothing fails."""
    run = Run(disk, folder)
    folder.mkdir()
    run.play_making()
    assert run.problems == run.errors == []
    return Prepared(folder, run.acknowledged, run.rows)


def play(disk: Disk, folder: Path, scenario: Scenario, mode: Mode, k: int, found: Prepared) -> dict[str, Any]:
    """One run, in this process."""
    run = Run(disk, folder, acknowledged=list(found.acknowledged), rows=list(found.rows))
    try:
        disk.fail(mode.kind, k, mode.error, is_sticky=mode.is_sticky, is_short=mode.is_short)
        scenario(run)
        fired = disk.fired
        disk.heal()
        run.settle()
    except BaseException:  # noqa: BLE001  (whatever it is, it is to be told)
        fired = disk.fired
        disk.heal()
        run.problems.append(traceback.format_exc()[-2500:])
    return {"mode": str(mode), "k": k, "fired": fired, "problems": run.problems, "errors": run.errors}


def forked(
    disk: Disk, folder: Path, scenario: Scenario, mode: Mode, k: int, given: Prepared = NOTHING
) -> dict[str, Any]:
    """One run, in a process that is ended when it takes too long."""
    place = folder / f"run-{os.getpid()}"
    if given.folder is None:
        place.mkdir()
    else:
        shutil.copytree(given.folder, place)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        answer = json.dumps(play(disk, place, scenario, mode, k, given)).encode()
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        ready = select.select([pipe], [], [], _PATIENCE_S)[0]
        data = pipe.read() if ready else b""
    if not ready:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    shutil.rmtree(place)
    if not data:
        return {
            "mode": str(mode),
            "k": k,
            "fired": 1,
            "problems": ["it hangs" if not ready else "it died"],
            "errors": [],
        }
    said: dict[str, Any] = json.loads(data)
    return said


def some(seed: int, count: int) -> Iterator[tuple[Scenario, Mode, int]]:
    """A few faults of the long scenario, each mode as often as the others, and many of the short one."""
    chance = random.Random(seed)
    for number in range(count):
        mode = MODES[(number * 7 + seed) % len(MODES)]
        yield Run.play, mode, chance.randint(1, CALLS[mode.kind])
    for kind, step in (Kind.SYNC, 1), (Kind.NAME, 1), (Kind.WRITE, 6):
        for k in range(chance.randint(1, step), SHORT_CALLS[kind], step):
            yield Run.play_short, Mode(kind, errno.EIO, is_sticky=k % 2 == 0), k


def main(folder: str, seed: str, count: str, worker: str, workers: str) -> None:
    disk, place = Disk(), Path(folder) / f"worker-{worker}"
    place.mkdir()
    gc.freeze()  # what is here already is shared by all runs, and not looked at, and so copied, by each
    gc.disable()  # a run is short

    def run(scenario: Scenario, mode: Mode, k: int, given: Prepared = NOTHING) -> int:
        found = forked(disk, place, scenario, mode, k, given)
        print(json.dumps(found), flush=True)
        return int(found["fired"])

    for number, (scenario, mode, k) in enumerate(some(int(seed), int(count) or _WHOLE_RUNS)):
        if number % int(workers) == int(worker):
            run(scenario, mode, k)
    if int(count):
        return
    made = prepared(disk, place / "made")
    for mode in MODES:
        for scenario, given in ((Run.play_making, NOTHING), (Run.play_finding, made)):
            k = int(worker) + 1
            while run(scenario, mode, k, given):
                k += int(workers)


if __name__ == "__main__":
    main(*sys.argv[1:])
