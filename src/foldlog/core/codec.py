"""The one codec: Python values to JSON bytes and back, strictly.

JSON carries str, finite float, signed 64-bit int, bool, None, list and str-keyed dict. What else has an
exact textual form (aware datetime, date, time, UUID, Decimal, bytes, set, frozenset) is written as a
map with one reserved key, TAG, and read back as an equal value of the same type. A user's own key of
that form is written with one more '$', so the map comes back as it was. Everything else is refused with
the path to it: never a silent null, never a repr.

The tag is also what tells a reference to a blob (`foldlog.core.refs`) from a user's map that merely
looks like one, and a piece cut out of a large value (`foldlog.core.parts`) from either. Bytes of blobs are
stored by `foldlog.storage.blobs`; what may be inline is decided by the session.
"""

import dataclasses
import enum
import math
import re
from pathlib import PurePath
from typing import Any, Final, NamedTuple

import orjson

from foldlog.core.errors import CorruptJournalError, LimitError, NotSerializableError
from foldlog.core.exact import NAMES, READERS, WRITERS, Refusal, class_name
from foldlog.core.limits import NESTING_MAX
from foldlog.core.refs import Ref, is_intact

TAG: Final = "$foldlog"
_TAG_END: Final = b'$foldlog"'
_TAG_END_TEXT: Final = _TAG_END.decode()
# A user's key that is TAG, with any number of '$' more in front, is written with one '$' more.
_TAG_LIKE: Final = re.compile(r"\$+foldlog")
# Documents nest deeper than values; Python's own limit differs from version to version.
_DECODED_NESTING_MAX: Final = 2 * NESTING_MAX
_DOLLAR: Final = ord("$")
# Large integers too are left to the second look: orjson writes unsigned ones that nothing else reads.
_EXACT: Final = (
    orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_STRICT_INTEGER
)
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**63 - 1


class Encoded(NamedTuple):
    """A value as JSON: the bytes, an isolated plain copy equal to decoding them, its references.

    `wire` is what the bytes say in JSON's own types, tags included; it may share with `value`.
    """

    data: bytes
    value: Any
    refs: tuple[Ref, ...]
    wire: Any


