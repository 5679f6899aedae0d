"""The parts of a view: id lists, and which rows join them."""

import threading
from typing import Any

import pytest

from foldlog.core.rows import LINK_KEYS, IdList, Link, apply_link, forget_lists, link_key


def lists() -> dict[str, IdList]:
    return {key: IdList() for key in LINK_KEYS}


@pytest.mark.parametrize(
    ("kind", "row", "key"),
    [
        ("message", {"role": "assistant"}, "assistant_message_ids"),
        ("message", {"role": "observation"}, "observation_message_ids"),
        ("message", {"role": "tool"}, "observation_message_ids"),
        ("message", {"role": "user"}, None),
        ("message", {"role": "system"}, None),
        ("message", {"role": ["odd"]}, None),
        ("message", {}, None),
        ("eval", {}, "eval_ids"),
        ("call", {}, "call_ids"),
        ("snapshot", {}, None),
        ("turn", {}, None),
    ],
)
def test_which_list_a_row_joins(kind: str, row: dict[str, Any], key: str | None) -> None:
    assert link_key(kind, row) == key


def test_an_id_stands_once_in_a_list() -> None:
    ids = IdList()
    for value in (2, 1, 2, "a", "a"):
        ids.add(value)
    assert ids.ids == [2, 1, "a"]


def test_a_copy_grows_alone() -> None:
    ids = IdList([1], derived=False)
    copied = ids.copy()
    copied.add(2)
    assert (ids.ids, copied.ids, copied.derived) == ([1], [1, 2], False)


def test_a_list_that_only_rows_joined_is_derived() -> None:
    found = lists()
    apply_link(found, {}, Link(1, "call_ids", "join", [1]))
    apply_link(found, {}, Link(1, "call_ids", "add", [1]))
    assert (found["call_ids"].ids, found["call_ids"].derived) == ([1], True)


@pytest.mark.parametrize(("how", "ids", "after"), [("add", [9], [1, 9]), ("set", [9], [9]), ("pin", [], [1])])
def test_a_list_that_anything_else_made_is_kept(how: str, ids: list[int], after: list[int]) -> None:
    found = lists()
    apply_link(found, {}, Link(1, "call_ids", "join", [1]))
    apply_link(found, {}, Link(1, "call_ids", how, ids))
    assert (found["call_ids"].ids, found["call_ids"].derived) == (after, False)


def test_setting_a_list_to_what_it_is_leaves_it_derived() -> None:
    found = lists()
    apply_link(found, {}, Link(1, "call_ids", "join", [1]))
    apply_link(found, {}, Link(1, "call_ids", "set", [1]))
    assert found["call_ids"].derived


def test_the_list_an_event_brought_is_not_the_one_that_grows() -> None:
    found, given = lists(), [1]
    apply_link(found, {}, Link(1, "call_ids", "set", given))
    apply_link(found, {}, Link(1, "call_ids", "join", [2]))
    assert given == [1]


def test_a_list_of_the_users_own_moves_out_of_the_row_as_it_grows() -> None:
    found, row = lists(), {"id": 1, "mine": [1]}
    left = apply_link(found, row, Link(1, "mine", "add", [2]))
    assert (left, found["mine"].ids, found["mine"].derived) == ({"id": 1}, [1, 2], False)
    assert row == {"id": 1, "mine": [1]}


def test_a_row_that_says_a_list_itself_is_believed() -> None:
    found = lists()
    apply_link(found, {}, Link(1, "mine", "add", [2]))
    forget_lists(found, {"mine": [5], "call_ids": [7]})
    assert set(found) == set(LINK_KEYS)


def test_a_reset_lets_go_of_the_users_lists_only() -> None:
    found = lists()
    apply_link(found, {}, Link(1, "mine", "add", [2]))
    apply_link(found, {}, Link(1, "call_ids", "join", [1]))
    apply_link(found, {}, Link(1, "", "reset", []))
    assert set(found) == set(LINK_KEYS)
    assert found["call_ids"].ids == [1]


def unread(first: list[Any]) -> tuple[IdList, list[int]]:
    reads: list[int] = []

    def read() -> list[Any]:
        reads.append(1)
        return list(first)

    return IdList.unread(read, threading.RLock()), reads


def test_an_unread_list_grows_without_being_read() -> None:
    ids, reads = unread([1, 2])
    ids.join(3)
    assert (ids.derived, reads) == (True, [])
    assert (ids.ids, ids.known, ids.ids, reads) == ([1, 2, 3], {1, 2, 3}, [1, 2, 3], [1])


@pytest.mark.parametrize(
    ("link", "after", "derived"),
    [
        (Link(1, "call_ids", "add", [2, 9]), [1, 2, 9], False),
        (Link(1, "call_ids", "add", [2]), [1, 2], True),
        (Link(1, "call_ids", "set", [1, 2]), [1, 2], True),
        (Link(1, "call_ids", "set", [2]), [2], False),
        (Link(1, "call_ids", "pin", []), [1, 2], False),
        (Link(1, "call_ids", "join", [3]), [1, 2, 3], True),
    ],
)
def test_an_unread_list_is_changed_like_one_that_was_read(link: Link, after: list[int], derived: bool) -> None:
    found = lists() | {"call_ids": unread([1, 2])[0]}
    apply_link(found, {}, link)
    assert (found["call_ids"].ids, found["call_ids"].derived) == (after, derived)


def test_a_list_that_was_read_twice_at_once_is_settled_once() -> None:
    ids, _ = unread([1])
    ids.join(2)
    ids.settle([1])
    ids.settle([1])
    assert ids.ids == [1, 2]
    assert ids.copy().ids == [1, 2]
