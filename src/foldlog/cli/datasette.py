"""The verb datasette-config: what Datasette is to know of a store, as a file.

What stands in it is made by `foldlog.adapters.datasette_config`; Datasette itself is not run and not needed.
"""

import json
from pathlib import Path
from typing import Final

import click

from foldlog.cli import arguments
from foldlog.cli.forms import print_json
from foldlog.cli.output import shown


@click.command("datasette-config")
@arguments.store
@click.option("-o", "--output", type=arguments.FILE, metavar="FILE", help="Where to write it; replaced.")
@click.option("--json", "as_json", is_flag=True, help="Say in JSON what was written; needs --output.")
def datasette_config(store_path: arguments.Place, output: Path | None, *, as_json: bool) -> None:
    """Write what Datasette needs to show a store well.

    Descriptions of tables and columns, facets, order, queries with parameters, settings: one JSON file, for
    Datasette 0.65 and 1.0. How to run either with it is said on stderr. Without --output it is printed.

    \b
    Example:   foldlog datasette-config history.db -o datasette.json
    """
    if output is None and as_json:
        raise click.UsageError("--json says what was written to a file: give one with --output")
    from foldlog.adapters import datasette_config as made  # noqa: PLC0415
    from foldlog.storage.files import write_file  # noqa: PLC0415

    with arguments.open_to_read(store_path) as store:
        if output is not None and output.exists() and store.path and output.samefile(store.path):
            raise click.UsageError("--output is the store itself: give another file")
        text = json.dumps(made.configuration(store), indent=2) + "\n"
    commands = made.commands(arguments.file_of(store_path, "Datasette"), output or Path("datasette.json"))
    if output is None:
        click.echo(text, nl=False)
    else:
        write_file(output, [text.encode()], 0o644)
        if as_json:
            print_json("datasette-config", {"path": str(output), "commands": commands})
            return
        click.echo(shown(str(output)))
    for line, command in commands.items():
        click.echo(f"Datasette {line}: {shown(command)}", err=True)


COMMANDS: Final = (datasette_config,)
