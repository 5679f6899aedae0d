"""Signals that raise in the middle of a verb, in a thread that may be leading a commit for everybody."""

import subprocess
import sys
from pathlib import Path

import foldlog

SCRIPT = """
import random, signal, sys, threading, time
import foldlog

class Interrupted(BaseException):
    pass

def interrupt(*_):
    raise Interrupted

store = foldlog.open(sys.argv[1], config=foldlog.Config(durability="normal"))
sessions = [store.start_session(id=name) for name in ("a", "b")]
ended = threading.Event()
acknowledged, errors = [[] for _ in range(4)], []

def work(number):
    step = 0
    while not ended.is_set():
        step += 1
        session = sessions[(number + step) % 2]
        try:
            session.emit("step", who=number, step=step, idempotency_key=f"{number}-{step}")
            acknowledged[number].append((session.id, step))
        except foldlog.CommitUncertainError:
            try:
                session.reload()
            except foldlog.FoldlogError as error:
                errors.append(error)
        except foldlog.FoldlogError as error:
            errors.append(error)

threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(4)]
for thread in threads:
    thread.start()
signal.signal(signal.SIGALRM, interrupt)
chance = random.Random(int(sys.argv[2]))
interrupts = 0
deadline = time.monotonic() + 120
while interrupts < 150 and time.monotonic() < deadline:
    try:
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00005, 0.002))
        while True:
            session = chance.choice(sessions)
            try:
                session.emit("main")
            except foldlog.CommitUncertainError:
                # Reading goes through SQLAlchemy, which signals must not strike.
                signal.setitimer(signal.ITIMER_REAL, 0)
                session.reload()
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00005, 0.002))
    except Interrupted:
        interrupts += 1
    except foldlog.FoldlogError as error:
        errors.append(error)
signal.setitimer(signal.ITIMER_REAL, 0)

def go_on(session):
    try:
        session.emit("last")
    except foldlog.CommitUncertainError:
        session.reload()
        session.emit("last")

for session in sessions:  # what a signal kept from being left is left when its thread comes back
    go_on(session)
ended.set()
for thread in threads:
    thread.join(30)
    assert not thread.is_alive(), "somebody was left waiting"
assert interrupts == 150, interrupts
assert not errors, errors[:3]
for session in sessions:
    go_on(session)
    events = list(store.events(session.id))
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert session.view == foldlog.fold(events)
    stored = [(event["who"], event["step"]) for event in events if event["type"] == "step"]
    assert len(stored) == len(set(stored))
    for number in range(4):
        for where, step in acknowledged[number]:
            assert where != session.id or (number, step) in stored, "acknowledged and lost"
store.close()
"""


def test_an_interrupted_main_thread_leaves_nobody_waiting_and_nothing_half_done(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), "7"], capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with foldlog.open(path) as store:
        assert store.verify().problems == []
