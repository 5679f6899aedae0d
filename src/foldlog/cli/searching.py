"""The verb that finds texts by their words: search.

The work is the store's (`foldlog.store.searching`); here what was found is shown.
"""

import dataclasses
import os
import sys
from typing import TYPE_CHECKING, Final

import click

from foldlog.cli import arguments
from foldlog.cli.forms import print_json
from foldlog.cli.output import next_commands, plural, say, shown, strong
from foldlog.core.limits import SEARCH_HITS_MAX
from foldlog.core.searchable import KINDS

if TYPE_CHECKING:
    from foldlog.store.searching import Hit, Hits


@click.command()
@arguments.store
@click.argument("text", nargs=-1, required=True)
@click.option("--session", type=arguments.SessionType(), help="Only in this session and those below it.")
@click.option("--role", help="Only in messages of this role, such as user.")
@click.option("--kind", type=click.Choice(KINDS), help="Only texts of this kind.")
@click.option("--limit", type=click.IntRange(1, SEARCH_HITS_MAX), default=20, show_default=True, help="How many.")
@click.option("--update", is_flag=True, help="First add to the index what is not in it yet. This writes to the store.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text: a line for each text found.")
def search(
    store_path: arguments.Place,
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
    Example:   foldlog search history.db readme
               foldlog search history.db '"main py"' --kind result
               foldlog search history.db 'python*' --session demo --limit 5 --json
    """
    if update:
        _update(store_path)
    with arguments.open_to_read(store_path) as store:
        within = None if session is None else store.find_session(session)
        hits = store.search(" ".join(text), session=within, role=role, kind=kind, limit=limit)
    for hit in hits:
        if as_json:
            print_json("search", dataclasses.asdict(hit))
        else:
            click.echo(f"{strong(_place(hit))}\n{_snippet(hit)}")
    _talk(store_path, text, hits, limit)
    if not hits:
        sys.exit(1)


def _update(place: arguments.Place) -> None:
    with arguments.open_to_write(place) as store:
        store.checkpoint()


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


def _marked(text: str) -> str:
    is_styled = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return click.style(text, fg="yellow", bold=True) if is_styled else text


def _talk(store_path: arguments.Place, text: tuple[str, ...], hits: "Hits", limit: int) -> None:
    if not hits:
        say("nothing found")
    elif len(hits) == limit:
        say(f"the best {limit} are shown; --limit shows more")
    if hits.unsearched_count:
        say(f"{plural(hits.unsearched_count, 'event')} wait for the index and were not looked at")
    further: list[tuple[object, ...]] = []
    if hits:
        row, _, _ = hits[0].field.partition(".")
        address = hits[0].session_id if hits[0].row_id is None else f"{hits[0].session_id}:{row}/{hits[0].row_id}"
        further.append(("show", store_path, address, "--full"))
    if hits.unsearched_count:
        further.append(("search", store_path, *text, "--update"))
    next_commands(*further)


COMMANDS: Final = (search,)
