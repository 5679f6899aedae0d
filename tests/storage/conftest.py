"""A database of one's own, and lines of stamped events to append to it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from foldlog.core.chain import digest_of, first_chain, next_chain
from foldlog.core.codec import encode
from foldlog.core.parts import split
from foldlog.core.refs import Ref, hash_name
from foldlog.storage import migrate, sqlite
from foldlog.storage.database import Database
from foldlog.storage.journal import Stamped, Stream
from foldlog.storage.sqlite import SqliteDatabase

AT = "2026-11-22T06:41:10.344131Z"


class Line:
    """One session's events, stamped one after the other."""

    def __init__(self, session_id: str = "demo", stream: Stream | None = None) -> None:
        self.stream = stream or Stream(session_id)
        self.event_id = 0
        self.chain = first_chain(self.stream.session_id)

    def next(
        self, value: object = None, *, kind: str = "note", key: str | None = None, refs: tuple[Ref, ...] = ()
    ) -> Stamped:
        self.event_id += 1
        data = encode({"value": value}).data
        digest = digest_of(data)
        self.chain = next_chain(self.chain, self.event_id, kind, AT, digest)
        return Stamped(self.stream, self.event_id, kind, AT, data, digest, self.chain, key, refs)


@pytest.fixture
def new_line() -> Callable[..., Line]:
    return Line


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def blob() -> Callable[..., Ref]:
    def make(value: object, *inner: Ref) -> Ref:
        encoded = encode(value, canonical=True)
        ref = {"kind": "blob", "hash": hash_name(encoded.data), "bytes": len(encoded.data)}
        return Ref(ref, encoded.data, inner, split(encoded.wire, encoded.data))

    return make


@pytest.fixture
def new_database(engine: str, path: Path | str) -> Iterator[Callable[..., Database]]:
    """Opens the one database again, as another process would; all are closed at the end."""
    opened: list[Database] = []

    def make(**options: Any) -> Database:
        with_options = {"durability": "normal", **options}
        if isinstance(path, Path):
            opened.append(SqliteDatabase(path, **with_options))
        else:
            with_options.setdefault("read_only", False)
            opened.append(postgres_making.opened(postgres_making.parsed(path), **with_options))
        return opened[-1]

    if isinstance(path, Path):
        sqlite.create(path, migrate.make_schema)
    else:
        from foldlog.storage import postgres_making  # noqa: PLC0415

        postgres_making.opened(postgres_making.parsed(path), read_only=False).close()

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def database(new_database: Callable[..., Database]) -> Database:
    return new_database()
