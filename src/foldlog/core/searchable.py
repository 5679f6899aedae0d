"""What of an event can be found by its words: which texts it brings, to which row, and as what kind.

Pure: values behind references are asked for from the caller. What people type is made into a match in
`foldlog.core.match_text`; the index itself is `foldlog.storage.search_tables`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from foldlog.core.limits import SEARCH_BLOB_BYTES_MAX, SEARCH_TEXT_CHARS_MAX
from foldlog.core.refs import Ref

KINDS: Final = ("message", "code", "output", "error", "query", "result", "final")

# Of each kind of row the keys whose text is found, and what kind of text that is. A request repeats the transcript,
# so it is not among them.
FIELDS: Final[dict[str, dict[str, str]]] = {
    "message": {"content": "message"},
    "turn": {"error": "error", "final_ref": "final"},
    "eval": {
        "code": "code", "stdout": "output", "stderr": "output", "value": "output", "final_value": "final",
        "final_ref": "final", "error": "error",
    },
    "call": {
        "query": "query", "input_ref": "query", "response_ref": "result", "result_ref": "result", "final_ref": "result",
        "error": "error",
    },
}  # fmt: skip

# Where an event has the row, or the keys of one that changed.
_ROWS: Final = {
    "message.added": ("message", "message"),
    "turn.started": ("turn", "turn"),
    "turn.put": ("turn", "turn"),
    "eval.added": ("eval", "eval"),
    "call.started": ("call", "call"),
    "call.put": ("call", "call"),
}
_CHANGES: Final = {"turn.updated": ("turn", "turn_id"), "call.updated": ("call", "call_id")}
_OF_SESSION: Final = {"session.final": ("value_ref", "final"), "session.error": ("error", "error")}

# Events that replace what was there: all of a row, or the session's messages.
PUTS: Final = {"turn.put": "turn", "call.put": "call"}
RESTORED: Final = "session.restored"
# The types that bring a text; the others need not be read.
TYPES: Final = (*_ROWS, *_CHANGES, *_OF_SESSION, RESTORED)

# Spaces stand for control characters: the marks of a snippet are among them.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# Colours of a terminal: their letters would stand before the word.
_COLOUR: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

ReadRef = Callable[[Ref], Any]


class Text(NamedTuple):
    """One text: of which row (None: the session itself), in which key of it, what kind of text, and the value."""

    field: str
    kind: str
    row_id: Any
    turn_id: Any
    role: str | None
    value: Any


def texts_of(event_type: str, event: Mapping[str, Any]) -> Iterator[Text]:
    """The texts of an event; nothing for an event that is not of the form it should be."""
    if event_type in _ROWS:
        kind, key = _ROWS[event_type]
        yield from _of_row(kind, event.get(key), None)
    elif event_type in _CHANGES:
        kind, key = _CHANGES[event_type]
        yield from _of_row(kind, event.get("changes"), event.get(key))
    elif event_type in _OF_SESSION:
        key, kind = _OF_SESSION[event_type]
        yield Text(f"session.{kind}", kind, None, None, None, event.get(key))
    elif event_type == RESTORED and isinstance(event.get("messages"), list):
        for row in event["messages"]:
            yield from _of_row("message", row, None)


def _of_row(kind: str, row: Any, row_id: Any) -> Iterator[Text]:
    if not isinstance(row, dict):
        return
    row_id = row.get("id") if row_id is None else row_id
    role = row.get("role") if kind == "message" and isinstance(row.get("role"), str) else None
    turn_id = _id(row_id if kind == "turn" else row.get("turn_id"))
    for key, found in FIELDS[kind].items():
        if key in row:
            yield Text(f"{kind}.{key}", found, _id(row_id), turn_id, role, row[key])


def _id(value: Any) -> Any:
    return value if isinstance(value, int | str) else None


def flatten(value: Any, read_ref: ReadRef) -> str:
    """The plain text of a value: its strings and numbers, a line for each, up to `SEARCH_TEXT_CHARS_MAX` characters.

    Left out are keys, the names of forms that parts have ("text", "tool_use"), and what is no text: pictures, files.
    """
    found: list[str] = []
    left = SEARCH_TEXT_CHARS_MAX
    for text in _strings(value, read_ref, 0):
        found.append(text[:left])
        left -= len(text) + 1
        if left <= 0:
            break
    text = _COLOUR.sub("", "\n".join(found))
    return _CONTROL.sub(" ", text).encode("utf-8", "replace").decode()


def _strings(value: Any, read_ref: ReadRef, depth: int) -> Iterator[str]:
    stack: list[Any] = [value]
    while stack:
        one = stack.pop()
        if type(one) is str:
            if one and not _IS_DATA.match(one):
                yield one
        elif isinstance(one, Ref):
            if depth < _REF_DEPTH_MAX and 0 <= one.get("bytes", 0) <= SEARCH_BLOB_BYTES_MAX:
                yield from _strings(read_ref(one), read_ref, depth + 1)
        elif isinstance(one, dict):
            stack += [item for key, item in reversed(one.items()) if not _is_form(one, key, item)]
        elif isinstance(one, list | tuple):
            stack += reversed(one)
        elif isinstance(one, set | frozenset):
            stack += sorted(one, key=repr, reverse=True)
        elif one is not None and not isinstance(one, bool | float | bytes):
            yield str(one)


def _is_form(row: dict[str, Any], key: str, item: Any) -> bool:
    """Whether this says what form a value has, or is a file inside it, and so is said by nobody."""
    if key in ("type", "kind"):
        return item in ("text", "inline", "tool_use", "tool_result", "thinking", "image", "document", "base64")
    return key in ("signature", "cache_control") or (key == "data" and "media_type" in row)


# Values behind references inside values behind references.
_REF_DEPTH_MAX: Final = 3
_IS_DATA: Final = re.compile(r"data:[\w/+.;=-]{0,100};base64,")
