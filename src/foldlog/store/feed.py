"""The feed: events of a store by position, now and as they come.

A position is the global order of a store; an event id is the order within its session.
"""

import contextlib
import shlex
import time
from collections.abc import Generator, Iterable, Iterator
from typing import Any, Final, NamedTuple

from foldlog.core.errors import InvalidEventError, StoreClosedError, StoreError
from foldlog.core.ids import check_event_type, check_session_id
from foldlog.session.events import event_of
from foldlog.storage import event_feed, journal
from foldlog.storage.database import Database, replaced
from foldlog.storage.faults import is_lost
from foldlog.storage.journal import StoredEvent, Stream

# From one look to the next while events come; when none has come for a while the database says how long.
LOOK_EVERY_S: Final = 0.02
_IDLE_AFTER_S: Final = 2.0


def pause_s(database: Database, quiet_s: float) -> float:
    """How long to wait for the next look when no event has come for so long."""
    return LOOK_EVERY_S if quiet_s < _IDLE_AFTER_S else database.look_every_idle_s


class RecordedEvent(dict[str, Any]):
    """An event as the dict that folds, with its place in the store: `position` and `session_id`."""

    __slots__ = ("position", "session_id")

    def __init__(self, stored: StoredEvent) -> None:
        super().__init__(event_of(stored))
        self.position = stored.position
        self.session_id = stored.session_id


class Wanted(NamedTuple):
    """Which events: of one session or all, after a position, of some types or all."""

    stream: Stream | None
    after: int
    types: tuple[str, ...] | None


def wanted(database: Database, session_id: str | None, after: int, types: Iterable[str] | None) -> Wanted:
    """What the user asked for, checked at once and not at the first event."""
    database.check_open()
    # Looked up once: when it is deleted and its id given again, the other session is not meant.
    stream = None if session_id is None else journal.find_stream(database, check_session_id(session_id))
    if type(after) is not int or not 0 <= after < 2**63:
        raise InvalidEventError(f"after={after!r} is not a position", hint="0, or the position of an event")
    if types is None:
        return Wanted(stream, after, None)
    if not isinstance(types, Iterable):
        raise InvalidEventError("types are event types, one after another", hint="pass a list of str")
    return Wanted(stream, after, tuple(map(check_event_type, [types] if isinstance(types, str) else types)))


def read(database: Database, which: Wanted, through: int | None = None) -> Iterator[RecordedEvent]:
    """The events there are, in order of position; `through` one before which none can appear any more."""
    found = event_feed.read_feed(database, after=which.after, through=through, stream=which.stream, types=which.types)
    return map(RecordedEvent, found)


def follow(database: Database, which: Wanted, idle_timeout_s: float | None) -> Iterator[RecordedEvent]:
    """The events there are, then each new one as it is committed, by any process.

    Waits on SQLite's data version, which costs one page's look and no read of the tables. Ends when the
    store is closed, or after `idle_timeout_s` seconds without an event.
    """
    check_idle_timeout(idle_timeout_s)
    return _follow(database, which, idle_timeout_s)


def check_idle_timeout(idle_timeout_s: float | None) -> None:
    """Raise unless it is a number of seconds, or None."""
    if idle_timeout_s is not None and not (isinstance(idle_timeout_s, int | float) and idle_timeout_s >= 0):
        raise InvalidEventError("idle_timeout is a number of seconds", hint="pass a number, or leave it out")


def _follow(database: Database, which: Wanted, idle_timeout_s: float | None) -> Iterator[RecordedEvent]:
    quiet_since = time.monotonic()
    with contextlib.closing(looks(database, which)) as found:
        for event in found:
            if event is not None:
                yield event
                quiet_since = time.monotonic()
                continue
            quiet_s = time.monotonic() - quiet_since
            if idle_timeout_s is not None and quiet_s >= idle_timeout_s:
                return
            time.sleep(pause_s(database, quiet_s))


def looks(database: Database, which: Wanted) -> Generator[RecordedEvent | None, None, None]:
    """As `follow`, with None where a look found nothing new: the caller waits, and asks on."""
    watch = database.watch()
    last = 0
    try:
        while not database.is_closed or database.is_inherited:
            database.check_open()
            if watch.is_new():
                # Before the events are read: what is not wanted is not looked at again with each commit.
                last = _last_position(database, last)
                for event in read(database, which, last):
                    which = which._replace(after=event.position)
                    yield event
                which = which._replace(after=max(which.after, last))
            else:
                yield None
    except StoreClosedError:
        if database.is_inherited:
            raise
        return  # closed between two looks
    except StoreError as error:
        if is_lost(error.__cause__):
            error.hint = f"{error.hint}; {_goes_on(which)}"
        raise
    finally:
        watch.close()


def _goes_on(which: Wanted) -> str:
    """Where a feed that ended goes on; which is all that is known of it."""
    words = ["foldlog events STORE", *([] if which.stream is None else [which.stream.session_id])]
    words += [f"--type {shlex.quote(name)}" for name in which.types or ()]
    return (
        f"what comes next is after position {which.after}: `{' '.join(words)} --after {which.after} --follow` goes on"
    )


def _last_position(database: Database, before: int) -> int:
    """The last position through which nothing can appear any more."""
    through = database.settled_position()
    sql = "SELECT coalesce(max(position), 0) FROM events"
    last = database.look(lambda connection: connection.exec_driver_sql(sql).scalar_one())
    if last < before:  # positions only grow, whatever is deleted
        raise replaced(database)
    return min(int(last), through)
