"""Other libraries' own writers, as they come: one event a call, with the settings they have out of the box.

Each is given the same content, about 600 bytes, in the form its users give it, and one caller. They do different
things (a LangGraph checkpoint holds a whole state, an ADK event also updates its session's row), so the figures
say what recording one thing costs there, not who is better. Libraries of `requirements-peers.txt` that are not
installed are listed as such.
"""

import asyncio
import functools
import itertools
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import orjson

from benchmarks.floor import durability, durability_of
from benchmarks.payload import payloads
from benchmarks.slices import AsyncOp, Candidate, timed, timed_tasks

# Nothing here may go over a network; these libraries can send traces.
os.environ.setdefault("OPENAI_AGENTS_DISABLE_TRACING", "1")
os.environ.setdefault("LANGSMITH_TRACING", "false")
os.environ.setdefault("OTEL_SDK_DISABLED", "true")


class Peer(NamedTuple):
    """A writer: how to open it in a folder."""

    key: str
    label: str
    open: Callable[[Path, int], AbstractContextManager[Candidate]]


@contextmanager
def eventsourcing(folder: Path, seed: int) -> Iterator[Candidate]:
    """`SQLiteApplicationRecorder.insert_events`, one event a call, already serialised."""
    from eventsourcing.persistence import StoredEvent
    from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

    datastore = SQLiteDatastore(str(folder / "eventsourcing.db"))
    recorder = SQLiteApplicationRecorder(datastore)
    recorder.create_table()
    originator, versions, cycle = uuid.uuid4(), itertools.count(1), itertools.cycle(payloads(seed))

    def op() -> None:
        state = orjson.dumps(next(cycle))
        recorder.insert_events([StoredEvent(originator, next(versions), "benchmarks:Updated", state)])

    try:
        with datastore.get_connection(commit=True) as connection:
            kept = durability(connection._sqlite_conn)
        yield Candidate("eventsourcing SQLiteApplicationRecorder", kept, lambda seconds: timed(op, seconds))
    finally:
        datastore.close()


@contextmanager
def langgraph_put(folder: Path, seed: int) -> Iterator[Candidate]:
    """`SqliteSaver.put` of a checkpoint whose state is the one event."""
    from langgraph.checkpoint.base import empty_checkpoint
    from langgraph.checkpoint.sqlite import SqliteSaver

    cycle = itertools.cycle(payloads(seed))
    with SqliteSaver.from_conn_string(str(folder / "langgraph-put.db")) as saver:
        saver.setup()
        config: Any = {"configurable": {"thread_id": "1", "checkpoint_ns": ""}}

        def op() -> None:
            checkpoint = {**empty_checkpoint(), "channel_values": {"update": next(cycle)}}
            saver.put(config, checkpoint, {"source": "loop", "step": 1}, {})

        yield Candidate("LangGraph SqliteSaver.put", durability(saver.conn), lambda seconds: timed(op, seconds))


@contextmanager
def langgraph_writes(folder: Path, seed: int) -> Iterator[Candidate]:
    """`SqliteSaver.put_writes` of one write."""
    from langgraph.checkpoint.sqlite import SqliteSaver

    cycle, numbers = itertools.cycle(payloads(seed)), itertools.count(1)
    with SqliteSaver.from_conn_string(str(folder / "langgraph-writes.db")) as saver:
        saver.setup()
        config: Any = {"configurable": {"thread_id": "1", "checkpoint_ns": "", "checkpoint_id": "1"}}

        def op() -> None:
            saver.put_writes(config, [("update", next(cycle))], task_id=f"task-{next(numbers)}")

        yield Candidate("LangGraph SqliteSaver.put_writes", durability(saver.conn), lambda seconds: timed(op, seconds))


@contextmanager
def _async(name: str, opening: Callable[[], Any]) -> Iterator[Candidate]:
    """A writer with coroutines, awaited by one caller."""
    context = opening()
    with asyncio.Runner() as runner:
        kept, op = runner.run(context.__aenter__())
        try:
            yield Candidate(name, kept, lambda seconds: runner.run(timed_tasks([op], seconds)))
        finally:
            runner.run(context.__aexit__(None, None, None))


