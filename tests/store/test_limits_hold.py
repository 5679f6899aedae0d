"""At each limit it works, one over it is refused and nothing is written; the page says which limits there are."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import foldlog
from foldlog.core import limits
from foldlog.testing import Clock

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "limits.md"
EVENT_BYTES = 2000
BLOB_BYTES = 9000


@pytest.fixture
def store(path: Path, clock: Clock) -> Iterator[foldlog.Store]:
    narrow = foldlog.Limits(event_bytes_max=EVENT_BYTES, blob_bytes_max=BLOB_BYTES, nesting_max=10, tree_depth_max=3)
    with foldlog.open(path, config=foldlog.Config(durability="normal", clock=clock, limits=narrow)) as opened:
        yield opened


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def deep_enough(store: foldlog.Store, depth: int) -> str:
    for levels in (1, 2):
        name = "/".join(["a"] * levels)
        if name not in {row["id"] for row in store.sessions()}:
            store.start_session(id=name).close()
    return "/".join(["a"] * depth)


# What is tried, what holds still, what does not, and the error.
CASES: dict[str, tuple[Callable[[foldlog.Session, Any], Any], Any, Any, type[foldlog.FoldlogError]]] = {
    "event bytes": (
        lambda session, size: session.emit("a", x="x" * (size - len('{"x":""}'))),
        EVENT_BYTES, EVENT_BYTES + 1, foldlog.LimitError,
    ),
    "event bytes, not characters": (
        lambda session, size: session.emit("a", x="é" * ((size - len('{"x":""}')) // 2)),
        EVENT_BYTES, EVENT_BYTES + 2, foldlog.LimitError,
    ),
    "blob bytes": (
        lambda session, size: session.emit("a", ref=session.value_ref("x" * (size - 2))),
        BLOB_BYTES, BLOB_BYTES + 1, foldlog.LimitError,
    ),
    "levels of a value": (
        lambda session, levels: session.value_ref(nested(levels)), 10, 11, foldlog.NotSerializableError,
    ),
    "levels of an event": (
        lambda session, levels: session.emit("a", x=nested(levels - 1)),
        10 + limits.ENVELOPE_NESTING, 11 + limits.ENVELOPE_NESTING, foldlog.NotSerializableError,
    ),
    "a session's name": (
        lambda session, length: session.store.start_session(id="x" * length).close(),
        limits.SESSION_ID_CHARS_MAX, limits.SESSION_ID_CHARS_MAX + 1, foldlog.InvalidIdError,
    ),
    "levels of sessions": (
        lambda session, depth: session.store.start_session(id=deep_enough(session.store, depth)).close(),
        3, 4, foldlog.LimitError,
    ),
    "an event's type": (
        lambda session, length: session.emit("x" * length),
        limits.EVENT_TYPE_CHARS_MAX, limits.EVENT_TYPE_CHARS_MAX + 1, foldlog.InvalidEventError,
    ),
    "a row's id": (
        lambda session, length: session.add_call("leaf", id="x" * length),
        limits.ROW_ID_CHARS_MAX, limits.ROW_ID_CHARS_MAX + 1, foldlog.InvalidEventError,
    ),
    "a row's id that is a number": (
        lambda session, number: session.add_call("leaf", id=number),
        2**63 - 1, 2**63, foldlog.FoldlogError,
    ),
    "an idempotency key": (
        lambda session, length: session.emit("a", idempotency_key="x" * length),
        limits.IDEMPOTENCY_KEY_CHARS_MAX, limits.IDEMPOTENCY_KEY_CHARS_MAX + 1, foldlog.InvalidEventError,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_at_the_limit_it_works_and_one_over_is_refused(store: foldlog.Store, case: str) -> None:
    act, most, over, error = CASES[case]
    session = store.start_session(id="demo")
    before = session.view.document()
    if case == "levels of sessions":
        deep_enough(store, over)
    known = [event.position for event in store.events()]
    with pytest.raises(error) as caught:
        act(session, over)
    assert caught.value.hint
    assert [event.position for event in store.events()] == known
    assert session.view.document() == before
    assert list(store.query("SELECT blob_count FROM blob_stats")) == [{"blob_count": 0}]
    act(session, most)
    session.close()
    assert store.verify().ok


def test_a_batch_has_a_limit(store: foldlog.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("foldlog.session.line.BATCH_EVENTS_MAX", 5)
    session = store.start_session(id="demo")
    with pytest.raises(foldlog.LimitError, match="several batches"), session.batch():
        for _ in range(6):
            session.add_event("a")
    assert session.view.counters["event"] == 1
    with session.batch():
        for _ in range(5):
            session.add_event("a")
        with pytest.raises(foldlog.LimitError):
            session.add_event("a")
    for _ in range(6):
        session.add_event("a")
    assert session.view.counters["event"] == 12


def test_an_address_has_a_limit_that_an_export_can_write(path: Path, tmp_path: Path) -> None:
    with foldlog.open(path) as store:
        name = "r" * 128
        store.start_session(id=name).close()
        while len(name) + 129 <= limits.ADDRESS_CHARS_MAX:
            name += f"/{'c' * 128}"
            store.start_session(id=name).close()
        room = limits.ADDRESS_CHARS_MAX - len(name) - 1
        with pytest.raises(foldlog.LimitError, match="1,024"):
            store.start_session(id=f"{name}/{'x' * (room + 1)}")
        with store.start_session(id=f"{name}/{'x' * room}") as session:
            session.emit("a", ref=session.value_ref("x" * 9000))
            with pytest.raises(foldlog.LimitError, match="1,024"):
                session.start_child()
        assert len(store.export(tmp_path / "files")) == 8 * 10 + 1
        assert store.verify().ok


def test_a_query_has_a_limit_of_time(store: foldlog.Store) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(foldlog.QueryError, match="longer than 0"):
        list(store.query(endless, timeout=0.05))


def test_the_page_says_what_the_constants_say() -> None:
    told: dict[str, str] = {}
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 5 and cells[1].startswith("`"):
            values = re.split(r", ", cells[2])
            told |= dict(zip(re.findall(r"`(\w+)`", cells[1]), values, strict=True))
            if cells[4]:
                assert cells[4].strip("`") in limits.Limits.__slots__
    found = {name: value for name, value in vars(limits).items() if name.isupper() and not name.startswith("_")}
    assert told == {name: f"{value:,g}" if isinstance(value, float) else f"{value:,}" for name, value in found.items()}
