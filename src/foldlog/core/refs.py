"""References to blobs, and copies of decoded values.

How values become JSON and back is in `foldlog.core.codec`, how a large one is cut in `foldlog.core.parts`;
where blobs are stored in `foldlog.storage.blobs`.
"""

import hashlib
from typing import Any, Final

from foldlog.core.ids import is_hash
from foldlog.core.parts import Pieces


class Ref(dict[str, Any]):
    """A reference to a blob: `{"kind": "blob", "hash": "sha256:…", "bytes": n}`, equal to that map.

    `body` holds the blob's JSON until an event that carries the reference commits it, and `pieces` the
    same as it will be stored; a reference read back from a journal has neither, its bytes are in the
    store. `inner` are the references that stand inside the blob's value. `scrubbed`: the hook that has seen
    the value, and what it removed.
    """

    __slots__ = ("body", "inner", "pieces", "scrubbed")

    def __init__(
        self,
        value: dict[str, Any],
        body: bytes | None = None,
        inner: tuple["Ref", ...] = (),
        pieces: Pieces | None = None,
        scrubbed: tuple[object, list[dict[str, Any]]] | None = None,
    ) -> None:
        super().__init__(value)
        self.body = body
        self.inner = inner
        self.pieces = pieces
        self.scrubbed = scrubbed

    def __reduce__(self) -> tuple[Any, ...]:
        return Ref, (dict(self), self.body, self.inner, self.pieces)


def is_intact(ref: Ref) -> bool:
    """Whether this still is the reference that was made; a Ref is a dict, and users may write into it."""
    return (
        ref.keys() == {"kind", "hash", "bytes"}
        and ref["kind"] == "blob"
        and is_hash(ref["hash"])
        and type(ref["bytes"]) is int
        and 0 <= ref["bytes"] < 2**63
    )


def copy_value(value: Any) -> Any:
    """A copy of a decoded value that shares nothing mutable with it."""
    kind = type(value)
    if kind is dict:
        copied = value.copy()  # and then only what is not shared: most of a row is text and numbers
        for key, item in value.items():
            if type(item) not in _IMMUTABLE:
                copied[key] = copy_value(item)
        return copied
    if kind is list:
        return [item if type(item) in _IMMUTABLE else copy_value(item) for item in value]
    if kind is Ref:
        return Ref(dict(value), value.body, value.inner, value.pieces, value.scrubbed)
    if kind is set:
        return set(value)
    return value


_IMMUTABLE: Final = frozenset({str, int, float, bool, type(None)})


def hash_name(data: bytes) -> str:
    """The name of a blob: the hash of its canonical JSON, `sha256:<64 hex digits>`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
