"""The verb that lists calls: all, or those that failed, were slow or cost much."""

import datetime as dt
import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from foldlog.cli import arguments
from foldlog.cli.forms import TABLE, Row, print_rows, row_forms
from foldlog.cli.output import money, next_commands, say
from foldlog.core.ids import session_name

if TYPE_CHECKING:
    from foldlog.store.store import Store

# What foldlog itself calls them; an application may have its own.
_STATUSES: Final = ("running", "ok", "final", "error", "interrupted")
_TYPES: Final = ("root", "leaf", "leaf_batch_item", "child", "child_batch_item", "attached_child")


@click.command()
@arguments.store
@arguments.optional_session
@click.option("--status", multiple=True, metavar="STATUS", help="Only of this status; again for more.")
@click.option("--model", multiple=True, metavar="MODEL", help="Only to this model; again for more.")
@click.option("--type", "kinds", multiple=True, metavar="TYPE", help="Only of this type: root, leaf, child …")
@click.option("--turn", metavar="ID", help="Only those of this turn of SESSION itself.")
@click.option("--slowest", type=arguments.COUNT, metavar="N", help="The N that took longest.")
@click.option("--costliest", type=arguments.COUNT, metavar="N", help="The N that cost most.")
@click.option("--limit", "-n", type=arguments.COUNT, metavar="N", help="The first N only.")
@row_forms
def calls(
    store_path: arguments.Place,
    session: str | None,
    *,
    status: tuple[str, ...],
    model: tuple[str, ...],
    kinds: tuple[str, ...],
    turn: str | None,
    slowest: int | None,
    costliest: int | None,
    limit: int | None,
    form: str,
) -> None:
    """List calls: all, or the slow, the failed.

    Of SESSION and all below it, as of now; of all sessions, as of their last checkpoints. In the order they
    were started. Calls whose time, or cost, is not known are left out where that is asked for. A status or
    type that no call can have or has is a mistake: exit 2.

    \b
    Example:   foldlog calls history.db demo
               foldlog calls history.db --status error --status interrupted
               foldlog calls history.db demo --type leaf --slowest 5
               foldlog calls history.db --costliest 5 --json
    """
    if slowest and costliest:
        raise click.UsageError("--slowest or --costliest, not both")
    if turn is not None and session is None:
        raise click.UsageError("--turn needs SESSION: a turn's id is its own")
    from foldlog.outlets import calls as outlet  # noqa: PLC0415  (see `foldlog.cli.main`)

    only: dict[str, tuple[Any, ...]] = {"status": status, "model": model, "type": kinds}
    only = {name: values for name, values in only.items() if values}
    order, count = ("slowest", slowest) if slowest else ("costliest", costliest)
    with arguments.open_to_read(store_path) as store:
        found = None if session is None else store.find_session(session)
        if turn is not None and found is not None:
            only |= {"turn_id": (arguments.turn_id(store, found, turn),), "session_id": (found,)}
        if count and found is None:
            rows: Iterable[Row] = outlet.first(store, order, count, only)
        else:
            rows = outlet.read(store, found, only)
        timed: Iterable[Row] = map(_timed, rows)
        if count and found is not None:
            timed = _first(timed, "seconds" if slowest else "usd", count)
        shown_rows = list(itertools.islice(timed, limit)) if form == TABLE else itertools.islice(timed, limit)
        printed = print_rows("calls", shown_rows, form, listed=_listed)
        if not printed:
            _check_known(store, only)
    if form != TABLE:
        return
    if not printed:
        say(f"no such calls whose {'time' if slowest else 'cost'} is known" if count else "no such calls")
    elif isinstance(shown_rows, list):
        row = shown_rows[0]
        next_commands(("show", store_path, f"{row['session_id']}:call/{row['id']}"))


def _check_known(store: "Store", only: dict[str, tuple[Any, ...]]) -> None:
    """Refuse a status or type that neither foldlog nor any call of the store has."""
    for column, usual in (("status", _STATUSES), ("type", _TYPES)):
        for name in only.get(column, ()):
            if name in usual:
                continue
            names = [row[column] for row in store.query(f"SELECT DISTINCT {column} FROM calls")]
            if name not in names:
                known = dict.fromkeys((*usual, *sorted(filter(None, names))))
                raise click.UsageError(f"no call has {column} {name!r}; there are {', '.join(known)}")


def _timed(row: Row) -> Row:
    """A call with how long it took, in seconds; None while it runs."""
    seconds = None
    try:
        began, ended = (dt.datetime.fromisoformat(row[key]) for key in ("started_at", "ended_at"))
        seconds = (ended - began).total_seconds()
    except (TypeError, ValueError):
        pass  # a time may be missing, or anything that the user wrote there
    return {**row, "seconds": seconds}


def _first(rows: Iterable[Row], key: str, count: int) -> Iterator[Row]:
    known = [row for row in rows if row[key] is not None]
    return iter(sorted(known, key=lambda row: -row[key])[:count])


def _listed(row: Row) -> Row:
    return {
        "session": row["session_id"],
        "call": row["id"],
        "turn": row["turn_id"],
        "type": row["type"],
        "status": row["status"],
        "model": row["model"] or "",
        "seconds": None if row["seconds"] is None else round(row["seconds"], 3),
        "input": row["input_tokens"],
        "output": row["output_tokens"],
        "usd": money(row["usd"]),
        "leads to": session_name(row["child_session_id"] or ""),
    }


COMMANDS: Final = (calls,)
