"""Values for people: references read and previewed, maps and lists as lines. Nothing here prints."""

import json
from typing import TYPE_CHECKING, Any, Final

from foldlog.cli.output import block, plural

if TYPE_CHECKING:
    from foldlog.store.store import Store

_TEXT_CHARS_MAX: Final = 2000
_LINES_MAX: Final = 40
# So deep references are read inside values that references led to.
_DEPTH_MAX: Final = 20


def read(store: "Store", value: Any, depth: int = 0) -> Any:
    """A value with what stands behind its references in their place; what is missing says so."""
    from foldlog.core.errors import FoldlogError  # noqa: PLC0415  (see `foldlog.cli.main`)
    from foldlog.core.refs import Ref  # noqa: PLC0415

    if depth > _DEPTH_MAX:
        return value
    if isinstance(value, Ref) or _is_inline(value):
        try:
            return read(store, store.read_ref(value), depth + 1)
        except FoldlogError as error:
            return {"error": error.message}
    if isinstance(value, dict):
        return {key: read(store, item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [read(store, item, depth + 1) for item in value]
    return value


def _is_inline(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"kind", "value"} and value["kind"] == "inline"


def text_of(value: Any) -> str:
    """A value as text: text itself, the texts of a list of parts, else indented JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(_is_part(item) for item in value):
        return "\n".join(item["text"] for item in value)
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _is_part(value: Any) -> bool:
    """Whether this is a part of a message's content, as providers cut it, that is text."""
    return isinstance(value, dict) and value.get("type") == "text" and isinstance(value.get("text"), str)


def lines(value: Any, indent: str, *, full: bool, lines_max: int = _LINES_MAX) -> str:
    """A value as lines for a terminal, cut where it is long unless all of it is wanted."""
    text = text_of(value)
    if full:
        return block(text, indent)
    kept = "\n".join(text[:_TEXT_CHARS_MAX].split("\n")[:lines_max])
    rest = len(text) - len(kept)
    return block(kept, indent) + (f"\n{indent}... {plural(rest, 'more character')} (--full)" if rest else "")
