"""A session is deleted while another process refers to the very values that go: none of its references dangles."""

import random
import subprocess
import sys
import time
from pathlib import Path

import foldlog

ROUNDS = 40


def values() -> list[list[str]]:
    """What both refer to at the same time, and nobody else before: so it goes, unless it is just being referred to."""
    when = int(time.time() * 20)
    return [[f"value {when} {one} " * 90, *(f"message {when} {one} {n} " * 60 for n in range(3))] for one in range(3)]


WRITER = """
import random, sys, time, foldlog
dice = random.Random(int(sys.argv[2]))

def values():
    when = int(time.time() * 20)
    return [[f"value {when} {one} " * 90, *(f"message {when} {one} {n} " * 60 for n in range(3))] for one in range(3)]

with foldlog.open(sys.argv[1], config=foldlog.Config(durability="normal")) as store:
    print("open", flush=True)
    for number in range(int(sys.argv[3])):
        with store.start_session(id=f"kept-{number}") as session:
            for _ in range(dice.randrange(1, 5)):
                value = dice.choice(values())
                ref = session.value_ref(value)
                time.sleep(dice.choice((0, 0, 0.001, 0.005)))
                with session.batch():
                    session.emit("note", ref=ref)
                    session.emit("note", ref=session.value_ref({"inner": ref, "filling": "x" * 5000}))
            if dice.random() < 0.5:
                session.start_child(query=ref).close()
"""


def test_no_reference_dangles(path: Path | str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    deleted_count = 0
    with foldlog.open(path, config=foldlog.Config(durability="normal")) as store:
        store.start_session(id="first").close()
        command = [sys.executable, "-c", WRITER, str(path), str(seed), str(ROUNDS)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "open\n"
            while writer.poll() is None:
                with store.start_session(id=f"gone-{deleted_count}") as session:
                    for value in values():
                        session.emit("note", ref=session.value_ref(value))
                time.sleep(dice.choice((0, 0.001, 0.003)))
                deleted_count += len(store.delete_session(f"gone-{deleted_count}").sessions)
        assert writer.returncode == 0
        report = store.verify()
        assert report.ok, str(report)
        assert deleted_count > 3
        for number in range(ROUNDS):
            with store.open_session(f"kept-{number}") as session:
                for event in store.events(f"kept-{number}", types=["note"]):
                    value = session.read_ref(event["ref"])
                    assert session.read_ref(value["inner"] if isinstance(value, dict) else event["ref"])
