"""What type checkers see of the public API: checked by mypy, never run."""

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, assert_type

import foldlog
import foldlog.aio
from foldlog.core.ids import RowId

store = foldlog.open(Path("history.db"), config=foldlog.Config(durability="normal"))
assert_type(store, foldlog.Store)

with store.start_session(id="demo", provider={"root": "m"}, team="mine") as session:
    assert_type(session, foldlog.Session)
    assert_type(session.emit("note", n=1), dict[str, Any])
    assert_type(session.add_event("note"), int)
    assert_type(session.view, foldlog.View)
    assert_type(session.view.calls, Mapping[RowId, dict[str, Any]])
    with session.turn() as turn, turn.call("leaf", model="m") as call:
        call.ok(usage={"input_tokens": 1})
    with session.start_child(query="x") as child:
        assert_type(child, foldlog.Session)
    assert_type(session.update_call(1, lambda row: {"tries": row["tries"] + 1}), dict[str, Any])
    assert_type(session.value_ref({"a": 1}), dict[str, Any])

assert_type(store.query("SELECT 1 AS one"), Iterator[dict[str, Any]])
assert_type(store.export("out"), list[Path])
assert_type(store.verify().ok, bool)
assert_type(foldlog.fold(store.events("demo")), foldlog.View)
assert_type(foldlog.derive_usage(store.view("demo")), dict[str, Any])

store.start_session(id=7)  # type: ignore[arg-type]
foldlog.Config(durability="maybe")  # type: ignore[arg-type]


async def awaited() -> None:
    async with foldlog.aio.open("history.db") as store:
        assert_type(store, foldlog.aio.Store)
        assert_type(store.sync, foldlog.Store)
        async with store.start_session(id="demo", team="mine") as session:
            assert_type(session, foldlog.aio.Session)
            assert_type(await session.emit("note", n=1), dict[str, Any])
            assert_type(await session.add_event("note"), int)
            async with session.batch(), session.turn() as turn, turn.call("leaf", model="m") as call:
                await call.ok(usage={"input_tokens": 1})
            assert_type(await session.start_child(query="x"), foldlog.aio.Session)
        assert_type(await store.open_session("demo"), foldlog.aio.Session)
        assert_type(store.query("SELECT 1 AS one"), AsyncIterator[dict[str, Any]])
        assert_type(await store.export("out"), list[Path])
        await store.start_session(id=7)  # type: ignore[arg-type]
