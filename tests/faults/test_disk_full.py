"""A disk that fills: what was acknowledged is there, what was refused is not, and room is all it takes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import foldlog
from foldlog.storage import journal

FILL = """
import resource, sys
import foldlog

path, what = sys.argv[1:]
store = foldlog.open(path)
session = store.start_session(id="demo")
turn = session.add_turn()
session.checkpoint()


def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def batch():
    with session.batch():
        for _ in range(5):
            session.add_message("user", "x" * 3000, turn_id=1)


def call():
    session.add_call("leaf", turn_id=1, request_ref=session.value_ref("y" * 30_000 + str(session.view.counters)))


def child():
    session.start_child(turn_id=1, query="z" * 9000).close()


def checkpoint():
    session.add_message("user", "x" * 20_000, turn_id=1)
    session.checkpoint()


def export():
    store.export(path + "-files")


action = {"batch": batch, "call": call, "child": child, "checkpoint": checkpoint, "export": export}[what]
limit(1_500_000 if what != "export" else 1)
refused = 0
for _ in range(2000):
    try:
        action()
    except foldlog.StoreError as error:
        assert not isinstance(error, foldlog.CommitUncertainError), error
        assert error.hint
        refused += 1
        assert session.view == foldlog.fold(store.events("demo")), "the view is ahead of the journal"
        if refused == 3:
            break
assert refused == 3, "the disk never filled"
limit(resource.RLIM_INFINITY)
action()
assert session.view == foldlog.fold(store.events("demo"))
store.close()
"""


@pytest.mark.parametrize("what", ["batch", "call", "child", "checkpoint", "export"])
def test_a_full_disk_refuses_and_goes_on_when_there_is_room(path: Path, what: str) -> None:
    command = [sys.executable, "-c", FILL, str(path), what]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    with foldlog.open(path) as store:
        assert store.verify().problems == []
        events = list(store.events("demo"))
        assert [event["id"] for event in events] == list(range(1, len(events) + 1))


def test_an_uncertain_commit_stops_the_handle_until_the_journal_is_read_again(
    store: foldlog.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = store.start_session(id="demo")
    append: Callable[..., None] = journal.append

    def committed_but_unsure(*arguments: object) -> None:
        append(*arguments)
        raise foldlog.CommitUncertainError("the disk failed during the commit", hint="reload()")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "append", committed_but_unsure)
        with pytest.raises(foldlog.CommitUncertainError):
            session.emit("tool.ran", idempotency_key="k")
    assert session.view.counters["event"] == 1
    with pytest.raises(foldlog.CommitUncertainError):
        session.add_event("next")
    session.reload()
    assert session.view.counters["event"] == 2
    assert session.emit("tool.ran", idempotency_key="k")["id"] == 2
    assert session.add_event("next") == 3
    assert store.verify().problems == []
