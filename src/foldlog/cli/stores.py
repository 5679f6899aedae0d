"""Verbs over a whole store: export, backup, upgrade. Those that look after it are in `foldlog.cli.care`.

All but upgrade open the store read-only and make nothing but what they are asked for. The work itself is
the store's (`foldlog.store`, `foldlog.outlets`); errors become lines in `foldlog.cli.main`.
"""

from pathlib import Path
from typing import Final

import click

from foldlog.cli import arguments
from foldlog.cli.forms import json_form, print_json
from foldlog.cli.output import plural, shown


@click.command()
@arguments.store
@click.argument("directory", type=arguments.FILE)
@arguments.optional_session
@json_form
def export(store_path: arguments.Place, directory: Path, session: str | None, *, as_json: bool) -> None:
    """Write sessions as JSON files into a folder.

    Every session, or one and all below it. Prints the paths of the files written; those whose content is
    the same are left alone.

    \b
    Example:   foldlog export history.db exported/
               foldlog export history.db one-session/ demo/child-0001
    """
    with arguments.open_to_read(store_path) as store:
        found = None if session is None else store.find_session(session)
        written = store.export(directory, session=found)
    if as_json:
        print_json("export", {"paths": [str(path) for path in written]})
        return
    for path in written:
        click.echo(shown(str(path)))
    click.echo(f"{plural(len(written), 'file')} written", err=True)


@click.command()
@arguments.store
@click.argument("path", type=arguments.FILE)
@json_form
def backup(store_path: arguments.Place, path: Path, *, as_json: bool) -> None:
    """Copy a store, in use or not, to a new file.

    The copy is whole and checked before it gets its name. Replaces nothing.

    \b
    Example:   foldlog backup history.db history-backup.db
    """
    with arguments.open_to_read(store_path) as store:
        store.backup(path)
    if as_json:
        print_json("backup", {"path": str(path)})
    else:
        click.echo(shown(str(path)))


@click.command()
@arguments.store
@json_form
def upgrade(store_path: arguments.Place, *, as_json: bool) -> None:
    """Bring an older store up to date.

    In place, whole or not at all. Opening a store to write does the same. Stop older programs that use it
    first.

    \b
    Example:   foldlog upgrade history.db
    """
    from foldlog.storage.schema import SCHEMA_NUMBER  # noqa: PLC0415  (see `foldlog.cli.main`)

    before = arguments.wait_until_free(store_path)
    # What is up to date is not written; a reader looks at it as closely.
    (arguments.open_to_read if before == SCHEMA_NUMBER else arguments.open_to_write)(store_path).close()
    if as_json:
        print_json("upgrade", {"schema_before": before, "schema_now": SCHEMA_NUMBER})
    elif before == SCHEMA_NUMBER:
        click.echo(f"schema {before}: up to date")
    else:
        click.echo(f"schema {before} upgraded to {SCHEMA_NUMBER}")


COMMANDS: Final = (export, backup, upgrade)
