"""The journal: appending events and reading them back, as rows.

An append is a list of stamped events, of one session or several, committed in one transaction together
with the blobs they refer to and the streams they begin. Stamping (ids, times, digests, the chain) is
done by the session; what events mean is in `foldlog.core.fold`, how blobs are stored in
`foldlog.storage.blobs`.
"""

import itertools
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from foldlog.core.chain import first_chain
from foldlog.core.errors import (
    AlreadyExistsError,
    CommitUncertainError,
    FoldlogError,
    StaleWriterError,
    UnknownSessionError,
)
from foldlog.core.refs import Ref
from foldlog.storage import blobs, quarantine, resumed
from foldlog.storage.damage import damaged
from foldlog.storage.database import Database
from foldlog.storage.driver import Driver, driver_of, insert, sql_of
from foldlog.storage.faults import is_constraint, is_uncertain, may_try_again, refused_by, translate, unanswered

SELECT: Final = (
    "SELECT position, streams.id, event_id, type, at, data, digest, chain, idempotency_key "
    "FROM events JOIN streams ON streams.session_key = events.session_key"
)
_PAGE_ROWS: Final = 1000
# Up to so many events are one INSERT, each number of rows a statement that stays prepared.
_ROWS_MAX: Final = 64
# How often an append is tried again whose connection was lost, or that was in another transaction's way.
_TRIES_MAX: Final = 10


@dataclass(slots=True)
class Stream:
    """A session as the journal knows it: its id, and its key once it is stored."""

    session_id: str
    key: int | None = None
    tag: bytes | None = None  # of `foldlog.storage.marks`, which looks it up
    resumed_count: int = 0  # of its database, when it was last seen to have all that was committed


class Stamped(NamedTuple):
    """An event ready to be committed: everything about it is settled but its position."""

    stream: Stream
    event_id: int
    type: str
    at: str
    data: bytes
    digest: bytes
    chain: bytes
    idempotency_key: str | None = None
    refs: tuple[Ref, ...] = ()


class StoredEvent(NamedTuple):
    """An event as it stands in the journal."""

    position: int
    session_id: str
    event_id: int
    type: str
    at: str
    data: str
    digest: bytes
    chain: bytes
    idempotency_key: str | None


def append(database: Database, stamped: list[Stamped], also: Callable[[Driver], None] | None = None) -> None:
    """Commit events, with `also` (more statements) in the same transaction.

    Returns when they are durable at the database's level. On any error nothing was written, except on
    `CommitUncertainError`, where the disk failed during the commit itself, or the server did not come back.
    """
    try:
        database.run(_append, database, stamped, also)
    except FoldlogError as error:
        if not may_try_again(error.__cause__):
            raise
        _append_again(database, stamped, also, error)


def _append_again(
    database: Database, stamped: list[Stamped], also: Callable[[Driver], None] | None, first: FoldlogError
) -> None:
    """Append what a server did not answer for, or what was in another's way: once, whatever was kept of it."""
    for _ in range(_TRIES_MAX):
        if not database.resume():
            break
        try:
            if not (stamped and resumed.is_kept(database, stamped)):
                database.run(_append, database, stamped, also)
        except FoldlogError as error:
            if not may_try_again(error.__cause__):
                raise
        else:
            return
    raise first


def _append(
    connection: Driver,
    database: Database,
    stamped: list[Stamped],
    also: Callable[[Driver], None] | None,
) -> None:
    marks = database.marks
    if database.resumed_count:
        resumed.check_goes_on(connection, database, stamped)
    if len(stamped) == 1 and also is None and _is_plain(stamped[0]):
        try:
            connection.execute(_INSERT, _values(stamped[0]))
        except sqlite3.Error as error:
            raise _refusal(error, stamped[0]) from error
        marks.note(connection, stamped[0].stream, stamped[0].event_id)
        return
    writing = _Writing(stamped)
    try:
        if also is None and len(stamped) <= _ROWS_MAX and all(map(_is_plain, stamped)):
            writing.at_once(connection)
        else:
            writing.in_transaction(connection, also)
    except (sqlite3.Error, FoldlogError) as error:
        writing.roll_back(connection)
        raise _refusal(error, writing.event) from error
    except BaseException:
        writing.roll_back(connection)
        raise
    for event in {id(event.stream): event for event in stamped}.values():
        marks.note(connection, event.stream, event.event_id)


def _is_plain(event: Stamped) -> bool:
    """Whether its row is all there is to store."""
    return event.stream.key is not None and not event.refs


def _values(event: Stamped) -> tuple[object, ...]:
    stream, event_id, event_type, at, data, digest, chain, key, _ = event
    return stream.key, event_id, event_type, at, data.decode(), digest, chain, key


