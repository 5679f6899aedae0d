"""What a journal must always be, and a clock that says the same to each who starts at the beginning."""

import datetime as dt
from typing import Any

import foldlog


class Clock:
    """A clock that moves one microsecond a look."""

    def __init__(self) -> None:
        self.now = dt.datetime(2026, 11, 22, 6, 40, tzinfo=dt.UTC)

    def __call__(self) -> dt.datetime:
        self.now += dt.timedelta(microseconds=1)
        return self.now


def assert_whole(store: foldlog.Store, session_id: str = "demo") -> list[dict[str, Any]]:
    """The journal has no gaps, and what is live is what it folds to; its events."""
    events = list(store.events(session_id))
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert store.view(session_id) == foldlog.fold(events)
    return events
