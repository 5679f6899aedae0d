"""Verification: does the store still say what it said, and do the tables say what the journal folds to.

Reads everything it can and reports what it cannot, with positions; it raises nothing for damage. It
changes nothing. Here is the order of things; the looking is done in `verify_file` (the file as SQLite
sees it, the schema), `verify_server` (the schema on a server), `ledger` (digests, the chain, ids),
`verify_tables` (folding, tables, documents), `verify_search`, `verify_blobs` and `verify_export`.
"""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from foldlog.core.errors import FoldlogError
from foldlog.core.fold import Event
from foldlog.outlets import deletion
from foldlog.outlets.export import refs_in
from foldlog.outlets.findings import FINISH, REBUILD, REPAIR, RESTORE, SAVE, Problem, Report, SetApart, lacking
from foldlog.outlets.ledger import COLUMNS, Journal, Ledger, read_journal
from foldlog.outlets.verify_blobs import Blobs
from foldlog.outlets.verify_export import check_exported, nothing_exported
from foldlog.outlets.verify_file import check_file, check_schema
from foldlog.outlets.verify_search import check_strays, check_texts
from foldlog.outlets.verify_tables import LACKED, Folding, check_session
from foldlog.session.replaying import collector_resting
from foldlog.storage import rows_left, tables
from foldlog.storage.blobs import Reader
from foldlog.storage.damage import fetch
from foldlog.storage.driver import Driver, sql_of
from foldlog.storage.faults import DRIVER_ERRORS, translated
from foldlog.storage.journal import StoredEvent
from foldlog.storage.rows_left import Lost

if TYPE_CHECKING:
    from foldlog.store.store import Store

Progress = Callable[[int, int], None]


