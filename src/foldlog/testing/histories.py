"""Valid histories of a session, made from numbers.

Each step of a list is interpreted against a small model of the session, so that every number means
something whatever came before, and Hypothesis can shrink it: `foldlog.testing.strategies.histories` draws
the numbers. What events mean is in `foldlog.core.fold`.
"""

from typing import Any, Final

from foldlog.core.fold import Event
from foldlog.core.rows import KINDS

STEPS: Final = (
    "message", "turn", "eval", "snapshot", "call", "restored", "session", "note",
    "turn.put", "turn.add", "turn.update", "call.put", "call.update",
)  # fmt: skip

_AT: Final = "2026-11-22T06:41:10.344131Z"
_LISTS = ("assistant_message_ids", "observation_message_ids", "eval_ids", "call_ids", "my_ids")
_ROLES = ("system", "user", "assistant", "observation", "tool")
_CALL_TYPES = ("root", "leaf", "leaf_batch_item", "child", "child_batch_item", "attached_child", "other")
_USAGES: tuple[Any, ...] = (
    None,
    {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
    {"prompt_tokens": 5, "completion_tokens": "unknown", "cached_input_tokens": 2},
    {"input_tokens": True, "total_tokens": 1.5},
)
_CHILDREN = (None, "demo/child-0007", "attached-0003", "elsewhere/child-0009", "demo/child-0002")

# What to do, two numbers that say how, and what an annotation carries.
Step = tuple[str, int, int, dict[str, Any]]


def history(steps: list[Step], session_id: str = "demo") -> list[Event]:
    """The events that a list of steps stands for: valid, in order, beginning with `session.started`."""
    model = _Model(session_id)
    for what, a, b, payload in steps:
        _step(model, what, a, b, payload)
    return model.events


class _Model:
    """What a valid next event may refer to."""

    def __init__(self, session_id: str) -> None:
        self.events: list[Event] = []
        self.ids: dict[str, list[Any]] = {kind: [] for kind in KINDS}
        self.add("session.started", session={"id": session_id, "status": "running"})

    def add(self, event_type: str, /, **payload: Any) -> None:
        self.events.append({"id": len(self.events) + 1, "type": event_type, "at": _AT, **payload})

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
    for place, key in enumerate(_LISTS):
        if (number >> place) & 1:
            choices: tuple[list[Any], ...] = ([], [1], [2, 1], ["call-50", 1, 1])
            found[key] = choices[(number + place) % 4]
    return found


def _call(model: _Model, row_id: Any, a: int, b: int) -> dict[str, Any]:
    row: dict[str, Any] = {"id": row_id, "type": _CALL_TYPES[a % 7], **model.turn(b)}
    row["status"] = ("running", "ok", "error")[b % 3]
    if a % 3:
        row["usage"] = _USAGES[b % 4]
    if b % 3 == 0:
        row["cost"] = {"usd": (0.1, "unknown", 2)[a % 3]}
    if a % 2:
        row["cache"] = ({"status": "hit", "cached_tokens": 5}, {"status": "miss"}, None, {})[b % 4]
    if (child := _CHILDREN[(a + b) % 5]) is not None:
        row["child_session_id"] = child
    return row


def _message(model: _Model, row_id: Any, a: int, b: int) -> dict[str, Any]:
    return {"id": row_id, "role": _ROLES[a % 5], "content": {"n": [a, b]}, **model.turn(b)}


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
        model.add("session.status", status="stopped", ended_at=_AT)
    elif a % 4 == 1:
        model.add("session.error", error={"type": "ValueError", "n": b}, ended_at=_AT)
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


def _step(model: _Model, what: str, a: int, b: int, payload: dict[str, Any]) -> None:
    kind, _, how = what.partition(".")
    if how:
        (_change_turn if kind == "turn" else _change_call)(model, how, a, b)
    elif what == "restored":
        _restore(model, a, b)
    elif what == "session":
        _tell(model, a, b)
    elif what == "note":
        model.add("note.of.mine", **payload)
    else:
        _add(model, what, a, b)