@cache
def _insert(count: int) -> str:
    row = "(?, ?, ?, ?, ?, ?, ?, ?)"
    return (
        "INSERT INTO events (session_key, event_id, type, at, data, digest, chain, idempotency_key) "
        f"VALUES {', '.join([row] * count)}"
    )


_INSERT: Final = _insert(1)


class _Writing:
    """One append under way: the streams it began, and the event it has come to."""

    __slots__ = ("begun", "event", "stamped")

    def __init__(self, stamped: list[Stamped]) -> None:
        self.stamped = stamped
        self.event = stamped[0] if stamped else None
        self.begun: list[Stream] = []

    def at_once(self, connection: Driver) -> None:
        """All rows in one statement, which is its own transaction."""
        values = list(itertools.chain.from_iterable(map(_values, self.stamped)))
        try:
            connection.execute(_insert(len(self.stamped)), values)
        except sqlite3.Error as error:
            if not is_constraint(error):
                raise
            self.in_transaction(connection, None)  # one by one, to find the guilty one

    def in_transaction(self, connection: Driver, also: Callable[[Driver], None] | None) -> None:
        """Streams, blobs, rows and more, in one transaction."""
        try:
            self._write(connection, also, connection.executemany)
        except sqlite3.Error as error:
            if not is_constraint(error) or len(self.stamped) < 2 or self.event is not self.stamped[-1]:
                raise
            # Some drivers take all rows before they write the first: once more, to find the guilty one.
            self.roll_back(connection)
            self._write(connection, also, lambda sql, rows: [connection.execute(sql, row) for row in rows])

    def _write(
        self, connection: Driver, also: Callable[[Driver], None] | None, write: Callable[[str, Any], object]
    ) -> None:
        connection.execute(sql_of(connection).BEGIN_APPEND)
        for event in self.stamped:
            self.event = event
            if event.stream.key is None:
                event.stream.key = begin_stream(connection, event.stream.session_id)
                self.begun.append(event.stream)
            if event.refs:
                blobs.store(connection, event.refs)
        write(_INSERT, map(self._values_of, self.stamped))
        if also is not None:
            also(connection)
        connection.execute("COMMIT")

    def _values_of(self, event: Stamped) -> tuple[object, ...]:
        self.event = event
        return _values(event)

    def roll_back(self, connection: Driver) -> None:
        """Leave nothing behind."""
        for stream in self.begun:
            stream.key = None
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _refusal(error: sqlite3.Error | FoldlogError, event: Stamped | None) -> FoldlogError:
    if isinstance(error, FoldlogError):
        return error
    what = f"session {event.stream.session_id!r}: appending event {event.event_id}" if event else "appending"
    if is_uncertain(error):
        return CommitUncertainError(
            f"{what}: {unanswered(error)}",
            hint="call reload() to see what was kept, then go on",
        )
    refused = refused_by(error)
    if refused == "stream" and event:
        return _deleted(event.stream)
    if refused == "streams":
        return AlreadyExistsError(
            f"{what}: the session id is taken", hint="open it with open_session(), or choose another id"
        )
    return _stale(what) if refused == "events" else translate(error, what)


def in_words_of(error: FoldlogError, stamped: list[Stamped]) -> FoldlogError:
    """An error that struck several sessions' events at once, as one of these sessions is to hear it."""
    cause = error.__cause__
    if not isinstance(cause, sqlite3.Error) or not stamped:
        return error
    found = _refusal(cause, stamped[0])
    found.__cause__ = cause
    return found


def interrupted(session_id: str | None) -> CommitUncertainError:
    """What a signal, or an error of ours, in the middle of a commit leaves: only the journal knows what was kept."""
    what = f"session {session_id!r}" if session_id is not None else "a session"
    return CommitUncertainError(
        f"{what}: the commit was interrupted", hint="call reload() to see what was kept, then go on"
    )


def begin_stream(connection: Driver, session_id: str) -> int:
    """The key of a new stream, inside the caller's transaction; no key is given twice.

    Those of deleted sessions are kept below 0.
    """
    sql = f"INSERT INTO streams (session_key, id) VALUES ({sql_of(connection).NEW_STREAM_KEY}, ?)"
    return insert(connection, sql, (session_id,), "session_key")


def check_stream(connection: Driver, session_id: str) -> None:
    """Raise `UnknownSessionError` unless there is a session of this id, inside the caller's transaction."""
    if connection.execute("SELECT 1 FROM streams WHERE id = ?", (session_id,)).fetchone() is None:
        raise UnknownSessionError(f"session {session_id!r} was deleted", hint=_SEE_DELETIONS)


def check_kept(connection: Connection, stream: Stream) -> None:
    """Raise `UnknownSessionError` where a session was deleted since its stream was looked up.

    In the read transaction of what is read of it: another session may have its id by now.
    """
    sql = "SELECT 1 FROM streams WHERE session_key = ?"
    if stream.key is not None and connection.exec_driver_sql(sql, (stream.key,)).first() is None:
        raise _deleted(stream)


