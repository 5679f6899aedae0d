"""Search: adding what was recorded to the index, and finding texts by their words.

The index follows the journal by position. Adding is left until `SEARCH_PORTION_EVENTS` have come, after a checkpoint;
what is not in it yet is looked through by the search itself, so that a search never writes. Which texts an event brings
is in `foldlog.core.searchable`, the index's tables in `foldlog.storage.search_tables`.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from foldlog.core.codec import decode
from foldlog.core.errors import CorruptJournalError, FoldlogError, LimitError, MissingBlobError, QueryError, StoreError
from foldlog.core.ids import check_session_id
from foldlog.core.limits import (
    SEARCH_HITS_MAX,
    SEARCH_PORTION_EVENTS,
    SEARCH_PORTIONS_MAX,
    SEARCH_RANKED_MAX,
    SEARCH_TAIL_BYTES_MAX,
    SEARCH_TAIL_EVENTS_MAX,
)
from foldlog.core.match_text import Term, terms_of
from foldlog.core.refs import Ref
from foldlog.core.searchable import KINDS, PUTS, RESTORED, TYPES, flatten, texts_of
from foldlog.storage import blobs, fts5_index, journal, search_tables
from foldlog.storage.database import Database
from foldlog.storage.driver import Driver, driver_of, sql_of
from foldlog.storage.faults import translated
from foldlog.storage.search_tables import Entry, Match, Scope


@dataclass(frozen=True, slots=True)
class Hit:
    """A text that was found: whose, in which row, and the words in their surroundings.

    `kind`: message, code, output, error, query, result or final. `field`: where it stands, such as `eval.stdout`.
    `row_id` is that of the message, turn, eval or call, None for the session's own. `event_id`: the event that said it.
    `snippet`: the surroundings, plain text. `marks`: from where to where the words that were found are in it. `rank`:
    lower is better.
    """

    session_id: str
    kind: str
    field: str
    row_id: int | str | None
    turn_id: int | str | None
    role: str | None
    event_id: int
    snippet: str
    marks: tuple[tuple[int, int], ...]
    rank: float


class Hits(list[Hit]):
    """What was found, best first. `unsearched_count`: how many events wait for the index and were not looked at."""

    unsearched_count = 0


# Adding.


class Said(NamedTuple):
    """What an event has to say to the index: what is removed first, and what is added."""

    replaced: list[tuple[str, Any]]
    entries: list[Entry]


class _Portion(NamedTuple):
    """Events read for the index: after which position, through which, and what they say."""

    after: int
    through: int
    said: list[Said]


class Keeper:
    """Adds to the index as events come: after a checkpoint, in step with what was recorded since.

    A store that has much to catch up with, such as one made before there was an index, pays for it little by
    little: a checkpoint costs what changed.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: int | None = None  # the position up to which events have paid

    def checkpointed(self) -> None:
        """Hear of a checkpoint: add twice as much as came since a portion was last added, where that is a portion."""
        count = 0
        if not self._database.read_only and fts5_index.has_fts5():
            # As in `keep_up`: what keeps the index from being read is no error of a checkpoint.
            with contextlib.suppress(FoldlogError), translated("looking at the search index"):
                count = self._portions_come()
        if count:
            keep_up(self._database, portions=min(2 * count, SEARCH_PORTIONS_MAX))

    def _portions_come(self) -> int:
        """How many portions came since one was last added."""
        with self._database.lock:  # the writer's connection, which asks at a tenth of what another costs
            connection = self._database.writer()
            last = search_tables.last_position(connection)
            if self._seen is None or last < self._seen:
                # Of what waited before, no more than lets the next event bring a portion.
                self._seen = max(search_tables.position(connection), last - SEARCH_PORTION_EVENTS + 1)
        count = (last - self._seen) // SEARCH_PORTION_EVENTS
        if count:
            self._seen = last
        return count


def keep_up(database: Database, *, portions: int | None = None) -> None:
    """Add events to the index, each portion a transaction, `portions` of them at most.

    The index can always be made again from the journal, so what keeps it from being written is no error: a
    search says what it did not look at.
    """
    if database.read_only or not fts5_index.has_fts5():
        return
    with contextlib.suppress(FoldlogError), translated("adding to the search index"):
        reader = blobs.Reader(database)
        while portions is None or portions > 0:
            portion = _read(database, reader)
            if portion is None or not database.run(_write, portion):
                return
            portions = None if portions is None else portions - 1


