"""Verification: does the store still say what it said, and do the tables say what the journal folds to.

Reads everything it can and reports what it cannot, with positions; it raises nothing for damage. It
changes nothing.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from foldlog.core.chain import digest_of, first_chain, next_chain
from foldlog.core.codec import decode
from foldlog.core.errors import FoldlogError, MissingBlobError
from foldlog.core.fold import advance
from foldlog.core.refs import Ref
from foldlog.core.view import View
from foldlog.outlets import deletion
from foldlog.outlets.export import refs_in
from foldlog.session import checkpoint
from foldlog.session.events import event_of
from foldlog.session.replaying import collector_resting
from foldlog.storage import journal, tables
from foldlog.storage.blobs import Reader, check_pieces
from foldlog.storage.journal import StoredEvent, Stream

if TYPE_CHECKING:
    from foldlog.store.store import Store


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where (a journal position, a session), what, and what to do."""

    position: int | None
    session: str | None
    what: str
    hint: str


@dataclass(slots=True)
class Report:
    """What `verify` found; true when nothing is wrong.

    >>> bool(Report())
    True
    """

    problems: list[Problem] = field(default_factory=list)
    session_count: int = 0
    event_count: int = 0
    blob_count: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        counts = ", ".join((
            _plural(self.session_count, "session"), _plural(self.event_count, "event"), _plural(self.blob_count, "blob")
        ))  # fmt: skip
        if self.ok:
            return f"ok: {counts}"
        lines = [
            f"  {'' if problem.position is None else f'position {problem.position}: '}"
            f"{'' if problem.session is None else f'session {problem.session}: '}{problem.what} (hint: {problem.hint})"
            for problem in self.problems
        ]
        return "\n".join([f"{_plural(len(self.problems), 'problem')} in {counts}:", *lines])


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


_RESTORE = "restore a backup, or export what can still be read"
_REBUILD = "the journal is whole, store.view(id, at=<its last event>) reads it alone; a backup brings its tables back"


def verify(store: "Store", *, deep: bool = True) -> Report:
    """Check a store; see `Store.verify`."""
    report = Report()
    _check_file(store, report, "integrity_check" if deep else "quick_check")
    try:
        session_ids = journal.stream_ids(store.database)
    except FoldlogError as error:
        report.problems.append(Problem(None, None, error.message, _RESTORE))
        return report
    reader, seen = Reader(store.database), set[str]()
    for session_id in session_ids:
        report.session_count += 1
        try:
            with collector_resting():
                _Check(store, report, session_id, reader, seen, deep=deep).run()
        except FoldlogError as error:
            report.problems.append(Problem(getattr(error, "position", None), session_id, error.message, _RESTORE))
    _check_blobs(store, report, reader, seen, deep=deep)
    _check_deletions(store, report)
    return report


def _check_deletions(store: "Store", report: Report) -> None:
    """What is gone was deleted, and what was deleted is gone."""
    for position, what in deletion.check(store.database):
        report.problems.append(Problem(position, None, what, _RESTORE))


def _check_file(store: "Store", report: Report, check: str) -> None:
    reader = store.database.new_reader()
    try:
        for (line,) in reader.execute(f"PRAGMA {check}(100)"):
            if line != "ok":
                report.problems.append(Problem(None, None, f"SQLite: {line}", _RESTORE))
    except sqlite3.Error as error:
        report.problems.append(Problem(None, None, f"SQLite cannot check the file: {error}", _RESTORE))
    finally:
        reader.close()


