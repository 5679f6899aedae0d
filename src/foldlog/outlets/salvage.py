"""Salvage: what can be read of a damaged database file, row by row, into a new store.

The file is only read, and need not open as a store: a damaged header number or index is no hindrance, a
schema that SQLite cannot read is. Events keep their positions; those that are gone are noted as set
apart. The new store is repaired (`foldlog.outlets.repair`) and verified before it gets its name.
"""

import contextlib
import os
import secrets
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from foldlog.core.clock import format_time
from foldlog.core.errors import AlreadyExistsError, CorruptJournalError, FoldlogError, NotAStoreError, StoreError
from foldlog.core.ids import check_session_id, is_hash
from foldlog.outlets.ledger import COLUMNS, Journal, Row, read_journal
from foldlog.outlets.repair import Progress, Repairs, repair
from foldlog.session.config import Config
from foldlog.storage import migrate, quarantine
from foldlog.storage.faults import DRIVER_ERRORS, is_damage, translated
from foldlog.storage.files import sync_folder
from foldlog.storage.quarantine import Note
from foldlog.storage.rows_left import Lost, can_be_read, open_left, walk
from foldlog.storage.sqlite import check_file, create
from foldlog.store.store import open as open_store

# Beside events and streams: what each table needs to be copied.
_COPIED: Final = {
    "blobs": "hash, bytes, data",
    "parts": "hash, data",
    "lists": "hash, prefix_id, items",
}
_KEYS: Final = {"parts": "part_id", "lists": "list_id", "blobs": "rowid"}


def salvage(path: Path, new: Path, *, config: Config, progress: Progress | None = None) -> Repairs:
    """Save what can be read of the store at `path` into a new one; see `foldlog.salvage`."""
    check_file(path)
    if not new.parent.is_dir():
        raise StoreError(f"there is no folder {new.parent}", hint="make the folder first, or check the path")
    if os.path.lexists(new):
        raise AlreadyExistsError(f"{new} is there already", hint="choose a new name: nothing is replaced")
    fresh = new.with_name(f".{new.name}.{secrets.token_hex(6)}.new")
    source = _open(path)
    try:
        copy = _Copy(source, format_time(config.clock()), progress or (lambda _done, _total: None))
        with translated(f"saving what can be read of {path}"):
            create(fresh, copy.make)
        repairs = _finished(fresh, copy, config, progress)
        os.link(fresh, new)
        sync_folder(new.parent)
    except FileExistsError as error:
        raise AlreadyExistsError(f"{new} is there already", hint="choose a new name") from error
    except OSError as error:
        raise StoreError(f"cannot save to {new} ({error.strerror})", hint="check the folder and the space") from error
    finally:
        source.close()
        _clear(fresh)
    return repairs


def _clear(fresh: Path) -> None:
    """Take away the unfinished name, and whatever stands beside it under that name."""
    for entry in fresh.parent.iterdir():
        if entry.name.startswith(fresh.name):
            with contextlib.suppress(OSError):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()


def _open(path: Path) -> sqlite3.Connection:
    """A connection to a file that may be no whole store, or why there can be none."""
    connection = None
    try:
        connection = open_left(path)
        # Nothing is written: so told, SQLite reads a file that was cut off as far as it goes.
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        wanted = {"streams": "id", "events": COLUMNS}
        missing = [name for name, columns in wanted.items() if not can_be_read(connection, name, columns)]
    except DRIVER_ERRORS as error:
        if connection is not None:
            connection.close()
        if not is_damage(error):
            raise StoreError(f"{path} cannot be opened ({error})", hint="check the path and its permissions") from error
        what = "its first page" if "not a database" in str(error) else "the page that tells what its tables are"
        raise CorruptJournalError(
            f"{path}: {what} is damaged ({error}); without it no table can be found",
            hint="restore a backup; SQLite's own `.recover` may find rows, without what they belong to",
        ) from error
    if missing:
        connection.close()
        raise NotAStoreError(
            f"{path} has no table {missing[0]} as foldlog makes it", hint="check that this is a foldlog store"
        )
    return connection


