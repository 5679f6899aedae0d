"""The same verbs, awaited: every public name of the synchronous classes has its counterpart, and does the same."""

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import foldlog
import foldlog.aio
from foldlog.session import scopes
from foldlog.testing import Clock

INTERNAL = {"database", "committer", "register", "forget", "live", "checkpointed", "begin", "reopen", "record_final",
            "let_go"}  # fmt: skip
PAIRS = [
    (foldlog.Store, foldlog.aio.Store),
    (foldlog.Session, foldlog.aio.Session),
    (scopes.TurnScope, foldlog.aio.TurnScope),
    (scopes.CallScope, foldlog.aio.CallScope),
]


def public(kind: type) -> list[str]:
    return [name for name in dir(kind) if not name.startswith("_") and name not in INTERNAL]


CASES = [(sync, aio, name) for sync, aio in PAIRS for name in public(sync)]


def parameters(function: Any) -> list[tuple[Any, ...]]:
    return [(one.name, one.kind, one.default) for one in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize(("sync", "aio", "name"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_every_verb_has_its_counterpart(sync: type, aio: type, name: str) -> None:
    own = getattr(sync, name)
    if isinstance(own, property):
        if name != "store":  # a plain attribute there
            assert isinstance(getattr(aio, name), property)
        return
    assert inspect.getdoc(getattr(aio, name))
    assert parameters(getattr(aio, name)) == parameters(own)


@pytest.mark.parametrize("name", ["open", "new_state"])
def test_the_functions_take_the_same(name: str) -> None:
    assert parameters(getattr(foldlog.aio, name)) == parameters(getattr(foldlog, name))


def test_it_is_not_imported_before_it_is_asked_for() -> None:
    code = "import sys, foldlog; sys.exit('foldlog.aio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


# One scenario, both ways: the same journal, the same tables.


def play_sync(path: Path | str, files: Path) -> list[Any]:
    said: list[Any] = []
    with foldlog.open(path, config=foldlog.Config(durability="normal", clock=Clock())) as store:
        with store.start_session(id="demo", provider="acme", team="mine") as session:
            said.append(session.emit("tool.ran", n=1))
            said.append(session.emit("tool.ran", n=1, idempotency_key="k"))
            said.append(session.emit("tool.ran", n=1, idempotency_key="k"))
            said.append(session.emit("tool.ran", expected_id=4))
            said.append(session.add_event("note", text="é" * 3))
            said.append(session.add_message("system", {"text": "x"}))
            turn = session.add_turn(mine=[1])
            said.append(session.add_call("leaf", turn_id=turn["id"], tries=0))
            said.append(session.update_call(1, lambda row: {"tries": row["tries"] + 1}, model="m"))
            said.append(session.update_turn(1, status="final"))
            session.add_turn_id(1, "mine", 7)
            session.add_turn_ids(1, "mine", [7, 8])
            said.append(session.add_eval(turn_id=1, code="1"))
            said.append(session.add_snapshot(kind="own", ref=None))
            said.append(session.snapshot({"x": 42, "big": "y" * 9000, "f": open}, turn_id=1))
            said.append(session.restore())
            with session.batch():
                session.add_message("user", "in a batch")
                session.update_call(1, status="ok")
            with session.turn(label="two") as scope:
                said.append(scope.message("user", "hello"))
                with scope.call("root", model="m") as call:
                    said.append(call.update(tries=3))
                    call.ok(usage={"input_tokens": 1})
                with scope.call("root") as call:
                    call.final("done")
                said.append(scope.eval(code="2"))
                said.append(scope.update(label="three"))
                scope.final({"answer": 42})
            with pytest.raises(KeyError), session.turn() as scope, scope.call("leaf"):
                raise KeyError("gone")
            with session.start_child(query="part", turn_id=1) as child:
                child.mark_final("of the child")
            with session.attach_child(session) as child:
                child.mark_error("refused")
            ref = session.value_ref("z" * 10_000)
            session.add_call("leaf", request_ref=ref)
            said += [ref, session.read_ref(ref), session.value_ref(1), session.read_ref({"kind": "inline", "value": 1})]
            session.mark_final({"n": 1})
            session.checkpoint()
            session.reload()
            said += [session.usage(), session.tree(), session.final(), session.fingerprint()]
        with store.resume_session("demo", id="resumed") as session:
            session.update_status("error")
            session.update_status("running")
        store.fork_session("demo", id="forked").close()
        with store.open_session("forked") as session:
            session.add_event("late")
        said += [list(store.sessions(status="stopped")), store.usage("demo"), store.tree("demo"), store.final("demo")]
        said += [list(store.query("SELECT * FROM calls")), store.view("demo", at=5).document()]
        store.checkpoint()
        said.append(store.verify().problems)
        said.append(sorted(path.relative_to(files) for path in store.export(files)))
        if isinstance(path, Path):
            store.backup(path.with_suffix(".copy"))
        said.append([(event.position, event.session_id, event) for event in store.events()])
        said.append(list(store.follow("demo", types=["note"], idle_timeout=0)))
    return said


async def play_aio(path: Path | str, files: Path) -> list[Any]:
    said: list[Any] = []
    async with foldlog.aio.open(path, config=foldlog.Config(durability="normal", clock=Clock())) as store:
        async with store.start_session(id="demo", provider="acme", team="mine") as session:
            said.append(await session.emit("tool.ran", n=1))
            said.append(await session.emit("tool.ran", n=1, idempotency_key="k"))
            said.append(await session.emit("tool.ran", n=1, idempotency_key="k"))
            said.append(await session.emit("tool.ran", expected_id=4))
            said.append(await session.add_event("note", text="é" * 3))
            said.append(await session.add_message("system", {"text": "x"}))
            turn = await session.add_turn(mine=[1])
            said.append(await session.add_call("leaf", turn_id=turn["id"], tries=0))
            said.append(await session.update_call(1, lambda row: {"tries": row["tries"] + 1}, model="m"))
            said.append(await session.update_turn(1, status="final"))
            await session.add_turn_id(1, "mine", 7)
            await session.add_turn_ids(1, "mine", [7, 8])
            said.append(await session.add_eval(turn_id=1, code="1"))
            said.append(await session.add_snapshot(kind="own", ref=None))
            said.append(await session.snapshot({"x": 42, "big": "y" * 9000, "f": open}, turn_id=1))
            said.append(await session.restore())
            async with session.batch():
                await session.add_message("user", "in a batch")
                await session.update_call(1, status="ok")
            async with session.turn(label="two") as scope:
                said.append(await scope.message("user", "hello"))
                async with scope.call("root", model="m") as call:
                    said.append(await call.update(tries=3))
                    await call.ok(usage={"input_tokens": 1})
                async with scope.call("root") as call:
                    await call.final("done")
                said.append(await scope.eval(code="2"))
                said.append(await scope.update(label="three"))
                await scope.final({"answer": 42})
            with pytest.raises(KeyError):
                async with session.turn() as scope, scope.call("leaf"):
                    raise KeyError("gone")
            async with session.start_child(query="part", turn_id=1) as child:
                await child.mark_final("of the child")
            async with session.attach_child(session) as child:
                await child.mark_error("refused")
            ref = await session.value_ref("z" * 10_000)
            await session.add_call("leaf", request_ref=ref)
            said += [ref, await session.read_ref(ref), await session.value_ref(1)]
            said.append(await session.read_ref({"kind": "inline", "value": 1}))
            await session.mark_final({"n": 1})
            await session.checkpoint()
            await session.reload()
            said += [await session.usage(), await session.tree(), await session.final(), await session.fingerprint()]
        async with store.resume_session("demo", id="resumed") as session:
            await session.update_status("error")
            await session.update_status("running")
        await (await store.fork_session("demo", id="forked")).close()
        async with store.open_session("forked") as session:
            await session.add_event("late")
        said.append([row async for row in store.sessions(status="stopped")])
        said += [await store.usage("demo"), await store.tree("demo"), await store.final("demo")]
        said.append([row async for row in store.query("SELECT * FROM calls")])
        said.append((await store.view("demo", at=5)).document())
        await store.checkpoint()
        said.append((await store.verify()).problems)
        said.append(sorted(path.relative_to(files) for path in await store.export(files)))
        if isinstance(path, Path):
            await store.backup(path.with_suffix(".copy"))
        said.append([(event.position, event.session_id, event) async for event in store.events()])
        said.append([event async for event in store.follow("demo", types=["note"], idle_timeout=0)])
    return said


def test_both_say_and_write_the_same(new_path: Callable[[], Path | str], tmp_path: Path) -> None:
    found = []
    for name, play in (("sync", play_sync), ("aio", lambda *paths: asyncio.run(play_aio(*paths)))):
        (tmp_path / name).mkdir()
        found.append(play(new_path(), tmp_path / name / "files"))
    for one, other in zip(*found, strict=True):
        assert one == other
    files = [
        sorted(path for path in (tmp_path / name / "files").rglob("*") if path.is_file()) for name in ("sync", "aio")
    ]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


@pytest.mark.parametrize(
    "use",
    [
        lambda session: session.add_call("leaf", turn_id=99),
        lambda session: session.update_call(99, status="ok"),
        lambda session: session.emit("no type"),
        lambda session: session.emit("x", value=object()),
        lambda session: session.emit("x", expected_id=99),
        lambda session: session.emit("x", idempotency_key=""),
        lambda session: session.emit("x", value=float("nan")),
        lambda session: session.update_status("gone"),
        lambda session: session.add_turn_ids(1, "call_ids", "text"),
        lambda session: session.add_turn_ids(1, "call_ids", (value for value in [1.5])),
        lambda session: session.read_ref({"kind": "blob", "hash": "sha256:" + "0" * 64, "bytes": 1}),
        lambda session: session.read_ref({"kind": "nothing"}),
        lambda session: session.snapshot([1]),
        lambda session: session.restore(),
        lambda session: session.start_child(turn_id=99),
        lambda session: session.attach_child("demo"),
        lambda session: session.update_call(1, 7),
        lambda session: session.update_call(1.5),
    ],
)
def test_a_refused_verb_raises_what_the_synchronous_one_does(
    new_path: Callable[[], Path], use: Callable[[Any], Any]
) -> None:
    with foldlog.new_state(new_path(), id="demo", config=foldlog.Config(durability="normal")) as session:
        with pytest.raises(foldlog.FoldlogError) as expected:
            use(session)
        before = session.view.document()

    async def main() -> None:
        async with foldlog.aio.new_state(new_path(), id="demo") as session:
            with pytest.raises(type(expected.value)) as found:
                await use(session)
            assert str(found.value) == str(expected.value)
            assert len(session.view.calls) == len(before["calls"])
            assert session.view.counters["event"] == 1
            assert await session.add_event("next") == 2

    asyncio.run(main())
