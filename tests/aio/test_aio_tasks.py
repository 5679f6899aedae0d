"""Batches that belong to tasks, and tasks that are cancelled."""

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cancelling import cancel_everywhere
from whole_journals import assert_whole

import foldlog
import foldlog.aio
from foldlog.aio.workers import WORKERS_MAX


def kinds(session: foldlog.aio.Session) -> list[str]:
    return [event["type"] for event in assert_whole(session.store.sync, session.id)][1:]


async def settled(session: foldlog.aio.Session) -> int:
    """Wait until what cancelled tasks left on its way has arrived: threads go on; the number of events then."""
    for _ in range(1000):
        # As many as there are threads: each has done what it had, whatever the task thought of it.
        idle = threading.Barrier(WORKERS_MAX)
        await asyncio.gather(*(session.store.workers.run(idle.wait) for _ in range(WORKERS_MAX)))
        if not session.recorder.pending.events:
            events = list(session.store.sync.events(session.id))
            if session.view == foldlog.fold(events) and not session.recorder._depth:
                assert_free(session)
                return len(events)
        await asyncio.sleep(0.005)
    raise AssertionError("it never came to rest")


def assert_free(session: foldlog.aio.Session) -> None:
    """Nobody holds the session."""
    assert session.recorder.reserved_for is None
    assert session.recorder._depth == 0
    assert not session.store.place_of(session.recorder).locked()


# Batches.


def test_a_batch_is_one_commit_and_other_tasks_wait(run: Any, started: Any, commit_sizes: list[int]) -> None:
    async def main() -> None:
        async with started() as session:
            inside = asyncio.Event()

            async def batch() -> None:
                async with session.batch():
                    turn = await session.add_turn()
                    inside.set()
                    await asyncio.sleep(0.05)
                    await session.update_turn(turn["id"], label="seen")
                    await session.emit("keyed", idempotency_key="k")  # in a thread
                    assert session.view.row_count("turn") == 0

            async def other() -> None:
                await inside.wait()
                await session.add_event("other")

            commit_sizes.clear()
            await asyncio.gather(batch(), *(other() for _ in range(5)))
            assert kinds(session) == ["turn.started", "turn.updated", "keyed"] + ["other"] * 5
            assert commit_sizes[0] >= 3
            assert_free(session)

    run(main())


def test_a_batch_that_raises_is_taken_back_and_nested_ones_too(run: Any, started: Any) -> None:
    async def main() -> None:
        async with started() as session:
            with pytest.raises(KeyError):
                async with session.batch():
                    await session.add_event("gone")
                    await session.emit("gone", idempotency_key="k")
                    raise KeyError
            async with session.batch():
                await session.add_event("kept")
                with contextlib.suppress(KeyError):
                    async with session.batch():
                        await session.add_event("gone")
                        raise KeyError
                async with session.batch():
                    await session.add_event("kept.too")
            assert kinds(session) == ["kept", "kept.too"]
            assert_free(session)

    run(main())


def test_a_batch_that_is_open_is_not_entered_again(run: Any, started: Any) -> None:
    async def main() -> None:
        async with started() as session:
            batch = session.batch()
            async with batch:
                with pytest.raises(foldlog.InvalidEventError, match="open already"):
                    async with batch:
                        pass
                await session.add_event("kept")
            async with batch:
                await session.add_event("kept.too")
            assert kinds(session) == ["kept", "kept.too"]
            assert_free(session)

    run(main())


def test_reload_waits_for_another_tasks_batch(run: Any, started: Any) -> None:
    async def main() -> None:
        async with started() as session:
            entered = asyncio.Event()

            async def batch() -> None:
                async with session.batch():
                    await session.add_event("kept")
                    entered.set()
                    await asyncio.sleep(0.02)

            task = asyncio.create_task(batch())
            await entered.wait()
            await session.reload()
            assert kinds(session) == ["kept"]
            await task
            assert_free(session)

    run(main())


def test_a_batch_whose_loop_has_ended_is_taken_back(path: Path, config: foldlog.Config) -> None:
    kept: dict[str, Any] = {}

    async def begin() -> None:
        store = await foldlog.aio.open(path, config=config)
        session = kept["session"] = await store.start_session(id="demo")
        entered = asyncio.Event()

        async def batch() -> None:
            async with session.batch():
                await session.add_event("gone")
                entered.set()
                await asyncio.sleep(100)

        kept["task"] = asyncio.ensure_future(batch())
        await entered.wait()

    async def go_on() -> None:
        session = kept["session"]
        await session.add_event("kept")
        assert kinds(session) == ["kept"]
        await session.store.close()

    ended = asyncio.new_event_loop()
    ended.run_until_complete(begin())
    kept["task"]._log_destroy_pending = False  # that it is lost is the point
    ended.close()
    asyncio.run(asyncio.wait_for(go_on(), 30))


