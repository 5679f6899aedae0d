"""Events for tests of the fold: short builders, and what checkpoints of them leave behind.

Random lists of events that are all valid are `foldlog.testing.strategies.histories`.
"""

from typing import Any

from foldlog.core.codec import decode, encode
from foldlog.core.rows import KINDS, Changed, Entry
from foldlog.core.view import View

Event = dict[str, Any]

AT = "2026-11-22T06:41:10.344131Z"


def event(event_id: int, event_type: str, **payload: Any) -> Event:
    return {"id": event_id, "type": event_type, "at": AT, **payload}


def started(session_id: str = "demo", **fields: Any) -> Event:
    return event(1, "session.started", session={"id": session_id, "status": "running", **fields})


def numbered(*events: Event) -> list[Event]:
    """The events after a first one, given ids in order."""
    return [started(), *({**one, "id": number} for number, one in enumerate(events, 2))]


class Stored:
    """What checkpoints leave behind: rows as JSON, as the tables hold them."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[Any, tuple[bytes, Entry]]] = {kind: {} for kind in KINDS}

    def write(self, changed: Changed) -> None:
        if changed.messages_replaced:
            self.rows["message"] = {}
        for kind, rows in changed.rows.items():
            for row_id, entry in rows:
                self.rows[kind][row_id] = (encode(entry.row).data, entry)

    def restore(self, view: View) -> View:
        """A view from the rows, with the parts of `view` that are no rows."""
        entries = {
            kind: [(row_id, entry._replace(row=decode(data))) for row_id, (data, entry) in sorted(
                rows.items(), key=lambda item: item[1][1].seq
            )]
            for kind, rows in self.rows.items()
        }  # fmt: skip
        return View.restore(view.session, view.counters, (view.final_ref, view.final_preview), view.error, entries)


def everything(view: View) -> dict[str, Any]:
    """All that a view knows, and not only what it shows."""
    return {
        **view.document(),
        "final_preview": view.final_preview,
        "totals": view.totals.dump(),
        "edges": [row["id"] for row in view.edge_calls()],
        "running": {kind: sorted(map(str, view.running_ids(kind))) for kind in ("turn", "call")},
        "events": {
            kind: [(row_id, entry.first_event_id, entry.seq) for row_id, entry in view.moment(kind)] for kind in KINDS
        },
    }
