"""The fold: what each event means. Pure: no I/O, no clock, no model, no code is run.

`plan` checks an event against a state and says what it changes, without changing it; the live session
plans before it writes, so a refused event leaves nothing behind, and replay plans in the same way.
`fold` and `apply` are the public forms. Carrying a change out is `View.carry_out`; stamping and storing
events are the session's and the storage's work.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from foldlog.core.errors import InvalidEventError, UnknownRowError
from foldlog.core.ids import RowId, check_row_id, child_number
from foldlog.core.preview import project_value
from foldlog.core.rows import COUNTERS, LINK_KEYS, Change, Link, Row, link_key
from foldlog.core.upcast import upcast
from foldlog.core.view import View

Event = dict[str, Any]


class State(Protocol):
    """What a plan may look at: a view, or a view with events still to be committed on top."""

    def session_row(self) -> Row:
        """The session's row."""

    def row(self, kind: str, row_id: RowId) -> Row | None:
        """A row as stored, or None."""

    def row_count(self, kind: str) -> int:
        """How many rows of a kind there are."""

    def turn_ids(self) -> list[RowId]:
        """All turns, their lists at hand."""

    def have_lists(self, turn_id: RowId) -> None:
        """See that a turn's lists are at hand: carrying out a change reads nothing."""


def fold(events: Iterable[Event]) -> View:
    """The view that a session's events make, in the order given.

    Raises `InvalidEventError` or `UnknownRowError` at the first event that contradicts those before it.

    >>> fold([{"id": 1, "type": "session.started", "at": "…", "session": {"id": "demo"}}]).session["id"]
    'demo'
    """
    view = View()
    for event in events:
        advance(view, event)
    return view


def apply(view: View, event: Event) -> View:
    """A new view with one more event folded; the given one stays as it is.

    The copy costs O(rows): use `fold` for many events.

    >>> before = fold([{"id": 1, "type": "session.started", "at": "…", "session": {"id": "demo"}}])
    >>> after = apply(before, {"id": 2, "type": "note", "at": "…"})
    >>> before.counters["event"], after.counters["event"]
    (1, 2)
    """
    copied = view.copy()
    advance(copied, event)
    return copied


def advance(view: View, event: Event) -> None:
    """Fold one event into this view; O(1)."""
    if not isinstance(event, dict):
        raise InvalidEventError("an event is a map", hint="fold events as store.events() gives them")
    view.carry_out(plan(view, upcast(event, view.session_row())))


def plan(state: State, event: Event) -> Change:
    """What `event` changes; raises before anything is changed."""
    event_id, event_type = event.get("id"), event.get("type")
    if type(event_id) is not int or type(event_type) is not str or type(event.get("at")) is not str:
        raise InvalidEventError("an event lacks its id, type or at", hint="fold events as store.events() gives them")
    change = Change(event_id)
    planner = _PLANNERS.get(event_type)
    if planner is not None:
        if not state.session_row() and event_type != "session.started":
            raise InvalidEventError(
                f"{event_type} comes before session.started", hint="a session's first event starts it"
            )
        planner(state, event, change)
    return change


# Checks that planners share.


def _need(event: Event, *keys: str) -> None:
    for key in keys:
        if key not in event:
            raise InvalidEventError(
                f"{event['type']} lacks the key {key!r}", hint=f"{event['type']} carries {', '.join(keys)}"
            )


def _need_map(event: Event, key: str, *inner: str) -> Row:
    found = event.get(key)
    if type(found) is not dict:
        _need(event, key)
        raise InvalidEventError(f"{event['type']}: {key!r} is not a map", hint=f"pass {key}={{…}}")
    for name in inner:
        if name not in found:
            raise InvalidEventError(
                f"{event['type']}: the {key} lacks the key {name!r}", hint=f"a {key} has {', '.join(inner)}"
            )
    return found


def _new_row(state: State, event: Event, change: Change, kind: str, *inner: str) -> Row:
    row = _need_map(event, kind, "id", *inner)
    row_id = row["id"]
    if type(row_id) is not int or not 0 <= row_id < 2**63:
        check_row_id(row_id, f"{event['type']}: {kind} id")
    if state.row(kind, row_id) is not None:
        raise InvalidEventError(
            f"{event['type']}: {kind} {row_id!r} is already there",
            hint=f"leave the id out and the session gives the next {kind} its own",
        )
    _check_status(event, row)
    turn_id = row.get("turn_id")
    if turn_id is not None:
        _known_row(state, event, "turn", turn_id)
    if type(row_id) is int:
        change.counters[kind] = row_id
    return row


def _known_row(state: State, event: Event, kind: str, row_id: Any) -> Row:
    if type(row_id) is not int or not 0 <= row_id < 2**63:
        check_row_id(row_id, f"{event['type']}: {kind} id")
    row = state.row(kind, row_id)
    if row is None:
        raise UnknownRowError(
            f"{event['type']}: session {state.session_row().get('id')!r} has no {kind} {row_id!r}",
            hint=f"see session.view.{kind}s for the {kind}s there are",
        )
    return row


