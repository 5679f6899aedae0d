"""Group commit: who commits what, in which order, and what everybody hears when it goes wrong."""

import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from foldlog.core.errors import (
    CommitUncertainError,
    FoldlogError,
    MissingBlobError,
    StaleWriterError,
    StoreBusyError,
    StoreClosedError,
    StoreError,
)
from foldlog.core.refs import Ref
from foldlog.storage import journal
from foldlog.storage.committer import Append, Committer
from foldlog.storage.database import Database
from foldlog.storage.journal import Stamped, Stream

WAIT_S = 30


class Told(Append):
    """An append that remembers what it was told, and by which thread."""

    def __init__(self, committer: Committer, line: object, stamped: list[Stamped], also: Any = None) -> None:
        super().__init__(line, stamped, also)
        self.committer = committer
        self.settled_by: list[int] = []
        self.given_up: list[FoldlogError] = []

    def settle(self) -> None:
        self.settled_by.append(threading.get_ident())

    def give_up(self, error: FoldlogError) -> None:
        self.given_up.append(error)
        self.committer.withdraw(self.line, error)


class Caller(threading.Thread):
    """A thread that waits for one append and keeps what came of it."""

    def __init__(self, committer: Committer, append: Append) -> None:
        super().__init__(daemon=True)
        self.committer, self.append = committer, append
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.committer.wait(self.append)
        except BaseException as error:  # noqa: BLE001  (the test looks at it)
            self.error = error

    def end(self) -> BaseException | None:
        self.join(WAIT_S)
        assert not self.is_alive(), "left waiting"
        return self.error


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[list[Stamped]]:
    """The events of each commit, as they are made."""
    made: list[list[Stamped]] = []
    append = journal.append

    def noting(database: Database, stamped: list[Stamped], also: Any = None) -> None:
        made.append(stamped)
        append(database, stamped, also)

    monkeypatch.setattr(journal, "append", noting)
    return made


@pytest.fixture
def committer(database: Database) -> Committer:
    return Committer(database)


def stored(database: Database) -> list[tuple[str, int]]:
    with database.read() as connection:
        sql = "SELECT id, event_id FROM events JOIN streams USING (session_key) ORDER BY position"
        return [tuple(row) for row in connection.exec_driver_sql(sql)]


def led_by_somebody(committer: Committer, database: Database, line: Any) -> Caller:
    """A caller that leads and is stuck in its commit for as long as the database is held by the test."""
    append = Told(committer, line, [line.next()])
    committer.submit(append)
    caller = Caller(committer, append)
    until(lambda: not committer._queue)  # it has taken its group
    return caller


def queued(committer: Committer, *appends: Append) -> list[Caller]:
    """Callers that wait, in this order, behind whoever leads."""
    callers = []
    for append in appends:
        committer.submit(append)
        callers.append(Caller(committer, append))
        until(lambda append=append: append.turnstile is not None)
    return callers


@pytest.mark.sqlite("its trace of statements")
def test_alone_an_append_is_one_statement_in_its_callers_thread(
    committer: Committer, database: Database, line: Any
) -> None:
    journal.append(database, [line.next()])
    statements: list[str] = []
    with database.write() as connection:
        connection.set_trace_callback(statements.append)
    append = Told(committer, line, [line.next()])
    committer.submit(append)
    committer.wait(append)
    with database.write() as connection:
        connection.set_trace_callback(None)
    assert len(statements) == 1
    assert statements[0].startswith("INSERT INTO events")
    assert append.settled_by == [threading.get_ident()]


def test_those_who_come_during_a_commit_share_the_next(
    committer: Committer, database: Database, new_line: Any, commits: list[Any]
) -> None:
    lines = [new_line(f"s{number}") for number in range(9)]
    with database.write():
        leader = led_by_somebody(committer, database, lines[0])
        appends = [Told(committer, line, [line.next(), line.next()]) for line in lines[1:]]
        callers = queued(committer, *appends)
        assert not any(append.is_done for append in appends)
    assert leader.end() is None
    assert [caller.end() for caller in callers] == [None] * 8
    assert [len(stamped) for stamped in commits] == [1, 16]
    assert stored(database)[1:] == [(f"s{number}", event_id) for number in range(1, 9) for event_id in (1, 2)]
    assert {thread for append in appends for thread in append.settled_by} == {callers[0].ident}


