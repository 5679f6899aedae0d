"""What a disk may hold after a power cut, made from the log of a run (`faulty_disk.c`).

The model. A file has what was written before its last fsync, always. Each later write or change of size is
kept, lost, or torn: some of its sectors (512 bytes or 4 KiB) new and the others as they were; in order (what
was written first is kept first) or in any order. Where a later write is kept and an earlier one lost, zeros
stand between; a file may have grown without what was written there. A folder has the names it had at its
last fsync; each later new name, rename or removal is kept or lost, in order or one by one, each of them
whole. Syncing a file keeps its content and not its name; syncing a folder keeps its names and not what is
in the files.

Not in the model: sectors that were not being written, or were synced, and are damaged all the same (SQLite
calls their absence "powersafe overwrite"); a disk that says it has synced and has not; old data of other
files showing up in one that grew; a file's mode; the -shm file, which is made anew. Damage of that kind is
what `foldlog verify` and the tests of damaged files are for.
"""

import json
import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

_T = TypeVar("_T")
_HEADER = struct.Struct("=IIIIQq")


class Record(NamedTuple):
    """One line of a log."""

    operation: str
    name: str
    other: str
    file: int
    offset: int
    data: bytes


def read_log(log: Path, folder: Path) -> Iterator[Record]:
    """A log's lines in order, names relative to the folder it is about."""
    data, place, prefix = memoryview(log.read_bytes()), 0, f"{folder}/"

    def text(count: int) -> str:
        return bytes(data[place : place + count]).decode().removeprefix(prefix)

    while place < len(data):
        operation, name_bytes, other_bytes, data_bytes, file, offset = _HEADER.unpack_from(data, place)
        place += _HEADER.size
        name = text(name_bytes)
        place += name_bytes
        other = text(other_bytes)
        place += other_bytes
        yield Record(chr(operation), name, other, file, offset, bytes(data[place : place + data_bytes]))
        place += data_bytes


@dataclass(eq=False)
class File:
    """A file or a folder: what it has now, what of it is durable, and what came since."""

    is_folder: bool = False
    now: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    since: list[tuple[int, bytes | None]] = field(default_factory=list)  # writes; sizes, as (bytes, None)

    def change(self, offset: int, data: bytes | None) -> None:
        self.since.append((offset, data))
        _apply(self.now, offset, data)

    def sync(self) -> None:
        for offset, data in self.since:
            _apply(self.durable, offset, data)
        self.since.clear()

    def after_cut(self, chance: random.Random) -> bytes:
        """What may be left of it."""
        if not self.since:
            return bytes(self.durable)
        found = bytearray(self.durable)
        if chance.random() < 0.4:
            sector = chance.choice((512, 4096))
            for offset, data in self.since:
                _tear(found, offset, data, sector, chance)
        else:
            for offset, data in _kept(self.since, chance):
                _apply(found, offset, data)
        if len(found) < len(self.now) and chance.random() < 0.3:
            _apply(found, len(self.now), None)
        return bytes(found)


def _kept(changes: list[_T], chance: random.Random) -> list[_T]:
    """All, none, the first or any of some changes."""
    match chance.choice(("all", "none", "first", "any")):
        case "all":
            return changes
        case "first":
            return changes[: chance.randrange(len(changes) + 1)]
        case "any":
            return [change for change in changes if chance.random() < 0.5]
    return []


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    end = offset + len(data or b"")
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset:end] = data


