"""The verb that takes something away: rm.

The work is the store's (`foldlog.outlets.deletion`); here the user is shown what goes, and asked.
"""

import dataclasses
import sys
from typing import TYPE_CHECKING, Final

import click

from foldlog.cli import arguments
from foldlog.cli.forms import json_form, print_json
from foldlog.cli.output import plural, shown
from foldlog.core.errors import UnknownSessionError
from foldlog.storage import journal

if TYPE_CHECKING:
    from foldlog.outlets.deletion import Deletion
    from foldlog.store.store import Store


@click.command()
@arguments.store
@arguments.session
@click.option("--dry-run", is_flag=True, help="Say what would go, and change nothing.")
@click.option("--reason", help="Why: kept with what is recorded of the deletion.")
@click.option("--despite-descendants", is_flag=True, help="Also where sessions that stay come from it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_form
def rm(
    store_path: arguments.Place,
    session: str,
    *,
    dry_run: bool,
    reason: str | None,
    despite_descendants: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete a session and every session below it.

    Its events, its rows, and the blobs that nothing else refers to; whole, or not at all. What went, when
    and why is kept: see the SQL view deletions. Refused while the session is being written.

    \b
    Example:   foldlog rm history.db demo --dry-run
               foldlog rm history.db demo --reason "a try" --yes
    """
    if dry_run or not yes:
        with arguments.open_to_read(store_path) as store:
            _check_whole(store, session)
            found = store.delete_session(session, reason=reason, dry_run=True, despite_descendants=despite_descendants)
        if dry_run:
            _print(found, as_json=as_json)
            return
        click.echo(f"{_line(found)} will be deleted", err=True)
        if not _agreed():
            click.echo("nothing was deleted", err=True)
            sys.exit(1)
    with arguments.open_to_write(store_path) as store:
        _check_whole(store, session)
        _print(store.delete_session(session, reason=reason, despite_descendants=despite_descendants), as_json=as_json)


def _check_whole(store: "Store", session: str) -> None:
    """Refuse the beginning of an id, and say what it stands for: what goes is to be named in full."""
    if journal.has_stream(store.database, session):
        return
    meant = store.find_session(session)
    raise UnknownSessionError(
        f"rm takes an id in full, and {session!r} is only how {meant} begins",
        hint=f"`foldlog rm STORE {meant}` deletes that one",
    )


def _agreed() -> bool:
    try:
        return click.confirm("go on?", err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise  # Ctrl-C
        click.echo(err=True)
        raise click.UsageError("nobody answered: with --yes it deletes without asking") from None


def _print(found: "Deletion", *, as_json: bool) -> None:
    if as_json:
        print_json("rm", dataclasses.asdict(found))
        return
    for session_id in found.sessions:
        click.echo(shown(session_id))
    click.echo(f"{_line(found)} {'would be ' if found.dry_run else ''}deleted", err=True)
    if not found.dry_run:
        click.echo(f"the file is {plural(found.file_bytes_freed, 'byte')} smaller", err=True)
    for note in found.notes:
        click.echo(shown(note), err=True)


def _line(found: "Deletion") -> str:
    blobs = f"{plural(found.blob_count, 'blob')} ({plural(found.blob_bytes, 'byte')})"
    return ", ".join((plural(len(found.sessions), "session"), plural(found.event_count, "event"), blobs))


COMMANDS: Final = (rm,)
