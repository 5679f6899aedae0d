"""Reading older events: step by step, chosen by the session's artifact version."""

from typing import Any

import pytest
from event_lists import event, started

from foldlog.core import upcast as module
from foldlog.core.errors import InvalidEventError, SchemaTooNewError
from foldlog.core.fold import apply, fold
from foldlog.core.upcast import ARTIFACT_VERSION, upcast


@pytest.fixture
def third_version(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = {
        1: lambda one: one | {"seen": [*one.get("seen", []), 1]},
        2: lambda one: one | {"seen": [*one.get("seen", []), 2]},
    }
    monkeypatch.setattr(module, "ARTIFACT_VERSION", 3)
    monkeypatch.setattr(module, "UPCASTERS", steps)


def test_todays_events_are_left_as_they_are() -> None:
    one = event(2, "note")
    assert upcast(one, {"artifact_version": ARTIFACT_VERSION}) is one
    assert upcast(one, {}) is one


@pytest.mark.parametrize(("version", "seen"), [(1, [1, 2]), (2, [2])])
def test_an_older_event_goes_through_each_step_it_needs(third_version: None, version: int, seen: list[int]) -> None:
    assert upcast(event(2, "note"), {"artifact_version": version})["seen"] == seen


def test_the_first_event_says_its_version_itself(third_version: None) -> None:
    assert upcast(started(artifact_version=1), {})["seen"] == [1, 2]
    assert "seen" not in upcast(started(artifact_version=3), {})


def test_a_stored_event_is_not_changed_by_reading_it(third_version: None) -> None:
    one = event(2, "note")
    upcast(one, {"artifact_version": 1})
    assert one == event(2, "note")


@pytest.mark.parametrize("version", [ARTIFACT_VERSION + 1, 0, -1, "1", 1.5, [1], {}])
def test_a_version_we_do_not_know_is_refused(version: Any) -> None:
    with pytest.raises(SchemaTooNewError):
        upcast(event(2, "note"), {"id": "demo", "artifact_version": version})
    with pytest.raises(SchemaTooNewError):
        fold([started(artifact_version=version)])


def test_no_event_can_make_the_events_after_it_unreadable() -> None:
    view = fold([started(artifact_version=ARTIFACT_VERSION)])
    patch = {"artifact_version": ARTIFACT_VERSION + 1}
    with pytest.raises(InvalidEventError):
        apply(view, event(2, "session.restored", messages=[], counters={}, session_patch=patch))
