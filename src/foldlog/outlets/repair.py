"""Repair in place: tables made anew from the journal, and damaged events set apart so that all others fold.

One transaction, and none where SQLite finds the file itself damaged: that is for `foldlog.outlets.salvage`.
Rows of `events` are never changed. An event is set apart where its row cannot be read, is not what was
written, is missing, or does not fold, be it because of another that is set apart. What a reader makes of
that is in `foldlog.storage.quarantine` and `foldlog.session.replaying`.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection

from foldlog.core.clock import format_time
from foldlog.core.codec import decode
from foldlog.core.errors import CorruptJournalError, FoldlogError, StoreError
from foldlog.core.ids import check_session_id
from foldlog.outlets.findings import SAVE, Report, SetApart, plural
from foldlog.outlets.ledger import Fault, Journal, Ledger, read_journal
from foldlog.outlets.verify import verify
from foldlog.outlets.verify_file import check_file, is_of_index, wrong_triggers
from foldlog.outlets.verify_tables import UNFOLDABLE, Folding
from foldlog.session.replaying import collector_resting
from foldlog.storage import lease, quarantine, tables
from foldlog.storage.driver import Driver, driver_of, sql_of
from foldlog.storage.faults import DRIVER_ERRORS, translated
from foldlog.storage.quarantine import Note
from foldlog.storage.rows_left import lenient
from foldlog.storage.schema import TRIGGERS
from foldlog.store import searching
from foldlog.store.upgrade import rebuild_tables

if TYPE_CHECKING:
    from foldlog.store.store import Store

Progress = Callable[[int, int], None]

# More than any loss between two checkpoints; a larger number in the tables is damage of theirs.
_LOST_TAIL_MAX: Final = 100_000


@dataclass(slots=True)
class Repairs:
    """What a repair did; true when `report`, a check of the store after it, finds nothing wrong.

    `set_apart`: events the fold goes on without from now on. `changes`: what else was mended, in words.
    `lost`: rows of a damaged file that could not be saved into the new one.

    >>> bool(Repairs())
    True
    """

    set_apart: list[SetApart] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    session_count: int = 0
    report: Report = field(default_factory=Report)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong any more."""
        return self.report.ok

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        lines = [f"tables of {plural(self.session_count, 'session')} made anew", *self.changes]
        lines += [f"lost: {line}" for line in self.lost]
        if self.set_apart:
            lines.append(f"{plural(len(self.set_apart), 'event')} set apart now")
        return "\n".join([*lines, str(self.report)])


@dataclass(slots=True)
class _Plan:
    """What is to be done, found out before anything is."""

    notes: list[Note] = field(default_factory=list)
    wrong_notes: list[tuple[int, int]] = field(default_factory=list)  # session key, event id
    names: dict[int, str] = field(default_factory=dict)  # sessions whose row in `streams` is gone or wrong
    was_named: dict[int, str] = field(default_factory=dict)
    ids: dict[int, str] = field(default_factory=dict)

    def changed_sessions(self) -> list[str]:
        """The ids of the sessions that are to be changed, by the names they had and get."""
        keys = {note.session_key for note in self.notes} | {key for key, _ in self.wrong_notes} | self.names.keys()
        ids = {self.ids[key] for key in keys} | {self.was_named[key] for key in keys if key in self.was_named}
        return sorted(ids)


def repair(store: "Store", *, progress: Progress | None = None) -> Repairs:
    """Repair a store in place; see `Store.repair`."""
    store.database.check_writable()
    saw = progress or (lambda _done, _total: None)
    _refuse_damaged_file(store)
    # Looked at, then locked, then looked at again by what others may have changed meanwhile: only their tails.
    leased = sorted(_plan(store, saw).changed_sessions())
    with _leases(store, leased):
        plan = _plan(store, saw)
        late = sorted(set(plan.changed_sessions()) - set(leased))
        if late:
            raise StoreError(
                f"{store.database.name}: session {late[0]!r} was damaged meanwhile", hint="run the repair again"
            )
        repairs = _carry_out(store, plan, saw)
    searching.keep_up(store.database)
    repairs.report = verify(store, progress=progress)
    return repairs


def _refuse_damaged_file(store: "Store") -> None:
    reader = lenient(store.database.new_reader())
    try:
        for problem in check_file(reader, deep=True):
            if not is_of_index(problem):
                raise CorruptJournalError(
                    f"{store.database.name}: the file itself is damaged ({problem.what})",
                    hint="nothing was changed; restore a backup, or save what can be read into a new file: "
                    "`foldlog repair STORE --into NEW`",
                )
    finally:
        reader.close()


@contextlib.contextmanager
def _leases(store: "Store", session_ids: Iterable[str]) -> Iterator[None]:
    """Hold the leases of sessions; raises `SessionInUseError` where one is being written."""
    holder = lease.holder_now(format_time(store.config.clock()))
    with contextlib.ExitStack() as stack:
        for session_id in session_ids:
            held = store.database.acquire(session_id, holder)
            stack.callback(held.release)
        yield


