"""Copying, held to its source: may this target go on with it, and is what was brought over what the source has.

Says nothing of how rows get there (`foldlog.outlets.copying`), nor whether the source itself is whole: its
events are held to their digests and chains when they are read.
"""

from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Final, NamedTuple

from foldlog.core.errors import AlreadyExistsError, FoldlogError, StoreError
from foldlog.storage import bulk, resumed
from foldlog.storage.blobs import Assembly
from foldlog.storage.bulk import Head
from foldlog.storage.database import Database
from foldlog.storage.driver import Driver, driver_of
from foldlog.storage.journal import Stream
from foldlog.storage.schema import DELETED_PREFIX, STORE_STREAM

_PAGE_ROWS: Final = 5000
_OTHER: Final = "copy into a new store: copying adds to no other history"
_ANEW: Final = "copy into a new store, and remove this one: what was deleted is still in it"


def read_heads(database: Database, through: int) -> dict[int, Head]:
    """Where each stream of a store stands, as of a position, by key."""
    with database.read() as connection:
        return bulk.heads(driver_of(connection), through)


def check_prefix(source: Database, target: Database) -> tuple[int, dict[int, Head]]:
    """The target's last position, and where its streams stand; all of it is to be the source's as of there.

    Raises `AlreadyExistsError`, which names the first difference.
    """
    with target.read() as connection:
        driver = driver_of(connection)
        last = bulk.last_position(driver)
        theirs = bulk.heads(driver, last)
    if theirs:
        check_same(source, target, last, theirs)
    return last, theirs


def check_same(source: Database, target: Database, through: int, theirs: dict[int, Head]) -> None:
    """Raise `AlreadyExistsError` unless the target's streams stand where the source's stood at a position."""
    ours = read_heads(source, through)
    for key, head in sorted(theirs.items()):
        found = ours.get(key)
        if found is None or found.session_id != head.session_id:
            raise _foreign(source, target, head, ours)
        if found != head and head.session_id == STORE_STREAM:
            raise _own_deletions(source, target)
        if found != head:
            raise _differs(source, target, head)
    missing = [head for key, head in ours.items() if head.row_count and key not in theirs]
    if missing:
        name = missing[0].session_id
        what = "the record of deletions" if name == STORE_STREAM else f"session {name!r}"
        raise AlreadyExistsError(
            f"{target.name} has position {through} without {what}, which is before it in {source.name}",
            hint=_OTHER,
        )


def _foreign(source: Database, target: Database, head: Head, ours: dict[int, Head]) -> FoldlogError:
    if head.session_id == STORE_STREAM or head.session_id.startswith(DELETED_PREFIX):
        return _own_deletions(source, target)
    if ours.get(-head.session_key, head).session_id.startswith(DELETED_PREFIX):
        return AlreadyExistsError(
            f"session {head.session_id!r} is in {target.name}, and was deleted in {source.name} since", hint=_ANEW
        )
    return AlreadyExistsError(
        f"{target.name} has a session {head.session_id!r} that is not the one in {source.name}, or not there at all",
        hint=_OTHER,
    )


def _own_deletions(source: Database, target: Database) -> FoldlogError:
    return AlreadyExistsError(
        f"{target.name} holds records of deletions that {source.name} does not: it is neither empty nor a copy of it",
        hint="copy into a new store",
    )


def _differs(source: Database, target: Database, head: Head) -> FoldlogError:
    """Which event is the first that is not the source's."""
    after = 0
    while True:
        with source.read() as ours, target.read() as theirs:
            pages = [bulk.read_chains(driver_of(one), head.session_key, after, _PAGE_ROWS) for one in (ours, theirs)]
        for (event_id, chain), (other_id, other) in zip(*pages, strict=False):
            if event_id != other_id or chain != other:
                return _other_event(source, target, head, min(event_id, other_id))
        if not pages[0] or not pages[1]:
            return _other_event(source, target, head, (pages[0] or pages[1] or [(after + 1, b"")])[0][0])
        after = min(pages[0][-1][0], pages[1][-1][0])


def _other_event(source: Database, target: Database, head: Head, event_id: int) -> FoldlogError:
    return AlreadyExistsError(
        f"session {head.session_id!r}: event {event_id} in {target.name} is not what {source.name} has there",
        hint=_OTHER,
    )


def check_blobs(target: Database, names: Iterable[str] | None) -> list[str]:
    """What is wrong with values of a store, read and held to their names: these, or all."""
    assembly = Assembly()
    found = []
    with closing(target.new_reader()) as connection:
        for name in _all_names(connection) if names is None else names:
            try:
                if assembly.read(connection, name) is None:
                    found.append(f"blob {name} is missing")
            except FoldlogError as error:
                found.append(error.message)
    return found


def _all_names(connection: Driver) -> Iterator[str]:
    after = ""
    while page := bulk.blob_names(connection, after, _PAGE_ROWS):
        yield from page
        after = page[-1]


class Lagging(NamedTuple):
    """A session whose tables do not stand at its last event: the event they stand at, 0 for none."""

    stream: Stream
    last_id: int
    standing: int


def lagging(connection: Driver) -> list[Lagging]:
    """The sessions whose tables do not stand at their last event."""
    sql = (
        f"SELECT streams.session_key, id, {resumed.LAST_ID.format('streams.session_key')}, "
        "coalesce(checkpoint_event_id, 0) FROM streams LEFT JOIN sessions ON session_id = id "
        "WHERE substr(id, 1, 1) <> '.' ORDER BY streams.session_key"
    )
    rows = connection.execute(sql).fetchall()
    return [Lagging(Stream(name, key), last, standing) for key, name, last, standing in rows if last != standing]


def unfinished(what: str) -> StoreError:
    """The error for a target that somebody else has written to meanwhile."""
    return StoreError(f"{what} was written to while it was copied into", hint=_OTHER)
