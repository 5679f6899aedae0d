"""Commits: shared, off the loop's thread, and when they fail, failed for everyone who shares them."""

import asyncio
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from whole_journals import assert_whole

import foldlog
import foldlog.aio
from foldlog.aio.weight import is_light
from foldlog.storage import journal


def test_many_tasks_share_commits_and_the_loop_never_writes(run: Any, started: Any, writers: set[int]) -> None:
    commits = 0

    async def main() -> None:
        nonlocal commits
        async with started() as session:
            calls = []
            append = journal.append
            journal.append = lambda *arguments: (calls.append(1), append(*arguments))[1]  # type: ignore[assignment]
            try:
                await asyncio.gather(*(session.emit("note", number=number) for number in range(200)))
            finally:
                journal.append = append
            commits = len(calls)
            events = assert_whole(session.store.sync)
            assert [event["number"] for event in events[1:]] == list(range(200))
            await session.close()
        assert threading.get_ident() not in writers

    run(main())
    assert commits <= 2


def test_more_tasks_than_one_commit_takes_go_in_groups_and_in_order(
    run: Any, started: Any, commit_sizes: list[int]
) -> None:
    async def main() -> None:
        async with started() as session:
            commit_sizes.clear()
            tasks = [asyncio.create_task(session.emit("note", number=number)) for number in range(2000)]
            await asyncio.sleep(0)
            for task in tasks[100:300] + tasks[1000:1500:2]:
                task.cancel()
            await asyncio.wait(tasks)
            events = assert_whole(session.store.sync)[1:]
            numbers = [event["number"] for event in events]
            assert numbers == sorted(numbers)
            assert set(numbers) >= {number for number, task in enumerate(tasks) if not task.cancelled()}
            assert not set(numbers) & set(range(1000, 1500, 2))  # cancelled before they could record

    run(main())
    assert max(commit_sizes) <= 520
    assert len(commit_sizes) < 20


def test_a_task_sees_its_own_event_when_it_is_acknowledged(run: Any, started: Any) -> None:
    async def one(session: foldlog.aio.Session, number: int) -> None:
        for _ in range(5):
            row = await session.add_message("user", number)
            assert session.view.messages[row["id"]]["content"] == number

    async def main() -> None:
        async with started() as session:
            await asyncio.gather(*(one(session, number) for number in range(20)))
            assert_whole(session.store.sync)

    run(main())


def test_threads_and_tasks_use_one_session(run: Any, started: Any) -> None:
    async def main() -> None:
        async with started() as session:
            call = await session.add_call("leaf", tries=0)

            def count() -> None:
                for _ in range(40):
                    session.sync.update_call(call["id"], lambda row: {"tries": row["tries"] + 1})
                    with session.sync.batch():
                        session.sync.add_event("from.a.thread")
                        session.sync.add_event("from.a.thread")

            async def count_too() -> None:
                for _ in range(20):
                    await session.update_call(call["id"], lambda row: {"tries": row["tries"] + 1})
                    async with session.batch():
                        await session.add_event("from.a.task")
                        await session.add_event("from.a.task")

            threads = [asyncio.to_thread(count) for _ in range(3)]
            await asyncio.gather(*threads, *(count_too() for _ in range(8)))
            assert session.view.calls[call["id"]]["tries"] == 3 * 40 + 8 * 20
            events = assert_whole(session.store.sync)
            # The events of a batch stand together.
            kinds = [event["type"] for event in events]
            for kind in ("from.a.thread", "from.a.task"):
                places = [place for place, found in enumerate(kinds) if found == kind]
                assert all(second == first + 1 for first, second in zip(places[::2], places[1::2], strict=True))

    run(main())


