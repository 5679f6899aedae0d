"""How a large value is cut so that its pieces can be shared: pure, on JSON bytes.

A transcript that is recorded at each step begins as it did the step before. So a value is not kept as
one text: what is large inside it stands as a marker, a map with the codec's reserved key, and is kept
once. A large list is a `List`: whoever stores it looks for the longest prefix that is there and adds the
rest. Any other large sub-value is a `Part`. Both are named by hashes of what is in them.

Nothing here knows what is stored. Rows, and putting a value together again, are in
`foldlog.storage.blobs`; the text is that of `foldlog.core.codec`, and a value's own name stays the hash of
its whole canonical JSON, however it is cut.
"""

import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

# From so many JSON bytes an item of a list, or what stands in the value's own maps, is kept by itself. A
# row costs about 110 bytes beside its text (a hash, an index entry, a marker).
PART_BYTES_MIN: Final = 256
# What is smaller stays whole inside; one SQLite page. A list below it has few items to share.
SPLIT_BYTES_MIN: Final = 4096
# Levels that are looked into; what is deeper stays whole. Requests nest about seven.
SPLIT_DEPTH_MAX: Final = 16
# Lists of numbers and the like, below so many bytes an item, are named every so many items only.
_DENSE_BYTES_MAX: Final = 64
_DENSE_RUN: Final = 32
_MAY_BE_LARGE: Final = frozenset({str, list, dict})
# About what a marker takes.
_MARKER_BYTES: Final = 30
# Text from and up to these sizes is compressed where that makes it smaller. Not for the ratio alone: rows
# of 1,100 bytes go three to a page of 4,096, and the rest of it is lost. Large rows fill their pages.
_PACK_BYTES_MIN: Final = 256
_PACK_BYTES_MAX: Final = 64 * 1024
# How zlib's data begins with windows of 12 to 15 bits.
_PACKED: Final = (b"H", b"X", b"h", b"x")

PART: Final = b"part"
LIST: Final = b"list"
# JSON text has no such bytes: a name in what is hashed cannot be mistaken for text.
_PART_TOKEN: Final = b"\x00"
_LIST_TOKEN: Final = b"\x01"
# In JSON a quote inside a string has a backslash before it, so this can only be a map; and a user's own
# map with this key is written with one more '$'.
_MARKER_START: Final = b'{"$foldlog":"'
_MARKER: Final = re.compile(rb'\{"\$foldlog":"(part|list)","id":([1-9][0-9]{0,17})\}')


class Part(NamedTuple):
    """A large sub-value that is no large list, under the hash of its pieces."""

    name: bytes
    pieces: "Pieces"


@dataclass(frozen=True, slots=True)
class List:
    """A large list in runs, mostly of one item: the pieces of each, and the list's name up to and with it.

    A later list may begin with the first `whole_count` runs; after them, the items do not fill a run.
    """

    names: list[bytes]
    runs: list["Pieces"]
    whole_count: int

    @property
    def name(self) -> bytes:
        """The name of the whole list."""
        return self.names[-1]


Piece = bytes | Part | List
Pieces = tuple[Piece, ...]


def split(value: Any, data: bytes) -> Pieces:
    """A JSON value, whose canonical JSON is `data`, in pieces; put together they are `data`.

    >>> split([1, 2], b"[1,2]")
    (b'[1,2]',)
    """
    return _split(value, data, 0, PART_BYTES_MIN)


def _split(value: Any, data: bytes, depth: int, least: int) -> Pieces:
    if len(data) >= SPLIT_BYTES_MIN and depth < SPLIT_DEPTH_MAX:
        if type(value) is list:
            return (_list(value, data, depth),)
        if type(value) is dict:
            return _map(value, depth, least)
    return (data,)


def _map(value: dict[str, Any], depth: int, least: int) -> Pieces:
    out = _Pieces()
    before = b"{"
    for key in sorted(value):
        out.add(before + _dumps(key) + b":")
        out.extend(_inside(value[key], depth, least, least))
        before = b","
    out.add(b"}")
    return out.done()


