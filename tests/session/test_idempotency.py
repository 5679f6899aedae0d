"""A key makes a retry safe, whatever came between; an expected id guards against what came between."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import foldlog
import foldlog.aio
from foldlog.core.limits import IDEMPOTENCY_KEY_CHARS_MAX
from foldlog.storage import journal

SOURCES = Path(foldlog.__file__).parents[1]


@pytest.fixture
def session(store: foldlog.Store) -> foldlog.Session:
    return store.start_session(id="demo")


def run(code: str, path: Path) -> int:
    """Run code in a process of its own, with `path`; its exit status."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    code = f"import os, sys\nimport foldlog\npath = sys.argv[1]\n{code}"
    command = [sys.executable, "-P", "-c", code, str(path)]
    return subprocess.run(command, check=False, env=environment, timeout=60).returncode


def count(store: foldlog.Store, event_type: str) -> int:
    return len(list(store.events(types=[event_type])))


def test_the_first_event_is_returned_whatever_comes_with_its_key(session: foldlog.Session) -> None:
    first = session.emit("paid", idempotency_key="k", cents=100)
    assert session.emit("paid", idempotency_key="k", cents=200) == first
    assert session.emit("refunded", idempotency_key="k") == first
    assert session.emit("paid", idempotency_key="k", value=object()) == first  # not looked at
    assert session.view.counters["event"] == 2


def test_what_is_returned_is_the_callers_own(session: foldlog.Session) -> None:
    first = session.emit("paid", idempotency_key="k", items=[1])
    first["items"].append(2)
    assert session.emit("paid", idempotency_key="k")["items"] == [1]


def test_a_row_that_is_added_again_by_its_key_is_added_once(session: foldlog.Session) -> None:
    row = {"id": 1, "role": "user", "content": "hello"}
    first = session.emit("message.added", idempotency_key="k", message=row)
    assert session.emit("message.added", idempotency_key="k", message=row) == first
    assert len(session.view.messages) == 1


def test_a_key_outlives_a_crash_between_the_commit_and_the_answer(path: Path, store: foldlog.Store) -> None:
    store.start_session(id="demo").close()
    code = "foldlog.open(path).open_session('demo').emit('paid', idempotency_key='k', by='first')\nos._exit(9)"
    assert run(code, path) == 9
    session = store.open_session("demo")
    assert session.emit("paid", idempotency_key="k", by="second")["by"] == "first"
    assert count(store, "paid") == 1


def test_a_key_counts_in_every_process(path: Path, store: foldlog.Store, session: foldlog.Session) -> None:
    first = session.emit("paid", idempotency_key="k")
    session.close()
    code = (
        "with foldlog.open(path) as store:\n"
        "    session = store.open_session('demo')\n"
        f"    assert session.emit('paid', idempotency_key='k')['id'] == {first['id']}\n"
        "    session.emit('paid', idempotency_key='l')"
    )
    assert run(code, path) == 0
    again = store.open_session("demo")
    assert again.emit("paid", idempotency_key="l")["id"] == first["id"] + 1
    assert count(store, "paid") == 2


def test_a_stale_writer_is_given_what_the_new_one_wrote_and_can_add_nothing(
    session: foldlog.Session, reopen: Callable[[], foldlog.Store]
) -> None:
    other = reopen().open_session("demo", take_over=True)
    theirs = other.emit("paid", idempotency_key="k")
    assert session.emit("paid", idempotency_key="k") == theirs
    with pytest.raises(foldlog.StaleWriterError):
        session.emit("paid", idempotency_key="l")
    assert other.emit("paid", idempotency_key="l")["id"] == theirs["id"] + 1


def test_in_a_batch_a_key_counts_at_once(session: foldlog.Session) -> None:
    before = session.emit("paid", idempotency_key="before")
    with session.batch():
        assert session.emit("paid", idempotency_key="before") == before
        first = session.emit("paid", idempotency_key="k")
        assert session.emit("paid", idempotency_key="k") == first
    assert session.view.counters["event"] == 3


def test_a_batch_that_fails_gives_its_keys_back(session: foldlog.Session) -> None:
    def fail() -> None:
        raise RuntimeError("provoked")

    with pytest.raises(RuntimeError), session.batch():
        session.emit("paid", idempotency_key="k", n=1)
        fail()
    with session.batch():
        with pytest.raises(RuntimeError), session.batch():
            session.emit("paid", idempotency_key="k", n=2)
            fail()
        assert session.emit("paid", idempotency_key="k", n=3)["n"] == 3
    assert session.emit("paid", idempotency_key="k", n=4)["n"] == 3


def test_an_event_that_is_refused_takes_no_key(session: foldlog.Session) -> None:
    with pytest.raises(foldlog.UnknownRowError):
        session.emit("call.updated", idempotency_key="k", call_id=9, changes={})
    with pytest.raises(foldlog.ExpectedIdError):
        session.emit("paid", idempotency_key="k", expected_id=9)
    assert session.emit("paid", idempotency_key="k", n=1)["n"] == 1


