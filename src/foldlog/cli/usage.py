"""The verb that adds up: usage. The sums are those of `foldlog.outlets.calls`."""

from typing import Final

import click

from foldlog.cli import arguments
from foldlog.cli.forms import TABLE, Row, print_rows, row_forms
from foldlog.cli.output import money, next_commands, say
from foldlog.core.ids import session_name

_BY: Final = ("tree", "session", "turn", "model", "call")
_HEADS: Final = {
    "session_id": "session", "turn_id": "turn", "call_id": "call", "call_count": "calls", "input_tokens": "input",
    "output_tokens": "output", "total_tokens": "total", "cached_tokens": "cached", "status": "usage",
    "usd_status": "cost",
}  # fmt: skip
_NAMES: Final = frozenset({"session_id", "turn_id", "call_id", "type", "provider", "model"})


@click.command()
@arguments.store
@arguments.optional_session
@click.option("--by", type=click.Choice(_BY), default="tree", show_default=True, help="What a row is.")
@row_forms
def usage(store_path: arguments.Place, session: str | None, *, by: str, form: str) -> None:
    """Say what was used: tokens and cost.

    Of SESSION and all below it, as of now; of all sessions, as of their last checkpoints. By tree a row is a
    session with all below it; by session it is what the session took itself. Only model calls count. A sum
    is of what is known; usage and cost say whether that is all (known), some (partial) or nothing (unknown).

    \b
    Example:   foldlog usage history.db
               foldlog usage history.db demo
               foldlog usage history.db demo --by model
               foldlog usage history.db --by session --csv
    """
    from foldlog.outlets import calls  # noqa: PLC0415  (see `foldlog.cli.main`)

    with arguments.open_to_read(store_path) as store:
        found = None if session is None else store.find_session(session)
        costs: list[object] = []

        def named(row: Row) -> Row:
            if row["usd"] is not None:
                costs[:] = [row["usd"]]
            return {"by": by, **row}

        rows = map(named, calls.BY[by](store, found))
        count = print_rows("usage", rows, form, listed=_listed, absent="unknown")
        behind = len(calls.lagging(store)) if found is None and form == TABLE else 0
    if form != TABLE:
        return
    if not count:
        say("no model calls" if by in ("turn", "model", "call") else f"{store_path} has no sessions")
        return
    if behind:
        say("sessions went on after their last checkpoint; give one to count all of it")
    which = [found] if found is not None else []
    first = ("--costliest", 10) if costs else ("--slowest", 10)
    by_model = [("usage", store_path, *which, "--by", "model")] if by != "model" else []
    next_commands(*by_model, ("calls", store_path, *which, *first))


def _listed(row: Row) -> Row:
    """A row with what a person reads: a tree by how far its names stand in."""
    found = {_HEADS.get(key, key): _named(key, value) for key, value in row.items() if key not in ("by", "depth")}
    found["usd"] = money(row["usd"])
    if row.get("depth"):
        found["session"] = "  " * row["depth"] + session_name(row["session_id"] or "?")
    return found


def _named(key: str, value: object) -> object:
    return "" if value is None and key in _NAMES else value


COMMANDS: Final = (usage,)
