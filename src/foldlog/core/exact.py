"""Types JSON does not have whose values have an exact text: how they are written and read back.

Which values may be written at all, and how the tags around these texts look, is in `foldlog.core.codec`.
"""

import base64
import datetime as dt
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final


class Refusal(Exception):  # noqa: N818  (the codec makes it a NotSerializableError)
    """Why a value cannot be encoded; the path is gathered while unwinding."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint
        self.path: list[str | int] = []


def class_name(kind: type[Any]) -> str:
    """A class as messages name it."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _write_datetime(value: dt.datetime) -> str:
    if value.tzinfo is None or value.utcoffset() is None:
        raise Refusal("a datetime without a time zone", "make it aware: datetime.now(timezone.utc)")
    return _exact(value, value.isoformat(), dt.datetime.fromisoformat)


def _write_time(value: dt.time) -> str:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise Refusal("a time in a zone whose offset depends on the date", "store an aware datetime")
    return _exact(value, value.isoformat(), dt.time.fromisoformat)


def _exact(value: Any, text: str, read: Callable[[str], Any]) -> str:
    # A wall-clock time that a zone has twice (or never) equals no other datetime, not even its own copy.
    if read(text) != value:
        raise Refusal(f"a value of class {class_name(type(value))} with no exact text form", "convert it to UTC first")
    return text


def _write_decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise Refusal(f"the Decimal {value}", "JSON has no NaN or infinity; store None or a str")
    return str(value)


def _write_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


WRITERS: Final[dict[type[Any], Callable[[Any], str]]] = {
    dt.datetime: _write_datetime,
    dt.date: dt.date.isoformat,
    dt.time: _write_time,
    uuid.UUID: str,
    Decimal: _write_decimal,
    bytes: _write_bytes,
}
NAMES: Final[dict[type[Any], str]] = {
    dt.datetime: "datetime",
    dt.date: "date",
    dt.time: "time",
    uuid.UUID: "uuid",
    Decimal: "decimal",
    bytes: "bytes",
    set: "set",
    frozenset: "frozenset",
}
READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "datetime": dt.datetime.fromisoformat,
    "date": dt.date.fromisoformat,
    "time": dt.time.fromisoformat,
    "uuid": uuid.UUID,
    "decimal": Decimal,
    "bytes": lambda text: base64.b64decode(text, validate=True),
    "set": set,
    "frozenset": frozenset,
    "tuple": tuple,
}
