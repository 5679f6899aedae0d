"""High-water marks: how far each session had come, noted outside the database and its log.

When the end of the write-ahead log is lost (power loss at durability "normal", a log that was deleted) SQLite
opens what is left and says nothing. A mark that survived tells: an event was committed that is not there.
After each commit a session's slot in the file `<store>-marks` is overwritten with its last event id; nothing
waits for the disk. So a mark may be behind or gone, which tells nothing and is no error, but it is never ahead
of what was committed.

A slot is bound to its session by the first bytes of the chain of event 1, since a store may be replaced by
another under the same name, and carries a checksum, so that half a slot is none. What is done about lost events
is the business of `foldlog.session` (it notes them) and of verification (it reports them).
"""

import contextlib
import os
import sqlite3
import stat
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from foldlog.storage.faults import translated

if TYPE_CHECKING:
    from foldlog.storage.journal import Stream
    from foldlog.storage.sqlite import SqliteDatabase

_MAGIC: Final = b"foldlog marks 1\n".ljust(32, b"\0")
# Session key, event id, tag; a CRC-32 follows.
_BODY: Final = Struct("<qQ12s")
_pack: Final = _BODY.pack
_TAG_BYTES: Final = 12
_SLOT_BYTES: Final = _BODY.size + 4
_PAGE_SLOTS: Final = 32_768
# Keys count sessions from 1. A store from elsewhere may say anything: its slot is not to be far out in a huge file.
_KEY_MAX: Final = 2**24
_FLAGS: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Marks:
    """The marks of one database, as its writer keeps them; made with the first one, used behind the gate."""

    def __init__(self, path: Path) -> None:
        self._path = path_of(path)
        self._descriptor: int | None = None
        self._is_kept = True

    def note(self, connection: sqlite3.Connection, stream: "Stream", event_id: int) -> None:
        """Overwrite a session's slot, its event being committed; where that fails there is no mark, and no error."""
        key, tag, descriptor = stream.key, stream.tag, self._descriptor
        if descriptor is None:
            descriptor = self._open()
        if tag is None:
            with contextlib.suppress(sqlite3.Error):
                tag = stream.tag = _tag_of(connection, key)
        if descriptor is None or key is None or tag is None or not 1 <= key <= _KEY_MAX:
            return
        body = _pack(key, event_id, tag)
        try:  # noqa: SIM105  (a third of the time of suppress(), for every event)
            os.pwrite(descriptor, body + crc32(body).to_bytes(4, "little"), key * _SLOT_BYTES)
        except OSError:
            pass

    def _open(self) -> int | None:
        if not self._is_kept:
            return None
        self._is_kept = False  # unless it can be
        with contextlib.suppress(OSError):
            descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | _FLAGS, 0o600)
            try:
                self._is_kept = _prepare(descriptor)
            finally:
                if self._is_kept:
                    self._descriptor = descriptor
                else:
                    os.close(descriptor)
        return self._descriptor

    def close(self) -> None:
        """Close the file; nothing is noted any more."""
        self._is_kept = False
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()  # of a store that nobody closed


class Lost(NamedTuple):
    """A session of which events were committed that are not there; without an id where all of it is gone."""

    session_key: int
    session_id: str | None
    head: int
    mark: int


def path_of(path: Path) -> Path:
    """Where the marks of the database at `path` are."""
    return path.with_name(f"{path.name}-marks")


def _tag_of(connection: sqlite3.Connection, key: int | None) -> bytes | None:
    """What binds a slot to its session; None where the session's first event is not there."""
    row = connection.execute("SELECT chain FROM events WHERE session_key = ? AND event_id = 1", (key,)).fetchone()
    return _tag(row[0]) if row is not None else None


def noted(database: "SqliteDatabase", stream: "Stream") -> int:
    """The last event of a session that was noted as committed; 0 where nothing is known.

    To be read before the session's last event is: a writer that lives goes on.
    """
    key = stream.key
    if key is None or not 1 <= key <= _KEY_MAX:
        return 0
    found = _slots(path_of(database.path), key, 1).get(key)
    if found is None:
        return 0
    with database.read() as connection:
        row = connection.exec_driver_sql(
            "SELECT chain FROM events WHERE session_key = ? AND event_id = 1", (key,)
        ).first()
    return found[0] if row is not None and _tag(row[0]) == found[1] else 0


def lost(database: "SqliteDatabase") -> list[Lost]:
    """Every session whose mark is ahead of the store, by key.

    Nothing, where the marks are another store's: where any of them is not of the session that has its key.
    """
    slots = _slots(path_of(database.path), 1, None)
    if not slots:
        return []
    with translated(f"reading {database.name}"), database.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT session_key, id, "
            "max(coalesce((SELECT max(event_id) FROM events WHERE events.session_key = streams.session_key), 0), "
            "coalesce((SELECT max(event_id) FROM quarantine WHERE quarantine.session_key = streams.session_key), 0)), "
            "(SELECT chain FROM events WHERE events.session_key = streams.session_key AND event_id = 1) FROM streams"
        ).all()
    found: list[Lost] = []
    for key, session_id, head, chain in rows:
        # The events of a deleted session are gone for a reason, and its key may be kept with the sign changed.
        mark, tag = slots.pop(abs(key), (0, None))
        if tag is None or chain is None:
            continue
        if _tag(chain) != tag:
            return []
        if mark > head:
            found.append(Lost(key, session_id, head, mark))
    found += [Lost(key, None, 0, mark) for key, (mark, _) in slots.items()]
    return sorted(found, key=lambda one: one.session_key)


def forget(path: Path) -> None:
    """Remove the marks of a database that is no longer at `path`: another one is made there."""
    with contextlib.suppress(OSError):
        path_of(path).unlink()


def _tag(chain: object) -> bytes | None:
    return chain[:_TAG_BYTES] if isinstance(chain, bytes) else None


def _prepare(descriptor: int) -> bool:
    """Whether this is a file to keep marks in: ours, or without content; somebody's text is left alone."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return False
    os.fchmod(descriptor, 0o600)
    head = os.pread(descriptor, len(_MAGIC), 0)
    if head != _MAGIC:
        if len(head) == len(_MAGIC) and any(head):
            return False
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, _MAGIC, 0)
    return True


def _slots(path: Path, first: int, count: int | None) -> dict[int, tuple[int, bytes]]:
    """Event id and tag by session key, of so many slots from the first, where they are whole."""
    found: dict[int, tuple[int, bytes]] = {}
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | _FLAGS)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode) or os.pread(descriptor, len(_MAGIC), 0) != _MAGIC:
                return {}
            key, wanted = first, count or _PAGE_SLOTS
            while key <= _KEY_MAX and (data := os.pread(descriptor, wanted * _SLOT_BYTES, key * _SLOT_BYTES)):
                for start in range(0, len(data) - _SLOT_BYTES + 1, _SLOT_BYTES):
                    slot = data[start : start + _SLOT_BYTES]
                    body = slot[: _BODY.size]
                    own_key, event_id, tag = _BODY.unpack(body)
                    if own_key == key and slot[_BODY.size :] == crc32(body).to_bytes(4, "little"):
                        found[key] = (event_id, tag)
                    key += 1
                if count is not None or len(data) < wanted * _SLOT_BYTES:
                    break
        finally:
            os.close(descriptor)
    return found
