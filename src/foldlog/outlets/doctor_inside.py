"""What the doctor asks of an open database: schema, pragmas, pages, triggers, and how far tables lag.

What can be seen from outside is in `foldlog.outlets.doctor`.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from foldlog.core.errors import FoldlogError
from foldlog.outlets.doctor import Finding, why
from foldlog.outlets.findings import FINISH, lacking
from foldlog.outlets.verify_file import wrong_triggers
from foldlog.storage.driver import Driver
from foldlog.storage.faults import DRIVER_ERRORS
from foldlog.storage.rows_left import open_left
from foldlog.storage.schema import SCHEMA_NUMBER
from foldlog.storage.sqlite import PAGE_BYTES, probe

_FREE_SHARE_MAX: Final = 0.5
_NAMED_MAX: Final = 5
# That somebody keeps everybody out is a finding, too.
_WAIT_S: Final = 2.0
_LAGS: Final = """
SELECT streams.session_key, streams.id,
  (SELECT max(event_id) FROM events WHERE events.session_key = streams.session_key), sessions.checkpoint_event_id
FROM streams LEFT JOIN sessions ON sessions.session_id = streams.id
WHERE streams.session_key > ? AND substr(streams.id, 1, 1) <> '.'
ORDER BY streams.session_key LIMIT ?
"""
_PAGE_ROWS: Final = 1000


def look(path: Path) -> Iterator[Finding]:
    """What a read-only connection tells."""
    try:
        number = probe(path, wait_s=_WAIT_S)
        connection = open_left(path)
    except (FoldlogError, *DRIVER_ERRORS) as error:
        yield why(error)
        return
    try:
        yield schema(number)
        yield from _pages(connection)
        if number == SCHEMA_NUMBER:
            yield _triggers(connection)
            yield set_apart(connection)
            yield lag(connection)
    except (*DRIVER_ERRORS, MemoryError) as error:
        yield why(error)
    finally:
        connection.close()


def schema(number: int) -> Finding:
    """Whether the schema is today's."""
    what = f"schema {number}"
    if number < SCHEMA_NUMBER:
        hint = "`foldlog upgrade STORE`, or opening it to write, brings it up to date"
        return Finding("note", "schema", f"{what}, older than {SCHEMA_NUMBER}", hint)
    if number > SCHEMA_NUMBER:
        return Finding("problem", "schema", f"{what}, newer than {SCHEMA_NUMBER}", "install a newer foldlog")
    return Finding("ok", "schema", what)


def _pragma(connection: sqlite3.Connection, name: str) -> Any:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _pages(connection: sqlite3.Connection) -> Iterator[Finding]:
    mode = _pragma(connection, "journal_mode")
    if mode == "wal":
        yield Finding("ok", "journal mode", "wal")
    else:
        yield Finding("warning", "journal mode", f"{mode}", "another program changed it; opening to write sets WAL")
    size, count, free = (_pragma(connection, name) for name in ("page_size", "page_count", "freelist_count"))
    level = "ok" if size == PAGE_BYTES else "note"
    hint = "" if size == PAGE_BYTES else f"foldlog makes stores of {PAGE_BYTES}; a backup into a new file keeps it"
    yield Finding(level, "page size", f"{size:,} bytes", hint)
    what = f"{size * count:,} bytes, of which {size * free:,} are free pages"
    if count and free / count > _FREE_SHARE_MAX:
        yield Finding("note", "size", what, "new events fill the free pages first")
    else:
        yield Finding("ok", "size", what)


def _triggers(connection: sqlite3.Connection) -> Finding:
    stored = {(kind, name): sql for kind, name, sql in connection.execute("SELECT type, name, sql FROM sqlite_schema")}
    wrong = wrong_triggers(stored)
    if wrong:
        hint = "run `foldlog verify STORE`, then `foldlog repair STORE`"
        return Finding("problem", "triggers", f"not in place: {', '.join(wrong)}; events could be changed", hint)
    return Finding("ok", "triggers", "events are append-only")


def set_apart(connection: Driver) -> Finding:
    """Whether events were set apart."""
    count = connection.execute("SELECT count(*) FROM quarantine").fetchone()[0]
    if count:
        return Finding("warning", "quarantine", f"{count} events are set apart", "`foldlog verify STORE` lists them")
    return Finding("ok", "quarantine", "no event is set apart")


def lag(connection: Driver) -> Finding:
    """How far the tables are behind the journal."""
    behind: list[tuple[int, str]] = []
    after, count, lacking_count = 0, 0, 0
    while True:
        page = connection.execute(_LAGS, (after, _PAGE_ROWS)).fetchall()
        for after, session_id, last_id, standing in page:  # noqa: B007  (the last one is where to go on)
            count += 1
            lacking_count += bool(last_id) and standing is None
            count_behind = (last_id or 0) - (standing or 0)
            if count_behind > 0:
                behind.append((count_behind, f"{session_id} by {count_behind:,} events"))
        if len(page) < _PAGE_ROWS:
            break
    if lacking_count:
        return Finding("warning", "tables", lacking(lacking_count), FINISH)
    if not behind:
        return Finding("ok", "tables", f"all {count} sessions up to date" if count else "no sessions")
    worst = [text for _, text in sorted(behind, reverse=True)[:_NAMED_MAX]]
    more = f" and {len(behind) - _NAMED_MAX} more" if len(behind) > _NAMED_MAX else ""
    hint = "views and events are up to date; a checkpoint, or opening the session, brings the tables up"
    return Finding("note", "tables", f"behind the journal: {', '.join(worst)}{more}", hint)
