"""The limits are what the documentation says they are."""

import dataclasses
from typing import Any

import pytest

from foldlog.core import limits
from foldlog.core.errors import LimitError


def test_the_limits_are_the_documented_ones() -> None:
    found = limits.Limits()
    assert (found.event_bytes_max, found.nesting_max) == (64 * 1024 * 1024, 200)
    assert limits.INLINE_BYTES_MAX == 4096
    assert limits.SESSION_ID_CHARS_MAX == 128
    assert (limits.PREVIEW_DEPTH_MAX, limits.PREVIEW_CHARS_MAX, limits.PREVIEW_ENTRIES_MAX) == (4, 2000, 50)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(limits.Limits)])
@pytest.mark.parametrize("value", [0, -1, 10**10, 1.5, True, None, "1"])
def test_a_limit_that_is_none_is_refused(name: str, value: Any) -> None:
    with pytest.raises(LimitError, match=name):
        limits.Limits(**{name: value})


@pytest.mark.parametrize(("name", "most"), [("nesting_max", 200), ("tree_depth_max", 32)])
def test_depths_can_be_lowered_and_not_raised(name: str, most: int) -> None:
    assert getattr(limits.Limits(**{name: 1}), name) == 1
    assert getattr(limits.Limits(**{name: most}), name) == most
    with pytest.raises(LimitError):
        limits.Limits(**{name: most + 1})


def test_limits_do_not_change_under_a_store_that_uses_them() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        limits.Limits().nesting_max = 1  # type: ignore[misc]
