"""Copying a history into another store, on either engine: rows as they are, in order of position, resumable.

Durable rows keep their keys: positions, session keys, the ids of parts. So text, digests and chains are equal
byte for byte, and what refers to a key, such as the record of a deletion, holds in the copy. Tables are made by the
target's own means; the search index follows as the copy is used, as that of any store. What the target may be and
whether it is equal in the end is checked in `foldlog.outlets.copying_check`; rows in bulk are `foldlog.storage.bulk`'s.
"""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from foldlog.core.codec import decode
from foldlog.core.columns import Columns
from foldlog.core.errors import CorruptJournalError, FoldlogError, StoreError
from foldlog.core.view import View
from foldlog.outlets import copying_check
from foldlog.outlets.copying_check import Lagging
from foldlog.outlets.findings import plural
from foldlog.outlets.ledger import Ledger, Row
from foldlog.session import checkpoint
from foldlog.session.config import Config
from foldlog.session.replaying import collector_resting, fold_on_connection
from foldlog.storage import bulk, lease, quarantine, tables
from foldlog.storage.bulk import Head
from foldlog.storage.database import Database
from foldlog.storage.driver import Driver, driver_of, sql_of
from foldlog.storage.faults import translated
from foldlog.storage.quarantine import Note
from foldlog.storage.schema import DELETED_PREFIX, STORE_STREAM
from foldlog.store.upgrade import open_database

Progress = Callable[[int, int], None]

# About what one transaction brings, in bytes, and in events.
_PAGE_BYTES: Final = 4 * 1024 * 1024
_PAGE_ROWS_MAX: Final = 5000
_FIRST_PAGE_ROWS: Final = 500
# Values are held in memory until their page is written.
_PAGE_VALUES_MAX: Final = 100
# Tables of so many events, or more, are written in one transaction.
_TABLES_EVENTS: Final = 5000
_HINT: Final = "`foldlog repair STORE` on the source sets the event apart; then copy again: it goes on"