def _list(value: list[Any], data: bytes, depth: int) -> List:
    names: list[bytes] = []
    state = hashlib.sha256()
    before = b"["
    step = _DENSE_RUN if len(data) < len(value) * _DENSE_BYTES_MAX else 1
    if step == 1:
        runs = [_inside(item, depth, PART_BYTES_MIN, SPLIT_BYTES_MIN) for item in value]
    else:
        runs = [_run(value[start : start + step], depth) for start in range(0, len(value), step)]
    for pieces in runs:
        state.update(before)
        _hash(state, pieces)
        names.append(state.digest())
        before = b","
    return List(names, runs, len(value) // step)


def _run(items: list[Any], depth: int) -> Pieces:
    data = _dumps(items)[1:-1]
    if len(data) < PART_BYTES_MIN or _MAY_BE_LARGE.isdisjoint(map(type, items)):
        return (data,)
    out = _Pieces()
    before = b""
    for item in items:
        out.add(before)
        out.extend(_inside(item, depth, PART_BYTES_MIN, SPLIT_BYTES_MIN))
        before = b","
    return out.done()


def _inside(value: Any, depth: int, least: int, least_below: int) -> Pieces:
    """A sub-value as it stands in what it is part of: itself, or a piece of its own."""
    data = _dumps(value)
    if len(data) < least:
        return (data,)
    if len(data) < SPLIT_BYTES_MIN:
        return (Part(hashlib.sha256(data).digest(), (data,)),)
    pieces = _split(value, data, depth + 1, least_below)
    # Where little is left around what was cut out of it, it needs no row of its own.
    if sum([len(piece) if isinstance(piece, bytes) else _MARKER_BYTES for piece in pieces]) < PART_BYTES_MIN:
        return pieces
    return (Part(name_of(pieces), pieces),)


def _dumps(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


class _Pieces:
    """Pieces as they come, neighbouring texts joined."""

    __slots__ = ("_out", "_text")

    def __init__(self) -> None:
        self._out: list[Piece] = []
        self._text = bytearray()

    def add(self, text: bytes) -> None:
        self._text += text

    def extend(self, pieces: Pieces) -> None:
        for piece in pieces:
            if isinstance(piece, bytes):
                self._text += piece
                continue
            if self._text:
                self._out.append(bytes(self._text))
                self._text.clear()
            self._out.append(piece)

    def done(self) -> Pieces:
        if self._text:
            self._out.append(bytes(self._text))
        return tuple(self._out)


# Names.


def name_of(pieces: Pieces) -> bytes:
    """The hash of pieces: of their text, with the names of what was cut out."""
    state = hashlib.sha256()
    _hash(state, pieces)
    return state.digest()


def _hash(state: "hashlib._Hash", pieces: Pieces) -> None:
    for piece in pieces:
        if isinstance(piece, bytes):
            state.update(piece)
        else:
            state.update((_PART_TOKEN if isinstance(piece, Part) else _LIST_TOKEN) + piece.name)


def hash_text(state: "hashlib._Hash", text: bytes, names: dict["Marker", bytes]) -> None:
    """Hash text with markers as the pieces were that it was made of; raises `KeyError` for an unknown one."""
    for piece in cut(text):
        if isinstance(piece, Marker):
            state.update((_PART_TOKEN if piece.kind == PART else _LIST_TOKEN) + names[piece])
        else:
            state.update(piece)


# Text with markers.


class Marker(NamedTuple):
    """What stands in text for something that was cut out: its kind, its number in the store."""

    kind: bytes
    id: int

    @property
    def text(self) -> bytes:
        """The marker as it is written."""
        return b'{"$foldlog":"%b","id":%d}' % self


Cut = list[bytes | Marker]


def cut(text: bytes) -> Cut:
    """Text and the markers in it, in order.

    >>> cut(b'[1,{"$foldlog":"part","id":5}]')
    [b'[1,', Marker(kind=b'part', id=5), b']']
    """
    if _MARKER_START not in text:
        return [text]
    found = _MARKER.split(text)
    out: Cut = [found[0]] if found[0] else []
    for at in range(1, len(found), 3):
        out.append(Marker(found[at], int(found[at + 1])))
        if found[at + 2]:
            out.append(found[at + 2])
    return out


def markers(found: Cut) -> Iterator[Marker]:
    """The markers in a text."""
    return (piece for piece in found if isinstance(piece, Marker))


# Compression.


def pack(text: bytes) -> bytes:
    """Text as it is stored: compressed where that is worth it. No JSON begins as compressed data does."""
    if _PACK_BYTES_MIN <= len(text) <= _PACK_BYTES_MAX:
        # A window no larger than the text, and little memory: setting it up is what takes the time.
        window_bits = min(max(len(text).bit_length(), 12), 15)
        packer = zlib.compressobj(1, zlib.DEFLATED, window_bits, 5)
        packed = packer.compress(text) + packer.flush()
        if len(packed) < len(text):
            return packed
    return text


def unpack(data: bytes) -> bytes:
    """The text that was packed; raises `ValueError` for what `pack` cannot have written."""
    if data[:1] not in _PACKED:
        return data
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(data, _PACK_BYTES_MAX + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not unpacker.eof or unpacker.unused_data or len(text) > _PACK_BYTES_MAX:
        raise ValueError("not what was compressed")
    return text
