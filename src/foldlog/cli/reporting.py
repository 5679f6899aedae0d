"""Verbs that write what a store holds for people and for other tools: report, csv.

What they write is made by `foldlog.outlets`; JSON files are the verb export's, in `stores`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from foldlog.cli import arguments
from foldlog.cli.forms import print_json
from foldlog.cli.output import shown

_FORMATS: Final = ("html", "markdown", "mermaid", "trace")
_output = click.option("-o", "--output", type=arguments.FILE, metavar="FILE", help="Where to write it; replaced.")


@click.command()
@arguments.store
@arguments.session
@_output
@click.option(
    "-f", "--format", "form", type=click.Choice(_FORMATS), default="html", show_default=True, help="What to write."
)
@click.option("--json", "as_json", is_flag=True, help="Say in JSON what was written; needs --output.")
def report(store_path: arguments.Place, session: str, output: Path | None, form: str, *, as_json: bool) -> None:
    """Write one session, with all below it, to look at.

    html is one page that needs nothing but a browser: the tree of sessions, a timeline, tokens and cost,
    errors, calls, the transcript. markdown is the transcript, mermaid the tree as a flowchart, trace the
    turns and calls for Perfetto (ui.perfetto.dev). Without --output it is printed.

    \b
    Example:   foldlog report history.db demo -o report.html
               foldlog report history.db demo --format mermaid
    """
    if output is None and as_json:
        raise click.UsageError("--json says what was written to a file: give one with --output")
    if output is None and form == "html" and sys.stdout.isatty():
        raise click.UsageError("a page is not for a terminal: give a file with --output")
    with arguments.open_to_read(store_path) as store:
        session = store.find_session(session)
        if output is None:
            from foldlog.outlets import report as reports  # noqa: PLC0415  (only those who ask pay)

            _print(reports.chunks(store, session, form))
            return
        store.report(session, output, format=form)
    size = output.stat().st_size
    if as_json:
        print_json("report", {"path": str(output), "session": session, "format": form, "bytes": size})
    else:
        click.echo(shown(str(output)))
        click.echo(f"{size:,} bytes{': open it in a browser' if form == 'html' else ''}", err=True)


@click.command("csv")
@arguments.store
@click.argument("name", metavar="TABLE")
@arguments.optional_session
@_output
def as_csv(store_path: arguments.Place, name: str, session: str | None, output: Path | None) -> None:
    """Print the rows of a table or view as CSV.

    All rows, or those of one session and all below it. Tables are as of each session's last checkpoint.

    \b
    Example:   foldlog csv history.db call_usage
               foldlog csv history.db messages demo -o messages.csv
    """
    from foldlog.outlets import csv_rows  # noqa: PLC0415
    from foldlog.storage.files import write_file  # noqa: PLC0415

    with arguments.open_to_read(store_path) as store:
        chunks = csv_rows.chunks(store, name, None if session is None else store.find_session(session))
        if output is None:
            _print(chunks)
            return
        write_file(output, (chunk.encode() for chunk in chunks), store.database.file_mode)
    click.echo(shown(str(output)))


def _print(chunks: Iterator[str]) -> None:
    """Print text as it is, in UTF-8 whatever the terminal: it is a file's content."""
    for chunk in chunks:
        sys.stdout.buffer.write(chunk.encode())
    sys.stdout.buffer.flush()


COMMANDS: Final = (report, as_csv)