def _read(database: Database, reader: blobs.Reader) -> _Portion | None:
    # An event that becomes visible in front of one that is in the index would never be in it.
    through = database.settled_position()
    with database.read() as connection:
        driver = driver_of(connection)
        after = search_tables.position(driver)
        events = search_tables.read_events(driver, after, TYPES, SEARCH_PORTION_EVENTS, through=through)
    if not events:
        return None
    return _Portion(after, events[-1][0], list(what_is_said(events, reader)))


def what_is_said(
    events: Iterable[tuple[int, int, int, str, str]], reader: blobs.Reader, bytes_max: float = math.inf
) -> Iterator[Said]:
    """What events say; of values behind references `bytes_max` bytes at most are read."""
    left = bytes_max

    def read_ref(ref: Ref) -> Any:
        nonlocal left
        left -= ref["bytes"]
        if left < 0:
            return None
        with contextlib.suppress(MissingBlobError, CorruptJournalError):  # verify tells of it
            return decode(reader.read(ref["hash"]) or b"null")
        return None

    for _, key, event_id, event_type, data in events:
        if data == "":
            continue
        try:
            event = decode(data)
        except (CorruptJournalError, TypeError):
            continue  # verify tells of it
        if isinstance(event, dict):
            yield _said_by(key, event_id, event_type, event, read_ref)


def _said_by(key: int, event_id: int, event_type: str, event: dict[str, Any], read_ref: Any) -> Said:
    replaced: list[tuple[str, Any]] = []
    entries: list[Entry] = []
    is_new = event_type.endswith((".added", ".started"))
    if event_type == RESTORED:
        replaced.append(("message.content", None))
    if event_type in PUTS:
        row = event.get(PUTS[event_type])
        replaced += [(f"{PUTS[event_type]}.%", row["id"])] if isinstance(row, dict) and "id" in row else []
    for field, kind, row_id, turn_id, role, value in texts_of(event_type, event):
        if not is_new and event_type != RESTORED:
            replaced.append((field, row_id))
        text = flatten(value, read_ref)
        # A result and a final value are often one and the same, told in two keys.
        if text and not any(one.kind == kind and one.row_id == row_id and one.text == text for one in entries[-3:]):
            entries.append(Entry(key, event_id, kind, field, row_id, turn_id, role, text))
    return Said([(field, (key, row_id)) for field, row_id in replaced], entries)


