"""However a session is opened, read and gone on with, its views show what its journal folds to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from event_lists import everything
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import foldlog
from foldlog.testing.strategies import histories

KINDS = ("messages", "turns", "evals", "calls", "snapshots")
ENVELOPE = ("id", "type", "at")
steps = st.tuples(
    st.sampled_from(["go on", "look", "checkpoint", "reopen", "take over", "read", "read elsewhere", "batch"]),
    st.integers(0, 79),
)


class History:
    """One session in one store, and every view that anybody had of it."""

    def __init__(self, path: Path) -> None:
        self.store = foldlog.open(path, config=foldlog.Config(durability="normal"))
        self.reader = foldlog.open(path, read_only=True)
        self.session = self.store.start_session(id="demo")
        self.views: list[foldlog.View] = []

    def step(self, what: str, number: int) -> None:
        if what == "look":
            self.look(self.session.view, number)
        elif what == "checkpoint":
            self.session.checkpoint()
        elif what == "reopen":
            self.views.append(self.session.view)
            self.session.close()
            self.session = self.store.open_session("demo")
        elif what == "take over":
            self.views.append(self.session.view)
            self.session = self.store.open_session("demo", take_over=True)
        elif what == "read":
            self.views.append(self.reader.view("demo"))
        elif what == "read elsewhere":
            for view in self.views:
                self.look(view, number)

    @staticmethod
    def look(view: foldlog.View, number: int) -> None:
        """Read something, so that it is in memory and the rest is not."""
        rows = getattr(view, KINDS[number % 5])
        row_id: Any = number if number < 40 else f"{KINDS[number % 5][:-1]}-{number}"
        if number % 7 == 0:
            list(rows.values())
        elif number % 7 == 1:
            view.running_ids(("turn", "call")[number % 2])
        elif number % 7 == 2:
            view.edge_calls()
        else:
            assert (rows.get(row_id) is None) == (row_id not in rows)

    def check(self) -> None:
        self.views += [self.session.view, self.reader.view("demo")]
        for view in self.views:
            assert everything(view) == everything(self.store.view("demo", at=view.counter("event")))
        assert self.store.verify().problems == []
        self.session.checkpoint()
        assert self.store.verify().problems == []
        assert everything(self.reader.view("demo")) == everything(self.session.view)

    def close(self) -> None:
        self.reader.close()
        self.store.close()


def payload(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key not in ENVELOPE}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories(40, min_size=20), st.lists(steps, min_size=12, max_size=40))
def test_every_view_is_the_fold_of_its_journal(
    new_path: Callable[[], Path],
    enough: Callable[[], bool],
    events: list[dict[str, Any]],
    plan: list[tuple[str, int]],
) -> None:
    if enough():
        return
    history = History(new_path())
    try:
        todo = list(reversed(events[1:]))
        for what, number in plan:
            history.step(what, number)
            if what == "batch":
                with history.session.batch():
                    for _ in range(min(number % 6, len(todo))):
                        one = todo.pop()
                        history.session.emit(one["type"], **payload(one))
            elif todo:
                one = todo.pop()
                history.session.emit(one["type"], **payload(one))
        for one in reversed(todo):
            history.session.emit(one["type"], **payload(one))
        history.check()
    finally:
        history.close()
