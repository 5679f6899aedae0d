"""Errors: one tree, a hint each, and they cross processes."""

import inspect
import pickle
from typing import Any

import pytest

from foldlog.core import errors
from foldlog.core.errors import FoldlogError

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, FoldlogError)]

STORE = {
    "StoreClosedError", "StoreBusyError", "SessionInUseError", "HasDescendantsError", "StaleWriterError",
    "SchemaTooNewError", "UpgradeError",
    "NotAStoreError", "CorruptJournalError", "CommitUncertainError", "AlreadyExistsError", "InvalidIdError",
}  # fmt: skip
EVENT = {"InvalidEventError", "NotSerializableError", "ExpectedIdError", "LimitError"}
LOOKUP = {"UnknownSessionError", "UnknownRowError", "MissingBlobError"}


def _named(base: type[Any]) -> set[str]:
    return {kind.__name__ for kind in ALL if issubclass(kind, base) and kind is not base}


def test_the_tree_is_the_documented_one() -> None:
    assert _named(errors.StoreError) == STORE
    assert _named(errors.EventError) == EVENT
    assert _named(LookupError) == LOOKUP
    assert _named(FoldlogError) == STORE | EVENT | LOOKUP | {"StoreError", "EventError", "QueryError"}


@pytest.mark.parametrize("kind", ALL)
def test_every_error_says_what_happened_and_what_to_do(kind: type[FoldlogError]) -> None:
    error = kind("it broke", hint="mend it")
    assert (error.message, error.hint) == ("it broke", "mend it")
    assert str(error) == "it broke (hint: mend it)"


@pytest.mark.parametrize("kind", ALL)
def test_no_error_is_without_a_hint(kind: type[FoldlogError]) -> None:
    with pytest.raises(TypeError):
        kind("it broke")  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", ALL)
def test_every_error_survives_pickling(kind: type[FoldlogError]) -> None:
    found = pickle.loads(pickle.dumps(kind("it broke", hint="mend it")))
    assert type(found) is kind
    assert (str(found), found.hint, found.args) == ("it broke (hint: mend it)", "mend it", ("it broke",))


@pytest.mark.parametrize(
    ("error", "name", "value"),
    [
        (errors.SessionInUseError("m", hint="h", holder={"pid": 1}), "holder", {"pid": 1}),
        (errors.CorruptJournalError("m", hint="h", position=7), "position", 7),
        (errors.NotSerializableError("m", hint="h", path="a[0]"), "path", "a[0]"),
    ],
)
def test_what_an_error_carries_survives_pickling(error: FoldlogError, name: str, value: Any) -> None:
    assert getattr(pickle.loads(pickle.dumps(error)), name) == getattr(error, name) == value


def test_every_error_is_in_the_tree_at_the_top_of_the_module() -> None:
    assert errors.__doc__ is not None
    assert all(kind.__name__ in errors.__doc__ for kind in ALL)
