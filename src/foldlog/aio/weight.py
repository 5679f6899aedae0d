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


def is_light(*values: Any) -> bool:
    """Whether values are cheap to encode, all together; what is not known to be is not."""
    chars = nodes = 0
    todo = list(values)
    while todo:
        value = todo.pop()
        kind = type(value)
        if kind is str or kind is bytes:
            chars += len(value)
            if chars > _CHARS_MAX:
                return False
        elif kind in _ATOMS:
            pass
        elif kind is dict or kind is Ref:
            nodes += len(value)
            if nodes > _NODES_MAX:
                return False
            todo += value
            todo += value.values()
        elif kind is list or kind is tuple or kind is set or kind is frozenset:
            nodes += len(value)
            if nodes > _NODES_MAX:
                return False
            todo += value
        elif isinstance(value, enum.Enum | PurePath | BaseException):
            nodes += 1
        else:
            return False
    return True
