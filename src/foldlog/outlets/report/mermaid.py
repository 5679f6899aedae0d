"""The tree of sessions as a Mermaid flowchart, for a page of Markdown."""

from collections.abc import Iterator
from typing import Any, Final

from foldlog.outlets.report.run import ENDED_WELL, Member, Run

# Mermaid itself refuses more than 500 edges or 50,000 characters.
_SESSIONS_MAX: Final = 300
_CHARS_MAX: Final = 49_000
_LABEL_CHARS_MAX: Final = 60
_STYLES: Final = (
    "  classDef error stroke-width:3px,stroke:#b3261e\n"
    "  classDef running stroke-width:2px,stroke-dasharray:6 3\n"
    "  classDef other stroke-dasharray:2 3\n"
)


def chunks(run: Run) -> Iterator[str]:
    """The diagram, in pieces: a node a session, an arrow a call; a dotted one leads to an attached session."""
    yield "flowchart TD\n"
    chars = drawn = 0
    arrows: list[str] = []
    for place, member in enumerate(run.members[:_SESSIONS_MAX]):
        node, arrow = f'  s{place}["{_label(member)}"]{_style(member)}\n', _arrow(place, member)
        chars += len(node) + len(arrow)
        if chars > _CHARS_MAX:
            break
        yield node
        arrows.append(arrow)
        drawn += 1
    yield from arrows
    if left := len(run.members) - drawn:
        yield f'  more["{_plural(left, "more session")} not drawn"]\n'
    yield _STYLES


def _arrow(place: int, member: Member) -> str:
    if member.parent is None:
        return ""
    line = "-.->" if member.edge_type == "attached" else "-->"
    return f'  s{member.parent} {line}|"call {_escaped(member.call_id)}"| s{place}\n'


def _style(member: Member) -> str:
    if member.status in ("error", "running"):
        return f":::{member.status}"
    return "" if member.status in ENDED_WELL else ":::other"


def _label(member: Member) -> str:
    name = member.session_id if member.parent is None else member.name
    if member.usage is None or member.view is None:
        return f"{_escaped(name)}<br/>{'shown above' if member.status == 'referenced' else 'not in this store'}"
    total = member.usage["total_tree"]["total_tokens"]
    tokens = f"{total['known']:,} tokens" if "known" in total else "tokens unknown"
    calls = _plural(member.view.row_count("call"), "call")
    if member.usage["children"]["child_count"]:
        tokens, calls = f"{tokens} with all below", f"{calls} of its own"
    if total["status"] == "partial":
        tokens = f"{tokens},<br/>unknown for {_plural(total['unknown_calls'], 'model call')}"
    return f"{_escaped(name)}<br/>{_escaped(member.status)} · {calls}<br/>{tokens}"


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _escaped(value: Any) -> str:
    """A text that can be nothing but text inside a quoted label: all but plain characters by their numbers."""
    text = str(value)
    text = text if len(text) <= _LABEL_CHARS_MAX else f"{text[: _LABEL_CHARS_MAX - 1]}…"
    return "".join(char if char.isalnum() or char in " -_./," else _numbered(char) for char in text)


def _numbered(char: str) -> str:
    """A character by its number; a space of no width after it where two make an icon, a formula or a line's end."""
    return f"#{ord(char)};#8203;" if char in ":$\\" else f"#{ord(char)};"
