"""Whether a value is small enough to be encoded on the event loop.

Encoding reads the whole value; what is large is encoded in a worker thread. The look is bounded: it ends
where the answer is known.
"""

import datetime as dt
import enum
import uuid
from decimal import Decimal
from pathlib import PurePath
from typing import Any, Final

from foldlog.core.refs import Ref

# A verb at its limit was measured to hold the loop for 1 ms, with values that are costly to write for 3 ms.
_CHARS_MAX: Final = 256 * 1024
_NODES_MAX: Final = 1000
_ATOMS: Final = frozenset({
    type(None), bool, int, float, dt.datetime, dt.date, dt.time, uuid.UUID, Decimal,
})  # fmt: skip
_GROUPS: Final = frozenset({dict, Ref, list, tuple, set, frozenset})


def is_light(*values: Any) -> bool:
    """Whether values are cheap to encode, all together; what is not known to be is not."""
    chars = nodes = 0
    groups: list[Any] = [values]
    while groups:
        group = groups.pop()
        nodes += len(group)
        if nodes > _NODES_MAX:
            return False
        if isinstance(group, dict):
            try:
                chars += sum(map(len, group))
            except TypeError:  # keys that are no text
                return False
            group = group.values()
        for value in group:
            kind = type(value)
            if kind is str or kind is bytes:
                chars += len(value)
            elif kind in _GROUPS:
                groups.append(value)
            elif kind not in _ATOMS and not isinstance(value, enum.Enum | PurePath | BaseException):
                return False
        if chars > _CHARS_MAX:
            return False
    return True