class _Encoder:
    """One encoding: the references met and whether anything had to be tagged."""

    __slots__ = ("depth_max", "refs", "tagged")

    def __init__(self, depth_max: int) -> None:
        self.depth_max = depth_max
        self.refs: list[Ref] = []
        self.tagged = False

    def plain(self, value: Any, depth: int) -> Any:
        """A copy of `value` made of exact JSON types; raises `Refusal`."""
        kind = type(value)
        if kind is str or kind is bool or value is None:
            return value
        if kind is int:
            if _INT_MIN <= value <= _INT_MAX:
                return value
            raise Refusal("an integer beyond signed 64 bits", "store it as a str or a Decimal")
        if kind is float:
            if math.isfinite(value):
                return value
            raise Refusal(f"the float {value!r}", "JSON has no NaN or infinity; store None or a str")
        if kind is dict:
            return self._map(value, depth)
        if kind is list or kind is tuple:
            return self._list(value, depth)
        return self._other(value, kind, depth)

    def _map(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        if depth >= self.depth_max:
            raise _too_deep(self.depth_max)
        out: dict[str, Any] = {}
        for key, item in value.items():
            try:
                name = key if type(key) is str and key[:1] != "$" else self._name(key)
                out[name] = self.plain(item, depth + 1)
            except Refusal as refusal:
                refusal.path.append(_name_of(key))
                raise
        if len(out) < len(value):
            raise Refusal("two keys that come to the same text", "give each entry a key of its own")
        return out

    def _name(self, key: Any) -> str:
        name = _key(key)
        if _TAG_LIKE.fullmatch(name):
            self.tagged = True
            name = f"${name}"
        return name

    def _list(self, value: list[Any] | tuple[Any, ...], depth: int) -> list[Any]:
        if depth >= self.depth_max:
            raise _too_deep(self.depth_max)
        out: list[Any] = []
        for index, item in enumerate(value):
            try:
                out.append(self.plain(item, depth + 1))
            except Refusal as refusal:
                refusal.path.append(index)
                raise
        return out

    def _tag(self, name: str, value: Any) -> dict[str, Any]:
        self.tagged = True
        return {TAG: name, "value": value}

    def _other(self, value: Any, kind: type[Any], depth: int) -> Any:
        """Everything that is not exactly a JSON type: tagged, reduced to its base, or refused."""
        if kind is Ref:
            if not is_intact(value):
                return self._map(value, depth)
            self.tagged = True
            self.refs.append(value)
            return {TAG: "ref", "kind": "blob", "hash": value["hash"], "bytes": value["bytes"]}
        if isinstance(value, enum.Enum):
            return self.plain(value.value, depth)
        write = WRITERS.get(kind)
        if write is not None:
            return self._tag(NAMES[kind], write(value))
        if kind is set or kind is frozenset:
            return self._tag(NAMES[kind], self._members(value, depth))
        return self._reduced(value, depth)

    def _reduced(self, value: Any, depth: int) -> Any:
        """Subclasses as their base, dataclasses as maps, paths as text."""
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, int):
            return self.plain(int.__index__(value), depth)
        if isinstance(value, float):
            return self.plain(float.__float__(value), depth)
        if isinstance(value, dict):
            return self._map(value, depth)
        if isinstance(value, list | tuple):
            return self._list(value, depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._map(_fields(value), depth)
        if isinstance(value, PurePath):
            return str(value)
        raise Refusal(
            f"a value of class {class_name(type(value))}",
            "pass its plain form (dict, list, str, number), or leave it out and say so in words",
        )

    def _members(self, value: set[Any] | frozenset[Any], depth: int) -> list[Any]:
        """A set's members in a fixed order, each in a form that is hashable when read back."""
        if depth + 1 >= self.depth_max:
            raise _too_deep(self.depth_max)
        members = [self._member(item, depth + 2) for item in value]
        try:
            # By their text: a fixed order, and members that come to the same are written once.
            texts = {orjson.dumps(item, option=orjson.OPT_SORT_KEYS): item for item in members}
        except TypeError as error:
            raise _surrogate(members, str(error)) from None
        return [texts[text] for text in sorted(texts)]

    def _member(self, item: Any, depth: int) -> Any:
        if isinstance(item, enum.Enum):
            return self._member(item.value, depth)
        if isinstance(item, tuple):
            if depth + 1 >= self.depth_max:
                raise _too_deep(self.depth_max)
            return self._tag("tuple", [self._member(part, depth + 2) for part in item])
        if isinstance(item, dict | list) or (dataclasses.is_dataclass(item) and not isinstance(item, type)):
            raise Refusal(f"a value of class {class_name(type(item))} inside a set", "a list keeps such members")
        return self.plain(item, depth)


def _fields(value: Any) -> dict[str, Any]:
    try:
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    except AttributeError:
        raise Refusal(
            f"a value of class {class_name(type(value))} that lacks a field", "set every field before it is recorded"
        ) from None


def _name_of(key: Any) -> str:
    """How a path to a value names a key; what an object says of itself may be anything."""
    if isinstance(key, str):
        return str.__str__(key)
    return repr(key) if type(key) in (int, float, bool, type(None)) else f"<{class_name(type(key))}>"


def _key(key: Any) -> str:
    if isinstance(key, enum.Enum) and isinstance(key.value, str):
        return str.__str__(key.value)
    if isinstance(key, str):
        return str.__str__(key)
    raise Refusal(f"a map key of class {class_name(type(key))}", "JSON keys are str: convert the keys")


def _too_deep(depth_max: int) -> Refusal:
    return Refusal(f"nesting deeper than {depth_max} levels", "flatten the value, or check for a cycle")


def encode(
    value: Any,
    *,
    what: str = "value",
    nesting_max: int = NESTING_MAX,
    bytes_max: int | None = None,
    canonical: bool = False,
) -> Encoded:
    """JSON for `value`, with keys sorted when `canonical` (for hashing values).

    >>> encode({"n": 1, "ok": (True, None)}).data
    b'{"n":1,"ok":[true,null]}'

    Raises `NotSerializableError` with the path to the first value JSON cannot carry, and `LimitError`
    above `bytes_max` bytes.
    """
    if not canonical:
        plain = _plain_json(value, nesting_max)
        if plain is not None and (bytes_max is None or len(plain.data) <= bytes_max):
            return plain
    encoder = _Encoder(nesting_max)
    try:
        wire = encoder.plain(value, 0)
    except Refusal as refusal:
        raise _not_serializable(what, refusal) from None
    except RecursionError:
        raise _not_serializable(what, _too_deep(nesting_max)) from None
    try:
        data = orjson.dumps(wire, option=orjson.OPT_SORT_KEYS if canonical else 0)
    except TypeError as error:
        raise _not_serializable(what, _surrogate(wire, str(error))) from None
    if bytes_max is not None and len(data) > bytes_max:
        raise LimitError(
            f"{what} takes {len(data):,} JSON bytes; the limit is {bytes_max:,}",
            hint="store large values with value_ref(), or raise the limit in Config(limits=…)",
        )
    return Encoded(data, _untag(wire) if encoder.tagged else wire, tuple(encoder.refs), wire)


def canonical_json(value: Any, *, nesting_max: int = NESTING_MAX) -> bytes:
    """`encode(value, canonical=True).data`, for those who need nothing else of it.

    >>> canonical_json({"b": 1, "a": [True]})
    b'{"a":[true],"b":1}'
    """
    plain = _plain_json(value, nesting_max, orjson.OPT_SORT_KEYS)
    return (plain or encode(value, nesting_max=nesting_max, canonical=True)).data


def _plain_json(value: Any, nesting_max: int, option: int = 0) -> Encoded | None:
    """JSON and what it reads back as, where that is equal and nothing needs a second look; else None.

    This is most values, at a third of the cost. Whatever orjson would bend (NaN to null, a UUID to text, a
    tuple to a list) reads back unequal; what only equals its plain form (an enum of str) is that form.
    """
    try:
        data = orjson.dumps(value, option=_EXACT | option)
        if _DOLLAR in data and _TAG_END in data:
            return None
        if data.count(b"{") + data.count(b"[") > nesting_max:  # maybe too deep
            return None
        back = orjson.loads(data)
        return Encoded(data, back, (), back) if back == value else None
    except (TypeError, ValueError, RecursionError):
        return None


def _not_serializable(what: str, refusal: Refusal) -> NotSerializableError:
    path = ""
    for part in reversed(refusal.path):
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    path = path.removeprefix(".").encode("utf-8", "backslashreplace").decode() or what
    return NotSerializableError(f"{path} holds {refusal.why}", hint=refusal.hint, path=path)


def _surrogate(wire: Any, why: str) -> Refusal:
    """Find the text that is not valid Unicode: orjson says that there is one, not where."""
    stack: list[tuple[Any, tuple[str | int, ...]]] = [(wire, ())]
    while stack:
        value, path = stack.pop()
        if isinstance(value, dict):
            stack += [(key, (*path, key.encode("ascii", "backslashreplace").decode())) for key in value]
            stack += [(item, (*path, key)) for key, item in value.items()]
        elif isinstance(value, list):
            stack += [(item, (*path, index)) for index, item in enumerate(value)]
        elif isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
            refusal = Refusal("text with a lone surrogate", "decode the bytes with errors='replace'")
            refusal.path = list(reversed(path))
            return refusal
    return Refusal(f"something orjson refuses ({why})", "pass plain JSON types")


def decode(data: bytes | str) -> Any:
    """The value that `encode` wrote.

    >>> import datetime as dt
    >>> decode(encode({"at": dt.date(2026, 11, 22)}).data)
    {'at': datetime.date(2026, 11, 22)}

    Raises `CorruptJournalError` for bytes that `encode` cannot have written.
    """
    try:
        wire = orjson.loads(data)
        tagged = _TAG_END_TEXT in data if isinstance(data, str) else _TAG_END in data
        return _untag(wire) if tagged else wire
    except (ValueError, TypeError, ArithmeticError, KeyError, AttributeError, RecursionError) as error:
        raise CorruptJournalError(
            f"stored JSON cannot be read ({type(error).__name__})",
            hint="run `foldlog verify STORE`; restore a backup if it reports damage",
        ) from None


def _unescape(key: str) -> str:
    return key[1:] if key[:1] == "$" and _TAG_LIKE.fullmatch(key) else key


def _untag(wire: Any, depth: int = 0) -> Any:
    kind = type(wire)
    if depth > _DECODED_NESTING_MAX:
        raise ValueError("nested deeper than anything that was encoded")
    if kind is dict:
        name = wire.get(TAG)
        if name is None:
            return {_unescape(key): _untag(item, depth + 1) for key, item in wire.items()}
        if name == "ref":
            ref = Ref({key: item for key, item in wire.items() if key != TAG})
            if not is_intact(ref):
                raise ValueError("a reference that is none")
            return ref
        return READERS[name](_untag(wire["value"], depth + 1))
    if kind is list:
        return [_untag(item, depth + 1) for item in wire]
    return wire