@pytest.mark.parametrize("kept", [True, False])
def test_after_an_uncertain_commit_the_key_makes_the_retry_safe(
    store: foldlog.Store, session: foldlog.Session, monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    append = journal.append

    def fail(*args: Any) -> None:
        if kept:
            append(*args)
        error = sqlite3.OperationalError("provoked")
        error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR_FSYNC, "SQLITE_IOERR_FSYNC"
        raise journal._refusal(error, args[1][0]) from error

    with monkeypatch.context() as patch:
        patch.setattr(journal, "append", fail)
        with pytest.raises(foldlog.CommitUncertainError):
            session.emit("paid", idempotency_key="k", n=1)
    with pytest.raises(foldlog.CommitUncertainError):
        session.emit("paid", idempotency_key="k", n=2)
    session.reload()
    assert session.emit("paid", idempotency_key="k", n=2)["n"] == (1 if kept else 2)
    assert count(store, "paid") == 1
    assert store.verify().ok


def test_keys_belong_to_their_session_and_go_with_it(store: foldlog.Store, session: foldlog.Session) -> None:
    session.emit("paid", idempotency_key="k", n=1)
    child = session.start_child()
    assert child.emit("paid", idempotency_key="k", n=2)["n"] == 2
    child.close()
    session.close()
    store.delete_session("demo")
    assert store.start_session(id="demo").emit("paid", idempotency_key="k", n=3)["n"] == 3


BAD_KEYS = ["", " " * (IDEMPOTENCY_KEY_CHARS_MAX + 1), "é", "a\n", "\x7f", "\0", 5, True, b"k", ["k"]]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_a_bad_key_is_refused(session: foldlog.Session, key: Any) -> None:
    with pytest.raises(foldlog.InvalidEventError, match="idempotency key"):
        session.emit("paid", idempotency_key=key)
    assert session.emit("paid", idempotency_key=" " * IDEMPOTENCY_KEY_CHARS_MAX)["id"] == 2


@pytest.mark.parametrize("expected_id", ["2", 2.0, True, b"2", [2]])
def test_an_expected_id_that_is_none_is_refused(session: foldlog.Session, expected_id: Any) -> None:
    session.emit("paid", idempotency_key="k")
    for more in ({}, {"idempotency_key": "k"}):
        with pytest.raises(foldlog.InvalidEventError, match="expected_id"):
            session.emit("a", expected_id=expected_id, **more)
    assert session.emit("a", expected_id=3)["id"] == 3


@pytest.mark.parametrize("expected_id", [-1, 0, 1, 3, 2**70])
def test_another_id_than_the_next_is_refused(session: foldlog.Session, expected_id: int) -> None:
    with pytest.raises(foldlog.ExpectedIdError, match="would get id 2"):
        session.emit("a", expected_id=expected_id)
    assert session.emit("a", expected_id=2)["id"] == 2


def test_in_a_batch_the_expected_id_counts_what_came_before(session: foldlog.Session) -> None:
    with pytest.raises(foldlog.ExpectedIdError), session.batch():
        session.emit("a", expected_id=2)
        session.emit("b", expected_id=2)
    with session.batch():
        session.emit("a", expected_id=2)
        with pytest.raises(foldlog.ExpectedIdError):
            session.emit("b", expected_id=2)
        session.emit("b", expected_id=3)
    assert session.view.counters["event"] == 3


def test_a_known_key_is_not_compared(session: foldlog.Session) -> None:
    first = session.emit("a", idempotency_key="k", expected_id=2)
    session.emit("b")
    assert session.emit("a", idempotency_key="k", expected_id=2) == first


def test_awaited_it_is_the_same(path: Path) -> None:
    async def main() -> None:
        config = foldlog.Config(durability="normal")
        async with foldlog.aio.open(path, config=config) as store, store.start_session(id="demo") as session:
            events = await asyncio.gather(*(session.emit("paid", idempotency_key="k", n=n) for n in range(20)))
            assert all(event == events[0] for event in events)
            outcomes = await asyncio.gather(
                *(session.emit("a", expected_id=3, n=n) for n in range(20)), return_exceptions=True
            )
            assert sorted(type(one).__name__ for one in outcomes) == ["ExpectedIdError"] * 19 + ["dict"]
            async with session.batch():
                assert await session.emit("paid", idempotency_key="k") == events[0]
                assert (await session.emit("paid", idempotency_key="l", expected_id=4))["id"] == 4
            for key in BAD_KEYS:
                with pytest.raises(foldlog.InvalidEventError):
                    await session.emit("paid", idempotency_key=key)
            with pytest.raises(foldlog.InvalidEventError):
                await session.emit("paid", expected_id="4")  # type: ignore[arg-type]
            assert session.view.counters["event"] == 4

    asyncio.run(main())


def test_awaited_deletion_is_the_same(path: Path) -> None:
    async def main() -> None:
        async with foldlog.aio.open(path) as store:
            async with store.start_session(id="demo") as session:
                with pytest.raises(foldlog.SessionInUseError):
                    await store.delete_session("demo")
                await session.add_event("a")
            told = await store.delete_session("demo", dry_run=True)
            done = await store.delete_session("demo", reason="r")
            assert (told.event_count, done.event_count, done.reason) == (3, 3, "r")
            with pytest.raises(foldlog.UnknownSessionError):
                await store.delete_session("demo", despite_descendants=True)
            assert (await store.verify()).ok

    asyncio.run(main())
