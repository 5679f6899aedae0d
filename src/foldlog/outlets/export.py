"""Files: every session as JSON that any tool can read, written so that a reader sees old or new, whole.

A folder a session: `session.json messages.jsonl turns.jsonl evals.jsonl calls.jsonl snapshots.jsonl
events.jsonl final.json usage.json tree.json blobs/<hash> children/<name>/…`. Names come from checked
ids and hashes only; modes follow the database's.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foldlog.core.codec import decode
from foldlog.core.columns import dump
from foldlog.core.ids import check_session_id, is_hash, parent_id
from foldlog.core.refs import Ref
from foldlog.core.rows import KINDS
from foldlog.core.view import View
from foldlog.session.recorder import event_of
from foldlog.storage import journal
from foldlog.storage.blobs import Reader
from foldlog.storage.files import make_folder, write_file
from foldlog.storage.journal import Stream

if TYPE_CHECKING:
    from foldlog.store.store import Store


def export(store: "Store", directory: Path, session_id: str | None = None) -> list[Path]:
    """Write all sessions, or one with those below it; the paths of the files written anew."""
    if session_id is None:
        wanted = journal.stream_ids(store.database)
    else:
        journal.find_stream(store.database, check_session_id(session_id))
        wanted = [session_id, *journal.stream_ids(store.database, below=session_id)]
    return [path for one in wanted for path in _Export(store, directory, one).write()]


def export_session(store: "Store", directory: Path, session_id: str) -> None:
    """Write one session, and the derived documents of the sessions above it, which count it in."""
    _Export(store, directory, session_id).write()
    above = parent_id(session_id)
    while above is not None:
        _Export(store, directory, above).write_documents()
        above = parent_id(above)


class _Export:
    """One session's folder."""

    def __init__(self, store: "Store", directory: Path, session_id: str) -> None:
        self._store = store
        self._session_id = session_id
        self._blobs = Reader(store.database)
        self._mode = store.path.stat().st_mode & 0o666
        self._folder_mode = self._mode | (self._mode & 0o444) >> 2
        self._folder = self._make_folders(directory)
        self._written: list[Path] = []

    def _make_folders(self, directory: Path) -> Path:
        make_folder(directory, self._folder_mode)
        root, *below = self._session_id.split("/")
        folder = directory / root
        make_folder(folder, self._folder_mode)
        for name in below:
            for part in ("children", name):
                folder /= part
                make_folder(folder, self._folder_mode)
        return folder

    def write(self) -> list[Path]:
        """Write everything; the paths of the files written anew."""
        stream = journal.find_stream(self._store.database, self._session_id)
        view = self._store.view(self._session_id)
        self._put("session.json", [dump(view.session)])
        for kind in KINDS:
            self._put(f"{kind}s.jsonl", (dump(row) for row in _rows(view, kind)))
        names: dict[str, None] = {}
        self._put("events.jsonl", self._events(stream, names))
        self.write_documents()
        if names:
            make_folder(self._folder / "blobs", self._folder_mode)
        todo = list(names)
        while todo:
            todo += self._put_blob(todo.pop(), names)
        return self._written

    def write_documents(self) -> None:
        """Write usage, final and tree."""
        for name in ("usage", "final", "tree"):
            document = getattr(self._store, name)(self._session_id)
            self._put(f"{name}.json", [dump(document)])

    def _put(self, name: str, lines: Iterable[str]) -> None:
        path = self._folder / name
        if write_file(path, (f"{line}\n".encode() for line in lines), self._mode):
            self._written.append(path)

    def _put_blob(self, name: str, names: dict[str, None]) -> list[str]:
        """Write a blob unless it is there; the names of the blobs inside it that are not in `names` yet."""
        body = self._blobs.read(name) if is_hash(name) else None
        if body is None:
            return []
        path = self._folder / "blobs" / name
        if write_file(path, [body], self._mode):
            self._written.append(path)
        inside = [ref["hash"] for ref in refs_in(decode(body)) if ref["hash"] not in names]
        names |= dict.fromkeys(inside)
        return inside

    def _events(self, stream: Stream, names: dict[str, None]) -> Iterator[str]:
        for stored in journal.read_stream(self._store.database, stream):
            event = event_of(stored)
            for ref in refs_in(event):
                names[ref["hash"]] = None
            yield dump(event)


def _rows(view: View, kind: str) -> list[dict[str, Any]]:
    return [entry.row for _, entry in view.moment(kind)]


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
