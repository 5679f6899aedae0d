"""The verb that prints a session as a transcript: messages, and the code that ran between them.

What stands behind references is read by `foldlog.cli.values`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from foldlog.cli import arguments
from foldlog.cli.forms import CSV, TABLE, Row, print_rows, row_forms
from foldlog.cli.output import next_commands, say, shown, strong

if TYPE_CHECKING:
    from foldlog.core.view import View
    from foldlog.store.store import Store


class _Entry(NamedTuple):
    """A message or an eval, in its place."""

    event_id: int
    kind: str
    row: dict[str, Any]


@click.command()
@arguments.store
@arguments.session
@click.option("--turn", metavar="ID", help="Only what belongs to this turn.")
@click.option("--role", multiple=True, metavar="ROLE", help="Only messages of this role; again for more.")
@click.option("--last", type=arguments.COUNT, metavar="N", help="The last N only.")
@click.option("--full", is_flag=True, help="Whole values: nothing is cut, what references lead to is read.")
@row_forms
def messages(
    store_path: arguments.Place,
    session: str,
    *,
    turn: str | None,
    role: tuple[str, ...],
    last: int | None,
    full: bool,
    form: str,
) -> None:
    """Print a session as a transcript.

    Messages and the code that was run, in order, as of now; long texts are cut, --full gives all of them.
    With --role there is no code. With --json each line has `kind` (message or eval) and the row under `row`.

    \b
    Example:   foldlog messages history.db demo
               foldlog messages history.db demo --last 2 --full
               foldlog messages history.db demo --role user --json
    """
    with arguments.open_to_read(store_path) as store:
        found = store.find_session(session)
        view = store.view(found)
        if turn is not None:
            arguments.turn_id(store, found, turn)
        entries = _entries(view, turn, role)
        chosen = entries[-last:] if last else entries
        if form == TABLE:
            _print(store, view, chosen, full=full)
        else:
            _print_rows(store, found, chosen, form, full=full)
    if form != TABLE:
        return
    if not chosen:
        say(f"{found} has no such messages" if turn or role else f"{found} has no messages")
        return
    if len(chosen) < len(entries):
        say(f"the last {len(chosen)} of {len(entries)}")
    address = f"{found}:{chosen[-1].kind}/{chosen[-1].row['id']}"
    next_commands(("show", store_path, address, "--full"), ("calls", store_path, found))


def _entries(view: "View", turn: str | None, roles: tuple[str, ...]) -> list[_Entry]:
    kinds = ("message",) if roles else ("message", "eval")
    found = [_Entry(entry.first_event_id, kind, entry.row) for kind in kinds for _, entry in view.moment(kind)]
    wanted = [
        entry
        for entry in found
        if (turn is None or str(entry.row.get("turn_id")) == turn) and (not roles or entry.row.get("role") in roles)
    ]
    return sorted(wanted, key=lambda entry: entry.event_id)


def _print_rows(store: "Store", session_id: str, entries: list[_Entry], form: str, *, full: bool) -> None:
    from foldlog.cli import values  # noqa: PLC0415  (with the codec behind it; see `foldlog.cli.main`)

    def rows() -> Iterator[Row]:
        for entry in entries:
            row = values.read(store, entry.row) if full else entry.row
            if form == CSV:
                text = values.text_of(row.get("content" if entry.kind == "message" else "code"))
                named = {"session_id": session_id, "kind": entry.kind, "id": row["id"], "turn_id": row.get("turn_id")}
                yield {**named, "role": row.get("role"), "text": text}
            else:
                yield {"session_id": session_id, "kind": entry.kind, "row": row}

    print_rows("messages", rows(), form)


def _print(store: "Store", view: "View", entries: list[_Entry], *, full: bool) -> None:
    from foldlog.cli import values  # noqa: PLC0415

    turn_id: Any = None
    for at, entry in enumerate(entries):
        row = entry.row
        if row.get("turn_id") is not None and row["turn_id"] != turn_id:
            turn_id = row["turn_id"]
            click.echo(f"{'' if at == 0 else chr(10)}{strong(_turn_line(view, turn_id))}")
        if entry.kind == "eval":
            _print_eval(store, row, full=full)
            continue
        click.echo(f"\n{strong(_message_line(view, row))}")
        click.echo(values.lines(values.read(store, row.get("content")), "  ", full=full))


def _turn_line(view: "View", turn_id: Any) -> str:
    turn = view.read_row("turn", turn_id) or {}
    return shown(f"--- turn {turn_id}, {turn.get('status', 'unknown')} {_span(turn)}".rstrip())


def _span(row: dict[str, Any]) -> str:
    times = [row[key][:19].replace("T", " ") for key in ("started_at", "ended_at") if isinstance(row.get(key), str)]
    return " to ".join(times)


def _message_line(view: "View", row: dict[str, Any]) -> str:
    words = [f"[{row['id']}] {row.get('role')}"]
    call = view.read_row("call", row["call_id"]) if row.get("call_id") is not None else None
    if call is not None:
        words.append(", ".join(str(word) for word in (f"call {call['id']}", call.get("model")) if word))
    return shown("  ".join(words))


def _print_eval(store: "Store", row: dict[str, Any], *, full: bool) -> None:
    from foldlog.cli import values  # noqa: PLC0415

    took = row.get("elapsed_ms")
    head = f"[eval {row['id']}] code, {row.get('status', 'unknown')}{'' if took is None else f', {took:g} ms'}"
    click.echo(f"\n{strong(shown(head))}")
    click.echo(values.lines(row.get("code") or "", "    ", full=full))
    for key in ("stdout", "stderr", "value", "final_value", "error"):
        found = values.read(store, row.get(key))
        if found not in (None, ""):
            click.echo(f"  {key}:\n{values.lines(found, '    ', full=full)}")


COMMANDS: Final = (messages,)