def _check_turn(state: State, event: Event, turn_id: Any) -> None:
    if turn_id is not None:
        _known_row(state, event, "turn", turn_id)


def _check_status(event: Event, row: Row) -> None:
    status = row.get("status")
    if status is not None and type(status) is not str:
        raise InvalidEventError(f"{event['type']}: a status is a str", hint="running, ok, final, error, or your own")


def _split_lists(state: State, event: Event, row: Row, turn_id: RowId, change: Change) -> Row:
    """A turn's row without its lists, which become links of their own."""
    if _LISTS.isdisjoint(row):
        return row
    state.have_lists(turn_id)
    for key in LINK_KEYS:
        if key in row:
            _check_ids(event, key, row[key])
            change.links.append(Link(turn_id, key, "set", row[key]))
    return {key: value for key, value in row.items() if key not in LINK_KEYS}


def _check_ids(event: Event, key: str, ids: Any) -> None:
    if type(ids) is not list:
        raise InvalidEventError(f"{event['type']}: {key} is not a list of ids", hint="pass a list, empty if need be")
    for value in ids:
        check_row_id(value, f"{event['type']}: {key} holds")


# One planner an event type.


def _plan_session_started(state: State, event: Event, change: Change) -> None:
    if state.session_row():
        raise InvalidEventError(
            f"session {state.session_row().get('id')!r} has already started",
            hint="start another with start_session()",
        )
    change.session = _need_map(event, "session", "id")


def _plan_session_status(state: State, event: Event, change: Change) -> None:
    _need(event, "status", "ended_at")
    _check_status(event, event)
    change.session = {**state.session_row(), "status": event["status"], "ended_at": event["ended_at"]}


def _plan_session_final(state: State, event: Event, change: Change) -> None:
    _need(event, "value_ref")
    ref = event["value_ref"]
    change.final_ref = ref
    if "value_preview" in event:
        change.preview = event["value_preview"]
    elif isinstance(ref, dict) and ref.get("kind") == "inline":
        change.preview = project_value(ref.get("value"))


def _plan_session_error(state: State, event: Event, change: Change) -> None:
    _need(event, "error", "ended_at")
    change.error = event["error"]
    change.session = {**state.session_row(), "status": "error", "ended_at": event["ended_at"]}


def _plan_session_restored(state: State, event: Event, change: Change) -> None:
    _need(event, "messages", "counters", "session_patch")
    messages, counters, patch = event["messages"], event["counters"], event["session_patch"]
    if type(messages) is not list or type(counters) is not dict or type(patch) is not dict:
        raise InvalidEventError(
            "session.restored: messages is a list, counters and session_patch are maps",
            hint="see the events page",
        )
    for key in ("id", "artifact_version"):
        if key in patch and patch[key] != state.session_row().get(key):
            raise InvalidEventError(f"session.restored cannot change {key}", hint=f"leave {key} out of the patch")
    seen: set[RowId] = set()
    for row in messages:
        if type(row) is not dict or any(key not in row for key in ("id", "role", "content")):
            raise InvalidEventError("session.restored: a message lacks a key", hint="a message has id, role, content")
        row_id = check_row_id(row["id"], "session.restored: message id")
        if row.get("turn_id") is not None:
            check_row_id(row["turn_id"], "session.restored: a message's turn_id")
        if row_id in seen:
            raise InvalidEventError(f"session.restored: message {row_id!r} stands twice", hint="give each its own id")
        seen.add(row_id)
    change.messages = messages
    change.counters = {name: value for name, value in counters.items() if name in _RESTORABLE and type(value) is int}
    numbers = [row_id for row_id in seen if isinstance(row_id, int)]
    change.counters["message"] = max([change.counters.get("message", 0), *numbers])
    change.session = {**state.session_row(), **patch}
    # The turns keep the messages they had, though the rows are gone.
    for turn_id in state.turn_ids():
        change.links += [Link(turn_id, key, "pin", []) for key in _MESSAGE_KEYS]


_RESTORABLE: Final = frozenset(COUNTERS) - {"event"}
_LISTS: Final = frozenset(LINK_KEYS)
_MESSAGE_KEYS: Final = ("assistant_message_ids", "observation_message_ids")


def _plan_message_added(state: State, event: Event, change: Change) -> None:
    row = _new_row(state, event, change, "message", "role", "content")
    if type(row["role"]) is not str:
        raise InvalidEventError("message.added: a message's role is a str", hint="user, assistant, tool, or your own")
    change.puts.append(("message", row["id"], row))
    _join(change, "message", row)
    turn_id = row.get("turn_id")
    if turn_id is not None and row["role"] == "user":
        turn = _known_row(state, event, "turn", turn_id)
        if turn.get("user_message_id") is None:
            change.puts.append(("turn", turn_id, {**turn, "user_message_id": row["id"]}))


def _join(change: Change, kind: str, row: Row) -> None:
    turn_id = row.get("turn_id")
    if turn_id is not None and (key := link_key(kind, row)) is not None:
        change.links.append(Link(turn_id, key, "join", [row["id"]]))