@dataclass(frozen=True, slots=True)
class Copied:
    """What `foldlog.copy` brought over, and what was there; true when every value that it checked is whole.

    `event_bytes`: of the events' JSON; `blob_bytes`: of values as they are stored, shared parts once.
    `found_event_count`: the events that an earlier copy had brought. `damaged`: values that are damaged or missing,
    in the source as well, in words.

    >>> bool(Copied(session_count=1, event_count=2, event_bytes=300))
    True
    """

    session_count: int = 0
    event_count: int = 0
    event_bytes: int = 0
    blob_count: int = 0
    blob_bytes: int = 0
    found_event_count: int = 0
    elapsed_s: float = 0.0
    damaged: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every value that was checked is whole."""
        return not self.damaged

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        new = [plural(self.event_count, "event"), plural(self.blob_count, "blob")]
        found = f", {plural(self.found_event_count, 'event')} were there" if self.found_event_count else ""
        first = (
            f"copied {', '.join(new)} ({self.event_bytes + self.blob_bytes:,} bytes) in {self.elapsed_s:.1f} s{found}; "
            f"{plural(self.session_count, 'session')}, equal to the source's"
        )
        return "\n".join([first, *(f"  damaged: {line}" for line in self.damaged)])


def _itself(name: str) -> StoreError:
    return StoreError(f"{name} is the source itself", hint="give another path or URL to copy to")


def _is_one_server(one: Database, other: Database) -> bool:
    from foldlog.storage import postgres_bulk  # noqa: PLC0415  (only for who copies between servers)

    return postgres_bulk.is_same(one, other)


def copy(source: Path | str, target: Path | str, *, progress: Progress | None = None) -> Copied:
    """Copy a store into another; see `foldlog.copy`."""
    began = time.monotonic()
    origin = open_database(source, Config(), read_only=True)
    try:
        if isinstance(target, Path) and target.exists() and origin.path is not None and target.samefile(origin.path):
            raise _itself(str(target))
        place = open_database(target, Config(), read_only=False)
        try:
            if origin.path is None and place.path is None and _is_one_server(origin, place):
                raise _itself(place.name)
            with translated(f"copying into {place.name}"), place.alone():
                return _Copying(origin, place, progress or (lambda _done, _total: None)).run(began)
        finally:
            place.close()
    finally:
        origin.close()


class _Copying:
    """One copy under way."""

    def __init__(self, source: Database, target: Database, progress: Progress) -> None:
        self._source = source
        self._target = target
        self._progress = progress
        self._done = self._total = 0
        self._event_count = self._event_bytes = self._blob_bytes = 0
        self._new_blobs: list[str] = []
        self._ledgers: dict[int, Ledger] = {}
        self._heads: dict[int, Head] = {}
        self._noted: dict[int, frozenset[int]] = {}

    def run(self, began: float) -> Copied:
        after, self._heads = copying_check.check_prefix(self._source, self._target)
        found_count = sum(head.row_count for head in self._heads.values())
        self._check_unused()
        with self._target.read() as connection:
            is_new_checked = bool(self._heads) and not copying_check.lagging(driver_of(connection))
        writers = self._writers()
        settled = self._source.settled_position()
        with self._source.read() as connection:
            driver = driver_of(connection)
            through = min(settled, bulk.last_position(driver))
            self._total = 2 * bulk.count_events(driver, after, through)
            self._noted = _noted(driver)
        self._copy_events(after, through)
        self._check_equal(through)
        self._copy_notes()
        damaged = copying_check.check_blobs(self._target, self._new_blobs if is_new_checked else None)
        # Who began to write meanwhile is not in the first look, who ended not in the second.
        with collector_resting():
            session_count = self._make_tables({**writers, **{key: one for key, one in self._writers().items() if one}})
        return Copied(
            session_count=session_count,
            event_count=self._event_count,
            event_bytes=self._event_bytes,
            blob_count=len(self._new_blobs),
            blob_bytes=self._blob_bytes,
            found_event_count=found_count,
            elapsed_s=time.monotonic() - began,
            damaged=tuple(damaged),
        )

    def _check_unused(self) -> None:
        """Raise `SessionInUseError` where somebody writes a session of the target."""
        ids = [head.session_id for head in self._heads.values() if quarantine.is_session(head.session_id)]
        for session_id in sorted(self._target.leased(ids)) if ids else ():
            raise lease.in_use(session_id, {})

    def _writers(self) -> dict[str, str | None]:
        with self._source.read() as connection:
            return tables.read_writers(driver_of(connection))

    def _saw(self, count: int) -> None:
        self._done += count
        self._progress(self._done, max(self._total, self._done))

    # Events, with the values they name.

    def _copy_events(self, after: int, through: int) -> None:
        count = _FIRST_PAGE_ROWS
        while after < through:
            with self._source.read() as connection:
                driver = driver_of(connection)
                rows, error = bulk.read_events(driver, after, through, count, some_set_apart=bool(self._noted))
                rows, error = _cut(rows, error)
                new = {row[1] for row in rows} - self._heads.keys() - self._ledgers.keys()
                streams = bulk.read_ids(driver, sorted(new))
                whole, fault = self._whole(rows, streams)
                names = {name for row in whole for name in bulk.names_in(row[5])}
                values = {}
                if names:
                    with self._target.read() as place:
                        values = bulk.read_values(driver, driver_of(place), names)
            if whole:
                self._put(after, whole, streams, values)
                after = whole[-1][0]
                size = sum(len(row[5]) for row in whole)
                size += sum(len(row[-1]) for found in values.values() for row in found)
                count = max(1, min(_PAGE_BYTES * len(whole) // max(size, 1), _PAGE_ROWS_MAX))
            if fault is not None:
                raise fault
            if error is not None:
                raise CorruptJournalError(
                    f"{self._source.name}: an event after position {after} cannot be read",
                    hint=_HINT,
                    position=after + 1,
                ) from error
            if not rows:
                return

    def _whole(
        self, rows: list[tuple[Any, ...]], streams: dict[int, str]
    ) -> tuple[list[tuple[Any, ...]], FoldlogError | None]:
        """The rows up to the first that is not what it must be, and what is wrong with that one."""
        for place, values in enumerate(rows):
            row = Row(*values)
            ledger = self._ledgers.get(row.session_key) or self._begin(row.session_key, streams)
            ledger.look(row)
            if not ledger.faults and not ledger.misplaced:
                continue
            what = str(ledger.faults[0]) if ledger.faults else ledger.misplaced[0][1]
            error = CorruptJournalError(
                f"{self._source.name}: position {row.position}: {what}", hint=_HINT, position=row.position
            )
            return rows[:place], error
        return rows, None

    def _begin(self, key: int, streams: dict[int, str]) -> Ledger:
        head = self._heads.get(key)
        ledger = Ledger(key, streams.get(key) if head is None else head.session_id, self._noted.get(key, frozenset()))
        if head is not None and head.event_id:
            ledger.go_on(head.event_id, b"" if head.event_id in ledger.noted else head.chain)
        self._ledgers[key] = ledger
        return ledger

    def _put(
        self, after: int, rows: list[tuple[Any, ...]], streams: dict[int, str], values: dict[str, list[tuple[Any, ...]]]
    ) -> None:
        """One page, with what it needs, in one transaction: the target never has an event without its values."""
        with self._target.transaction() as connection:
            driver = driver_of(connection)
            sql = sql_of(driver)
            if bulk.last_position(driver) != after:
                raise copying_check.unfinished(self._target.name)
            begun = sorted({row[1] for row in rows} & streams.keys())
            if begun:
                sql.put_rows(driver, "streams", ("session_key", "id"), [(key, streams[key]) for key in begun])
            for table, found in values.items():
                if found:
                    sql.put_rows(driver, table, bulk.VALUE_TABLES[table], found)
            sql.put_rows(driver, "events", bulk.EVENT_COLUMNS, rows)
            if any(self._ledgers[row[1]].session_id == STORE_STREAM for row in rows):
                _leave_names(driver)
            sql.go_on_behind(driver)
        self._event_count += len(rows)
        self._event_bytes += sum(len(row[5].encode()) for row in rows)
        self._new_blobs += [row[0] for row in values.get("blobs", ())]
        self._blob_bytes += sum(len(row[-1]) for found in values.values() for row in found)
        self._saw(len(rows))

    # What stands beside the events.

    def _copy_notes(self) -> None:
        """Which events are set apart."""
        with self._source.read() as connection:
            ours = _read_notes(driver_of(connection))
        with self._target.transaction() as connection:
            driver = driver_of(connection)
            streams = {key: head.session_id for key, head in bulk.heads(driver, 0).items()}
            theirs = _read_notes(driver)
            ours = {note for note in ours if note.session_key in streams}
            for note in theirs - ours:
                quarantine.remove(driver, note.session_key, note.event_id)
            quarantine.add(driver, sorted(ours - theirs))
            for key in {note.session_key for note in ours ^ theirs}:  # their tables are made anew
                for table in tables.table_names():
                    driver.execute(f"DELETE FROM {table} WHERE session_id = ?", (streams[key],))
            sql_of(driver).look_again(driver)

    def _check_equal(self, through: int) -> None:
        """Hold what is in the target now to what the source has: how many events, and each session's chain."""
        theirs = {key: head for key, head in copying_check.read_heads(self._target, through).items() if key > 0}
        copying_check.check_same(self._source, self._target, through, theirs)

    # Tables.

    def _make_tables(self, writers: dict[str, str | None]) -> int:
        """Tables of the sessions that went on, and who was writing; how many sessions there are."""
        with self._target.read() as connection:
            lagging = copying_check.lagging(driver_of(connection))
        self._total = self._done + sum(one.last_id - one.standing for one in lagging)
        prepared: list[tuple[Lagging, checkpoint.Prepared]] = []
        waiting = 0
        with closing(self._target.new_reader()) as reader:
            for one in lagging:
                session_id = one.stream.session_id
                view = checkpoint.read(self._target, one.stream)[0] if one.standing else self._folded(reader, one)
                found = checkpoint.prepare(session_id, view, writer=writers.get(session_id, "unknown"))
                prepared.append((one, found))
                waiting += one.last_id - one.standing
                if waiting >= _TABLES_EVENTS:
                    self._write_tables(prepared, waiting)
                    prepared, waiting = [], 0
        self._write_tables(prepared, waiting)
        with self._target.transaction() as connection:
            driver = driver_of(connection)
            theirs = tables.read_writers(driver)
            changed = [(writers[one], one) for one in theirs if one in writers and writers[one] != theirs[one]]
            driver.executemany("UPDATE sessions SET writer = ? WHERE session_id = ?", changed)
        return len(theirs)

    def _folded(self, reader: Driver, one: Lagging) -> View:
        with translated(f"reading {self._target.name}"):
            return fold_on_connection(reader, one.stream)

    def _write_tables(self, prepared: list[tuple[Lagging, checkpoint.Prepared]], count: int) -> None:
        """Write what was prepared; of sessions that had no tables, all rows of a table at once."""
        new: dict[str, list[Columns]] = {}
        with self._target.transaction() as connection:
            driver = driver_of(connection)
            for one, found in prepared:
                if one.standing:
                    checkpoint.write(driver, one.stream.session_id, found)
                    continue
                for table, rows in found.rows.items():
                    new.setdefault(table, []).extend(rows)
            for table, rows in new.items():
                tables.add_rows(driver, table, rows)
            for one, _ in prepared:
                self._target.marks.note(driver, one.stream, one.last_id)
        self._saw(count)


