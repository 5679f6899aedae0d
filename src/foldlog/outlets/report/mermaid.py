"""The tree of sessions as a Mermaid flowchart, for a page of Markdown."""

from collections.abc import Iterator
from typing import Any, Final

from foldlog.outlets.report.run import ENDED_WELL, Member, Run

# Mermaid itself refuses more than 500 edges or 50,000 characters.
_SESSIONS_MAX: Final = 300
_LABEL_CHARS_MAX: Final = 60
_STYLES: Final = (
    "  classDef error stroke-width:3px,stroke:#b3261e\n"
    "  classDef running stroke-width:2px,stroke-dasharray:6 3\n"
    "  classDef other stroke-dasharray:2 3\n"
)


def chunks(run: Run) -> Iterator[str]:
    """The diagram, in pieces: a node a session, an arrow a call; a dotted one leads to an attached session."""
    yield "flowchart TD\n"
    shown = run.members[:_SESSIONS_MAX]
    for place, member in enumerate(shown):
        yield f'  s{place}["{_label(member)}"]{_style(member)}\n'
    for place, member in enumerate(shown[1:], 1):
        arrow = "-.->" if member.edge_type == "attached" else "-->"
        yield f'  s{member.parent} {arrow}|"call {_escaped(member.call_id)}"| s{place}\n'
    if len(run.members) > len(shown):
        yield f'  more["{len(run.members) - len(shown):,} more sessions are not drawn"]\n'
    yield _STYLES


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
    if total["status"] == "partial":
        tokens = f"{tokens}, {total['unknown_calls']:,} calls unknown"
    count = member.view.row_count("call")
    return f"{_escaped(name)}<br/>{_escaped(member.status)} · {count:,} call{'' if count == 1 else 's'}<br/>{tokens}"


def _escaped(value: Any) -> str:
    """A text that can be nothing but text inside a quoted label: all but plain characters by their numbers."""
    text = str(value)
    text = text if len(text) <= _LABEL_CHARS_MAX else f"{text[: _LABEL_CHARS_MAX - 1]}…"
    return "".join(char if char.isalnum() or char in " -_./,:" else f"#{ord(char)};" for char in text)
