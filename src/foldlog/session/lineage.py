"""Where a session comes from: its first row, what it inherits, and what a crash interrupted.

Everything here is the content of events; recording them is the session's work.
"""

import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from foldlog.core.errors import CommitUncertainError, CorruptJournalError, UnknownRowError
from foldlog.core.rows import Entry, Row
from foldlog.core.upcast import ARTIFACT_VERSION
from foldlog.core.view import View
from foldlog.session.host import Host
from foldlog.storage import journal

LINEAGE_VERSION = 1
PARENT_KINDS = {"resume": "resumed-from", "fork": "forked-from", "attach": "attached-from"}


@dataclass(frozen=True, slots=True)
class Source:
    """A snapshot of another session, and the messages up to it."""

    session_id: str
    fingerprint: str
    snapshot: Row
    messages: list[Row]
    counters: dict[str, int]

    def origin(self) -> Row:
        """How rows and events name it."""
        return {
            "session_id": self.session_id,
            "snapshot_id": self.snapshot["id"],
            "turn_id": self.snapshot.get("turn_id"),
            "fingerprint": self.fingerprint,
        }


def new_id() -> str:
    """A fresh id for a root session."""
    return f"session-{uuid.uuid4()}"


def session_row(
    session_id: str,
    *,
    kind: str,
    provider: Any,
    parent: Row | None,
    cache_id: Any,
    created_at: str,
    extra: Row,
) -> Row:
    """The row a session starts with; keys of the user's own are kept, ours cannot be replaced."""
    return {
        "prompt": None,
        "cache": None,
        "lineage": None,
        "resumed_from": None,
        "forked_from": None,
        **extra,
        "id": session_id,
        "kind": kind,
        "status": "running",
        "created_at": created_at,
        "ended_at": None,
        "provider": provider,
        "parent": parent,
        "cache_id": session_id if cache_id is None else cache_id,
        "turn_count": 0,
        "latest_turn_id": None,
        "artifact_version": ARTIFACT_VERSION,
    }


def end_of_call(view: View, now: str) -> Row:
    """What the call that led to a session is changed by when the session has ended."""
    ending: Row = {"status": "ok", "ended_at": now}
    if view.final_ref is not None:
        ending |= {"status": "final", "final_ref": view.final_ref}
    if view.session_row().get("status") == "error":
        ending |= {"status": "error", "error": view.error}
    return ending


def call_to_child(call_id: int, now: str, edge_type: str, call_type: str, fields: Row) -> Row:
    """The call that leads to a child session, which is still to be named."""
    return {
        "id": call_id,
        "status": "running",
        "started_at": now,
        **fields,
        "type": call_type,
        "child_session_id": None,
        "edge_type": edge_type,
    }


def row_below(parent: Row, call: Row, now: str) -> Row:
    """The row a child session starts with: it names the call that leads to it."""
    return session_row(
        call["child_session_id"],
        kind="child",
        provider=parent.get("provider"),
        parent={"session_id": parent["id"], "call_id": call["id"], "eval_id": call.get("parent_eval_id")},
        cache_id=None,
        created_at=now,
        extra={},
    )


def lineage_of(source: Source, kind: str, session_id: str, created_at: str) -> Row:
    """The lineage of a session made from a snapshot of another."""
    return {
        "version": LINEAGE_VERSION,
        "kind": kind,
        "session_id": session_id,
        "created_at": created_at,
        "source": source.origin(),
        "parents": [{"kind": PARENT_KINDS[kind], "session_id": source.session_id}],
    }


def restored_fields(source: Source, kind: str) -> Row:
    """The payload of session.restored: the new journal needs the source no more."""
    return {
        "messages": source.messages,
        "counters": source.counters,
        "session_patch": {
            "latest_turn_id": source.snapshot.get("turn_id"),
            "lineage_kind": kind,
            "restored_from": {**source.origin(), "ref": source.snapshot.get("ref")},
        },
    }


def source_of(view: View, fingerprint: str, turn: Any = None) -> Source:
    """The newest snapshot of a session, or the newest of one turn; raises `UnknownRowError`."""
    session_id = view.session_row()["id"]
    entries = [entry for _, entry in view.moment("snapshot") if turn is None or entry.row.get("turn_id") == turn]
    if not entries:
        of = f"of turn {turn!r}" if turn is not None else "to go on from"
        raise UnknownRowError(
            f"session {session_id!r} has no snapshot {of}",
            hint="take one with session.snapshot(values); session.view.snapshots has those there are",
        )
    snapshot = entries[-1]
    messages = [entry.row for entry in _through(view, snapshot)]
    turns = [entry.row["id"] for _, entry in view.moment("turn") if entry.first_event_id < snapshot.first_event_id]
    counters = {
        "message": _highest(row["id"] for row in messages),
        "turn": max(_highest(turns), _highest([snapshot.row.get("turn_id")])),
    }
    return Source(session_id, fingerprint, snapshot.row, messages, counters)


def _through(view: View, snapshot: Entry) -> list[Entry]:
    """The messages a snapshot saw: up to the one it names, else those that were there."""
    entries = [entry for _, entry in view.moment("message")]
    named = snapshot.row.get("message_through_id")
    last = next((entry.seq for entry in entries if entry.row["id"] == named), None) if named is not None else None
    if last is not None:
        return [entry for entry in entries if entry.seq <= last]
    return [entry for entry in entries if entry.first_event_id < snapshot.first_event_id]


def _highest(ids: Any) -> int:
    return max((row_id for row_id in ids if isinstance(row_id, int)), default=0)


def interrupted(view: View) -> dict[str, list[Any]]:
    """The turns and calls that a dead writer left running."""
    return {"turns": view.running_ids("turn"), "calls": view.running_ids("call")}


def lost_events(session_id: str, head: int, noted: int, *, recover: bool) -> Row:
    """What `session.recovered` says of events that were committed and are not there: `lost`, the first and the last.

    Raises `CorruptJournalError` unless that is to be recorded.
    """
    if noted <= head:
        return {}
    if not recover:
        raise CorruptJournalError(
            f"session {session_id!r}: events {head + 1} to {noted} were committed and are not in the store; "
            "the end of its write-ahead log is gone",
            hint="restore a backup if it has them; store.view(id) reads what is there, and "
            "open_session(id, recover=True) notes the loss and goes on",
        )
    return {"lost": [head + 1, noted]}


def fingerprint(host: Host, session_id: str) -> str:
    """A hash over the chain heads of a session and of all below it."""
    digest = hashlib.sha256()
    for one in [session_id, *sorted(journal.stream_ids(host.database, below=session_id))]:
        head = journal.head_of(host.database, journal.find_stream(host.database, one))
        digest.update(f"{one}\n{head.chain.hex() if head else ''}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def find_source(host: Host, session_id: str, turn: Any) -> Source:
    """A snapshot of another session, for resume, fork and attach."""
    return source_of(host.view(session_id), fingerprint(host, session_id), turn)


@contextmanager
def without_handle() -> Iterator[None]:
    """An uncertain commit where the caller has no handle to reload: before a session is started or opened."""
    try:
        yield
    except CommitUncertainError as error:
        hint = "try again: open_session(id) finds what was kept, start_session(id=…) that nothing was"
        raise CommitUncertainError(error.message, hint=hint) from error.__cause__