Opened = tuple[str, AsyncOp]


def openai_agents(folder: Path, seed: int) -> AbstractContextManager[Candidate]:
    """`SQLiteSession.add_items` of one item."""

    @asynccontextmanager
    async def opening() -> AsyncIterator[Opened]:
        from agents import SQLiteSession

        session = SQLiteSession("s", folder / "openai-agents.db")
        cycle = itertools.cycle([orjson.dumps(row["changes"]).decode() for row in payloads(seed)])

        def op() -> Awaitable[object]:
            return session.add_items([{"role": "assistant", "content": next(cycle)}])

        def read() -> str:
            # On the thread that writes: connections are a thread's own.
            with session._locked_connection() as connection:
                return durability(connection)

        try:
            yield await asyncio.to_thread(read), op
        finally:
            session.close()

    return _async("OpenAI Agents SQLiteSession.add_items", opening)


async def _adk_op(service: Any, seed: int) -> AsyncOp:
    from google.adk.events import Event
    from google.genai import types

    session = await service.create_session(app_name="bench", user_id="u", session_id="s")
    cycle = itertools.cycle([orjson.dumps(row["changes"]).decode() for row in payloads(seed)])

    def op() -> Awaitable[object]:
        content = types.Content(role="model", parts=[types.Part(text=next(cycle))])
        return service.append_event(session, Event(author="agent", invocation_id="i", content=content))

    return op


def google_adk_sqlite(folder: Path, seed: int) -> AbstractContextManager[Candidate]:
    """`SqliteSessionService.append_event`."""

    @asynccontextmanager
    async def opening() -> AsyncIterator[Opened]:
        from google.adk.sessions.sqlite_session_service import SqliteSessionService

        service = SqliteSessionService(str(folder / "adk-sqlite.db"))
        op = await _adk_op(service, seed)
        async with service._get_db_connection() as connection:
            pragmas = []
            for name in ("journal_mode", "synchronous"):
                async with connection.execute(f"PRAGMA {name}") as cursor:
                    pragmas.append((await cursor.fetchone())[0])
        try:
            yield durability_of(*pragmas), op
        finally:
            await service.close()

    return _async("Google ADK SqliteSessionService.append_event", opening)


def google_adk_database(folder: Path, seed: int) -> AbstractContextManager[Candidate]:
    """`DatabaseSessionService.append_event`, with SQLAlchemy and aiosqlite."""

    @asynccontextmanager
    async def opening() -> AsyncIterator[Opened]:
        from google.adk.sessions import DatabaseSessionService

        service = DatabaseSessionService(f"sqlite+aiosqlite:///{folder / 'adk-database.db'}")
        op = await _adk_op(service, seed)
        async with service.db_engine.connect() as connection:
            pragmas = [
                (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar()
                for name in ("journal_mode", "synchronous")
            ]
        try:
            yield durability_of(*pragmas), op
        finally:
            await service.close()

    return _async("Google ADK DatabaseSessionService.append_event", opening)


PEERS = (
    Peer("eventsourcing", "eventsourcing SQLiteApplicationRecorder", eventsourcing),
    Peer("langgraph_put", "LangGraph SqliteSaver.put", langgraph_put),
    Peer("langgraph_writes", "LangGraph SqliteSaver.put_writes", langgraph_writes),
    Peer("openai_agents", "OpenAI Agents SQLiteSession.add_items", openai_agents),
    Peer("adk_sqlite", "Google ADK SqliteSessionService.append_event", google_adk_sqlite),
    Peer("adk_database", "Google ADK DatabaseSessionService.append_event", google_adk_database),
)


@functools.cache
def level_of(peer: Peer, seed: int) -> str:
    """Beside which floor a peer belongs: "full" where it syncs each commit, as its own connection says."""
    try:
        with TemporaryDirectory() as folder, peer.open(Path(folder), seed) as candidate:
            return "normal" if candidate.durability.endswith(("NORMAL", "OFF")) else "full"
    except Exception:  # noqa: BLE001  (whatever it is, it comes again where the peer is listed with the reason)
        return "full"
