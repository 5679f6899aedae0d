"""What a journal must always be."""

from typing import Any

import foldlog


def assert_whole(store: foldlog.Store, session_id: str = "demo") -> list[dict[str, Any]]:
    """The journal has no gaps, and what is live is what it folds to; its events."""
    events = list(store.events(session_id))
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert store.view(session_id) == foldlog.fold(events)
    return events
