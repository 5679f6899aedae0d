"""Values as text for people, and texts cut so that a page stays small and says what it left out.

Which texts there are is `foldlog.outlets.report.data`'s business; that they stay text, the page's.
"""

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import orjson

from foldlog.core.codec import decode
from foldlog.core.columns import dump
from foldlog.core.errors import MissingBlobError
from foldlog.core.ids import is_hash
from foldlog.storage.blobs import Reader

if TYPE_CHECKING:
    from foldlog.storage.database import Database

# JSON up to this size is indented; a larger one is cut anyway.
_INDENT_CHARS_MAX: Final = 50_000
# Blobs are read for a page while they are not too large, one by one and together.
_BLOB_BYTES_MAX: Final = 256 * 1024
_BLOBS_BYTES_MAX: Final = 16 * 1024 * 1024
# All texts of a page together, as they stand in the file; and what one text may have: the first that fits.
TEXTS_BYTES_MAX: Final = 2_000_000
TEXT_CHARS: Final = (6000, 3000, 1500, 800, 400, 200, 100, 40, 0)


def readable(value: Any) -> str:
    """A value as text: text as it is, a model's text blocks and messages as their text, the rest as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        parts = [_part(item) for item in value]
        if None not in parts:
            return "\n\n".join(part for part in parts if part)
    text = dump(value)
    if len(text) > _INDENT_CHARS_MAX:
        return text
    return orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2).decode()


def _part(item: Any) -> str | None:
    """A text block (`{"type": "text", "text": …}`) or a message (`{"role": …, "content": …}`) as text, or None."""
    if not isinstance(item, dict):
        return None
    if item.keys() == {"type", "text"} and item["type"] == "text":
        return item["text"] if isinstance(item["text"], str) else None
    if isinstance(item.get("role"), str) and "content" in item:
        others = {key: value for key, value in item.items() if key not in ("role", "content")}
        content = "" if item["content"] is None else readable(item["content"])
        return "\n".join([f"[{item['role']}]", content, *([readable(others)] if others else [])])
    return None


def readable_error(value: Any) -> str:
    """An error as text; one that is just a type and a message, as scopes record it, as people write it."""
    if isinstance(value, dict) and value.keys() == {"type", "message"} and all(type(v) is str for v in value.values()):
        return f"{value['type']}: {value['message']}"
    return readable(value)


def milliseconds(value: Any) -> int | None:
    """A time of a row in ms since 1970, or None for what is no time."""
    found = microseconds(value)
    return None if found is None else round(found / 1000)


def microseconds(value: Any) -> int | None:
    """A time of a row in µs since 1970, or None for what is no time."""
    if not isinstance(value, str):
        return None
    try:
        moment = dt.datetime.fromisoformat(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return (moment - _EPOCH) // _MICROSECOND


_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)


class Values:
    """Reads the values that references stand for, as text, while a report may."""

    def __init__(self, database: "Database") -> None:
        self._reader = Reader(database)
        self._left_bytes = _BLOBS_BYTES_MAX

    def text(self, ref: Any) -> str:
        """The value's text, or in brackets why it is not shown."""
        if not isinstance(ref, dict) or "kind" not in ref:
            return readable(ref)
        if ref["kind"] == "inline" and "value" in ref:
            return readable(ref["value"])
        name, size = ref.get("hash"), ref.get("bytes")
        if ref["kind"] != "blob" or not is_hash(name) or not isinstance(size, int):
            return readable(dict(ref))
        if size > min(_BLOB_BYTES_MAX, self._left_bytes):
            return f"[a value of {size:,} bytes, {name}: an export has it]"
        self._left_bytes -= size
        try:
            body = self._reader.read(str(name))
        except MissingBlobError:
            body = None
        return f"[{name} is missing or damaged]" if body is None else readable(decode(body))


class Text:
    """A text of a page: its beginning, and how long all of it is."""

    __slots__ = ("head", "length")

    def __init__(self, text: str) -> None:
        self.head = text[: TEXT_CHARS[0]]
        self.length = len(text)

    def shown(self, chars: int) -> Any:
        """The text, or `{"cut": its beginning, "left": characters left out}`."""
        if self.length <= chars:
            return self.head
        return {"cut": self.head[:chars], "left": self.length - chars}


class Texts:
    """The texts of a page, cut alike so that all of them together stay in bounds."""

    def __init__(self) -> None:
        self._texts: list[Text] = []

    def add(self, text: str | None) -> Text | None:
        """Take in a text; None and nothing are None."""
        if not text:
            return None
        found = Text(text)
        self._texts.append(found)
        return found

    def chars(self) -> int:
        """How many characters each text may have."""
        return next(
            (chars for chars in TEXT_CHARS if sum(_size(text, chars) for text in self._texts) <= TEXTS_BYTES_MAX), 0
        )


def _size(text: Text, chars: int) -> int:
    head = text.head[:chars]
    return len(orjson.dumps(head)) + 5 * sum(map(head.count, "<>&\u2028\u2029"))
