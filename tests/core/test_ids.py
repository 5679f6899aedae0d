"""Names: what is an id and what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foldlog.core.errors import InvalidEventError, InvalidIdError, LimitError
from foldlog.core.ids import (
    check_event_type,
    check_row_id,
    check_session_id,
    child_name,
    child_number,
    is_hash,
    parent_id,
    session_name,
)

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True)


@given(st.lists(NAMES, min_size=1, max_size=5))
def test_names_joined_by_slashes_are_session_ids(names: list[str]) -> None:
    address = "/".join(names)
    assert check_session_id(address) == address
    assert session_name(address) == names[-1]
    assert parent_id(address) == ("/".join(names[:-1]) or None)


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "a b", ".", "..", "../x", "a/../b", "a/", "/a", "a//b", ".hidden", "-x", "_x", "a\n", "a\0", "é",
        "a\\b", "x" * 129, "٣", "\ud800", None, 1, b"a", ["a"],
    ],
)  # fmt: skip
def test_anything_else_is_no_session_id(value: object) -> None:
    with pytest.raises(InvalidIdError) as caught:
        check_session_id(value)
    assert len(str(caught.value).encode()) < 500


def test_an_address_has_at_most_so_many_levels() -> None:
    assert check_session_id("/".join("a" * 32))
    with pytest.raises(LimitError, match="33 levels"):
        check_session_id("/".join("a" * 33))
    with pytest.raises(LimitError):
        check_session_id("a/b/c", depth_max=2)


@given(st.integers(1, 10**9), st.sampled_from(["spawned", "attached"]))
def test_a_childs_number_is_read_from_its_name(number: int, edge_type: str) -> None:
    name = child_name(number, edge_type)
    assert child_number("demo", f"demo/{name}") == number
    assert child_number("demo", name) == number
    assert child_number("demo", f"other/{name}") == 0
    assert child_number("demo", f"demo/below/{name}") == 0


def test_spawned_and_attached_children_have_names_of_their_own() -> None:
    assert child_name(7, "spawned") == "child-0007"
    assert child_name(3, "attached") == "attached-0003"


@pytest.mark.parametrize(
    "value", [None, 7, "", "demo/child-", "demo/child-x", "demo/child-1x", "demo/kid-1", "child-٣"]
)
def test_other_names_carry_no_number(value: object) -> None:
    assert child_number("demo", value) == 0


@given(st.from_regex(r"[A-Za-z0-9._-]{1,128}", fullmatch=True))
def test_event_types_are_of_the_documented_form(value: str) -> None:
    assert check_event_type(value) == value


@pytest.mark.parametrize("value", ["", "a b", "a/b", "x" * 129, "a\n", "é", "\ud800", None, 1, b"a"])
def test_anything_else_is_no_event_type(value: object) -> None:
    with pytest.raises(InvalidEventError):
        check_event_type(value)


@pytest.mark.parametrize("value", [0, 1, 2**63 - 1, "a", "call-1", "1-a", "0x10", ".", "x" * 128])
def test_row_ids_are_numbers_and_names(value: object) -> None:
    assert check_row_id(value, "call id") == value


@pytest.mark.parametrize(
    "value",
    [-1, 2**63, True, False, 1.0, None, "", "12", "-5", "1e5", "1_000", "1.", "nan", "Infinity", "a b", "a/b", "é",
     "x" * 129, "\ud800", [1], {}, b"a"],
)  # fmt: skip
def test_a_row_id_is_never_another_spelling_of_a_number(value: object) -> None:
    with pytest.raises(InvalidEventError, match="call id"):
        check_row_id(value, "call id")


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        ("sha256:" + "0a" * 32, True),
        ("sha256:" + "0A" * 32, False),
        ("sha256:" + "0" * 63, False),
        ("md5:" + "0" * 64, False),
        ("sha256:" + "0" * 64 + "\n", False),
        (None, False),
    ],
)
def test_a_hash_is_of_one_form(value: object, answer: bool) -> None:
    assert is_hash(value) is answer