def test_what_is_never_awaited_is_told(run: Any, started: Any) -> None:
    async def main() -> None:
        async with started() as session:
            with pytest.warns(RuntimeWarning, match="never awaited"):
                session.turn()
            assert len(session.view.turns) == 0

    run(main())


def test_batches_take_turns(run: Any, started: Any) -> None:
    async def main() -> None:
        async with started() as session:
            ended: list[int] = []

            async def batch(number: int) -> None:
                async with session.batch():
                    await session.add_event("note", number=number)
                    await asyncio.sleep(0.001)
                    await session.add_event("note", number=number)
                ended.append(number)

            await asyncio.gather(*(batch(number) for number in range(10)))
            assert ended == list(range(10))
            numbers = [event["number"] for event in assert_whole(session.store.sync)[1:]]
            assert numbers == [number for number in range(10) for _ in range(2)]

    run(main())


def test_threads_wait_for_a_batch_and_a_batch_for_threads(run: Any, started: Any) -> None:
    async def main() -> None:
        async with started() as session:
            entered, leave = threading.Event(), threading.Event()

            def in_a_thread() -> None:
                with session.sync.batch():
                    session.sync.add_event("thread")
                    entered.set()
                    assert leave.wait(30)
                    session.sync.add_event("thread")

            async def batch(kind: str) -> None:
                async with session.batch():
                    await session.add_event(kind)
                    await asyncio.sleep(0.01)
                    await session.add_event(kind)

            held = asyncio.create_task(asyncio.to_thread(in_a_thread))
            await asyncio.to_thread(entered.wait)
            waiting = [asyncio.create_task(batch("task")), asyncio.create_task(session.add_event("single"))]
            await asyncio.sleep(0.05)  # the loop runs on meanwhile
            assert not any(task.done() for task in waiting)
            leave.set()
            await asyncio.gather(held, *waiting)
            entered.clear()
            leave.set()
            await asyncio.gather(batch("task"), asyncio.to_thread(in_a_thread), batch("task"))
            found = kinds(session)
            assert found[:2] == ["thread"] * 2
            assert len(found) == 11
            assert_free(session)

    run(main())


def test_more_tasks_than_threads_wait_for_a_batch_that_needs_a_thread(run: Any, started: Any) -> None:
    async def main() -> None:
        async with started() as parent:
            children = [await parent.start_child() for _ in range(40)]
            entered = asyncio.Event()

            async def batch() -> None:
                async with parent.batch():
                    entered.set()
                    await asyncio.sleep(0.05)
                    await parent.emit("keyed", idempotency_key="k")
                    await parent.store.usage("demo")
                    await asyncio.gather(children[0].emit("keyed", idempotency_key="k"))

            async def end(child: foldlog.aio.Session) -> None:
                await entered.wait()
                async with child:
                    pass

            await asyncio.gather(
                batch(),
                *(end(child) for child in children[1:]),
                *(parent.emit("late", idempotency_key=f"k{number}") for number in range(40)),
                parent.checkpoint(),
                parent.store.checkpoint(),
                parent.start_child(),
            )
            assert [row["status"] for row in parent.view.calls.values()] == ["running"] + ["ok"] * 39 + ["running"]
            assert_free(parent)

    run(main())


def test_what_a_batch_refuses(run: Any, started: Any) -> None:
    async def main() -> None:
        async with started() as session:
            async with session.batch():
                for use in (session.start_child, session.close, session.reload):
                    with pytest.raises(foldlog.InvalidEventError, match="inside a batch"):
                        await use()
                await session.checkpoint()
                await session.update_status("stopped")
                await session.store.checkpoint()
            [row] = [row async for row in session.store.query("SELECT status FROM sessions")]
            assert row == {"status": "stopped"}
            assert_free(session)

    run(main())


def test_a_store_that_is_closed_waits_for_a_batch(run: Any, path: Path) -> None:
    async def main() -> None:
        store = await foldlog.aio.open(path)
        session = await store.start_session(id="demo")
        entered = asyncio.Event()

        async def batch() -> None:
            async with session.batch():
                await session.add_event("one")
                entered.set()
                await asyncio.sleep(0.05)
                await session.add_event("two")

        task = asyncio.create_task(batch())
        await entered.wait()
        await store.close()
        await task

    run(main())
    with foldlog.open(path) as store:
        assert [event["type"] for event in store.events("demo")][1:] == ["one", "two"]


