"""Names and values that nobody sane would pass, through every verb: recorded as they are, or refused in our words.

`tests/properties` has the sane ones. What a refusal must be: a `FoldlogError` with a hint, that leaves
the journal as it was and prints nothing of the value.
"""

import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sizes import Size

import foldlog
from foldlog.testing import check_store
from foldlog.testing.strategies import values

NASTY = (
    "", " ", "\0", "\n", "..", "../x", "a/../b", "/etc/passwd", "a//b", ".", "~", "%00", "con", "a" * 5000, "é",
    "\ud800",
    "'; DROP TABLE events; --", '"', "`", "[id]", "id", "type", "at", "session_id", "data", "seq", "writer", "status",
    "$foldlog", "$$foldlog", "__class__", "{}", "?", ":id", "NULL", "1e999", "-0", "1", "rowid", "\u202e", "\ufeff",
)  # fmt: skip


class Kind(enum.Enum):
    PLAIN = "plain"
    ODD = float("nan")


@dataclasses.dataclass
class Holder:
    inner: Any = None


class Unfriendly:
    """Raises from whatever it is asked, but for its name in Hypothesis's report."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    def __bool__(self) -> bool:
        raise RuntimeError("no")

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return "Unfriendly()"


def endless() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


names = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=()), max_size=12)
leaves = st.one_of(
    values(max_leaves=2),
    names,
    st.integers(),
    st.floats(),
    st.decimals(),
    st.complex_numbers(),
    st.datetimes(),
    st.timedeltas(),
    st.sampled_from([
        Kind.PLAIN, Kind.ODD, Holder(), Holder(float("nan")), object(), object, len, ..., NotImplemented, Path("x"),
        bytearray(b"x"), memoryview(b"x"), range(3), dt.UTC, decimal.Decimal("sNaN"), 2**64, -(2**63) - 1,
        b"\xff" * 3000,
        {"$foldlog": "ref", "kind": "blob", "hash": "sha256:" + "0" * 64, "bytes": 1}, {"kind": "blob", "hash": "../x"},
    ]),
    st.builds(Unfriendly),
    st.builds(endless),
)  # fmt: skip
anything = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(names | st.integers() | st.none(), inner, max_size=3),
        st.builds(Holder, inner),
    ),
    max_leaves=5,
)
# The names of a verb's own parameters are Python's to refuse.
fields = st.dictionaries(
    names.filter(lambda name: name not in ("self", "type", "role", "content")), anything, max_size=3
)
ids = anything | st.integers(0, 3)

Verb = Callable[[foldlog.Session, Any, Any, dict[str, Any]], object]
VERBS: dict[str, Verb] = {
    "emit": lambda session, one, other, more: session.emit(one, **more),
    "emit known": lambda session, one, other, more: session.emit("turn.put", turn=one, **more),
    "emit update": lambda session, one, other, more: session.emit("call.updated", call_id=one, changes=other, **more),
    "emit restored": lambda session, one, other, more: session.emit("session.restored", messages=one, counters=other),
    "key": lambda session, one, other, more: session.emit("note", idempotency_key=one, expected_id=other),
    "event": lambda session, one, other, more: session.add_event("note", value=one, **more),
    "message": lambda session, one, other, more: session.add_message(one, other, **more),
    "turn": lambda session, one, other, more: session.add_turn(**more),
    "call": lambda session, one, other, more: session.add_call(one, turn_id=other, **_without(more, "turn_id")),
    "eval": lambda session, one, other, more: session.add_eval(turn_id=one, **_without(more, "turn_id")),
    "snapshot row": lambda session, one, other, more: session.add_snapshot(**more),
    "update turn": lambda session, one, other, more: session.update_turn(one, **more),
    "update call": lambda session, one, other, more: session.update_call(one, lambda row: other, **more),
    "turn ids": lambda session, one, other, more: session.add_turn_ids(1, one, other),
    "status": lambda session, one, other, more: session.update_status(one),
    "final": lambda session, one, other, more: session.mark_final(one),
    "error": lambda session, one, other, more: session.mark_error(one),
    "ref": lambda session, one, other, more: session.read_ref(session.value_ref(one, inline_bytes_max=other)),
    "read ref": lambda session, one, other, more: session.read_ref(one),
    "variables": lambda session, one, other, more: session.snapshot(more, turn_id=one),
    "restore": lambda session, one, other, more: session.restore(),
    "child": lambda session, one, other, more: session.start_child(turn_id=one, **_without(more, "turn_id")).close(),
    "attach": lambda session, one, other, more: session.attach_child(one, turn=other),
    "start": lambda session, one, other, more: session.store.start_session(id=one, kind=other).close(),
    "start below": lambda session, one, other, more: session.store.start_session(id=one, parent=other).close(),
    "open": lambda session, one, other, more: session.store.open_session(one),
    "resume": lambda session, one, other, more: session.store.resume_session(one, id=other),
    "view": lambda session, one, other, more: session.store.view(one, at=other),
    "past": lambda session, one, other, more: session.store.view("demo", at=one),
    "sessions": lambda session, one, other, more: list(session.store.sessions(**more)),
    "events": lambda session, one, other, more: list(session.store.events(types=one, after=other)),
    "query": lambda session, one, other, more: list(session.store.query(one, other)),
    "parameters": lambda session, one, other, more: list(session.store.query("SELECT ?, :a", one)),
    "usage": lambda session, one, other, more: session.store.usage(one),
    "export": lambda session, one, other, more: session.store.export(session.store.path.parent / "out", session=one),
}  # fmt: skip
steps = st.tuples(st.sampled_from(sorted(VERBS)), ids, ids, fields)


def _without(more: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in more.items() if key != name}


def play(folder: Path, plan: list[tuple[str, Any, Any, dict[str, Any]]]) -> None:
    with foldlog.open(folder / "history.db", config=foldlog.Config(durability="normal")) as store:
        session = store.start_session(id="demo")
        session.add_turn()
        session.add_call("leaf", turn_id=1)
        for verb, one, other, more in plan:
            before = len(list(store.events()))
            try:
                VERBS[verb](session, one, other, more)
            except foldlog.FoldlogError as error:
                assert error.hint  # noqa: PT017
                assert len(list(store.events())) == before, f"{verb} was refused and left something"
        session.checkpoint()
        check_store(store)
        before, document = list(store.events()), session.view.document()
        store.export(folder / "files")
    with foldlog.open(folder / "history.db", read_only=True) as store:
        assert list(store.events()) == before
        assert store.view("demo").document() == document
        check_store(store)
    for path in folder.rglob("*"):
        assert path.resolve().is_relative_to(folder.resolve())
    names = {"history.db", "history.db-leases", "history.db-wal", "history.db-shm", "history.db-marks", "files", "out"}
    assert {path.name for path in folder.iterdir()} <= names


def test_hostile_input_is_recorded_as_it_is_or_refused_in_our_words(size: Size) -> None:
    @settings(max_examples=size.rounds(quick=20, full=1500), deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(steps, max_size=10))
    def try_all(plan: list[tuple[str, Any, Any, dict[str, Any]]]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            play(Path(folder), plan)

    try_all()


def test_a_store_lives_under_any_name_that_a_file_can_have(size: Size) -> None:
    @settings(max_examples=size.rounds(quick=20, full=500), deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.text(st.characters(exclude_categories=()), min_size=1, max_size=20) | st.sampled_from(NASTY))
    @example("a?mode=memory")
    @example("a#b")
    @example("%41")
    def try_all(name: str) -> None:
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(foldlog.FoldlogError):
            inside = Path(folder) / "inside"
            inside.mkdir()
            path = inside / name.replace("/", "")
            name = path.name
            if path == inside or name == "..":
                return
            with foldlog.open(path) as store, store.start_session(id="demo"):
                assert {entry.name for entry in inside.iterdir()} >= {name}
            assert {entry.name for entry in inside.iterdir()} <= {name, f"{name}-leases", f"{name}-marks"}
            assert [entry.name for entry in Path(folder).iterdir()] == ["inside"]
            with foldlog.open(path, read_only=True) as store:
                assert [row["id"] for row in store.sessions()] == ["demo"]

    try_all()
