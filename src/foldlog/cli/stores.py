"""Verbs over a whole store: ls, export, backup, upgrade. Those that look after it are in `foldlog.cli.care`.

All but upgrade open the store read-only and make nothing but what they are asked for. The work itself is
the store's (`foldlog.store`, `foldlog.outlets`); errors become lines in `foldlog.cli.main`.
"""

import json
from pathlib import Path
from typing import Any, Final

import click

from foldlog.cli.output import plural, shown, table
from foldlog.store import store as stores
from foldlog.store.store import Store

# Tokens are those of the session and of all below it; a session is listed under its root.
_SESSIONS: Final = """
SELECT sessions.session_id AS session, sessions.status, sessions.created_at, sessions.ended_at,
  final.turn_count AS turns, final.call_count AS calls, final.eval_count AS evals,
  session_usage.total_tokens AS tokens, session_usage.status AS usage
FROM sessions
JOIN sessions AS roots ON roots.session_id = sessions.root_id
LEFT JOIN final ON final.session_id = sessions.session_id
LEFT JOIN session_usage ON session_usage.session_id = sessions.session_id
ORDER BY roots.created_at, sessions.root_id, sessions.session_id
"""

store_argument = click.argument("store_path", metavar="STORE", type=click.Path(path_type=Path))
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def open_to_read(path: Path) -> Store:
    """The store at a path, read-only."""
    return stores.open(path, read_only=True)


@click.command()
@store_argument
@json_option
def ls(store_path: Path, *, as_json: bool) -> None:
    """List the sessions of a store.

    Counts are the session's own, as of its last checkpoint. Tokens include the sessions below it; usage says
    whether all calls told theirs (known), some did (partial) or none (unknown).

    \b
    Example:   foldlog ls history.db
    """
    with open_to_read(store_path) as store:
        rows = list(store.query(_SESSIONS))
    if as_json:
        print_json(rows)
    elif rows:
        table([_listed(row) for row in rows], indent="")
    else:
        click.echo(f"{shown(str(store_path))} has no sessions", err=True)


def _listed(row: dict[str, Any]) -> dict[str, Any]:
    """A row with times a person reads."""
    created_at = (row["created_at"] or "")[:19].replace("T", " ")
    kept = {key: value for key, value in row.items() if key not in ("created_at", "ended_at")}
    return {"session": kept.pop("session"), "status": kept.pop("status"), "created (UTC)": created_at, **kept}


@click.command()
@store_argument
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("session", required=False)
def export(store_path: Path, directory: Path, session: str | None) -> None:
    """Write sessions as JSON files into a folder.

    Every session, or one and all below it. Prints the paths of the files written; those whose content is
    the same are left alone.

    \b
    Example:   foldlog export history.db exported/
               foldlog export history.db exported/ demo/child-0001
    """
    with open_to_read(store_path) as store:
        written = store.export(directory, session=session)
    for path in written:
        click.echo(shown(str(path)))
    click.echo(f"{plural(len(written), 'file')} written", err=True)


@click.command()
@store_argument
@click.argument("path", type=click.Path(path_type=Path))
def backup(store_path: Path, path: Path) -> None:
    """Copy a store, in use or not, to a new file.

    The copy is whole and checked before it gets its name. Replaces nothing.

    \b
    Example:   foldlog backup history.db history-backup.db
    """
    with open_to_read(store_path) as store:
        store.backup(path)
    click.echo(shown(str(path)))


@click.command()
@store_argument
def upgrade(store_path: Path) -> None:
    """Bring an older store up to date.

    In place, whole or not at all. Opening a store to write does the same. Stop older programs that use it
    first.

    \b
    Example:   foldlog upgrade history.db
    """
    from foldlog.storage import sqlite  # noqa: PLC0415  (only here does a verb look below the store)
    from foldlog.storage.schema import SCHEMA_NUMBER  # noqa: PLC0415

    before = sqlite.probe(store_path)  # opening would make a store where there is none
    stores.open(store_path).close()
    if before == SCHEMA_NUMBER:
        click.echo(f"schema {before}: up to date")
    else:
        click.echo(f"schema {before} upgraded to {SCHEMA_NUMBER}")


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=2))


COMMANDS: Final = (ls, export, backup, upgrade)
