"""Deleting sessions: who may go, what is recorded of it, and whether what was recorded still holds.

What goes with a session is found and deleted by `foldlog.storage.removal`, all of it in one transaction
together with one event, `session.deleted`, in the store's own stream; the SQL view `deletions` shows these
events. Files are removed by `foldlog.outlets.export`.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from foldlog.core.chain import digest_of, first_chain, next_chain
from foldlog.core.clock import format_time
from foldlog.core.codec import decode, encode
from foldlog.core.errors import (
    CommitUncertainError,
    CorruptJournalError,
    FoldlogError,
    HasDescendantsError,
    InvalidEventError,
    LimitError,
)
from foldlog.core.ids import check_session_id
from foldlog.core.limits import REASON_CHARS_MAX
from foldlog.storage import journal, lease, removal
from foldlog.storage.database import Database
from foldlog.storage.driver import Driver, driver_of, sql_of
from foldlog.storage.faults import is_uncertain, translate, unanswered
from foldlog.storage.schema import DELETED_PREFIX, STORE_STREAM

if TYPE_CHECKING:
    from foldlog.store.store import Store

EVENT_TYPE: Final = "session.deleted"


@dataclass(frozen=True, slots=True)
class Deletion:
    """What `delete_session` deleted, or would; sessions from the top, bytes of events and values as JSON.

    `position`: of the event that records it, None for a dry run. `file_bytes_freed`: by how much the database
    file became smaller; 0 on a server, which frees the space for new rows by itself (autovacuum). `notes`: what is
    left to do, in sentences; mostly nothing.
    """

    sessions: tuple[str, ...]
    event_count: int
    event_bytes: int
    row_count: int
    blob_count: int
    blob_bytes: int
    reason: str | None = None
    dry_run: bool = False
    position: int | None = None
    at: str | None = None
    file_count: int = 0
    file_bytes_freed: int = 0
    notes: tuple[str, ...] = ()


def delete(
    store: "Store", session_id: str, *, reason: str | None, dry_run: bool, despite_descendants: bool
) -> Deletion:
    """Delete a session and all below it; see `Store.delete_session`."""
    check_session_id(session_id)
    _check_reason(reason)
    database = store.database
    if dry_run:
        with database.read() as reading, _told(session_id):
            doomed = _find(driver_of(reading), session_id, despite_descendants)
            return _deletion(doomed, reason, dry_run=True)
    database.check_writable()
    journal.find_stream(database, session_id)
    holder = lease.holder_now(format_time(store.config.clock()))
    # Held to the end: until then nobody begins a session of this id, whose files could be taken for the old ones.
    top = database.acquire(session_id, holder)
    try:
        with database.write() as connection, _told(session_id), sql_of(connection).deleting(connection):
            bytes_before = sql_of(connection).stored_bytes(connection)
            deletion = _carry_out(store, connection, session_id, reason, despite_descendants, holder)
        deletion = _remove_files(store, deletion)
        with database.write() as connection:
            words = sql_of(connection)
            note = words.give_back_space(connection)
            freed = bytes_before - words.stored_bytes(connection) if note is None else 0
    finally:
        top.release()
    notes = deletion.notes if note is None else (*deletion.notes, note)
    return replace(deletion, file_bytes_freed=max(freed, 0), notes=notes)


def _check_reason(reason: object) -> None:
    if reason is not None and not isinstance(reason, str):
        raise InvalidEventError("a reason is a str", hint="say in a sentence why the session goes, or leave it out")
    if reason is not None and len(reason) > REASON_CHARS_MAX:
        raise LimitError(
            f"the reason has {len(reason):,} characters; the limit is {REASON_CHARS_MAX:,}", hint="say it in a sentence"
        )


@contextmanager
def _told(session_id: str) -> Iterator[None]:
    """Driver errors in our words."""
    what = f"session {session_id!r}: deleting it"
    try:
        yield
    except sqlite3.Error as error:
        if is_uncertain(error):
            raise CommitUncertainError(
                f"{what}: {unanswered(error)}",
                hint="it is deleted whole or not at all: see whether it is there, once all is well again",
            ) from error
        raise translate(error, what) from error


def _carry_out(
    store: "Store",
    connection: Driver,
    session_id: str,
    reason: str | None,
    despite_descendants: bool,
    holder: dict[str, Any],
) -> Deletion:
    connection.execute("BEGIN IMMEDIATE")
    try:
        sql_of(connection).hold_all(connection)
        doomed = _find(connection, session_id, despite_descendants)
        # Nobody can commit now. Who opens one of them from here on finds it gone at the first write.
        for one in doomed.session_ids[1:]:
            store.database.acquire(one, holder).release()
        deletion = _deletion(doomed, reason)
        payload = encode(_payload(doomed, deletion, holder), what=EVENT_TYPE)
        recorded = removal.record(connection, EVENT_TYPE, holder["since"], payload.data)
        removal.remove(connection, doomed)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return replace(deletion, position=recorded.position, at=recorded.at)


def _find(connection: Driver, session_id: str, despite_descendants: bool) -> removal.Doomed:
    doomed = removal.find(connection, session_id)
    descendants = () if despite_descendants else _descendants(connection, set(doomed.session_ids))
    if descendants:
        shown = ", ".join(descendants[:5]) + (f" and {len(descendants) - 5} more" if len(descendants) > 5 else "")
        raise HasDescendantsError(
            f"session {session_id!r} is where others come from: {shown}",
            hint="delete them first, or say that they can do without it: --despite-descendants (despite_descendants)",
            descendants=descendants,
        )
    return doomed


def _descendants(connection: Driver, session_ids: set[str]) -> tuple[str, ...]:
    """The kept sessions that say they go on from one of these."""
    found = []
    for one, data in connection.execute("SELECT session_id, data FROM sessions ORDER BY created_at, session_id"):
        if one not in session_ids and not session_ids.isdisjoint(_sources(data)):
            found.append(one)
    return tuple(found)


def _sources(data: str) -> Iterator[str]:
    """The sessions that a session's row says it comes from."""
    try:
        row = decode(data)
    except CorruptJournalError:
        return
    lineage = row.get("lineage") if isinstance(row, dict) else None
    if isinstance(row, dict):
        yield from map(_named, (row.get("resumed_from"), row.get("forked_from"), row.get("restored_from")))
    if isinstance(lineage, dict):
        parents = lineage.get("parents")
        yield from map(_named, (lineage.get("source"), *(parents if isinstance(parents, list) else ())))


