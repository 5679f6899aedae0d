"""Exported files: are they what an export of this store wrote?

An export may be older than the journal, so each session's files are held to the journal as of the last
event in its `events.jsonl`: those events must be the journal's first, in the very bytes an export writes,
the row files what they fold to, and each file in `blobs/` must have the hash it is named by. A document
nests the sessions below, each as it was when the document was written: it is held to them only where all
of them are exported, none later than it, and none has gone on since. Files of a session that is being
written may each be of another event; of those only `events.jsonl` and the blobs are looked at. A session
without a folder was not exported, which is no fault.
"""

import hashlib
import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from foldlog.core.codec import decode
from foldlog.core.columns import dump
from foldlog.core.documents import Node, final_document, node_of, tree_document, usage_document
from foldlog.core.errors import FoldlogError
from foldlog.core.ids import is_hash
from foldlog.core.rows import KINDS
from foldlog.core.view import View
from foldlog.outlets.export import refs_in
from foldlog.outlets.findings import Problem, Report
from foldlog.session import checkpoint
from foldlog.session.events import event_of
from foldlog.storage import event_feed, journal, stream_pages
from foldlog.storage.journal import Stream

if TYPE_CHECKING:
    from foldlog.store.store import Store

_AGAIN: Final = "export again; what differs is then written anew"
_READ_BYTES: Final = 1 << 20


def nothing_exported(directory: Path) -> Problem:
    """What is wrong where somebody names a folder to check and no session of the store is in it."""
    what = f"{directory} has no exported session of this store: there was nothing to check"
    return Problem(None, None, what, "give the folder of an export; `foldlog export STORE DIR` makes one")


def check_exported(store: "Store", directory: Path, report: Report) -> None:
    """Hold every session's files in a folder to the journal."""
    nodes: dict[str, Node] = {}
    complete: set[str] = set()
    session_ids = journal.stream_ids(store.database)
    held = store.database.leased(session_ids)
    for session_id in session_ids:
        folder = folder_of(directory, session_id)
        if not os.path.lexists(folder):
            continue
        report.exported_count += 1
        check = _Session(store, folder, session_id, is_held=session_id in held)
        try:
            report.problems += check.check()
        except FoldlogError as error:
            report.problems.append(Problem(None, session_id, f"{folder}: {error.message}", error.hint))
        except OSError as error:
            report.problems.append(Problem(None, session_id, f"{folder}: {error.strerror}", _AGAIN))
        if check.view is not None:
            nodes[session_id] = node_of(check.view)
            if check.is_current:
                complete.add(session_id)
    for session_id in nodes:
        below = journal.stream_ids(store.database, below=session_id)
        if complete.issuperset(below):
            folder = folder_of(directory, session_id)
            exported_at = max((_time_of(folder_of(directory, one) / "events.jsonl") for one in below), default=0)
            report.problems += _check_documents(folder, session_id, nodes, exported_at)


def folder_of(directory: Path, session_id: str) -> Path:
    """Where an export puts a session."""
    root, *below = session_id.split("/")
    return directory.joinpath(root, *itertools.chain.from_iterable(("children", name) for name in below))


def _time_of(path: Path) -> int:
    try:
        return path.lstat().st_mtime_ns
    except OSError:
        return 0


def _check_documents(folder: Path, session_id: str, nodes: dict[str, Node], exported_at: int) -> Iterator[Problem]:
    usage = usage_document(nodes[session_id], nodes.get)
    documents = {
        "usage": usage,
        "final": final_document(nodes[session_id], usage),
        "tree": tree_document(nodes[session_id], nodes.get),
    }
    for name, document in documents.items():
        path = folder / f"{name}.json"
        found = _read(path)
        if found is None:
            yield Problem(None, session_id, f"{path} is missing, or no regular file", _AGAIN)
        elif found != f"{dump(document)}\n".encode() and _time_of(path) >= exported_at:
            yield Problem(None, session_id, f"{path} is not what the journal gives", _AGAIN)


def _read(path: Path) -> bytes | None:
    """A regular file's bytes; None where there is none."""
    try:
        if stat.S_ISREG(path.lstat().st_mode):
            return path.read_bytes()
    except OSError:
        pass
    return None


