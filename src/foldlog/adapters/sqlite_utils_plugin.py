"""A plugin for sqlite-utils: foldlog's SQL functions on connections to a store, and the command `foldlog`."""

import csv
import json
import sqlite3
import sys
from pathlib import Path

import click
from sqlite_utils import hookimpl


@hookimpl
def prepare_connection(conn: sqlite3.Connection) -> None:
    """Add the functions to a connection to a store; any other database is left alone."""
    from foldlog.outlets import sql_functions  # noqa: PLC0415

    if sql_functions.is_store(conn):
        sql_functions.register(conn)


@hookimpl
def register_commands(cli: click.Group) -> None:
    """Add the command `sqlite-utils foldlog`."""
    cli.add_command(sessions)


_SESSIONS = """
SELECT sessions.session_id, sessions.kind, sessions.status, sessions.created_at, sessions.ended_at,
  sessions.turn_count, session_usage.session_below_count, session_usage.call_count, session_usage.total_tokens,
  session_usage.usd, session_usage.status AS usage_status
FROM sessions JOIN session_usage ON session_usage.session_id = sessions.session_id
WHERE sessions.session_id = coalesce(:session, sessions.session_id)
  OR substr(sessions.session_id, 1, length(:session) + 1) = :session || '/'
ORDER BY sessions.root_id, sessions.session_id
"""


@click.command("foldlog")
@click.argument("path", type=click.Path(path_type=Path))
@click.argument("session", required=False)
@click.option("--nl", is_flag=True, help="Output newline-delimited JSON")
@click.option("--csv", "as_csv", is_flag=True, help="Output CSV")
def sessions(path: Path, session: str | None, *, nl: bool, as_csv: bool) -> None:
    """List the sessions of a foldlog store, with what they used

    Usage includes the sessions below. With SESSION: it and those below it. The store is opened read-only.

    Example:

    \b
        sqlite-utils foldlog history.db
    """
    import foldlog  # noqa: PLC0415

    try:
        with foldlog.open(path, read_only=True) as store:
            rows = list(store.query(_SESSIONS, {"session": session}))
    except foldlog.FoldlogError as error:
        raise click.ClickException(f"{error.message} (hint: {error.hint})") from error
    if session is not None and not rows:
        raise click.ClickException(f"there is no session {session!r} (hint: leave it out to list all)")
    if as_csv and rows:
        writer = csv.DictWriter(sys.stdout, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    elif nl:
        for row in rows:
            click.echo(json.dumps(row))
    elif not as_csv:
        click.echo(json.dumps(rows, indent=2))