def test_a_disk_that_fails_fails_everyone_and_nobody_hangs(
    run: Any, started: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with started() as session:
            before = session.view.document()

            def fail(*_: Any) -> None:
                raise foldlog.StoreError("the disk is full", hint="make room")

            with monkeypatch.context() as patch:
                patch.setattr(journal, "append", fail)
                found = await asyncio.gather(
                    *(session.add_message("user", number) for number in range(30)), return_exceptions=True
                )
            assert {type(error) for error in found} == {foldlog.StoreError}
            assert len({id(error) for error in found}) == 30  # a traceback each
            assert session.view.document() == before
            assert (await session.add_message("user", "there is room"))["id"] == 1
            assert_whole(session.store.sync)

    run(main())


def test_after_an_uncertain_commit_reload_goes_on(run: Any, started: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with started() as session:
            append: Callable[..., None] = journal.append

            def unsure(*arguments: Any) -> None:
                append(*arguments)
                raise foldlog.CommitUncertainError("the disk failed", hint="reload()")

            with monkeypatch.context() as patch:
                patch.setattr(journal, "append", unsure)
                found = await asyncio.gather(*(session.add_event("note") for _ in range(5)), return_exceptions=True)
            assert {type(error) for error in found} == {foldlog.CommitUncertainError}
            with pytest.raises(foldlog.CommitUncertainError):
                await session.add_event("next")
            await session.reload()
            assert await session.add_event("next") == 7
            assert_whole(session.store.sync)

    run(main())


def test_a_scope_that_could_not_end_ends_in_error_later(
    run: Any, started: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with started() as session:
            with pytest.raises(foldlog.StoreError):
                async with session.call("leaf") as call:
                    with monkeypatch.context() as patch:

                        def fail(*_: Any) -> None:
                            raise foldlog.StoreError("the disk is full", hint="make room")

                        patch.setattr(journal, "append", fail)
                        await call.ok()
            assert session.view.calls[1]["status"] == "error"

    run(main())


LARGE = ["x" * 100] * 50_000


@pytest.mark.parametrize(
    "use",
    [
        lambda session: session.emit("large", value=LARGE),
        lambda session: session.add_message("user", LARGE),
        lambda session: session.add_call("leaf", request=LARGE),
        lambda session: session.update_call(1, request=LARGE),
        lambda session: session.value_ref(LARGE),
        lambda session: session.snapshot({"large": LARGE}),
        lambda session: session.mark_final(LARGE),
        lambda session: session.call("leaf", request=LARGE),
    ],
)
def test_large_values_are_encoded_elsewhere(
    run: Any, started: Any, monkeypatch: pytest.MonkeyPatch, use: Callable[[foldlog.aio.Session], Any]
) -> None:
    async def main() -> None:
        async with started() as session:
            await session.add_call("leaf")
            encoders = set()
            from foldlog.session import recorder, verbs  # noqa: PLC0415

            for module in (recorder, verbs):
                encode = module.encode

                def watched(value: Any, encode: Any = encode, **how: Any) -> Any:
                    found = encode(value, **how)
                    if len(found.data) > 100_000:
                        encoders.add(threading.get_ident())
                    return found

                monkeypatch.setattr(module, "encode", watched)
            await use(session)
            assert encoders
            assert threading.get_ident() not in encoders
            assert_whole(session.store.sync)

    run(main())


def test_what_is_light() -> None:
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    assert is_light({"text": "x" * 100_000, "rows": [1, 2.0, None, True, b"x", {"a": (1, {2})}]})
    assert not is_light("x" * 10**6)
    assert not is_light({"x" * 10**6: 1})
    assert not is_light(["x" * 1000] * 1000)
    assert not is_light(list(range(10_000)))
    assert not is_light(cyclic)
    assert not is_light(object())
    assert not is_light(number for number in range(3))


def test_a_long_batch_lets_other_tasks_run(run: Any, started: Any) -> None:
    async def main() -> None:
        async with started() as session:
            turns_of_the_loop = 0

            async def tick() -> None:
                nonlocal turns_of_the_loop
                while True:
                    turns_of_the_loop += 1
                    await asyncio.sleep(0)

            ticking = asyncio.create_task(tick())
            async with session.batch():
                for number in range(3000):
                    await session.add_event("note", number=number)
            ticking.cancel()
            assert turns_of_the_loop > 5
            assert_whole(session.store.sync)

    run(main())


def test_a_store_serves_one_loop_after_another(path: Path, run: Any) -> None:
    async def opened() -> foldlog.aio.Store:
        return await foldlog.aio.open(path)

    async def use(store: foldlog.aio.Store, number: int) -> None:
        async with store.start_session(id=f"s{number}") as session, session.batch():
            await session.add_event("note")

    async def end(store: foldlog.aio.Store) -> None:
        await store.close()
        await store.close()

    store = run(opened())
    for number in range(3):
        run(use(store, number))
    run(end(store))
    with foldlog.open(path) as again:
        assert len(list(again.sessions(status="stopped"))) == 3


def test_a_store_refuses_a_second_loop_while_the_first_runs(path: Path, run: Any) -> None:
    async def main() -> None:
        async with foldlog.aio.new_state(path, id="demo") as session:
            await session.add_event("note")

            async def elsewhere() -> None:
                with pytest.raises(foldlog.StoreError, match="another event loop"):
                    await session.add_event("note")
                with pytest.raises(foldlog.StoreError, match="another event loop"):
                    await session.store.usage("demo")

            await asyncio.to_thread(asyncio.run, elsewhere())
            await session.add_event("note")

    run(main())


def test_a_loop_that_is_gone_leaves_its_events_whole(path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def leave() -> foldlog.aio.Session:
        session = await foldlog.aio.new_state(path, id="demo")
        monkeypatch.setattr(session.store.commits, "hand_over", lambda: None)
        with pytest.raises(TimeoutError):  # the loop ends before it has handed the event over
            await asyncio.wait_for(session.add_event("note"), 0.05)
        return session

    session = run(leave())
    monkeypatch.undo()

    async def go_on() -> None:
        assert await session.add_event("note") == 3
        assert_whole(session.store.sync)
        await session.close()

    run(go_on())


def test_what_is_closed_refuses(run: Any, path: Path) -> None:
    async def main() -> None:
        session = await foldlog.aio.new_state(path, id="demo")
        store = session.store
        await session.close()
        await session.close()
        uses: list[Callable[[], Any]] = [
            lambda: session.add_event("note"),
            session.checkpoint,
            store.start_session,
            lambda: store.usage("demo"),
            lambda: anext(store.sessions()),
            lambda: anext(store.follow()),
            lambda: anext(store.query("SELECT 1 AS one")),
        ]
        for use in uses:
            with pytest.raises(foldlog.StoreClosedError):
                await use()

    run(main())


def _in_a_fork(session: foldlog.aio.Session) -> None:
    async def main() -> None:
        for use in (
            lambda: session.add_event("note"),
            lambda: session.emit("note", idempotency_key="k"),
            lambda: session.store.usage("demo"),
            session.store.start_session,
            session.start_child,
        ):
            try:
                await use()
            except foldlog.StoreClosedError as error:
                assert "fork" in str(error)  # noqa: PT017
            else:
                raise AssertionError("a forked handle worked")
        await session.close()
        await session.store.close()

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_forked_handle_refuses(run: Any, path: Path) -> None:
    async def main() -> None:
        async with foldlog.aio.new_state(path, id="demo") as session:
            await session.emit("note", idempotency_key="k")
            child = multiprocessing.get_context("fork").Process(target=_in_a_fork, args=(session,))
            child.start()
            await asyncio.to_thread(child.join, 60)
            assert child.exitcode == 0
            await session.add_event("note")

    if sys.version_info >= (3, 12):
        with pytest.warns(DeprecationWarning, match="fork"):
            run(main())
    else:
        run(main())


UNCLOSED = """
import asyncio, sys
import foldlog.aio

async def main():
    session = await foldlog.aio.new_state(sys.argv[1], id="demo")
    await asyncio.gather(*(session.add_event("note") for _ in range(20)))
    await session.emit("note", idempotency_key="k")
    task = asyncio.create_task(follow(session.store))
    await asyncio.sleep(0.05)
    return session

async def follow(store):
    async for _ in store.follow():
        pass

session = asyncio.run(main())
"""


def test_an_unclosed_store_does_not_keep_the_interpreter(path: Path) -> None:
    command = [sys.executable, "-c", UNCLOSED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    with foldlog.open(path) as store:
        assert len(assert_whole(store)) == 22
