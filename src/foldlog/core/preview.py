"""Previews: a bounded picture of any value, for lists, trees and final documents.

A preview is for reading. The value itself is read through its ref.
"""

import math
from typing import Any

from foldlog.core.limits import PREVIEW_CHARS_MAX, PREVIEW_DEPTH_MAX, PREVIEW_ENTRIES_MAX


def project_value(value: Any) -> Any:
    """A JSON picture of `value` of bounded depth and size.

    Below four levels stands `{"truncated": true, "reason": "max_depth"}`; text over 2,000 characters
    becomes its first 2,000 with its count; maps and lists keep their first 50 entries and say how many
    remain; what JSON cannot carry becomes its class and a bounded repr.

    >>> project_value({"answer": 42})
    {'answer': 42}
    >>> project_value(list(range(60)))[-1]
    {'truncated': True, 'remaining': 10}
    """
    return _project(value, 0)


def _project(value: Any, depth: int) -> Any:
    if depth > PREVIEW_DEPTH_MAX:
        return {"truncated": True, "reason": "max_depth"}
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(str.__str__(value))
    if isinstance(value, int) and -(2**63) <= value <= 2**63 - 1:
        return int.__index__(value)
    if isinstance(value, float) and math.isfinite(value):
        return float.__float__(value)
    if isinstance(value, dict):
        return _map(value, depth)
    if isinstance(value, list | tuple):
        shown = [_project(item, depth + 1) for item in value[:PREVIEW_ENTRIES_MAX]]
        if len(value) > PREVIEW_ENTRIES_MAX:
            shown.append({"truncated": True, "remaining": len(value) - PREVIEW_ENTRIES_MAX})
        return shown
    return _object(value)


def _text(value: str) -> Any:
    value = value.encode("utf-8", "replace").decode() if not value.isascii() else value
    if len(value) <= PREVIEW_CHARS_MAX:
        return value
    return {"type": "string", "preview": value[:PREVIEW_CHARS_MAX], "truncated": True, "count": len(value)}


def _map(value: dict[Any, Any], depth: int) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for index, (key, item) in enumerate(value.items()):
        if index == PREVIEW_ENTRIES_MAX:
            shown |= {"truncated": True, "remaining": len(value) - PREVIEW_ENTRIES_MAX}
            break
        name = _text(key) if isinstance(key, str) else _repr(key)
        shown[name if isinstance(name, str) else name["preview"]] = _project(item, depth + 1)
    return shown


def _object(value: Any) -> dict[str, Any]:
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return {"type": "object", "class": name, "preview": _repr(value)}


def _repr(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001  (a repr of the user's may raise anything)
        text = f"<no repr: {type(error).__name__}>"
    return text[:PREVIEW_CHARS_MAX].encode("utf-8", "replace").decode()