@pytest.fixture
def awaited(committer: Committer, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Have so many callers be awaited for longer than any test may take, as after a slow commit for all of them."""

    def expect(count: int) -> None:
        monkeypatch.setattr("foldlog.storage.committer._GATHER_S_MAX", 2 * WAIT_S)
        committer._expected_count, committer._commit_s = count, 2 * WAIT_S

    return expect


def test_the_last_of_those_who_are_awaited_commits_for_all(
    committer: Committer, new_line: Any, commits: list[Any], awaited: Callable[[int], None]
) -> None:
    awaited(3)
    appends = [Told(committer, line, [line.next()]) for line in map(new_line, "abc")]
    callers = queued(committer, *appends[:2])
    committer.submit(appends[2])
    committer.wait(appends[2])
    assert [caller.end() for caller in callers] == [None, None]
    assert [len(stamped) for stamped in commits] == [3]
    assert {thread for append in appends for thread in append.settled_by} == {threading.get_ident()}


def test_one_who_awaits_others_is_told_that_nobody_is_missing(
    committer: Committer, new_line: Any, commits: list[Any], awaited: Callable[[int], None]
) -> None:
    awaited(2)
    first, second = (Told(committer, line, [line.next()]) for line in map(new_line, "ab"))
    (caller,) = queued(committer, first)
    committer.hurry()
    assert not first.is_done
    committer.submit(second)  # and leaves the waiting to somebody else
    committer.hurry()
    assert caller.end() is None
    assert second.is_done
    assert [len(stamped) for stamped in commits] == [2]


def test_one_who_awaits_others_and_is_interrupted_leaves_nobody_waiting(
    committer: Committer,
    database: Database,
    new_line: Any,
    awaited: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    awaited(3)
    first, second = (Told(committer, line, [line.next()]) for line in map(new_line, "ab"))
    with monkeypatch.context() as patch:
        patch.setattr("foldlog.storage.committer._closed_lock", Turnstile)
        (interrupted,) = queued(committer, first)
    (caller,) = queued(committer, second)
    assert first.turnstile is not None
    first.turnstile.release()
    assert isinstance(interrupted.end(), Interrupted)
    assert caller.end() is None
    assert stored(database) == [("a", 1), ("b", 1)]


def test_nothing_to_store_is_a_place_in_the_queue(
    committer: Committer, database: Database, line: Any, commits: list[Any]
) -> None:
    with database.write():
        leader = led_by_somebody(committer, database, line)
        behind = Told(committer, line, [])
        (caller,) = queued(committer, behind)
        assert not behind.is_done
    assert (leader.end(), caller.end()) == (None, None)
    assert len(commits) == 1


def test_the_refused_line_fails_and_the_others_are_committed(
    committer: Committer, database: Database, new_line: Any
) -> None:
    first = new_line("first")
    stale_line = new_line("stale")
    journal.append(database, [stale_line.next()])
    stale = new_line("stale", stream=Stream("stale", stale_line.stream.key))
    dangling = new_line("dangling")
    missing = Ref({"kind": "blob", "hash": "sha256:" + "0" * 64, "bytes": 9})
    with database.write():
        leader = led_by_somebody(committer, database, first)
        good, guilty = Told(committer, first, [first.next()]), Told(committer, stale, [stale.next(), stale.next()])
        innocent, behind = Told(committer, first, [first.next()]), Told(committer, stale, [stale.next()])
        other = Told(committer, dangling, [dangling.next(refs=(missing,))])
        callers = queued(committer, good, guilty, innocent, behind, other)
    assert leader.end() is None
    errors = [caller.end() for caller in callers]
    assert errors[0] is errors[2] is None
    assert isinstance(errors[1], StaleWriterError)
    assert "'stale': appending event 1" in str(errors[1])
    assert isinstance(errors[3], StaleWriterError)
    assert errors[1] is not errors[3], "each thread gets an error of its own"
    assert isinstance(errors[4], MissingBlobError)
    assert [len(append.given_up) for append in (good, guilty, innocent, other)] == [0, 1, 0, 1]
    assert stored(database) == [("stale", 1), ("first", 1), ("first", 2), ("first", 3)]


def test_the_guilty_row_is_named(database: Database, line: Any) -> None:
    journal.append(database, [line.next(key="k")])
    with pytest.raises(StaleWriterError, match="event 4"):
        journal.append(database, [line.next(), line.next(), line.next(key="k"), line.next()])
    assert stored(database) == [("demo", 1)]


def test_more_statements_run_again_with_the_transaction_that_is_repeated(
    committer: Committer, database: Database, new_line: Any
) -> None:
    first, child = new_line("first"), new_line("child")
    stale_line = new_line("stale")
    journal.append(database, [stale_line.next()])
    stale = new_line("stale", stream=Stream("stale", stale_line.stream.key))
    runs: list[int] = []

    def also(connection: sqlite3.Connection) -> None:
        runs.append(1)
        connection.execute("INSERT INTO streams (id) VALUES ('also')")

    with database.write():
        leader = led_by_somebody(committer, database, first)
        callers = queued(
            committer, Told(committer, child, [child.next()], also), Told(committer, stale, [stale.next()])
        )
    assert leader.end() is None
    assert callers[0].end() is None
    assert isinstance(callers[1].end(), StaleWriterError)
    assert stored(database) == [("stale", 1), ("first", 1), ("child", 1)]
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM streams WHERE id = 'also'").scalar() == 1


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("provoked")
    error.sqlite_errorcode = code
    error.sqlite_errorname = "PROVOKED"
    return error


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_FULL, StoreError),
        (sqlite3.SQLITE_BUSY, StoreBusyError),
        (sqlite3.SQLITE_IOERR_WRITE, StoreError),
        (sqlite3.SQLITE_IOERR_FSYNC, CommitUncertainError),
    ],
)
def test_a_failing_disk_fails_everybody_in_their_own_words(
    committer: Committer,
    database: Database,
    new_line: Any,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    kind: type[FoldlogError],
) -> None:
    lines = [new_line(name) for name in ("a", "b", "c")]

    def fail(_: Database, stamped: list[Stamped], __: Any = None) -> None:
        raise journal._refusal(sqlite_error(code), stamped[0]) from sqlite_error(code)

    with monkeypatch.context() as patch:
        with database.write():
            leader = led_by_somebody(committer, database, lines[0])
            patch.setattr(journal, "append", fail)  # the leader is past this point, the group behind it is not
            appends = [Told(committer, line, [line.next()]) for line in lines]
            callers = queued(committer, *appends)
        errors = [caller.end() for caller in callers]
    assert leader.end() is None
    assert [type(error) for error in errors] == [kind] * 3
    assert [name in str(error) for name, error in zip(("'a'", "'b'", "'c'"), errors, strict=True)] == [True] * 3
    again = Told(committer, lines[0], appends[0].stamped)
    committer.submit(again)
    committer.wait(again)
    assert stored(database) == [("a", 1), ("a", 2)]


def test_what_is_queued_behind_a_failure_is_withdrawn(
    committer: Committer, database: Database, new_line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, other = new_line("a"), new_line("b")
    behind: list[Told] = []
    callers: list[Caller] = []

    def fail(*_: Any) -> None:
        # While the commit is under way, more of the same line is queued, and something of another's.
        monkeypatch.undo()
        behind.extend([Told(committer, line, [line.next()]), Told(committer, other, [other.next()])])
        callers.extend(queued(committer, *behind))
        raise StoreError("the disk is full", hint="make room") from sqlite_error(sqlite3.SQLITE_FULL)

    monkeypatch.setattr(journal, "append", fail)
    append = Told(committer, line, [line.next()])
    committer.submit(append)
    with pytest.raises(StoreError, match="full"):
        committer.wait(append)
    assert isinstance(callers[0].end(), StoreError)
    assert callers[1].end() is None
    assert stored(database) == [("b", 1)]


class Interrupted(BaseException):
    """What a signal handler might raise."""


@pytest.mark.parametrize("where", ["before", "after", "fold"])
def test_a_leader_that_is_interrupted_leaves_nobody_waiting(
    committer: Committer, database: Database, new_line: Any, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    lines = [new_line(name) for name in ("a", "b", "c")]
    append = journal.append
    callers: list[Caller] = []

    def interrupted(database: Database, stamped: list[Stamped], also: Any = None) -> None:
        monkeypatch.setattr(journal, "append", append)
        if where != "before":
            append(database, stamped, also)
        callers.extend(queued(committer, late))
        if where != "fold":
            raise Interrupted

    class Folding(Told):
        def settle(self) -> None:
            if where == "fold":
                raise Interrupted
            super().settle()

    first, second = Folding(committer, lines[0], [lines[0].next()]), Told(committer, lines[1], [lines[1].next()])
    late = Told(committer, lines[2], [lines[2].next()])
    monkeypatch.setattr(journal, "append", interrupted)
    committer.submit(first)
    committer.submit(second)
    with pytest.raises(Interrupted):
        committer.wait(first)
    with pytest.raises(CommitUncertainError, match="interrupted"):
        committer.wait(second)
    assert callers[0].end() is None
    assert [type(append.given_up[0]) for append in (first, second)] == [CommitUncertainError] * 2
    assert ("c", 1) in stored(database)


class Turnstile:
    """A lock whose wait ends as a signal may end it: by an exception, just when it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()

    def acquire(self, timeout: float) -> bool:
        assert self.opened.wait(WAIT_S)
        raise Interrupted

    def release(self) -> None:
        self.opened.set()


def test_one_who_is_told_to_lead_and_is_interrupted_passes_it_on(
    committer: Committer, database: Database, new_line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [new_line(name) for name in ("a", "b", "c")]
    with database.write():
        leader = led_by_somebody(committer, database, lines[0])
        heir, last = (Told(committer, line, [line.next()]) for line in lines[1:])
        with monkeypatch.context() as patch:
            patch.setattr("foldlog.storage.committer._closed_lock", Turnstile)
            (interrupted,) = queued(committer, heir)
        (caller,) = queued(committer, last)
    assert leader.end() is None
    assert caller.end() is None
    assert isinstance(interrupted.end(), Interrupted)
    assert stored(database) == [("a", 1), ("b", 1), ("c", 1)], "its append goes its way without it"


def test_a_closed_database_refuses_everybody(committer: Committer, database: Database, line: Any) -> None:
    append = Told(committer, line, [line.next()])
    committer.submit(append)
    database.close()
    with pytest.raises(StoreClosedError):
        committer.wait(append)
    assert len(append.given_up) == 1