def _plan(store: "Store", saw: Progress) -> _Plan:
    reader = store.database.new_reader()
    try:
        with translated(f"repairing {store.database.name}"):
            found = read_journal(lenient(reader), saw=lambda count: saw(count, count))
            return plan_for(reader, found, format_time(store.config.clock()))
    finally:
        reader.close()


def plan_for(connection: Driver, found: Journal, now: str) -> _Plan:
    """What must be done for a journal to be whole but for what is set apart."""
    plan = _Plan()
    for key in found.names.keys() | set(found.nameless()):
        ledger, name = found.ledgers[key], found.names.get(key)
        session_id = ledger.true_id or (name if isinstance(name, str) else None)
        if ledger.misplaced or session_id is None or ledger.last_id == 0:
            where = f" at position {ledger.misplaced[0][0]}: {ledger.misplaced[0][1]}" if ledger.misplaced else ""
            raise CorruptJournalError(
                f"the rows of session {session_id or key!r} cannot be told apart{where}",
                hint=f"nothing was changed; {SAVE}",
                position=ledger.misplaced[0][0] if ledger.misplaced else None,
            )
        plan.ids[key] = check_session_id(session_id)
        if name != session_id:
            plan.names[key] = session_id
            plan.was_named |= {key: name} if isinstance(name, str) else {}
        _lose_tail(connection, session_id, ledger)
        with collector_resting():
            folding = Folding(connection, ledger, session_id)
            folding.fold()
        plan.notes += [note for fault in [*ledger.faults, *folding.faults] for note in _notes(fault, now)]
        plan.wrong_notes += [(key, event_id) for event_id in [*ledger.bad_notes, *folding.wrongly_noted]]
    return plan


def _lose_tail(connection: Driver, session_id: str, ledger: Ledger) -> None:
    """Take the events that the tables have seen and the journal no longer has: their ids are not given again."""
    sql = "SELECT checkpoint_event_id, folded FROM sessions WHERE session_id = ?"
    try:
        standing, folded = connection.execute(sql, (session_id,)).fetchone() or (0, "{}")
        is_sure = decode(folded)["counters"]["event"] == standing
    except (*DRIVER_ERRORS, *UNFOLDABLE):
        return
    if is_sure and type(standing) is int and standing - ledger.last_id <= _LOST_TAIL_MAX:
        for event_id in range(ledger.last_id + 1, standing + 1):
            ledger.lose(event_id, None)


def _notes(fault: Fault, now: str) -> Iterator[Note]:
    for event_id in range(fault.event_id, fault.last_id + 1):
        what = "is missing" if fault.last_id > fault.event_id else fault.what
        yield Note(fault.session_key, event_id, fault.position, what, now)


def _carry_out(store: "Store", plan: _Plan, saw: Progress) -> Repairs:
    repairs = Repairs()
    with translated(f"repairing {store.database.name}"), store.database.transaction() as connection:
        driver = driver_of(connection)
        sql_of(driver).hold_all(driver)
        if isinstance(driver, sqlite3.Connection):
            repairs.changes += _mend_file(driver)
        for key, session_id in plan.names.items():
            driver.execute(
                "INSERT INTO streams (session_key, id) VALUES (?, ?) "
                "ON CONFLICT (session_key) DO UPDATE SET id = excluded.id",
                (key, session_id),
            )
            repairs.changes.append(f"session {session_id!r} has its name again")
        if not isinstance(driver, sqlite3.Connection):  # after the names: its foreign keys need them
            repairs.changes += _mend_server(driver)
        for key, event_id in plan.wrong_notes:
            quarantine.remove(driver, key, event_id)
            repairs.changes.append(f"session {plan.ids[key]!r}: event {event_id} is no longer set apart")
        quarantine.add(driver, plan.notes)
        for count, _ in enumerate(rebuild_tables(connection, _writers(connection)), 1):
            repairs.session_count = count
            saw(count, len(plan.ids))
    repairs.set_apart = [
        SetApart(plan.ids[note.session_key], note.event_id, note.position, note.what, note.at) for note in plan.notes
    ]
    return repairs


def _mend_server(driver: Driver) -> list[str]:
    """Put triggers, keys and indexes of the history back."""
    from foldlog.storage import postgres_schema  # noqa: PLC0415  (its driver is an extra)

    return postgres_schema.mend(driver)


def _mend_file(driver: Driver) -> list[str]:
    """Put triggers back and make the indexes anew."""
    stored = {
        (kind, name): sql for kind, name, sql in driver.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
    }
    wrong = wrong_triggers(stored)
    for name in wrong:
        driver.execute(f"DROP TRIGGER IF EXISTS {name}")
        driver.execute(TRIGGERS[name])
    driver.execute("REINDEX")
    return [f"the trigger {name} is in place again" for name in wrong]


def _writers(connection: Connection) -> dict[str, str | None]:
    """Who was writing each session, as far as the tables can still say."""
    try:
        return tables.read_writers(driver_of(connection))
    except (*DRIVER_ERRORS, FoldlogError):
        return {}