class _Copy:
    """Copies rows out of one database into another."""

    def __init__(self, source: sqlite3.Connection, now: str, saw: Progress) -> None:
        self.lost: list[str] = []
        self._source = source
        self._now = now
        self._saw = saw
        self._target: sqlite3.Connection
        self._pending: list[Row] = []

    def make(self, target: sqlite3.Connection) -> None:
        """Fill a new database, inside its transaction."""
        self._target = target
        migrate.make_schema(target)
        found = read_journal(self._source, each=self._take, saw=lambda count: self._saw(count, count))
        self._write_events()
        self._name_sessions(found)
        self._note_what_is_gone(found)
        for table, columns in _COPIED.items():
            self._copy(table, columns)

    def _lose(self, what: str) -> None:
        self.lost.append(what)

    def _take(self, row: Row, stands: bool) -> None:
        """One event; written where it may stand as it is, damaged or not."""
        if not stands or type(row.session_key) is not int:
            self._lose(f"events: row {row.position} (its place among the others cannot be told)")
            return
        self._pending.append(row)
        if len(self._pending) >= 1000:
            self._write_events()

    def _write_events(self) -> None:
        rows, self._pending = self._pending, []
        # A column that must not be null is, in a damaged row: what is left is kept as nothing at all.
        filled = [(*row[:3], *("" if value is None else value for value in row[3:8]), row[8]) for row in rows]
        self._insert("events", f"position, {COLUMNS}", filled)

    def _insert(self, table: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
        """Insert rows, each by itself where one of them has no place."""
        marks = ", ".join("?" * (columns.count(",") + 1))
        sql = f"INSERT INTO {table} ({columns}) VALUES ({marks})"
        self._target.execute("SAVEPOINT page")
        try:
            self._target.executemany(sql, rows)
        except (sqlite3.IntegrityError, sqlite3.InterfaceError, OverflowError):
            self._target.execute("ROLLBACK TO page")
            for row in rows:
                try:
                    self._target.execute(sql, row)
                except (sqlite3.IntegrityError, sqlite3.InterfaceError, OverflowError):
                    self._lose(f"{table}: row {row[0]} (another has its name)")
        self._target.execute("RELEASE page")

    def _name_sessions(self, found: Journal) -> None:
        """Streams: by their rows, or by what a first event says of itself."""
        taken: set[str] = set()
        # Events whose key is no number were not taken: they name no session.
        numbered = [(key, ledger) for key, ledger in found.ledgers.items() if type(key) is int]
        for key, ledger in sorted(numbered, key=lambda item: (item[1].true_id is None, item[0])):
            name = ledger.true_id or found.names.get(key)
            if key in found.others or (ledger.row_count == 0 and not ledger.noted):
                continue
            try:
                session_id = check_session_id(name)
                if session_id in taken:
                    raise StoreError("taken", hint="")
            except FoldlogError:
                session_id = f"unnamed-{key}"
                self._lose(f"streams: the name of the session with key {key}; it is {session_id!r} now")
            taken.add(session_id)
            self._insert("streams", "session_key, id", [(key, session_id)])
        self._insert("streams", "session_key, id", list(found.others.items()))
        for page in walk(self._source, "streams", "id"):
            if isinstance(page, Lost):
                self._lose(f"streams: {page}")

    def _note_what_is_gone(self, found: Journal) -> None:
        for lost in found.lost:
            self._lose(f"events: {lost}")
        for page in walk(self._source, "quarantine", "session_key, event_id, position, what, at"):
            if isinstance(page, Lost):
                self._lose(f"quarantine: {page}")
                continue
            known = [Note(*row[1:]) for row in page if row[1] in found.ledgers and type(row[1]) is type(row[2]) is int]
            kept = [note for note in known if note.event_id not in found.ledgers[note.session_key].bad_notes]
            quarantine.add(self._target, [note._replace(what=str(note.what), at=str(note.at)) for note in kept])
        for key, ledger in found.ledgers.items():
            for fault in ledger.faults if type(key) is int and key not in found.others else ():
                for event_id in range(fault.event_id, fault.last_id + 1):
                    what = fault.what if fault.last_id == fault.event_id else "is missing"
                    quarantine.add(self._target, [Note(ledger.key, event_id, fault.position, what, self._now)])

    def _copy(self, table: str, columns: str) -> None:
        if not can_be_read(self._source, table, columns):
            self._lose(f"{table}: the whole table")
            return
        for page in walk(self._source, table, columns):
            if isinstance(page, Lost):
                self._lose(f"{table}: {page}")
                continue
            rows = [row for row in page if table != "blobs" or (is_hash(row[1]) and type(row[2]) is int)]
            for row in page if len(rows) < len(page) else ():
                if row not in rows:
                    self._lose(f"{table}: row {row[0]} (what it is cannot be told)")
            self._insert(table, f"{_KEYS[table]}, {columns}", rows)


def _finished(fresh: Path, copy: _Copy, config: Config, progress: Callable[[int, int], None] | None) -> Repairs:
    """Repair and check the new store under the name it has so far."""
    with open_store(fresh, config=config) as store:
        repairs = repair(store, progress=progress)
    wal = Path(f"{fresh}-wal")
    if wal.exists() and wal.stat().st_size:
        raise StoreError(f"{fresh} could not be finished", hint="nothing was made; check the disk and try again")
    repairs.lost = copy.lost
    repairs.set_apart = repairs.report.set_apart
    others = [problem for problem in repairs.report.problems if not _is_of_values(problem.what)]
    if others:
        raise StoreError(
            f"what was saved does not hold together: {others[0].what}", hint="nothing was made; restore a backup"
        )
    return repairs


def _is_of_values(what: str) -> bool:
    """Whether a problem is a large value that is gone: said, and no reason to keep the rest back."""
    return what.startswith(("blob", "part", "list"))