def _cut(rows: list[tuple[Any, ...]], error: Exception | None) -> tuple[list[tuple[Any, ...]], Exception | None]:
    """Rows up to the first that brings more values than one page is to have; the rest is read again."""
    names = set[str]()
    for place, row in enumerate(rows):
        names.update(bulk.names_in(row[5]))
        if len(names) > _PAGE_VALUES_MAX and place > 0:
            return rows[:place], None
    return rows, error


def _noted(connection: Driver) -> dict[int, frozenset[int]]:
    found: dict[int, set[int]] = {}
    for note in _read_notes(connection):
        found.setdefault(note.session_key, set()).add(note.event_id)
    return {key: frozenset(ids) for key, ids in found.items()}


def _read_notes(connection: Driver) -> set[Note]:
    sql = "SELECT session_key, event_id, position, what, at FROM quarantine"
    return {Note(*row) for row in connection.execute(sql)}


def _leave_names(connection: Driver) -> None:
    """Put the names that deleted sessions have left, as the store's own events say: their keys stay taken."""
    there = {key for (key,) in connection.execute("SELECT session_key FROM streams WHERE session_key < 0").fetchall()}
    left = [(-key, f"{DELETED_PREFIX}{key}") for key in sorted(_deleted(connection)) if -key not in there]
    if left:
        sql_of(connection).put_rows(connection, "streams", ("session_key", "id"), left)


def _deleted(connection: Driver) -> set[int]:
    """The keys of sessions that were deleted."""
    sql = "SELECT data FROM events JOIN streams ON streams.session_key = events.session_key WHERE id = ?"
    rows = connection.execute(sql, (STORE_STREAM,)).fetchall()
    return {one["session_key"] for (data,) in rows for one in decode(data)["sessions"]}
