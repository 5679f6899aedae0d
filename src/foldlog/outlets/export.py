"""Files: every session as JSON that any tool can read, written so that a reader sees old or new, whole.

A folder a session: `session.json messages.jsonl turns.jsonl evals.jsonl calls.jsonl snapshots.jsonl
events.jsonl final.json usage.json tree.json blobs/<hash> children/<name>/…`. Names come from checked
ids and hashes only; modes follow the database's.
"""

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from foldlog.core.codec import decode
from foldlog.core.columns import dump
from foldlog.core.errors import CorruptJournalError, InvalidIdError, LimitError
from foldlog.core.ids import check_session_id, is_hash, parent_id
from foldlog.core.refs import Ref
from foldlog.core.rows import KINDS
from foldlog.core.view import View
from foldlog.session.events import event_of
from foldlog.storage import event_feed, journal
from foldlog.storage.blobs import Reader
from foldlog.storage.files import (
    is_folder,
    make_folder,
    make_names_durable,
    remove_files,
    remove_folder,
    write_file,
)
from foldlog.storage.journal import Stream

if TYPE_CHECKING:
    from foldlog.store.store import Store


_NAMES: Final = (
    *(f"{kind}s.jsonl" for kind in (*KINDS, "event")),
    *(f"{name}.json" for name in ("session", "final", "usage", "tree")),
)


def export(store: "Store", directory: Path, session_id: str | None = None) -> list[Path]:
    """Write all sessions, or one with those below it; the paths of the files written anew."""
    if session_id is None:
        wanted = journal.stream_ids(store.database)
    else:
        journal.find_stream(store.database, check_session_id(session_id))
        wanted = [session_id, *journal.stream_ids(store.database, below=session_id)]
    names = [one for one in wanted if _is_name(one)]
    written = [path for one in names for path in _Export(store, directory, one).write()]
    if len(names) < len(wanted):
        count = len(wanted) - len(names)
        raise CorruptJournalError(
            f"{store.database.name}: {count} of its sessions have ids that are none, and were not written",
            hint="the others were; run `foldlog verify STORE`",
        )
    return written


def _is_name(session_id: object) -> bool:
    """Whether this can be an id, and so the name of a folder: in a damaged or hostile store it may be anything."""
    try:
        check_session_id(session_id, depth_max=_DEPTH_MAX)
    except (InvalidIdError, LimitError):
        return False
    return True


# No file system takes a deeper tree of folders: each level is two.
_DEPTH_MAX: Final = 1000


@dataclass(slots=True)
class Exported:
    """What is known of one session's files: of which view they are, and how far each has come."""

    view: Callable[[], View | None]
    revisions: dict[str, int] = field(default_factory=dict)
    blobs: dict[str, list[str]] = field(default_factory=dict)  # each with the blobs inside it


def export_session(store: "Store", directory: Path, session_id: str, exported: dict[str, Exported]) -> None:
    """Write one session, and the derived documents of the sessions above it, which count it in.

    `exported` is what the caller keeps from one time to the next: files that cannot have changed since are
    not made again.
    """
    view = store.view(session_id)
    known = exported.get(session_id)
    if known is None or known.view() is not view:
        known = exported[session_id] = Exported(weakref.ref(view))
    try:
        _Export(store, directory, session_id, known).write()
    except BaseException:
        exported.pop(session_id, None)  # what was found there may not be durable, and is to be looked at again
        raise
    _write_documents_above(store, directory, session_id)


def _write_documents_above(store: "Store", directory: Path, session_id: str) -> None:
    above = parent_id(session_id)
    while above is not None:
        _Export(store, directory, above).write_documents()
        above = parent_id(above)


def remove(store: "Store", directory: Path, session_ids: Sequence[str]) -> tuple[int, list[Path]]:
    """Remove the files of deleted sessions, parents first, and bring the documents above up to date.

    Only names that an export writes, and then the folders that are empty; a symlink is not followed. How many
    files went, and the folders that stay since something else is in them.
    """
    count, left = 0, list[Path]()
    for session_id in map(check_session_id, reversed(session_ids)):  # a store may be made by other hands
        folder = directory.joinpath(*session_id.replace("/", "/children/").split("/"))  # the top's, in the end
        if not is_folder(folder, within=directory):
            continue
        count += remove_files(folder, _NAMES)
        if is_folder(folder / "blobs", within=directory):
            count += remove_files(
                folder / "blobs", (path.name for path in (folder / "blobs").iterdir() if is_hash(path.name))
            )
        for emptied in (folder / "blobs", folder / "children", folder):
            if not remove_folder(emptied):
                left.append(folder)
                break
    above = parent_id(session_ids[0])
    if above is not None and is_folder(folder.parent, within=directory):
        remove_folder(folder.parent)
    if above is not None and journal.has_stream(store.database, above):
        _write_documents_above(store, directory, session_ids[0])
    return count, left


