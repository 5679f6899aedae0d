"""The verbs that show one thing: show, of a session or a row in it, and tree.

A row's address is its session's id, a colon, its kind, a slash and its own id: `demo:call/3`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from foldlog.cli import arguments
from foldlog.cli.forms import json_form, print_json
from foldlog.cli.output import UNKNOWN, heading, money, next_commands, number, plural, say, shown, strong, table

if TYPE_CHECKING:
    from foldlog.store.store import Store

_LAST_MESSAGES: Final = 3
_ERRORS_MAX: Final = 10
_VALUE_LINES_MAX: Final = 12
_CHILDREN_MAX: Final = 20
_LINE_CHARS_MAX: Final = 100
_FACTS: Final = ("kind", "status", "created_at", "ended_at", "provider", "prompt")
# What is said behind a sum that is not of all calls.
_IN_PART: Final = {"partial": "; some calls did not tell"}
_LINEAGE: Final = ("parent", "resumed_from", "forked_from")


@click.command()
@arguments.store
@click.argument("address", metavar="SESSION[:KIND/ID]", type=arguments.AddressType())
@click.option("--full", is_flag=True, help="Whole values: nothing is cut, what references lead to is read.")
@json_form
def show(store_path: arguments.Place, address: str, *, full: bool, as_json: bool) -> None:
    """Show a session, or one row of it.

    Of a session: facts, usage, value or error, its children, the last messages, what went wrong; as of now.
    Of a row: all its keys. KIND is message, turn, eval, call, snapshot or event.

    \b
    Example:   foldlog show history.db demo
               foldlog show history.db demo/child-0001
               foldlog show history.db demo:turn/1
               foldlog show history.db demo/child-0001:call/1 --full
    """
    name, colon, row = address.partition(":")
    with arguments.open_to_read(store_path) as store:
        found = store.find_session(name)
        if colon:
            related = _show_row(store, found, row, full=full, as_json=as_json)
        else:
            related = _show_session(store, found, full=full, as_json=as_json)
    if not as_json:
        next_commands(*((verb, store_path, *rest) for verb, *rest in related))


# A session.


def _show_session(store: "Store", session_id: str, *, full: bool, as_json: bool) -> list[tuple[Any, ...]]:
    """Print a session; what to ask next."""
    from foldlog.outlets import calls  # noqa: PLC0415  (see `foldlog.cli.main`)

    view, final = store.view(session_id), store.final(session_id)
    children = store.tree(session_id)["children"]
    found: dict[str, Any] = {
        "session": view.session,
        "final": final,
        "counters": view.counters,
        "children": [{key: child[key] for key in child if key not in ("children", "usage")} for child in children],
        "last_messages": [entry.row for _, entry in view.moment("message")[-_LAST_MESSAGES:]],
        "errors": list(_errors(view)),
    }
    if as_json:
        print_json("show", found)
        return []
    click.echo(strong(session_id))
    _facts(view.session, final, calls.measures_of(final["usage"]), view.counters["event"])
    _value(store, final, full=full)
    _children(children)
    _messages(store, found["last_messages"], view.row_count("message"))
    _print_errors(session_id, found["errors"])
    related: list[tuple[Any, ...]] = [("messages", session_id), ("calls", session_id, "--slowest", 5)]
    related += [("show", child["session_id"]) for child in children[:1] if child["session_id"]]
    return related + [("show", f"{session_id}:{row['kind']}/{row['id']}") for row in found["errors"][:1]]


def _facts(session: dict[str, Any], final: dict[str, Any], used: dict[str, Any], event_count: int) -> None:
    for key in _FACTS:
        if session.get(key) is not None:
            _fact(key, session[key])
    for key in _LINEAGE:
        if isinstance(session.get(key), dict):
            _fact(key.replace("_", " "), session[key].get("session_id"))
    counts = {"turn": final["turn_count"], "call": final["call_count"], "eval": final["eval_count"]}
    _fact("has", ", ".join(plural(count, noun) for noun, count in (*counts.items(), ("event", event_count))))
    names = ("input", "output", "total", "cached")
    told = [f"{number(used[f'{name}_tokens'])} {name}" for name in names if used[f"{name}_tokens"] is not None]
    _fact("tokens", f"{', '.join(told)}, with all below{_IN_PART.get(used['status'], '')}" if told else UNKNOWN)
    usd = used["usd"]
    _fact("cost", UNKNOWN if usd is None else f"{number(money(usd))} usd{_IN_PART.get(used['usd_status'], '')}")


def _fact(key: str, value: Any) -> None:
    text = value if isinstance(value, str) else str(value)
    kept = text[:_LINE_CHARS_MAX]
    click.echo(f"  {key:<12}  {shown(kept)}{'...' if len(text) > len(kept) else ''}")


def _value(store: "Store", final: dict[str, Any], *, full: bool) -> None:
    from foldlog.cli import values  # noqa: PLC0415

    for key, name in (("value_ref" if full else "value_preview", "Value"), ("error", "Error")):
        if final.get(key) is not None:
            heading(name)
            found = values.read(store, final[key])
            click.echo(values.lines(found, "  ", full=full, lines_max=_VALUE_LINES_MAX))


def _children(children: list[dict[str, Any]]) -> None:
    if not children:
        return
    heading(f"Children ({len(children)})")
    table(
        {
            "session": child["session_id"] or "?",
            "status": child["status"],
            "calls": child["call_count"],
            "evals": child["eval_count"],
            "call": child["call_id"],
            "edge": child["edge_type"],
        }
        for child in children[:_CHILDREN_MAX]
    )
    if len(children) > _CHILDREN_MAX:
        click.echo(f"  and {len(children) - _CHILDREN_MAX} more: foldlog tree")


def _messages(store: "Store", rows: list[dict[str, Any]], count: int) -> None:
    from foldlog.cli import values  # noqa: PLC0415

    if not rows:
        return
    heading(f"Messages ({count})" if count == len(rows) else f"Last messages ({len(rows)} of {count})")
    for row in rows:
        text = " ".join(values.text_of(values.read(store, row.get("content"))).split())
        more = "..." if len(text) > _LINE_CHARS_MAX else ""
        click.echo(f"  [{row['id']}] {shown(str(row.get('role')))}: {shown(text[:_LINE_CHARS_MAX])}{more}")


def _errors(view: Any) -> Iterator[dict[str, Any]]:
    for kind in ("turn", "call", "eval"):
        for row_id, entry in view.moment(kind):
            if entry.row.get("status") in ("error", "interrupted"):
                named = {"kind": kind, "id": row_id, "status": entry.row["status"]}
                yield {**named, "error": entry.row.get("error")}


def _print_errors(session_id: str, rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    heading(f"What went wrong ({len(rows)})")
    table(
        {
            "address": f"{session_id}:{row['kind']}/{row['id']}",
            "status": row["status"],
            "error": "" if row["error"] is None else str(row["error"])[:_LINE_CHARS_MAX],
        }
        for row in rows[:_ERRORS_MAX]
    )


# A row.


def _show_row(store: "Store", session_id: str, which: str, *, full: bool, as_json: bool) -> list[tuple[Any, ...]]:
    """Print a row; what to ask next."""
    from foldlog.cli import values  # noqa: PLC0415

    kind, row = _row(store, session_id, which)
    if as_json:
        print_json("show", {"session_id": session_id, "kind": kind, "row": values.read(store, row) if full else row})
        return []
    click.echo(strong(f"{session_id}:{kind}/{row['id']}"))
    for key, value in row.items():
        found = values.read(store, value)
        text = values.text_of(found)
        if found is None or (len(text) <= _LINE_CHARS_MAX and "\n" not in text):
            click.echo(f"  {shown(key):<22}  {'' if found is None else shown(text)}".rstrip())
        else:
            click.echo(f"  {shown(key)}\n{values.lines(found, '    ', full=full)}")
    return _related(session_id, kind, row)


def _related(session_id: str, kind: str, row: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The verbs, with what follows the store, that lead on from a row."""
    found: list[tuple[Any, ...]] = []
    if kind == "turn":
        found += [("messages", session_id, "--turn", row["id"]), ("calls", session_id, "--turn", row["id"])]
    elif kind != "event" and row.get("turn_id") is not None:
        found.append(("show", f"{session_id}:turn/{row['turn_id']}"))
    if isinstance(row.get("child_session_id"), str):
        found.append(("show", row["child_session_id"]))
    return found or [("show", session_id)]