class _Session:
    """One session's folder."""

    def __init__(self, store: "Store", folder: Path, session_id: str, *, is_held: bool) -> None:
        self.view: View | None = None
        self.is_current = False  # exported through the journal's last event
        self._store = store
        self._folder = folder
        self._session_id = session_id
        self._is_held = is_held
        self._names: set[str] = set()

    def _problem(self, path: Path, what: str, position: int | None = None) -> Problem:
        return Problem(position, self._session_id, f"{path} {what}", _AGAIN)

    def check(self) -> Iterator[Problem]:
        stream = journal.find_stream(self._store.database, self._session_id)
        without = stream_pages.set_apart(self._store.database, stream)
        path = self._folder / "events.jsonl"
        found = _read(path)
        if found is None:
            yield self._problem(path, "is missing, or no regular file")
            return
        last_id, problem = self._check_events(path, stream, found, without)
        if problem is not None:
            yield problem
        elif not self._is_held and not without:
            self.view = checkpoint.replay(self._store.database, stream, through=last_id)[0]
            head = journal.head_of(self._store.database, stream)
            self.is_current = head is not None and head.event_id == last_id
            yield from self._check_rows(self.view)
        yield from self._check_blobs()

    def _check_events(
        self, path: Path, stream: Stream, found: bytes, without: frozenset[int]
    ) -> tuple[int, Problem | None]:
        """The id of the last event in the file, and the first line that is not the journal's."""
        events = event_feed.read_stream(self._store.database, stream)
        last_id = 0
        for number, line in enumerate(found.splitlines(keepends=True), 1):
            if _id_in(line) in without:
                continue  # exported before it was set apart: perhaps the only copy
            stored = next(events, None)
            if stored is None:
                return last_id, self._problem(path, f"goes on after the journal, from line {number}")
            event = event_of(stored)
            if f"{dump(event)}\n".encode() != line:
                what = f"line {number} is not event {stored.event_id} of the journal"
                return last_id, self._problem(path, what, stored.position)
            last_id = stored.event_id
            self._names.update(ref["hash"] for ref in refs_in(event))
        if last_id == 0 and not without:
            return 0, self._problem(path, "is empty")
        return last_id, None

    def _check_rows(self, view: View) -> Iterator[Problem]:
        files: dict[str, Iterator[str]] = {"session.json": iter([dump(view.session)])}
        for kind in KINDS:
            files[f"{kind}s.jsonl"] = (dump(entry.row) for _, entry in view.moment(kind))
        for name, lines in files.items():
            path = self._folder / name
            found = _read(path)
            if found is None:
                yield self._problem(path, "is missing, or no regular file")
            elif found != b"".join(f"{line}\n".encode() for line in lines):
                event_id = view.counter("event")
                yield self._problem(path, f"is not what the journal folds to as of event {event_id}, the last exported")

    def _check_blobs(self) -> Iterator[Problem]:
        folder = self._folder / "blobs"
        there = sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []
        for path in there:
            if is_hash(path.name) and _hash_of(path) != path.name:
                yield self._problem(path, "does not have the hash it is named by")
        todo, done = sorted(self._names), set(self._names)
        while todo:
            name = todo.pop()
            body = _read(folder / name)
            if body is None:
                if _is_stored(self._store, name):
                    yield self._problem(folder / name, "is missing")
            elif b'$foldlog"' in body:
                inside = {ref["hash"] for ref in refs_in(_decoded(body))} - done
                done |= inside
                todo += inside


def _id_in(line: bytes) -> Any:
    found = _decoded(line)
    return found.get("id") if isinstance(found, dict) else None


def _decoded(text: bytes) -> Any:
    try:
        return decode(text)
    except FoldlogError:
        return None


def _is_stored(store: "Store", name: str) -> bool:
    with store.database.read() as connection:
        return connection.exec_driver_sql("SELECT 1 FROM blobs WHERE hash = ?", (name,)).first() is not None


def _hash_of(path: Path) -> str | None:
    """The hash of a regular file's bytes."""
    if not stat.S_ISREG(path.lstat().st_mode):
        return None
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return f"sha256:{digest.hexdigest()}"