# Cancellation.

LARGE = ["x" * 100] * 20_000


async def _verbs(session: foldlog.aio.Session, number: int) -> None:
    await session.add_event("one", number=number)
    await session.emit("keyed", number=number, idempotency_key=f"k{number}")
    await session.emit("large", value=LARGE)
    async with session.turn() as turn, turn.call("leaf") as call:
        await call.final(LARGE)
    await session.update_status("running")
    await session.read_ref(await session.value_ref(LARGE, inline_bytes_max=10**9))


async def _batch(session: foldlog.aio.Session, number: int) -> None:
    async with session.batch():
        await session.add_event("batch", number=number)
        await session.emit("batch", number=number, idempotency_key=f"k{number}")
        await asyncio.sleep(0)
        async with session.batch():
            await session.emit("batch", number=number, value=LARGE)
        await session.add_event("batch", number=number)


async def _children(session: foldlog.aio.Session, number: int) -> None:
    async with session.start_child() as child:
        await child.add_event("note", number=number)
        await child.mark_final(number)


@pytest.mark.parametrize("scenario", [_verbs, _batch, _children], ids=lambda scenario: scenario.__name__)
def test_cancelled_anywhere_everything_is_whole(run: Any, started: Any, scenario: Any) -> None:
    async def main() -> None:
        async with started() as session:

            async def check(_: int) -> None:
                before = await settled(session)
                async with session.batch():
                    await session.add_event("after")
                await session.emit("after", value=LARGE[:10])
                assert await settled(session) >= before + 2
                events = assert_whole(session.store.sync)
                batches: dict[int, int] = {}
                for event in events:
                    if event["type"] == "batch":
                        batches[event["number"]] = batches.get(event["number"], 0) + 1
                assert set(batches.values()) <= {4}
                # A child nobody has is closed, and can be opened by somebody else.
                assert set(session.store.sync._open) == {"demo"}

            count = await cancel_everywhere(lambda number: scenario(session, number), check)
            assert count > 4
            assert (await session.store.verify()).problems == []

    run(main())


def test_cancelled_while_a_session_is_opened_or_ended(run: Any, path: Path) -> None:
    async def main() -> None:
        async with foldlog.aio.open(path, config=foldlog.Config(durability="normal")) as store:

            async def scenario(number: int) -> None:
                async with store.start_session(id=f"s{number}") as session:
                    await session.snapshot({"x": 1})
                async with store.open_session(f"s{number}") as session:
                    await session.add_event("note")
                async with store.resume_session(f"s{number}", id=f"r{number}"):
                    pass

            async def check(number: int) -> None:
                assert store.sync._open == {}
                for row in [row async for row in store.sessions()]:
                    if row["id"].endswith(f"{number}"):
                        async with store.open_session(row["id"]) as session:  # its lease is free
                            await session.add_event("after")
                        assert_whole(store.sync, row["id"])

            assert await cancel_everywhere(scenario, check) > 10

    run(main())


def test_cancelled_while_a_store_is_opened_or_closed(run: Any, new_path: Callable[[], Path]) -> None:
    async def main() -> None:
        @functools.cache
        def path(number: int) -> Path:
            return new_path()

        async def scenario(number: int) -> None:
            async with foldlog.aio.open(path(number)) as store:
                await store.start_session(id="demo")
            async with foldlog.aio.new_state(path(number), id="other") as session:
                await session.add_event("note")

        async def check(number: int) -> None:
            for row in _rows(path(number)):
                with foldlog.open(path(number)) as store:
                    store.open_session(row["id"]).close()
            # As the tests' own check: nothing of a store that is closed, or was never had, is left.
            names = [thread.name for thread in threading.enumerate() if thread.name.startswith("foldlog")]
            for _ in range(200):
                if not names:
                    break
                await asyncio.sleep(0.01)
                names = [thread.name for thread in threading.enumerate() if thread.name.startswith("foldlog")]
            assert names == []

        assert await cancel_everywhere(scenario, check) > 6

    run(main())


def _rows(path: Path) -> list[dict[str, Any]]:
    """The sessions of a store, none where there is no store."""
    with contextlib.suppress(foldlog.NotAStoreError), foldlog.open(path, read_only=True) as store:
        return list(store.sessions())
    return []