class _Check:
    """One session's check."""

    def __init__(
        self, store: "Store", report: Report, session_id: str, reader: Reader, seen: set[str], *, deep: bool
    ) -> None:
        self._store = store
        self._report = report
        self._session_id = session_id
        self._blobs = reader
        self._seen = seen
        self._deep = deep
        self._view = View()
        self._foldable = True

    def _problem(self, position: int | None, what: str, hint: str = _RESTORE) -> None:
        self._report.problems.append(Problem(position, self._session_id, what, hint))

    def run(self) -> None:
        stream = journal.find_stream(self._store.database, self._session_id)
        chain, expected, at = first_chain(self._session_id), 1, ""
        for event in self._read(stream):
            self._report.event_count += 1
            if type(event.data) is not str or {type(event.digest), type(event.chain)} != {bytes}:
                self._problem(event.position, f"event {event.event_id}: a column is not of the type it was written as")
                expected, self._foldable = event.event_id + 1, False
                continue
            if event.event_id != expected:
                self._problem(event.position, f"event {expected} is missing")
                self._foldable = False
            expected = event.event_id + 1
            digest = digest_of(event.data.encode())
            if digest != event.digest:
                self._problem(event.position, f"event {event.event_id}: the data is not what was written")
            chain = next_chain(chain, event.event_id, event.type, event.at, event.digest)
            if chain != event.chain:
                self._problem(event.position, f"event {event.event_id}: the chain is broken")
                chain = event.chain
            if event.at < at:
                self._problem(event.position, f"event {event.event_id}: time goes back")
            at = max(at, event.at)
            self._fold(event)
        if expected == 1:
            self._problem(None, "the session has no events")
        elif self._deep and self._foldable:
            self._compare(stream)

    def _read(self, stream: Stream) -> Iterator[StoredEvent]:
        return journal.read_feed(self._store.database, stream=stream)

    def _fold(self, stored: StoredEvent) -> None:
        try:
            event = event_of(stored)
            if self._foldable:
                advance(self._view, event)
        except (FoldlogError, TypeError, AttributeError, KeyError, ValueError) as error:
            self._problem(stored.position, f"event {stored.event_id} does not fold: {getattr(error, 'message', error)}")
            self._foldable = False
            return
        if self._deep:
            self._check_refs(stored.position, refs_in(event))

    def _check_refs(self, position: int, refs: Iterable[Ref]) -> None:
        """That the blobs an event refers to are there and whole, and those inside them; each once a store."""
        todo = list(refs)
        while todo:
            name = todo.pop()["hash"]
            if name in self._seen:
                continue
            self._seen.add(name)
            try:
                body = self._blobs.read(name)
            except MissingBlobError as error:
                self._problem(position, error.message)
                continue
            if body is None:
                self._problem(position, f"blob {name} is missing")
            elif b'$foldlog"' in body:
                todo += refs_in(decode(body))

    def _compare(self, stream: Stream) -> None:
        """The tables as of their checkpoint, and the live view, against the fold of the journal."""
        with self._store.database.read() as connection:
            session = tables.read_session(connection, stream.session_id)
            stored = {name: tables.read_table(connection, name, stream.session_id) for name in tables.table_names()}
        if session is None:
            self._problem(None, "the table sessions lacks it", _REBUILD)
            return
        standing = session["checkpoint_event_id"]
        view = self._view
        if standing != view.counter("event"):
            view, _ = checkpoint.replay(self._store.database, stream, through=standing)
        if view.counter("event") != standing:
            self._problem(None, f"the tables stand at event {standing}, which is not in the journal")
            return
        for name, expected in checkpoint.expected_tables(stream.session_id, view).items():
            differing = sorted(
                (
                    str(key)
                    for key in expected.keys() | stored[name].keys()
                    if expected.get(key) != stored[name].get(key)
                ),
            )
            if differing:
                rows = ", ".join(differing[:5]) + (f" and {len(differing) - 5} more" if len(differing) > 5 else "")
                self._problem(None, f"the table {name} differs from the journal: {rows}", _REBUILD)
        live = self._store.live(self._session_id)
        if live is not None and live.view.counter("event") == self._view.counter("event") and live.view != self._view:
            self._problem(None, "the live view differs from the journal", "open the session again")


def _check_blobs(store: "Store", report: Report, reader: Reader, seen: set[str], *, deep: bool) -> None:
    """The blobs that no event led to, and the pieces that blobs are made of."""
    with store.database.read() as connection:
        names = [row[0] for row in connection.exec_driver_sql("SELECT hash FROM blobs ORDER BY hash")]
        problems = list(check_pieces(connection)) if deep else []
    report.blob_count = len(names)
    for name in (name for name in names if deep and name not in seen):
        try:
            reader.read(name)
        except MissingBlobError as error:
            problems.append(error.message)
    report.problems += [Problem(None, None, what, _RESTORE) for what in problems]
