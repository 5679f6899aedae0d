"""One session's transcript as Markdown: its messages, code and calls in the order they were recorded.

Nothing is cut. What was recorded stands in fenced blocks, so that it stays text whatever it holds.
The sessions below are named by the calls that lead to them; each has a transcript of its own.
"""

import re
from collections.abc import Iterator
from typing import Any

from foldlog.core.measures import COST_ALIASES, TOKEN_ALIASES, first_number
from foldlog.core.rows import Entry, Row
from foldlog.outlets.report.run import Run
from foldlog.outlets.report.texts import Values, milliseconds, readable, readable_error


def chunks(run: Run) -> Iterator[str]:
    """The transcript, in pieces."""
    root, final = run.root, run.final
    yield f"# {_plain(root.session_id)}\n\n"
    yield f"- status: {_plain(root.status)}\n"
    for name, key in _COUNTS.items():
        yield f"- {name}: {final[key]:,}\n"
    total, usd = final["usage"]["total_tree"], final["usage"]["cost"]["total_tree"]["usd"]
    for key in ("input_tokens", "output_tokens", "total_tokens"):
        yield f"- {key.replace('_', ' ')}, sessions below included: {_sum(total[key])}\n"
    yield f"- cost in US dollars, sessions below included: {_sum(usd)}\n"
    yield f"- as of: {run.made_at}\n"
    if final.get("error") is not None:
        yield f"\nError:\n\n{_fenced(readable_error(final['error']))}"
    values, turn_id = Values(run.store.database), None
    for _, kind, row_id, entry in _in_order(run):
        found = row_id if kind == "turn" else entry.row.get("turn_id")
        if found is not None and found != turn_id:
            turn_id = found
            yield f"\n## Turn {_plain(turn_id)}\n"
        if kind != "turn":
            yield from _ENTRIES[kind](entry.row, values)
    if "value_ref" in final:
        yield f"\n## Final value\n\n{_fenced(values.text(final['value_ref']))}"


_COUNTS = {"turns": "turn_count", "calls": "call_count", "evals": "eval_count", "children": "child_count"}


def _in_order(run: Run) -> list[tuple[int, str, Any, Entry]]:
    found = [
        (entry.first_event_id, kind, row_id, entry)
        for kind in ("turn", "message", "eval", "call")
        for row_id, entry in run.root.rows(kind)
    ]
    return sorted(found, key=lambda one: one[0])


def _message(row: Row, _values: Values) -> Iterator[str]:
    yield f"\n### {_plain(row.get('role') or 'message')} · message {_plain(row['id'])}\n\n"
    yield _fenced(row.get("content"))


def _eval(row: Row, values: Values) -> Iterator[str]:
    yield f"\n### eval {_plain(row['id'])} · {_plain(row.get('status'))}\n\n"
    if row.get("code") is not None:
        yield _fenced(row["code"], "python")
    for key in ("stdout", "stderr", "value", "error"):
        if row.get(key):
            yield f"\n{key}:\n\n{_fenced(readable_error(row[key]))}"
    if row.get("final_ref") is not None:
        yield f"\nfinal value:\n\n{_fenced(values.text(row['final_ref']))}"


def _call(row: Row, values: Values) -> Iterator[str]:
    parts = [f"call {row['id']}", row.get("type"), row.get("provider"), row.get("model"), row.get("status")]
    begin, end = milliseconds(row.get("started_at")), milliseconds(row.get("ended_at"))
    if begin is not None and end is not None:
        parts.append(f"{end - begin:,} ms")
    for name, aliases in TOKEN_ALIASES.items():
        number = first_number(row.get("usage"), aliases)
        parts += [] if number is None else [f"{number:,} {name.replace('_', ' ')}"]
    usd = first_number(row.get("cost"), COST_ALIASES)
    parts += [] if usd is None else [f"{usd:.6g} US dollars"]
    parts += [f"leads to {row['child_session_id']}"] if row.get("child_session_id") else []
    yield f"\n- {' · '.join(_plain(part) for part in parts if part is not None)}\n"
    for key in ("query", "error"):
        if row.get(key):
            yield f"\n{key}:\n\n{_fenced(readable_error(row[key]))}"
    for key in ("response_ref", "result_ref"):
        if row.get(key) is not None:
            yield f"\n{key.removesuffix('_ref')}:\n\n{_fenced(values.text(row[key]))}"


_ENTRIES = {"message": _message, "eval": _eval, "call": _call}


def _sum(measure: dict[str, Any]) -> str:
    if "known" not in measure:
        return "unknown"
    known = measure["known"]
    text = f"{known:,}" if isinstance(known, int) else f"{known:.6g}"
    if "unknown_calls" not in measure:
        return text
    count = measure["unknown_calls"]
    return f"{text}, not counting {count:,} call{'' if count == 1 else 's'} that did not tell"


def _fenced(value: Any, language: str = "text") -> str:
    """A value as a code block that nothing in it can end."""
    text = readable(value)
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}{'' if text.endswith(chr(10)) else chr(10)}{fence}\n"


def _plain(value: Any) -> str:
    """A word in a line of Markdown: on one line, with nothing in it that means anything there."""
    text = " ".join(str(value).split())
    return "".join(f"&#{ord(char)};" if char in "\\`*_{}[]<>()#+!|&~$" else char for char in text)