def _row(store: "Store", session_id: str, which: str) -> tuple[str, dict[str, Any]]:
    from foldlog.core.errors import UnknownRowError  # noqa: PLC0415
    from foldlog.core.rows import KINDS  # noqa: PLC0415

    kind, _, name = which.partition("/")
    row_id = arguments.row_id(name)
    row = None
    if kind in KINDS:
        row = store.view(session_id).read_row(kind, row_id)
    elif kind == "event":
        row = _event(store, session_id, row_id)
    else:
        raise UnknownRowError(f"{kind!r} is no kind of row", hint=f"use one of {', '.join((*KINDS, 'event'))}")
    if row is None:
        raise arguments.unknown_row(session_id, kind, name)
    return kind, row


def _event(store: "Store", session_id: str, event_id: int | str) -> dict[str, Any] | None:
    from foldlog.session.events import event_of  # noqa: PLC0415
    from foldlog.storage import event_feed, journal  # noqa: PLC0415

    if not isinstance(event_id, int) or event_id < 1:
        return None
    stream = journal.find_stream(store.database, session_id)
    found = event_feed.read_stream(store.database, stream, after=event_id - 1, through=event_id)
    return next((event_of(stored) for stored in found), None)


# A tree.


@click.command()
@arguments.store
@arguments.session
@json_form
def tree(store_path: arguments.Place, session: str, *, as_json: bool) -> None:
    """Show a session and those below it as a tree.

    Each with its status, its own calls and evals, and what it used with all below it; as of now.

    \b
    Example:   foldlog tree history.db demo
               foldlog tree history.db demo --json
    """
    with arguments.open_to_read(store_path) as store:
        found = store.find_session(session)
        document = store.tree(found)
        if as_json:
            print_json("tree", document)
            return
        evals = store.final(found)["eval_count"]
        top = {**document, "name": found, "eval_count": evals, "usage": store.usage(found)}
    rows = list(_tree_rows(top, 0))
    table(rows, indent="", absent="unknown")
    child = next((child["session_id"] for child in document["children"] if child["session_id"]), None)
    next_commands(("show", store_path, child or found), ("usage", store_path, found))
    if not document["children"]:
        say(f"{found} has no children")


def _tree_rows(entry: dict[str, Any], depth: int) -> Iterator[dict[str, Any]]:
    from foldlog.outlets import calls  # noqa: PLC0415

    used = calls.measures_of(entry["usage"] or {"status": "unknown"})
    yield {
        "session": "  " * depth + (entry["name"] or "?"),
        "status": entry["status"] or "missing",
        "calls": entry["call_count"],
        "evals": entry["eval_count"],
        "tokens": used["total_tokens"],
        "usd": money(used["usd"]),
        "usage": used["status"],
        "edge": entry.get("edge_type", ""),
    }
    for child in entry["children"]:
        yield from _tree_rows(child, depth + 1)


COMMANDS: Final = (show, tree)
