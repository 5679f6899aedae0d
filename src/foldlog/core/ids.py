"""Names: session ids and addresses, event types, row ids. Checked here and nowhere else.

A child session's id is its address: its parent's id, a slash, its own name. An id is also a file name
on export, so what this module lets through can never leave the export folder.
"""

import re
from functools import lru_cache
from typing import Any, Final, TypeAlias

from foldlog.core.errors import InvalidEventError, InvalidIdError, LimitError
from foldlog.core.limits import (
    ADDRESS_CHARS_MAX,
    EVENT_TYPE_CHARS_MAX,
    ROW_ID_CHARS_MAX,
    SESSION_ID_CHARS_MAX,
    TREE_DEPTH_MAX,
)

RowId: TypeAlias = int | str

_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{SESSION_ID_CHARS_MAX - 1}}}", re.ASCII)
_EVENT_TYPE: Final = re.compile(rf"[A-Za-z0-9._-]{{1,{EVENT_TYPE_CHARS_MAX}}}", re.ASCII)
_ROW_ID: Final = re.compile(rf"[A-Za-z0-9._-]{{1,{ROW_ID_CHARS_MAX}}}", re.ASCII)
_NUMBERED: Final = re.compile(r"(?:child|attached)-([0-9]{1,18})", re.ASCII)
_HASH: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


def check_session_id(value: object, *, depth_max: int = TREE_DEPTH_MAX) -> str:
    """The id itself, or `InvalidIdError`: one name, or names joined by slashes for a child.

    >>> check_session_id("demo/child-0001")
    'demo/child-0001'
    """
    if isinstance(value, str):
        parts = value.split("/")
        if all(_NAME.fullmatch(part) for part in parts):
            if len(parts) > depth_max:
                raise LimitError(
                    f"session id {value[:60]!r}… is {len(parts)} levels deep; the limit is {depth_max}",
                    hint="start the session as a root, or raise the limit in Config(limits=…)",
                )
            if len(value) > ADDRESS_CHARS_MAX:
                raise LimitError(
                    f"session id {value[:60]!r}… has {len(value):,} characters; the limit is {ADDRESS_CHARS_MAX:,}",
                    hint="give the sessions above it shorter names",
                )
            return value
    shown = repr(value) if not isinstance(value, str) or len(value) <= 60 else f"{value[:60]!r}…"
    raise InvalidIdError(
        f"{shown} is not a session id",
        hint=f"use 1 to {SESSION_ID_CHARS_MAX} letters, digits, '.', '_' or '-', starting with a letter or "
        "digit; a child's id is its parent's id, '/', its own name",
    )


def parent_id(session_id: str) -> str | None:
    """The id of the session that this address stands under, or None for a root's."""
    head, slash, _ = session_id.rpartition("/")
    return head if slash else None


def session_name(session_id: str) -> str:
    """The last part of an address."""
    return session_id.rpartition("/")[2]


def child_number(session_id: str, child_id: object) -> int:
    """The number in a child's name when it is this session's child (`child-0007` is 7), else 0."""
    if not isinstance(child_id, str):
        return 0
    parent, slash, name = child_id.rpartition("/")
    match = _NUMBERED.fullmatch(name)
    if match is None or (slash and parent != session_id):
        return 0
    return int(match[1])


def child_name(number: int, edge_type: str) -> str:
    """The name of the n-th child: `child-0007` when spawned, `attached-0007` when attached."""
    return f"{'attached' if edge_type == 'attached' else 'child'}-{number:04d}"


@lru_cache(maxsize=1024)
def _is_event_type(value: str) -> bool:
    return _EVENT_TYPE.fullmatch(value) is not None


def check_event_type(value: object) -> str:
    """The event type itself, or `InvalidEventError`."""
    if isinstance(value, str) and _is_event_type(value):
        return value
    shown = repr(value)[:60]
    raise InvalidEventError(
        f"{shown} is not an event type",
        hint=f"use 1 to {EVENT_TYPE_CHARS_MAX} letters, digits, '.', '_' or '-': 'tool.started'",
    )


def check_row_id(value: Any, what: str) -> RowId:
    """The row id itself, or `InvalidEventError`: an int from 0, or a name that is no number."""
    if type(value) is int and 0 <= value <= 2**63 - 1:
        return value
    if type(value) is str and _ROW_ID.fullmatch(value) and not _is_number(value):
        return value
    raise InvalidEventError(
        f"{what} {repr(value)[:60]} is not a row id",
        hint=f"use an int from 0 to 2**63-1, or up to {ROW_ID_CHARS_MAX} letters, digits, '.', '_' or '-' "
        "that are no number",
    )


def _is_number(text: str) -> bool:
    # "12" beside 12 would be two rows in memory and one in an INTEGER column.
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_hash(value: object) -> bool:
    """Whether this is the name of a blob."""
    return isinstance(value, str) and _HASH.fullmatch(value) is not None
