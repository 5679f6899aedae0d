"""Stores to damage, and everything the public API says of one, to be compared before and after."""

import random
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import foldlog
from foldlog.storage import blobs
from foldlog.storage.schema import TRIGGERS

PAGE_BYTES = 4096


def make(path: Path | str, *, turns: int = 30) -> None:
    """Two sessions and a child, with blobs that share pieces, in one file of some dozen pages."""
    with foldlog.open(path, config=foldlog.Config(durability="normal")) as store:
        with store.start_session(id="demo") as session:
            transcript: list[Any] = []
            for number in range(turns):
                with session.turn() as turn:
                    turn.message("user", f"question {number} " * 20)
                    transcript.append({"role": "user", "content": f"{number} " * 300})
                    with turn.call("leaf", model="m-1", request_ref=session.value_ref(transcript)) as call:
                        call.ok(usage={"input_tokens": number, "output_tokens": 1}, cost={"usd": 0.5})
            with session.start_child(query="part") as child:
                child.add_message("user", "of the child")
                child.mark_final({"n": 1})
        with store.start_session(id="other") as other:
            for number in range(10):
                other.add_event("note", number=number)


def change(place: Path | str, *statements: str) -> None:
    """Change rows behind the library's back, with its triggers in place again afterwards.

    In SQLite's words, on a server too: `x'00'` and `zeroblob(32)` are its bytes.
    """
    if isinstance(place, str):
        with server_connection(place) as server:
            server.execute("SET session_replication_role = replica")  # no triggers, no foreign keys
            for statement in map(_for_server, statements):
                assert server.execute(statement).rowcount > 0, statement
        return
    connection = sqlite3.connect(place)
    for name in TRIGGERS:
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        assert connection.execute(statement).rowcount > 0, statement
    for trigger in TRIGGERS.values():
        connection.execute(trigger)
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def server_connection(url: str) -> Any:
    """A connection to a store on a server as its superuser, by the driver alone."""
    import psycopg  # noqa: PLC0415

    return psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True)


def _for_server(statement: str) -> str:
    statement = re.sub(r"zeroblob\((\d+)\)", lambda found: f"x'{'00' * int(found[1])}'", statement)
    return re.sub(r"\bx'([0-9a-f]*)'", r"'\\x\1'::bytea", statement)


def values(path: Path) -> dict[str, Callable[[], Any]]:
    """Everything that can be read of a store, by name: each a function that reads it, or raises."""

    def asking(ask: Callable[[foldlog.Store], Any]) -> Callable[[], Any]:
        def read() -> Any:
            with foldlog.open(path, read_only=True) as store:
                return ask(store)

        return read

    found: dict[str, Callable[[], Any]] = {
        "events": asking(lambda store: [(event.position, event.session_id, dict(event)) for event in store.events()]),
        "sessions": asking(lambda store: list(store.sessions())),
    }
    for session_id in ("demo", "demo/child-0001", "other"):
        found |= {
            f"view {session_id}": asking(lambda store, one=session_id: store.view(one).document()),
            f"replay {session_id}": asking(lambda store, one=session_id: store.view(one, at=3).document()),
            f"usage {session_id}": asking(lambda store, one=session_id: store.usage(one)),
            f"tree {session_id}": asking(lambda store, one=session_id: store.tree(one)),
            f"final {session_id}": asking(lambda store, one=session_id: store.final(one)),
        }
    for table in ("calls", "transcript", "session_usage", "messages", "turns", "tree"):
        found[f"table {table}"] = asking(lambda store, one=table: sorted(map(str, store.query(f"SELECT * FROM {one}"))))
    found["blobs"] = asking(_blobs)
    return found


def _blobs(store: foldlog.Store) -> list[Any]:
    refs = [call["request_ref"] for call in store.view("demo").calls.values() if "request_ref" in call]
    return [blobs.read(store.database, ref["hash"]) for ref in refs if "hash" in ref]


def blot(path: Path, page: int, fill: bytes = b"\0") -> None:
    """Overwrite one page, counted from 1."""
    data = bytearray(path.read_bytes())
    data[(page - 1) * PAGE_BYTES : page * PAGE_BYTES] = (fill * PAGE_BYTES)[:PAGE_BYTES]
    path.write_bytes(data)


def pages_of(path: Path, name: str) -> list[int]:
    """The leaf pages of a table or index, found by what changes in the file's own tree; the root first."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).fetchone()[0]
    connection.close()
    data = path.read_bytes()
    found, todo = [], [root]
    while todo:
        page = todo.pop(0)
        found.append(page)
        start = (page - 1) * PAGE_BYTES + (100 if page == 1 else 0)
        kind = data[start]
        if kind in (2, 5):  # an inner page: its cells begin with the number of the page below
            cells = int.from_bytes(data[start + 3 : start + 5], "big")
            for cell in range(cells):
                at = int.from_bytes(data[start + 12 + 2 * cell : start + 14 + 2 * cell], "big")
                base = (page - 1) * PAGE_BYTES + at
                todo.append(int.from_bytes(data[base : base + 4], "big"))
            todo.append(int.from_bytes(data[start + 8 : start + 12], "big"))
    return found


# Damage of bytes, as chance has it.


def flip_bit(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def flip_bytes(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randrange(2, 20)):
        data[chance.randrange(len(data))] = chance.randrange(256)


def change_text(data: bytearray, chance: random.Random) -> None:
    """Another digit or letter where there was one: what still is text, JSON and a number."""
    for _ in range(100):
        at = chance.randrange(len(data))
        if data[at : at + 1].isalnum():
            data[at] = ord(chance.choice("0123456789" if data[at : at + 1].isdigit() else "abcdefgXYZ"))
            return


def zero(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    length = chance.choice((16, 512, PAGE_BYTES))
    data[at : at + length] = bytes(len(data[at : at + length]))


def zero_page(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data) // PAGE_BYTES) * PAGE_BYTES
    data[at : at + PAGE_BYTES] = bytes(PAGE_BYTES)


def noise_page(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data) // PAGE_BYTES) * PAGE_BYTES
    data[at : at + PAGE_BYTES] = chance.randbytes(PAGE_BYTES)


def copy_page(data: bytearray, chance: random.Random) -> None:
    """A write that went to the wrong place."""
    count = len(data) // PAGE_BYTES
    source, target = chance.randrange(count) * PAGE_BYTES, chance.randrange(count) * PAGE_BYTES
    data[target : target + PAGE_BYTES] = data[source : source + PAGE_BYTES]


def truncate(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


DAMAGES = (
    flip_bit,
    flip_bytes,
    change_text,
    change_text,
    change_text,
    zero,
    zero_page,
    noise_page,
    copy_page,
    truncate,
)


def damage(path: Path, chance: random.Random) -> str:
    """Damage a file in one of these ways; in which."""
    kind = chance.choice(DAMAGES)
    data = bytearray(path.read_bytes())
    kind(data, chance)
    path.write_bytes(data)
    return kind.__name__