def _named(origin: object) -> str:
    found = origin.get("session_id") if isinstance(origin, dict) else origin
    return found if isinstance(found, str) else ""


def _deletion(doomed: removal.Doomed, reason: str | None, *, dry_run: bool = False) -> Deletion:
    return Deletion(
        sessions=tuple(doomed.session_ids),
        event_count=sum(stream.event_count for stream in doomed.streams),
        event_bytes=sum(stream.event_bytes for stream in doomed.streams),
        row_count=doomed.row_count,
        blob_count=doomed.blob_count,
        blob_bytes=doomed.blob_bytes,
        reason=reason,
        dry_run=dry_run,
    )


def _payload(doomed: removal.Doomed, deletion: Deletion, holder: dict[str, Any]) -> dict[str, Any]:
    streams = [
        {
            "session_id": stream.session_id,
            "session_key": stream.key,
            "event_count": stream.event_count,
            "chain": stream.chain.hex(),
        }
        for stream in doomed.streams
    ]
    counts = {
        name: getattr(deletion, name)
        for name in ("event_count", "event_bytes", "row_count", "blob_count", "blob_bytes", "reason")
    }
    return {
        "session_id": deletion.sessions[0],
        "session_count": len(streams),
        **counts,
        "host": holder["host"],
        "pid": holder["pid"],
        "sessions": streams,
    }


def _remove_files(store: "Store", deletion: Deletion) -> Deletion:
    """Remove what checkpoints exported of the sessions; what cannot be is said, since they are gone already."""
    if store.config.export_dir is None:
        return deletion
    from foldlog.outlets import export  # noqa: PLC0415

    folder = Path(store.config.export_dir)
    try:
        with store.export_lock:
            count, left = export.remove(store, folder, deletion.sessions)
    except FoldlogError as error:
        return replace(deletion, notes=(f"files are left under {folder}: {error.message}",))
    notes = [f"{path} is left: it holds what foldlog did not write" for path in left]
    return replace(deletion, file_count=count, notes=tuple(notes))


# Checking.


def check(database: Database) -> Iterator[tuple[int | None, str]]:
    """What is wrong with the record of deletions: position and what; it tells a deletion from a loss."""
    recorded = set[int]()
    with closing(database.new_reader()) as connection:
        connection.execute("BEGIN")  # both of one moment
        yield from _check_store_stream(connection, recorded)
        sql = (
            "SELECT id, session_key, (SELECT count(*) FROM events "
            "WHERE events.session_key IN (streams.session_key, -streams.session_key)) "
            "FROM streams WHERE substr(id, 1, 9) = ? OR session_key < 0"
        )
        left = {}
        for stream_id, key, event_count in connection.execute(sql, (DELETED_PREFIX,)):
            left[-key] = stream_id
            if stream_id != f"{DELETED_PREFIX}{-key}":
                yield None, f"the stream of key {key} has the id {stream_id!r}"
            elif event_count:
                yield None, f"the deleted session of key {-key} has events"
    for key in sorted(left.keys() - recorded):
        yield None, f"the session of key {key} is gone, and no event says that it was deleted"
    for key in sorted(recorded - left.keys()):
        yield None, f"the deleted session of key {key} has left no stream: its key may be given again"


def _check_store_stream(connection: Driver, recorded: set[int]) -> Iterator[tuple[int | None, str]]:
    sql = (
        "SELECT position, event_id, type, at, data, digest, chain FROM events "
        "WHERE session_key = (SELECT session_key FROM streams WHERE id = ?) ORDER BY event_id"
    )
    chain, expected, last_at = first_chain(STORE_STREAM), 1, ""
    for position, event_id, event_type, at, data, digest, stored in connection.execute(sql, (STORE_STREAM,)):
        if [type(one) for one in (event_type, at, data, digest, stored)] != [str, str, str, bytes, bytes]:
            yield position, f"event {event_id}: a column is not of the type it was written as"
            chain, expected = stored if type(stored) is bytes else b"", event_id + 1
            continue
        if event_id != expected:
            yield position, f"event {expected} is missing"
        if digest_of(data.encode()) != digest:
            yield position, f"event {event_id}: the data is not what was written"
        if next_chain(chain, event_id, event_type, at, digest) != stored:
            yield position, f"event {event_id}: the chain is broken"
        if at < last_at:
            yield position, f"event {event_id}: time goes back"
        chain, expected, last_at = stored, event_id + 1, max(at, last_at)
        try:
            recorded.update(one["session_key"] for one in decode(data)["sessions"])
        except (CorruptJournalError, KeyError, TypeError):
            yield position, f"event {event_id} does not say which sessions were deleted"
