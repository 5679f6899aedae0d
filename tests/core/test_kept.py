"""A view on a base shows what the folded one shows, whatever is read of it, when, and in which order."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from event_lists import AT, Stored, event, everything, numbered
from hypothesis import given
from hypothesis import strategies as st

from foldlog.core.base import RowsInMemory, stored_id
from foldlog.core.codec import decode
from foldlog.core.fold import advance, fold, plan
from foldlog.core.measures import is_edge
from foldlog.core.rows import KINDS, LINK_KINDS, Entry, link_key
from foldlog.core.view import View
from foldlog.testing.strategies import histories

MAPPINGS = ("messages", "turns", "evals", "calls", "snapshots")


class LateRows:
    """A base over stored rows as they are when they are asked for: further checkpoints move them on."""

    def __init__(self, stored: Stored, counts: dict[str, int]) -> None:
        self.stored, self.counts, self.looks = stored, counts, list[str]()

    def _base(self, what: str) -> RowsInMemory:
        self.looks.append(what)
        rows = {
            kind: sorted(
                ((row_id, entry._replace(row=decode(data))) for row_id, (data, entry) in found.items()),
                key=lambda item: item[1].seq,
            )
            for kind, found in self.stored.rows.items()
        }
        return RowsInMemory({kind: dict(found) for kind, found in rows.items()})

    def entry(self, kind: str, row_id: Any) -> Entry | None:
        return self._base(f"{kind} {row_id}").entry(kind, row_id)

    def entries(self, kind: str) -> Any:
        return self._base(f"all {kind}s").entries(kind)

    def running(self, kind: str) -> Any:
        return self._base(f"running {kind}s").running(kind)

    def edges(self) -> Any:
        return self._base("edges").edges()

    def joined(self, key: str) -> Any:
        # Rows added after the base stand in the view's lists already.
        kind = LINK_KINDS[key]
        return [
            (entry.row["turn_id"], row_id, entry.first_event_id)
            for row_id, entry in self._base(f"joined {key}").entries(kind)
            if entry.seq <= self.counts[kind]
            and entry.row.get("turn_id") is not None
            and link_key(kind, entry.row) == key
        ]

    def joined_to(self, turn_id: Any, key: str) -> Any:
        return [found for found in self.joined(key) if found[0] == turn_id]


def on_stored(view: View, stored: Stored) -> tuple[View, LateRows]:
    """A view on what another has stored."""
    standing = deepcopy(view.standing())
    base = LateRows(stored, dict(standing.counts))
    return View.on(base, standing), base


def look(view: View, kind: int, number: int) -> Any:
    """Something read of a view."""
    rows: Any = getattr(view, MAPPINGS[kind])
    row_id: Any = number if number < 40 else f"{KINDS[kind]}-{number}"
    return [
        lambda: rows.get(row_id),
        lambda: row_id in rows,
        lambda: len(rows),
        lambda: list(rows.items()),
        lambda: (view.running_ids("turn"), view.running_ids("call")),
        view.edge_calls,
        lambda: (view.last_turn() or {}).get("id"),
        lambda: repr(view),
    ][number % 8]()


looks = st.tuples(st.integers(0, 4), st.integers(0, 79))


@given(histories(min_size=12), st.integers(3, 40), st.lists(st.tuples(looks, st.booleans()), max_size=40))
def test_a_view_on_a_base_is_the_folded_one(
    events: list[dict[str, Any]], at: int, steps: list[tuple[tuple[int, int], bool]]
) -> None:
    folded, stored = fold(events[: at + 1]), Stored()
    stored.write(folded.take_changed())
    lazy, _ = on_stored(folded, stored)
    assert lazy.take_changed().rows == {}
    for place, one in enumerate([*events[at + 1 :], None]):
        (kind, number), checkpoint = steps[place] if place < len(steps) else ((0, 2), False)
        assert look(lazy, kind, number) == look(folded, kind, number)
        if checkpoint:
            stored.write(lazy.take_changed())
        if one is not None:
            advance(lazy, one)
            advance(folded, one)
    stored.write(lazy.take_changed())
    assert everything(stored.restore(lazy)) == everything(folded)
    assert everything(lazy) == everything(folded)
    assert lazy.totals == folded.totals


@given(histories(min_size=12), st.integers(3, 40))
def test_carrying_out_reads_nothing(events: list[dict[str, Any]], at: int) -> None:
    folded, stored = fold(events[: at + 1]), Stored()
    stored.write(folded.take_changed())
    lazy, base = on_stored(folded, stored)
    for one in events[at + 1 :]:
        change = plan(lazy, one)
        before = len(base.looks)
        lazy.carry_out(change)
        assert base.looks[before:] == []


@given(histories())
def test_a_copy_of_a_view_on_a_base_needs_the_base_no_more(events: list[dict[str, Any]]) -> None:
    folded, stored = fold(events), Stored()
    stored.write(folded.take_changed())
    lazy, base = on_stored(folded, stored)
    copied = lazy.copy()
    before = len(base.looks)
    assert everything(copied) == everything(folded)
    assert everything(lazy.load()) == everything(folded)
    assert base.looks[before:] == []


@pytest.fixture
def opened() -> tuple[View, LateRows]:
    view = fold(
        numbered(
            event(0, "turn.started", turn={"id": 1, "status": "running"}),
            event(0, "call.started", call={"id": 1, "type": "leaf", "turn_id": 1, "status": "ok"}),
            event(0, "call.started", call={"id": "named", "type": "leaf", "turn_id": 1, "status": "ok"}),
        )
    )
    stored = Stored()
    stored.write(view.take_changed())
    return on_stored(view, stored)


def test_opening_reads_no_row(opened: tuple[View, LateRows]) -> None:
    view, base = opened
    assert (view.session["id"], len(view.calls), view.counters["call"]) == ("demo", 2, 1)
    assert (view.last_row_id("call"), repr(view.turns)) == ("named", "<1 turns>")
    assert (view.messages.get(1), list(view.evals)) == (None, [])
    assert base.looks == []


def test_a_new_row_is_known_to_be_new_without_a_look(opened: tuple[View, LateRows]) -> None:
    view, base = opened
    advance(view, event(5, "call.started", call={"id": 2, "type": "leaf"}))
    advance(view, event(6, "message.added", message={"id": 1, "role": "user", "content": ""}))
    assert base.looks == []


def test_a_row_that_joins_a_turn_does_not_read_its_list(opened: tuple[View, LateRows]) -> None:
    view, base = opened
    advance(view, event(5, "call.started", call={"id": 2, "type": "leaf", "turn_id": 1}))
    advance(view, event(6, "call.started", call={"id": 3, "type": "leaf", "turn_id": 1}))
    assert base.looks == ["turn 1"]
    assert view.turns[1]["call_ids"] == [1, "named", 2, 3]


def test_a_row_is_read_once(opened: tuple[View, LateRows]) -> None:
    view, base = opened
    assert view.calls["named"] == view.calls["named"]
    assert base.looks == ["call named"]
    assert [row["id"] for row in view.calls.values()] == list(view.calls) == [1, "named"]
    assert base.looks == ["call named", "all calls"]


def test_messages_that_were_replaced_are_not_read(opened: tuple[View, LateRows]) -> None:
    view, base = opened
    advance(view, event(5, "session.restored", messages=[], counters={}, session_patch={}))
    base.looks.clear()
    assert (list(view.messages), view.messages.get("any"), base.looks) == ([], None, [])


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (1, 1), (True, 1), (1.0, 1), ("named", "named"), ("1", None), (1.5, None), (-1, None), (None, None),
        (float("inf"), None), (2**63, None), ((), None), ("\ud800", None), (float("nan"), None),
    ],
)  # fmt: skip
def test_what_equals_a_row_id(asked: Any, found: Any) -> None:
    assert stored_id(asked) == found
    assert type(stored_id(asked)) is type(found)


@pytest.mark.parametrize("ask", [lambda rows, key: rows.get(key), lambda rows, key: key in rows])
def test_a_key_that_cannot_be_one_is_refused_as_by_a_dict(
    opened: tuple[View, LateRows], ask: Callable[[Any, Any], Any]
) -> None:
    with pytest.raises(TypeError):
        ask(opened[0].calls, [])


def test_rows_replaced_while_they_were_read_stay_replaced(opened: tuple[View, LateRows]) -> None:
    view, base = opened
    read = base.entries

    def entries_with_an_event(kind: str) -> Any:
        found = read(kind)
        if view.counter("event") == 4:
            advance(view, event(5, "call.updated", call_id=1, changes={"status": "error"}))
            advance(view, event(6, "call.started", call={"id": 9, "type": "leaf", "at": AT}))
        return found

    base.entries = entries_with_an_event  # type: ignore[method-assign]
    assert [(row["id"], row.get("status")) for row in view.calls.values()] == [(1, "error"), ("named", "ok"), (9, None)]


def test_a_row_is_found_while_its_kind_is_read_whole(opened: tuple[View, LateRows]) -> None:
    view, _ = opened

    class ReadMeanwhile(dict[Any, Entry]):
        def get(self, key: Any, default: Any = None) -> Any:
            found = super().get(key, default)
            view.load()
            return found

    view._entries["call"] = ReadMeanwhile(view._entries["call"])
    assert view.row("call", 1) == {"id": 1, "type": "leaf", "turn_id": 1, "status": "ok"}


def test_lists_are_not_looked_for_where_there_are_no_turns() -> None:
    view, stored = fold(numbered(event(0, "call.started", call={"id": 1, "type": "leaf"}))), Stored()
    stored.write(view.take_changed())
    lazy, base = on_stored(view, stored)
    assert (list(lazy.turns), base.looks) == ([], [])


def test_a_list_that_grew_while_it_was_read_has_all(opened: tuple[View, LateRows]) -> None:
    view, base = opened
    read = base.joined_to

    def joined_with_an_event(turn_id: Any, key: str) -> Any:
        found = read(turn_id, key)
        if key == "call_ids" and view.counter("event") == 4:
            advance(view, event(5, "call.started", call={"id": 9, "type": "leaf", "turn_id": 1}))
        return found

    base.joined_to = joined_with_an_event  # type: ignore[method-assign]
    assert view.turns[1]["call_ids"] == [1, "named", 9]
    assert is_edge(view.calls[9]) is False