def test_a_cancelled_session_ends_in_error(run: Any, started: Any) -> None:
    async def main() -> None:
        async with started() as parent:
            entered = asyncio.Event()

            async def work() -> None:
                async with parent.start_child(id_of_mine=1) as child, child.turn() as turn, turn.call("leaf"):
                    entered.set()
                    await asyncio.sleep(60)

            task = asyncio.create_task(work())
            await entered.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            view = await parent.store.view("demo/child-0001")
            assert view.session["status"] == view.turns[1]["status"] == view.calls[1]["status"] == "error"
            assert view.error == {"type": "CancelledError", "message": ""}
            assert parent.view.calls[1]["status"] == "error"

    run(main())


def test_a_timeout_while_a_thread_holds_the_session_records_nothing(run: Any, started: Any) -> None:
    async def main() -> None:
        async with started() as session:
            entered, leave = threading.Event(), threading.Event()

            def hold() -> None:
                with session.sync.batch():
                    entered.set()
                    assert leave.wait(30)

            held = asyncio.create_task(asyncio.to_thread(hold))
            await asyncio.to_thread(entered.wait)

            async def batch() -> None:
                async with session.batch():
                    await session.add_event("batch")

            task = asyncio.create_task(batch())
            await asyncio.sleep(0.02)
            task.cancel()
            leave.set()
            await asyncio.wait([task])
            assert task.cancelled()
            await held
            await session.add_event("after")
            assert kinds(session) == ["after"]
            assert_free(session)

    run(main())


# Reading.


def test_follow_sees_what_comes_and_ends_with_the_store(run: Any, path: Path) -> None:
    async def main() -> None:
        store = await foldlog.aio.open(path)
        session = await store.start_session(id="demo")
        seen: list[int] = []
        enough = asyncio.Event()

        async def follow() -> None:
            async for event in store.follow("demo", types=["note"]):
                seen.append(event["number"])
                if len(seen) == 300:
                    enough.set()

        following = asyncio.create_task(follow())
        await asyncio.gather(*(session.add_event("note", number=number) for number in range(300)))
        await enough.wait()
        left = asyncio.create_task(anext(store.follow(types=["never"])))
        await asyncio.sleep(0.05)
        left.cancel()
        await asyncio.wait([left])
        assert left.cancelled()
        await store.close()
        await following
        assert seen == list(range(300))

    run(main())


def test_readers_can_be_left_early(run: Any, started: Any) -> None:
    async def main() -> None:
        async with started() as session:
            await asyncio.gather(*(session.add_event("note") for _ in range(400)))
            store = session.store
            for make in (store.events, store.follow, store.sessions, lambda: store.query("SELECT * FROM events")):
                async with contextlib.aclosing(make()) as rows:
                    async for _ in rows:
                        break
                async for _ in make():
                    break
            assert [event["id"] async for event in store.events(types=["note"])] == list(range(2, 402))
            with pytest.raises(foldlog.UnknownSessionError):
                await anext(store.events("nobody"))
            with pytest.raises(foldlog.QueryError):
                await anext(store.query("DELETE FROM events"))

    run(main())


def test_a_reader_gives_what_it_could_read_before_an_error(run: Any, started: Any) -> None:
    async def main() -> None:
        async with started() as session:

            def three(*_: Any, **__: Any) -> Any:
                yield from (1, 2, 3)
                raise foldlog.CorruptJournalError("damaged", hint="look", position=4)

            session.store.sync.query = three  # type: ignore[method-assign]
            got: list[Any] = []
            with pytest.raises(foldlog.CorruptJournalError):
                async for row in session.store.query("SELECT 1"):
                    got.append(row)  # noqa: PERF401
            assert got == [1, 2, 3]

    run(main())


def test_openings_are_coroutines(run: Any, path: Path) -> None:
    async def main() -> None:
        store = await foldlog.aio.open(path)
        one, two = await asyncio.gather(store.start_session(id="one"), store.start_session(id="two"))
        three = await asyncio.create_task(store.start_session(id="three"))
        with pytest.warns(RuntimeWarning, match="never awaited"):
            store.start_session(id="never")  # nothing happens before it is awaited
        async with one, two, three:
            pass
        assert [row["id"] async for row in store.sessions()] == ["one", "two", "three"]
        with pytest.raises(foldlog.AlreadyExistsError):
            async with store.start_session(id="one"):
                raise AssertionError
        await store.close()

    run(main())