def _plan_turn_started(state: State, event: Event, change: Change) -> None:
    row = _new_row(state, event, change, "turn")
    turn_id = row["id"]
    change.puts.append(("turn", turn_id, _split_lists(state, event, row, turn_id, change)))
    change.session = {
        **state.session_row(), "turn_count": state.row_count("turn") + 1, "latest_turn_id": turn_id
    }  # fmt: skip


def _plan_turn_updated(state: State, event: Event, change: Change) -> None:
    _need(event, "turn_id", "changes")
    turn_id = event["turn_id"]
    row = _known_row(state, event, "turn", turn_id)
    changes = _changes(event, turn_id)
    _check_status(event, changes)
    if changes:
        change.puts.append(("turn", turn_id, row | _split_lists(state, event, changes, turn_id, change)))
    added = event.get("added", {})
    if type(added) is not dict:
        raise InvalidEventError("turn.updated: added is not a map", hint="pass added={list name: [ids]}")
    row = row | changes
    if added:
        state.have_lists(turn_id)
    for key, ids in added.items():
        _check_ids(event, key, ids)
        if row.get(key) is not None:
            _check_ids(event, key, row[key])
        change.links.append(Link(turn_id, key, "add", ids))


def _changes(event: Event, row_id: RowId) -> Row:
    changes = event["changes"]
    if type(changes) is not dict:
        raise InvalidEventError(f"{event['type']}: changes is not a map", hint="pass changes={key: value}")
    if "id" in changes and (type(changes["id"]) is not type(row_id) or changes["id"] != row_id):
        raise InvalidEventError(f"{event['type']} cannot change the id", hint="an id stays; add another row")
    return changes


def _plan_turn_put(state: State, event: Event, change: Change) -> None:
    row = _need_map(event, "turn", "id")
    _known_row(state, event, "turn", row["id"])
    _check_status(event, row)
    change.links.append(Link(row["id"], "", "reset", []))
    change.puts.append(("turn", row["id"], _split_lists(state, event, row, row["id"], change)))


def _plan_call_started(state: State, event: Event, change: Change) -> None:
    row = _new_row(state, event, change, "call", "type")
    _check_type(event, row)
    change.puts.append(("call", row["id"], row))
    _join(change, "call", row)
    _count_child(state, change, row)


def _count_child(state: State, change: Change, row: Row) -> None:
    child = row.get("child_session_id")
    if child is None:
        return
    number = child_number(state.session_row()["id"], child)
    if number:
        change.counters["child"] = number


def _plan_call_updated(state: State, event: Event, change: Change) -> None:
    _need(event, "call_id", "changes")
    row = _known_row(state, event, "call", event["call_id"])
    _replace_call(state, event, change, row, row | _changes(event, event["call_id"]))


def _plan_call_put(state: State, event: Event, change: Change) -> None:
    row = _need_map(event, "call", "id", "type")
    _replace_call(state, event, change, _known_row(state, event, "call", row["id"]), row)


def _check_type(event: Event, row: Row) -> None:
    if type(row.get("type")) is not str:
        raise InvalidEventError(
            f"{event['type']}: a call's type is a str", hint="root, leaf, child, or one of your own"
        )


def _replace_call(state: State, event: Event, change: Change, old: Row, row: Row) -> None:
    _check_type(event, row)
    _check_status(event, row)
    before, after = old.get("turn_id"), row.get("turn_id")
    if type(before) is not type(after) or before != after:
        # The call moves: its old turn keeps the list it had, its new one names it.
        _check_turn(state, event, after)
        if before is not None:
            state.have_lists(before)
            change.links.append(Link(before, "call_ids", "pin", []))
        if after is not None:
            state.have_lists(after)
            change.links.append(Link(after, "call_ids", "add", [row["id"]]))
    change.puts.append(("call", row["id"], row))
    _count_child(state, change, row)


def _plan_eval_added(state: State, event: Event, change: Change) -> None:
    row = _new_row(state, event, change, "eval")
    change.puts.append(("eval", row["id"], row))
    _join(change, "eval", row)


def _plan_snapshot_added(state: State, event: Event, change: Change) -> None:
    row = _new_row(state, event, change, "snapshot")
    change.puts.append(("snapshot", row["id"], row))


_PLANNERS: Final[dict[str, Callable[[State, Event, Change], None]]] = {
    "session.started": _plan_session_started,
    "session.status": _plan_session_status,
    "session.final": _plan_session_final,
    "session.error": _plan_session_error,
    "session.restored": _plan_session_restored,
    "message.added": _plan_message_added,
    "turn.started": _plan_turn_started,
    "turn.updated": _plan_turn_updated,
    "turn.put": _plan_turn_put,
    "call.started": _plan_call_started,
    "call.updated": _plan_call_updated,
    "call.put": _plan_call_put,
    "eval.added": _plan_eval_added,
    "snapshot.added": _plan_snapshot_added,
}

# All other types are annotations: kept in the journal, they change no row.
FOLDED_TYPES: Final = frozenset(_PLANNERS)
