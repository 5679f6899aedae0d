"""Events for tests of the fold: short builders, and random lists of events that are all valid.

A list is made by interpreting drawn numbers against a small model of the session, so that every number
means something whatever came before, and Hypothesis can shrink it.
"""

from typing import Any

from hypothesis import strategies as st

from foldlog.core.codec import decode, encode
from foldlog.core.rows import KINDS, Changed, Entry
from foldlog.core.view import View

Event = dict[str, Any]

AT = "2026-11-22T06:41:10.344131Z"
LISTS = ("assistant_message_ids", "observation_message_ids", "eval_ids", "call_ids", "my_ids")
ROLES = ("system", "user", "assistant", "observation", "tool")
CALL_TYPES = ("root", "leaf", "leaf_batch_item", "child", "child_batch_item", "attached_child", "other")
USAGES: tuple[Any, ...] = (
    None,
    {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
    {"prompt_tokens": 5, "completion_tokens": "unknown", "cached_input_tokens": 2},
    {"input_tokens": True, "total_tokens": 1.5},
)
CHILDREN = (None, "demo/child-0007", "attached-0003", "elsewhere/child-0009", "demo/child-0002")


def event(event_id: int, event_type: str, **payload: Any) -> Event:
    return {"id": event_id, "type": event_type, "at": AT, **payload}


def started(session_id: str = "demo", **fields: Any) -> Event:
    return event(1, "session.started", session={"id": session_id, "status": "running", **fields})


def numbered(*events: Event) -> list[Event]:
    """The events after a first one, given ids in order."""
    return [started(), *({**one, "id": number} for number, one in enumerate(events, 2))]


class _Model:
    """What a valid next event may refer to."""

    def __init__(self) -> None:
        self.events: list[Event] = [started()]
        self.ids: dict[str, list[Any]] = {kind: [] for kind in KINDS}

    def add(self, event_type: str, **payload: Any) -> None:
        self.events.append(event(len(self.events) + 1, event_type, **payload))

    def new_id(self, kind: str, number: int) -> Any:
        taken = self.ids[kind]
        wanted: Any = number if number < 40 else f"{kind}-{number}"
        while wanted in taken:
            wanted = wanted + 41 if isinstance(wanted, int) else f"{wanted}x"
        taken.append(wanted)
        return wanted

    def pick(self, kind: str, number: int) -> Any:
        ids = self.ids[kind]
        return ids[number % len(ids)] if ids else None

    def turn(self, number: int) -> dict[str, Any]:
        # One number in four names no turn, one says so with a null.
        if number % 4 == 0 or not self.ids["turn"]:
            return {"turn_id": None} if number % 8 == 0 else {}
        return {"turn_id": self.pick("turn", number)}


def _lists(number: int) -> dict[str, list[Any]]:
    """Some of a turn's lists, with ids that may or may not be rows, twice too."""
    found: dict[str, list[Any]] = {}
    for place, key in enumerate(LISTS):
        if (number >> place) & 1:
            found[key] = [[], [1], [2, 1], ["call-50", 1, 1]][(number + place) % 4]
    return found


def _call(model: _Model, row_id: Any, a: int, b: int) -> dict[str, Any]:
    row: dict[str, Any] = {"id": row_id, "type": CALL_TYPES[a % 7], **model.turn(b)}
    row["status"] = ("running", "ok", "error")[b % 3]
    if a % 3:
        row["usage"] = USAGES[b % 4]
    if b % 3 == 0:
        row["cost"] = {"usd": (0.1, "unknown", 2)[a % 3]}
    if a % 2:
        row["cache"] = ({"status": "hit", "cached_tokens": 5}, {"status": "miss"}, None, {})[b % 4]
    if (child := CHILDREN[(a + b) % 5]) is not None:
        row["child_session_id"] = child
    return row


def _message(model: _Model, row_id: Any, a: int, b: int) -> dict[str, Any]:
    return {"id": row_id, "role": ROLES[a % 5], "content": {"n": [a, b]}, **model.turn(b)}


def _add(model: _Model, what: str, a: int, b: int) -> None:
    """A new row."""
    if what == "message":
        model.add("message.added", message=_message(model, model.new_id("message", a), a, b))
    elif what == "turn":
        row = {"id": model.new_id("turn", a), "status": "running" if b % 2 else "final"}
        model.add("turn.started", turn=row | (_lists(b) if b % 5 == 0 else {}))
    elif what == "call":
        model.add("call.started", call=_call(model, model.new_id("call", a), a, b))
    else:
        model.add(f"{what}.added", **{what: {"id": model.new_id(what, a), **model.turn(b)}})


def _restore(model: _Model, a: int, b: int) -> None:
    model.ids["message"] = []
    rows = [_message(model, model.new_id("message", a + n), a + n, b + n) for n in range(b % 4)]
    patch = {"restored_from": b} if b % 2 else {}
    model.add("session.restored", messages=rows, counters={"message": a, "turn": 2, "odd": 1}, session_patch=patch)


def _tell(model: _Model, a: int, b: int) -> None:
    """Something about the session as a whole."""
    if a % 4 == 0:
        model.add("session.status", status="stopped", ended_at=AT)
    elif a % 4 == 1:
        model.add("session.error", error={"type": "ValueError", "n": b}, ended_at=AT)
    elif a % 4 == 2:
        model.add("session.final", value_ref={"kind": "inline", "value": b})
    else:
        model.add("note.of.mine", anything=[a, {"b": b}])


def _change_turn(model: _Model, how: str, a: int, b: int) -> None:
    turn_id = model.pick("turn", a)
    if turn_id is None:
        return
    if how == "put":
        model.add("turn.put", turn={"id": turn_id, "status": "final", "n": b, **_lists(b)})
    elif how == "add":
        model.add("turn.updated", turn_id=turn_id, changes={"n": a} if b % 3 else {}, added=_lists(b))
    else:
        model.add("turn.updated", turn_id=turn_id, changes={"status": "ok", **(_lists(b) if b % 3 == 0 else {})})


def _change_call(model: _Model, how: str, a: int, b: int) -> None:
    call_id = model.pick("call", a)
    if call_id is None:
        return
    row = _call(model, call_id, a, b)
    if how == "put":
        model.add("call.put", call=row)
    else:
        keys = [key for place, key in enumerate(row) if key != "id" and (b >> place) & 1]
        model.add("call.updated", call_id=call_id, changes={key: row[key] for key in keys})


def _step(model: _Model, what: str, a: int, b: int) -> None:
    kind, _, how = what.partition(".")
    if how:
        (_change_turn if kind == "turn" else _change_call)(model, how, a, b)
    elif what == "restored":
        _restore(model, a, b)
    elif what == "session":
        _tell(model, a, b)
    else:
        _add(model, what, a, b)


_STEPS = (
    "message", "turn", "eval", "snapshot", "call", "restored", "session",
    "turn.put", "turn.add", "turn.update", "call.put", "call.update",
)  # fmt: skip


def _interpret(steps: list[tuple[str, int, int]]) -> list[Event]:
    model = _Model()
    for what, a, b in steps:
        _step(model, what, a, b)
    return model.events


def event_lists(max_size: int = 40, *, min_size: int = 0) -> st.SearchStrategy[list[Event]]:
    """Valid histories of one session."""
    numbers = st.integers(0, 60)
    steps = st.tuples(st.sampled_from(_STEPS), numbers, numbers)
    return st.lists(steps, min_size=min_size, max_size=max_size).map(_interpret)


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