def _write(connection: Driver, portion: _Portion) -> bool:
    """Write a portion, unless another process was faster."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        search_tables.hold(connection)
        is_ours = search_tables.position(connection) == portion.after
        if is_ours:
            search_tables.ensure(connection)
            kept = search_tables.kept_keys(connection, _keys(portion.said))
            for said in portion.said:
                _add(connection, said, kept)
            search_tables.set_position(connection, portion.through)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return is_ours


def _keys(said: list[Said]) -> set[int]:
    return {key for one in said for _, (key, _) in one.replaced} | {e.session_key for one in said for e in one.entries}


def _add(connection: Driver, said: Said, kept: set[int]) -> None:
    for field, (key, row_id) in said.replaced:
        search_tables.forget(connection, key, field, row_id)
    for entry in said.entries:
        if entry.session_key in kept:
            search_tables.add(connection, entry)


# Finding.


def search(
    database: Database, text: str, *, session_id: str | None, role: str | None, kind: str | None, limit: int
) -> Hits:
    """The texts that hold all words, best first; see `Reading.search`."""
    terms = terms_of(text)
    _check(session_id, role, kind, limit)
    fts5_index.check_fts5()
    if session_id is not None:
        journal.find_stream(database, session_id)
    try:
        with translated("searching"):
            return _search(database, terms, Scope(session_id, role, kind), limit)
    except CorruptJournalError as error:
        raise StoreError(
            "the search index is damaged, or the database is",
            hint="`foldlog verify STORE` tells which; `foldlog repair STORE` makes the index anew",
        ) from error


def _search(database: Database, terms: list[Term], scope: Scope, limit: int) -> Hits:
    with database.read() as connection:
        driver = driver_of(connection)
        keys = None if scope.session_id is None else search_tables.keys_below(driver, scope.session_id)
        tail = search_tables.read_events(driver, search_tables.position(driver), TYPES, SEARCH_TAIL_EVENTS_MAX)
        is_whole = len(tail) < SEARCH_TAIL_EVENTS_MAX
        waiting_count = 0 if is_whole else search_tables.due_count(driver) - len(tail)
    # Not while a connection is held: values behind references need another.
    with contextlib.closing(search_tables.make_temporary()) as newest:
        superseded = _fill(newest, tail, blobs.Reader(database))
        new = _find(newest, terms, keys, scope, limit)
    with database.read() as connection:
        driver = driver_of(connection)
        found = _find(driver, terms, keys, scope, limit) if search_tables.is_made(driver) else []
        # What is not in the index yet is the newest, and its ranks compare with no others.
        same = {(one.session_key, one.event_id, one.field, one.row_id) for one in new}
        for one in (_named(driver, one) for one in found):
            is_same = (one.session_key, one.event_id, one.field, one.row_id) in same
            if not is_same and not _is_superseded(one, superseded):
                new.append(one)
        ids = search_tables.session_ids(driver, (one.session_key for one in new))
        hits = Hits(_hit(driver, ids[one.session_key], one) for one in new[:limit] if one.session_key in ids)
    hits.unsearched_count = max(0, waiting_count)
    return hits


def _check(session_id: Any, role: Any, kind: Any, limit: Any) -> None:
    if session_id is not None:
        check_session_id(session_id)
    if role is not None and not isinstance(role, str):
        raise QueryError("role is the role of a message", hint="pass a str, such as 'user'")
    if kind is not None and kind not in KINDS:
        raise QueryError(f"kind={str(kind)[:60]!r} is not a kind of text", hint=f"one of {', '.join(KINDS)}")
    if type(limit) is not int or not 1 <= limit <= SEARCH_HITS_MAX:
        raise LimitError(f"limit={limit!r} is out of range", hint=f"use an int from 1 to {SEARCH_HITS_MAX:,}")


def _find(connection: Driver, terms: list[Term], keys: list[int] | None, scope: Scope, limit: int) -> list[Match]:
    return search_tables.find(connection, terms, keys, scope, ranked=SEARCH_RANKED_MAX, hits=limit)


def _named(connection: Driver, found: Match) -> Match:
    """What was found, with ids that are names where the table has numbers for them: its event has them."""
    keys = (found.row_id, found.turn_id)
    if not any(type(key) is int and key < 0 for key in keys):
        return found
    event_type, data = search_tables.read_event(connection, found.session_key, found.event_id) or ("", "{}")
    row_key = sql_of(connection).row_key
    with contextlib.suppress(CorruptJournalError, TypeError):  # verify tells of it
        for text in texts_of(event_type, decode(data)):
            if text.field == found.field and (row_key(text.row_id), row_key(text.turn_id)) == keys:
                return found._replace(row_id=text.row_id, turn_id=text.turn_id)
    return found


def _fill(
    newest: Driver, events: list[tuple[int, int, int, str, str]], reader: blobs.Reader
) -> set[tuple[str, int, Any]]:
    """Fill an index with the newest events; which rows' fields of the other index they replace."""
    superseded: set[tuple[str, int, Any]] = set()
    newest.execute("BEGIN")
    for said in what_is_said(events, reader, SEARCH_TAIL_BYTES_MAX):
        superseded |= {(field, key, row_id) for field, (key, row_id) in said.replaced}
        _add(newest, said, {entry.session_key for entry in said.entries})
    newest.execute("COMMIT")
    return superseded


def _is_superseded(found: Match, superseded: set[tuple[str, int, Any]]) -> bool:
    rows = f"{found.field.partition('.')[0]}.%"
    return bool(superseded) and any(
        (field, found.session_key, row_id) in superseded
        for field in (found.field, rows)
        for row_id in (found.row_id, None)
    )


def _hit(connection: Driver, session_id: str, found: Match) -> Hit:
    turn_id = found.turn_id
    if turn_id is None and found.field.startswith("call."):
        turn_id = search_tables.turn_of_call(connection, session_id, found.row_id)
    snippet, marks = _unmarked(found.snippet)
    return Hit(
        session_id=session_id,
        kind=found.kind,
        field=found.field,
        row_id=found.row_id,
        turn_id=turn_id,
        role=found.role,
        event_id=found.event_id,
        snippet=snippet,
        marks=marks,
        rank=found.rank,
    )


_OPEN, _CLOSE = search_tables.MARKS
LIMIT: Final = 20


def _unmarked(snippet: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """A snippet without its marks, and where they were."""
    plain: list[str] = []
    marks: list[tuple[int, int]] = []
    at = start = 0
    for piece in _pieces(snippet):
        if piece == _OPEN:
            start = at
        elif piece == _CLOSE:
            marks.append((start, at))
        else:
            plain.append(piece)
            at += len(piece)
    return "".join(plain), tuple(marks)


def _pieces(snippet: str) -> Iterator[str]:
    for index, piece in enumerate(snippet.split(_OPEN)):
        if index:
            yield _OPEN
        inside, mark, outside = piece.partition(_CLOSE)
        yield inside
        if mark:
            yield _CLOSE
            yield outside