def _deleted(stream: Stream) -> UnknownSessionError:
    return UnknownSessionError(f"session {stream.session_id!r} was deleted", hint=_SEE_DELETIONS)


_SEE_DELETIONS: Final = "the SQL view deletions says when and why"


def find_stream(database: Database, session_id: str) -> Stream:
    """The stream of a session; raises `UnknownSessionError`."""
    sql = "SELECT session_key FROM streams WHERE id = ?"
    row = database.look(lambda connection: connection.exec_driver_sql(sql, (session_id,)).first())
    if row is None:
        raise UnknownSessionError(
            f"there is no session {session_id!r} in {database.name}",
            hint="`foldlog ls STORE --all` lists those there are",
        )
    return Stream(session_id, row[0])


def has_stream(database: Database, session_id: str) -> bool:
    """Whether the journal has a session of this id, which may be any text: not every engine takes every one."""
    if "\0" in session_id:
        return False
    sql = "SELECT 1 FROM streams WHERE id = ?"
    return database.look(lambda connection: connection.exec_driver_sql(sql, (session_id,)).first()) is not None


def range_below(session_id: str) -> tuple[str, str]:
    """Between these two, in order of text, are the ids of the sessions below one."""
    return f"{session_id}/", f"{session_id}0"  # '0' is the character after '/'


def stream_ids(database: Database, *, below: str | None = None) -> list[str]:
    """All session ids, or those of the sessions below one, parents before children."""
    # No more than the store's own: an id that begins with a dot and is not one of those is damage, to be told.
    sql, values = "SELECT id FROM streams WHERE id <> '.store' AND substr(id, 1, 9) <> '.deleted/'", tuple[str, ...]()
    if below is not None:
        sql, values = f"{sql} AND id > ? AND id < ?", range_below(below)
    rows = database.look(lambda connection: connection.exec_driver_sql(f"{sql} ORDER BY session_key", values).all())
    return [row[0] for row in rows]


def check_last(connection: Driver, stream: Stream, event_id: int) -> None:
    """Raise `StaleWriterError` unless this is a session's last event, inside the caller's transaction."""
    sql_of(connection).hold_stream(connection, stream.key)
    sql = f"SELECT {resumed.LAST_ID.format('?')}"
    if connection.execute(sql, (stream.key, stream.key)).fetchone()[0] != event_id:
        raise _stale(f"session {stream.session_id!r}")


def _stale(what: str) -> StaleWriterError:
    return StaleWriterError(
        f"{what}: another writer has appended to this session", hint="close this handle and open the session again"
    )


def last_event_ids(connection: Connection, session_id: str) -> dict[str, int]:
    """The ids of the last events of a session and of all below it, by session."""
    sql = f"SELECT id, {resumed.LAST_ID.format('streams.session_key')} FROM streams WHERE id = ? OR id > ? AND id < ?"
    return {row[0]: row[1] for row in connection.exec_driver_sql(sql, (session_id, *range_below(session_id)))}


class Head(NamedTuple):
    """The last event of a session."""

    event_id: int
    at: str
    chain: bytes


def head_of(database: Database, stream: Stream, event_id: int | None = None) -> Head | None:
    """The last event of a session, or the one of this id; None where there is none.

    Where events are set apart, the last one may be: then its id, and what is left of the chain.
    """
    return database.look(lambda connection: _head(connection, stream, event_id))


def _head(connection: Connection, stream: Stream, event_id: int | None) -> Head | None:
    which, values = "", [stream.key]
    if event_id is not None:
        which, values = " AND event_id = ?", [stream.key, event_id]
    driver = driver_of(connection)
    if quarantine.event_ids(driver, stream.key):
        last_id, chain, at = quarantine.last_ids(driver, stream.key, event_id)
        return Head(last_id, at, chain or first_chain(stream.session_id))
    row = driver.execute(
        f"SELECT event_id, at, chain, position FROM events WHERE session_key = ?{which} ORDER BY event_id DESC LIMIT 1",
        values,
    ).fetchone()
    if row is None:
        check_kept(connection, stream)
        return None
    if tuple(map(type, row[:3])) != (int, str, bytes):
        raise damaged(stream.session_id, row[0], row[3], "a column is not of the type it was written as")
    return Head(*row[:3])


def find_key(database: Database, stream: Stream, idempotency_key: str) -> StoredEvent | None:
    """The event that was appended with this idempotency key, or None."""
    sql, values = f"{SELECT} WHERE events.session_key = ? AND idempotency_key = ?", (stream.key, idempotency_key)
    row = database.look(lambda connection: connection.exec_driver_sql(sql, values).first())
    return StoredEvent(*row) if row is not None else None
