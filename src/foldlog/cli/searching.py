"""The verb that finds texts by their words: search.

The work is the store's (`foldlog.store.searching`); here what was found is shown.
"""

import dataclasses
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from foldlog.cli.output import plural, shown
from foldlog.core.limits import SEARCH_HITS_MAX
from foldlog.core.searchable import KINDS
from foldlog.storage import sqlite
from foldlog.store import store as stores

if TYPE_CHECKING:
    from foldlog.store.searching import Hit, Hits

# The form of what --json prints.
_JSON_SCHEMA: Final = 1


@click.command()
@click.argument("store_path", metavar="STORE", type=click.Path(path_type=Path))
@click.argument("text", nargs=-1, required=True)
@click.option("--session", help="Only in this session and those below it.")
@click.option("--role", help="Only in messages of this role, such as user.")
@click.option("--kind", type=click.Choice(KINDS), help="Only texts of this kind.")
@click.option("--limit", type=click.IntRange(1, SEARCH_HITS_MAX), default=20, show_default=True, help="How many.")
@click.option("--update", is_flag=True, help="First add to the index what is not in it yet. This writes to the store.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text: a line for each text found.")
def search(
    store_path: Path,
    text: tuple[str, ...],
    *,
    session: str | None,
    role: str | None,
    kind: str | None,
    limit: int,
    update: bool,
    as_json: bool,
) -> None:
    """Find texts by their words.

    Messages, code, outputs, errors, queries, results and final values that hold all the words, best first.
    "A phrase" stands in quotation marks, an asterisk ends the begin* of a word, and all else is words as
    they are. Case and accents do not count. What begins with a dash comes after --. Exit 1 where nothing is
    found.

    \b
    Example:   foldlog search history.db disk full
               foldlog search history.db '"no space left"' --kind error
               foldlog search history.db 'conn*' --session demo --role user --json
    """
    if update:
        sqlite.probe(store_path)  # opening to write would make a store where there is none
        with stores.open(store_path) as store:
            store.checkpoint()
    with stores.open(store_path, read_only=True) as store:
        hits = store.search(" ".join(text), session=session, role=role, kind=kind, limit=limit)
    if as_json:
        for hit in hits:
            click.echo(json.dumps(_as_json(hit)))
    else:
        for hit in hits:
            click.echo(f"{_bold(_place(hit))}\n{_snippet(hit)}")
    _say(store_path, hits, limit)
    if not hits:
        sys.exit(1)


def _as_json(hit: "Hit") -> dict[str, Any]:
    return {"schema": _JSON_SCHEMA, **dataclasses.asdict(hit)}


def _place(hit: "Hit") -> str:
    """Where a text stands: its session, the row, the turn, the event."""
    row = (
        hit.field if hit.row_id is None else f"{hit.field.partition('.')[0]} {hit.row_id} {hit.field.partition('.')[2]}"
    )
    role = f" ({hit.role})" if hit.role else ""
    turn = f", turn {hit.turn_id}" if hit.turn_id is not None else ""
    return shown(f"{hit.session_id}: {row}{role}{turn}, event {hit.event_id}")


def _snippet(hit: "Hit") -> str:
    """The snippet on lines of their own, the words that were found as they are to be seen."""
    found: list[str] = []
    at = 0
    for start, end in hit.marks:
        found += [_plain(hit.snippet[at:start]), _marked(_plain(hit.snippet[start:end]))]
        at = end
    return f"    {''.join(found)}{_plain(hit.snippet[at:])}"


def _plain(text: str) -> str:
    return shown(" ".join(text.splitlines()) if "\n" in text else text)


def _is_styled() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _marked(text: str) -> str:
    return click.style(text, fg="yellow", bold=True) if _is_styled() else text


def _bold(text: str) -> str:
    return click.style(text, bold=True) if _is_styled() else text


def _say(store_path: Path, hits: "Hits", limit: int) -> None:
    path = shown(shlex.quote(str(store_path)))
    if not hits:
        click.echo("nothing found", err=True)
    elif len(hits) == limit:
        click.echo(f"the best {limit} are shown; more: --limit {min(limit * 5, SEARCH_HITS_MAX)}", err=True)
    if hits.unsearched_count:
        click.echo(
            f"{plural(hits.unsearched_count, 'event')} wait for the index and were not looked at; add them: "
            f"foldlog search {path} ... --update",
            err=True,
        )
    if hits:
        click.echo(f"next: foldlog show {path} {shown(hits[0].session_id)}", err=True)


COMMANDS: Final = (search,)