def _tear(content: bytearray, offset: int, data: bytes | None, sector: int, chance: random.Random) -> None:
    """Keep some of the sectors of a write."""
    if data is None:
        if chance.random() < 0.5:
            _apply(content, offset, None)
        return
    likely = chance.choice((0.1, 0.5, 0.9))
    start = 0
    while start < len(data):
        end = min(len(data), ((offset + start) // sector + 1) * sector - offset)
        if chance.random() < likely:
            _apply(content, offset + start, data[start:end])
        start = end


class Change(NamedTuple):
    """A change of a folder's names: `name` is now this file, or nothing; `gone` was renamed to it."""

    name: str
    file: File | None
    gone: str = ""


@dataclass
class Promise:
    """What was said to be durable, at one place in the log."""

    event_ids: dict[str, int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)  # by path: since which of its versions


class Computer:
    """A computer that can be switched off after any line of a log."""

    def __init__(self) -> None:
        self.names: dict[str, File] = {}
        self.promise = Promise()
        self.versions: dict[str, list[File]] = {}  # all files that had this name by a rename or a link, in order
        self.event_count = 0
        self._durable_names: dict[str, File] = {}
        self._since: dict[str, list[Change]] = {}  # by folder
        self._numbers: dict[int, File] = {}
        self._folders: dict[int, str] = {}

    def take(self, record: Record) -> None:
        """Do what a line of the log says."""
        name = record.name
        match record.operation:
            case "W":
                self._numbers[record.file].change(record.offset, record.data)
            case "T":
                self._numbers[record.file].change(record.offset, None)
            case "S":
                self._sync(record.file)
            case "C" | "D":
                self._numbers[record.file] = File(is_folder=record.operation == "D")
                self._folders.pop(record.file, None)
                if record.operation == "D":
                    self._folders[record.file] = name
                self._name(Change(name, self._numbers[record.file]))
            case "L" | "R":
                file = self._numbers[record.file]
                self.versions.setdefault(record.other, []).append(file)
                self._name(Change(record.other, file, name if record.operation == "R" else ""))
            case "U":
                self._name(Change(name, None))
            case "M":
                self._hear(json.loads(name))

    def _sync(self, number: int) -> None:
        if number not in self._folders:
            self._numbers[number].sync()
            return
        for change in self._since.pop(self._folders[number], ()):
            _rename(self._durable_names, change)

    def _name(self, change: Change) -> None:
        _rename(self.names, change)
        self._since.setdefault(_parent(change.name), []).append(change)

    def _hear(self, line: dict[str, Any]) -> None:
        if "root" in line:
            self._folders[line["root"]] = ""
        if "acknowledged" in line:
            ids = self.promise.event_ids
            ids[line["acknowledged"]] = max(ids.get(line["acknowledged"], 0), line["event_id"])
        if "backed_up" in line:
            self.promise.files[line["backed_up"]] = 0
        if "exported" in line:
            for path, file in self.names.items():
                if file.is_folder or path.endswith(".tmp") or path.startswith(line["but"]):
                    continue
                if path.startswith(f"{line['exported']}/"):
                    self.promise.files[path] = len(self.versions[path]) - 1

    def write_image(self, folder: Path, chance: random.Random) -> None:
        """What may be left when the power fails now, into an empty folder."""
        names = dict(self._durable_names)
        for changes in self._since.values():
            how = chance.choice(("all", "none", "in order", "any"))
            kept_count = chance.randrange(len(changes) + 1)
            for number, change in enumerate(changes):
                if (
                    how == "all"
                    or (how == "in order" and number < kept_count)
                    or (how == "any" and chance.random() < 0.5)
                ):
                    _rename(names, change)
        contents: dict[int, bytes] = {}
        for name in sorted(names):
            file, path = names[name], folder / name
            if not path.parent.is_dir():
                continue  # the folder itself was lost
            if file.is_folder:
                path.mkdir(mode=0o700)
                continue
            if id(file) not in contents:
                contents[id(file)] = file.after_cut(chance)
            path.write_bytes(contents[id(file)])

    def broken_files(self, folder: Path) -> list[str]:
        """The promised files that an image has not, or has with what they never held since."""
        found = []
        for path, since in self.promise.files.items():
            try:
                content = (folder / path).read_bytes()
            except OSError:
                found.append(f"{path} is gone")
                continue
            if not any(content == bytes(file.now) for file in self.versions[path][since:]):
                found.append(f"{path} has other content")
        return found


def _rename(names: dict[str, File], change: Change) -> None:
    if change.gone and names.get(change.gone) is change.file:
        del names[change.gone]
    if change.file is None:
        names.pop(change.name, None)
    else:
        names[change.name] = change.file


def _parent(name: str) -> str:
    return name.rpartition("/")[0]