class _Export:
    """One session's folder."""

    def __init__(self, store: "Store", directory: Path, session_id: str, known: Exported | None = None) -> None:
        self._store = store
        self._known = known
        self._session_id = session_id
        self._blobs = Reader(store.database)
        self._unsure: set[Path] = set()  # folders whose names were found and not given: durable, or not yet
        self._mode = store.database.file_mode
        self._folder_mode = self._mode | (self._mode & 0o444) >> 2
        self._above: list[Path] = []  # of folders that were there
        self._folder = self._make_folders(directory)
        self._written: list[Path] = []

    def _make_folders(self, directory: Path) -> Path:
        root, *below = self._session_id.split("/")
        folder = directory
        for part in ("", root, *(part for name in below for part in ("children", name))):
            folder /= part
            if not make_folder(folder, self._folder_mode):
                self._above.append(folder.parent)
        return folder

    def write(self) -> list[Path]:
        """Write everything; the paths of the files written anew."""
        stream = journal.find_stream(self._store.database, self._session_id)
        if self._known is None or not self._known.revisions:
            self._unsure.update(self._above)
        view = (self._known.view() if self._known else None) or self._store.view(self._session_id)
        self._put_changed("session.json", view.revision("session"), lambda: [dump(view.session)])
        for kind in KINDS:
            self._put_changed(f"{kind}s.jsonl", view.revision(kind), partial(_rows, view, kind))
        names: dict[str, None] = {}
        self._put_changed("events.jsonl", view.counter("event"), lambda: self._events(stream, names))
        self.write_documents()
        if names and not make_folder(self._folder / "blobs", self._folder_mode):
            self._unsure.add(self._folder)
        todo = list(names)
        while todo:
            todo += self._put_blob(todo.pop(), names)
        self._make_durable()
        return self._written

    def _put_changed(self, name: str, revision: int, lines: Callable[[], Iterable[str]]) -> None:
        """Write a file unless it is known to be of this revision, and still there."""
        known = self._known
        if known is not None and known.revisions.get(name) == revision and os.path.lexists(self._folder / name):
            return
        self._put(name, lines())
        if known is not None:
            known.revisions[name] = revision

    def write_documents(self) -> None:
        """Write usage, final and tree."""
        for name in ("usage", "final", "tree"):
            document = getattr(self._store, name)(self._session_id)
            self._put(f"{name}.json", [dump(document)])
        self._make_durable()

    def _make_durable(self) -> None:
        while self._unsure:
            make_names_durable(self._unsure.pop())

    def _put(self, name: str, lines: Iterable[str]) -> None:
        self._put_file(self._folder / name, (f"{line}\n".encode() for line in lines))

    def _put_file(self, path: Path, chunks: Iterable[bytes]) -> None:
        if write_file(path, chunks, self._mode):
            self._written.append(path)
            self._unsure.discard(path.parent)  # synced behind it
        else:
            self._unsure.add(path.parent)

    def _put_blob(self, name: str, names: dict[str, None]) -> list[str]:
        """Write a blob unless it is there; the names of the blobs inside it that are not in `names` yet."""
        path = self._folder / "blobs" / name
        known = self._known.blobs if self._known is not None else {}
        if name in known and os.path.lexists(path):
            return self._new_names(known[name], names)
        body = self._blobs.read(name) if is_hash(name) else None
        if body is None:
            return []
        self._put_file(path, [body])
        known[name] = [ref["hash"] for ref in refs_in(decode(body))]
        return self._new_names(known[name], names)

    @staticmethod
    def _new_names(inside: list[str], names: dict[str, None]) -> list[str]:
        new = [name for name in inside if name not in names]
        names |= dict.fromkeys(new)
        return new

    def _events(self, stream: Stream, names: dict[str, None]) -> Iterator[str]:
        for stored in event_feed.read_stream(self._store.database, stream):
            event = event_of(stored)
            for ref in refs_in(event):
                names[ref["hash"]] = None
            yield dump(event)


def _rows(view: View, kind: str) -> Iterator[str]:
    for _, entry in view.moment(kind):
        yield dump(entry.row)


def refs_in(value: Any) -> Iterator[Ref]:
    """The references to blobs inside a decoded value."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from refs_in(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            yield from refs_in(item)