def verify(
    store: "Store",
    *,
    deep: bool = True,
    exported: Path | None = None,
    must_be_exported: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Check a store; see `Store.verify`. `must_be_exported`: that no session is in `exported` is a problem."""
    connection = store.database.new_reader()
    try:
        with translated(f"verifying {store.database.name}"):
            report = _Verification(store, rows_left.lenient(connection), progress, deep=deep).run(exported)
    finally:
        connection.close()
    if exported is not None and must_be_exported and report.session_count and not report.exported_count:
        report.problems.append(nothing_exported(exported))
    if store.database.path is None:  # there is no file to save anything from
        report.problems = [replace(one, hint=RESTORE) if one.hint == SAVE else one for one in report.problems]
    return report


def _check_schema(connection: Driver) -> Iterator[Problem]:
    if isinstance(connection, sqlite3.Connection):
        return check_schema(connection)
    from foldlog.outlets import verify_server  # noqa: PLC0415  (its driver is an extra)

    return verify_server.check_schema(connection)


class _Verification:
    def __init__(self, store: "Store", connection: Driver, progress: Progress | None, *, deep: bool) -> None:
        self._store = store
        self._connection = connection
        self._report = Report()
        self._deep = deep
        self._values = Reader(store.database)
        self._progress = progress or (lambda _done, _total: None)
        # Each event is looked at once, and folded once more if `deep`.
        self._total = rows_left.count(connection, "events") * (2 if deep else 1)
        self._done = 0

    def run(self, exported: Path | None) -> Report:
        report = self._report
        report.problems += check_file(self._connection, deep=self._deep)
        missing = self._missing_tables()
        if missing:
            report.problems += _check_schema(self._connection)
            report.problems += [Problem(None, None, f"the table {name} cannot be read", SAVE) for name in missing]
            return report
        # Before the events: what is there now has its event, too.
        blobs = Blobs(self._store, self._connection) if self._deep else None
        found = read_journal(self._connection, saw=self._saw)
        report.event_count = self._done = found.row_count
        report.problems += _journal_problems(found)
        report.set_apart = list(_set_apart(self._connection, found))
        report.problems += self._lost_problems(found)
        for key, session_id in found.names.items():
            self._check_session(found.ledgers[key], session_id, blobs)
        report.problems = _gathered(report.problems)
        if blobs is not None:
            report.blob_count = blobs.count
            is_whole = not report.set_apart and not any(
                ledger.faults or ledger.misplaced for ledger in found.ledgers.values()
            )
            report.problems += blobs.check_rest(all_events_read=is_whole and not found.lost)
            report.problems += _foreign_rows(self._connection, self._store, found)
        else:
            rows, _ = fetch(self._connection, "SELECT count(*) FROM blobs", ())
            report.blob_count = rows[0][0] if rows else 0
        report.problems += self._deletion_problems()
        if self._deep:
            report.problems += self._search_problems(lambda: check_strays(self._store.database))
        report.problems += _check_schema(self._connection)
        if exported is not None:
            check_exported(self._store, exported, report)
        self._progress(self._total, self._total)
        return report

    def _lost_problems(self, found: Journal) -> list[Problem]:
        """The events that the high-water marks tell of and the journal does not have."""
        hint = "restore a backup, or go on without them: who next writes the session notes that they are gone"
        problems = []
        try:
            for lost in self._store.database.lost():
                if lost.session_key in found.names:
                    what = f"events {lost.head + 1} to {lost.mark} were committed and are gone"
                    problems.append(Problem(None, str(found.names[lost.session_key]), what, hint))
                elif lost.session_id is None and lost.session_key not in found.ledgers:
                    what = f"events 1 to {lost.mark}, all of session {lost.session_key}, were committed and are gone"
                    tells = f"{self._store.database.short_name}-marks"
                    without = f"restore a backup; {tells} is what tells of it: remove it"
                    problems.append(Problem(None, None, what, f"{without} to go on without"))
        except (FoldlogError, *DRIVER_ERRORS) as error:
            problems.append(Problem(None, None, f"the high-water marks cannot be compared: {error}", SAVE))
        return problems

    def _deletion_problems(self) -> list[Problem]:
        """What is gone was deleted, and what was deleted is gone."""
        found: list[Problem] = []
        try:
            for position, what in deletion.check(self._store.database):
                found.append(Problem(position, None, what, SAVE))
        except (FoldlogError, *DRIVER_ERRORS) as error:
            found.append(Problem(None, None, f"the record of deletions cannot be read: {error}", SAVE))
        return found

    def _search_problems(self, check: Callable[[], Iterator[Problem]]) -> list[Problem]:
        """What is wrong with the search index."""
        try:
            return list(check())
        except (FoldlogError, *DRIVER_ERRORS) as error:
            return [Problem(None, None, f"the search index cannot be read: {error}", REPAIR)]

    def _saw(self, count: int) -> None:
        self._progress(min(self._done + count, self._total), self._total)

    def _missing_tables(self) -> list[str]:
        wanted = {"streams": "id", "events": COLUMNS, "quarantine": "session_key, event_id, position, what, at"}
        wanted |= {"blobs": "hash, bytes, data", "parts": "hash, data", "lists": "hash, prefix_id, items"}
        return [name for name, columns in wanted.items() if not rows_left.can_be_read(self._connection, name, columns)]

    def _check_session(self, ledger: Ledger, session_id: str, blobs: Blobs | None) -> None:
        report = self._report
        report.session_count += 1
        found: list[Problem] = list(_ledger_problems(self._connection, ledger, session_id))
        if blobs is not None and isinstance(session_id, str) and ledger.last_id:
            told: list[Problem] = []

            def saw(stored: StoredEvent, event: Event) -> None:
                told.extend(blobs.follow(stored.position, session_id, refs_in(event)))

            try:
                with collector_resting():
                    folding = Folding(self._connection, ledger, session_id)
                    found += check_session(self._store, folding, ledger, session_id, saw)
            except FoldlogError as error:
                found.append(Problem(getattr(error, "position", None), session_id, error.message, error.hint))
            found += told
            if not found:
                database, key = self._store.database, ledger.key
                found += self._search_problems(lambda: check_texts(database, key, session_id, self._values))
        self._done += ledger.row_count if self._deep else 0
        self._saw(0)
        # Where it was deleted while we read, nothing is wrong.
        if found and _is_there(self._connection, ledger.key, session_id):
            report.problems += found


def _gathered(problems: list[Problem]) -> list[Problem]:
    """Sessions that the tables lack are told of once: after half a copy it is all of them."""
    lacked = [one for one in problems if one.what == LACKED]
    if len(lacked) < 2:
        return problems
    whole = Problem(None, None, lacking(len(lacked)), FINISH)
    return [whole, *(one for one in problems if one.what != LACKED)]


def _journal_problems(found: Journal) -> Iterator[Problem]:
    """What is wrong with rows that belong to no one session."""
    for lost in found.lost:
        yield Problem(lost.first, None, f"the table events: {lost}", SAVE)
    for key in found.nameless():
        ledger = found.ledgers[key]
        what = f"{ledger.row_count} events are of no session (key {key!r})"
        name = f"; they say they are of {ledger.true_id!r}" if ledger.true_id is not None else ""
        yield Problem(None, None, f"{what}{name}", REPAIR if name else SAVE)


def _ledger_problems(connection: Driver, ledger: Ledger, session_id: object) -> Iterator[Problem]:
    shown = session_id if isinstance(session_id, str) else repr(session_id)
    for position, what in ledger.misplaced:
        yield Problem(position, shown, what, SAVE)
    for fault in ledger.faults:
        yield Problem(fault.seen_at, shown, str(fault), REPAIR)
    for position, event_id in ledger.backward:
        yield Problem(position, shown, f"event {event_id}: time goes back", SAVE)
    for event_id in ledger.bad_notes:
        yield Problem(None, shown, f"event {event_id} is set apart, and cannot have been", REPAIR)
    if ledger.true_id is not None and ledger.true_id != session_id:
        yield Problem(None, shown, f"its first event is of session {ledger.true_id!r}", REPAIR)
    if ledger.last_id == 0:
        yield Problem(None, shown, "the session has no events", SAVE)
        return
    rows, error = fetch(
        connection,
        "SELECT count(*) FROM events WHERE session_key = ? AND event_id <= ?",
        (ledger.key, ledger.last_id),
    )
    if error is not None or rows[0][0] != ledger.row_count:
        what = "cannot be read" if error is not None else f"knows {rows[0][0]} of {ledger.row_count} events"
        yield Problem(None, shown, f"the index that readers use {what}", "`foldlog repair STORE` makes it anew")


def _set_apart(connection: Driver, found: Journal) -> Iterator[SetApart]:
    for page in sql_of(connection).walk(connection, "quarantine", "session_key, event_id, position, what, at"):
        if isinstance(page, Lost):
            continue
        for _, key, event_id, position, what, at in page:
            if key in found.names:
                yield SetApart(str(found.names[key]), event_id, position, str(what), str(at))


def _foreign_rows(connection: Driver, store: "Store", found: Journal) -> Iterator[Problem]:
    """Rows of tables whose session is not in the journal."""
    known = set(found.names.values())
    for table in tables.table_names():
        for session_id in _names(
            connection, f"SELECT session_id FROM {table} WHERE session_id > ? ORDER BY session_id"
        ):
            if session_id not in known and not _is_known(store, session_id):
                what = f"the table {table} has rows of session {session_id!r}, which is not in the journal"
                yield Problem(None, None, what, REBUILD)


def _names(connection: Driver, sql: str) -> list[str]:
    """The different values of a column, by seeking from each to the next."""
    found: list[str] = []
    after = ""
    while True:
        try:
            rows, _ = fetch(connection, f"{sql} LIMIT 1", (after,))
        except DRIVER_ERRORS:
            return found  # there is no such table, which the look at the schema tells
        if not rows or not isinstance(rows[0][0], str):
            return found
        after = rows[0][0]
        found.append(after)


def _is_known(store: "Store", session_id: str) -> bool:
    with store.database.read() as connection:
        row = connection.exec_driver_sql("SELECT 1 FROM streams WHERE id = ?", (session_id,)).first()
    return row is not None


def _is_there(connection: Driver, key: int, session_id: object) -> bool:
    rows, error = fetch(connection, "SELECT id FROM streams WHERE session_key = ?", (key,))
    return error is not None or (bool(rows) and rows[0][0] == session_id)
