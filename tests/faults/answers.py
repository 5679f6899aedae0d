"""Everything a store answers, as text to compare; and a store with something of everything to ask about.

An answer that is a `FoldlogError` is None: the store said that it cannot tell. Any other exception is a
fault of foldlog's and leaves `answers`.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import foldlog
from foldlog.core.codec import encode
from foldlog.storage.sql_views import SQL_VIEWS

TABLES = ("messages", "turns", "evals", "calls", "snapshots", "final", "usage", "tree")
Answers = dict[str, str | None]


def fill(store: foldlog.Store) -> None:
    """A root with turns, calls, blobs, a snapshot and children; a fork of it; a session in error."""
    with store.start_session(id="demo", provider="acme") as session:
        transcript: list[dict[str, Any]] = []
        for step in range(8):
            with session.turn() as turn:
                turn.message("user", f"question {step}")
                transcript.append({"role": "user", "content": f"question {step} " * 40})
                ref = session.value_ref({"messages": transcript}, inline_bytes_max=500)
                with turn.call("root", model="m-1", request_ref=ref) as call:
                    call.ok(usage={"input_tokens": step, "output_tokens": 7}, cost={"usd": 0.25 * step})
                turn.eval(code="1 + 1", value=step)
                turn.message("assistant", f"answer {step}")
                if step % 3 == 0:
                    with session.start_child(turn_id=turn.id, query=f"part {step}") as child:
                        child.add_call("leaf", usage={"input_tokens": 3}, response_ref=child.value_ref("y" * 9000))
                        child.mark_final({"n": step})
                turn.final({"n": step})
        session.snapshot({"x": 42, "items": list(range(50))})
        session.mark_final({"answer": "z" * 6000})
    store.fork_session("demo", id="fork").close()
    with store.start_session(id="failed") as failed:
        failed.emit("tool.ran", idempotency_key="k", text="w" * 5000)
        failed.mark_error(ValueError("no"))


def questions(store: foldlog.Store, session_ids: list[str], folder: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "sessions", lambda: list(store.sessions())
    yield "feed", lambda: list(store.events())
    for name in (*TABLES, *SQL_VIEWS):
        yield f"query {name}", lambda name=name: list(store.query(f"SELECT * FROM {name}", timeout=10))
    for one in session_ids:
        yield f"view {one}", lambda one=one: store.view(one).document()
        yield f"past {one}", lambda one=one: store.view(one, at=2).document()
        yield f"events {one}", lambda one=one: [dict(event) for event in store.events(one)]
        yield f"usage {one}", lambda one=one: store.usage(one)
        yield f"tree {one}", lambda one=one: store.tree(one)
        yield f"final {one}", lambda one=one: store.final(one)
        yield f"export {one}", lambda one=one: exported(store, folder, one)


def exported(store: foldlog.Store, folder: Path, session_id: str) -> dict[str, str]:
    store.export(folder, session=session_id)
    below = folder / session_id
    return {
        str(path.relative_to(below)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(below.rglob("*"))
        if path.is_file()
    }


def answers(store: foldlog.Store, session_ids: list[str], folder: Path) -> Answers:
    """What the store says to each question."""
    found: Answers = {}
    for question, ask in questions(store, session_ids, folder):
        try:
            found[question] = text_of(ask())
        except foldlog.FoldlogError:
            found[question] = None
    return found


def text_of(answer: Any) -> str:
    if isinstance(answer, list):
        # In the order of the answer for events; rows of a query have none of their own.
        return json.dumps([encode(one).data.decode("latin1") for one in answer])
    return encode(answer, nesting_max=200).data.decode("latin1")
