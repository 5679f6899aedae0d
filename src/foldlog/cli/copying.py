"""The verb copy: a history from one store into another. The work is that of `foldlog.outlets.copying`."""

import dataclasses
import sys
from typing import Final

import click

from foldlog.cli.forms import json_form, print_json
from foldlog.cli.output import Progress, shown


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@json_form
def copy(source: str, target: str, *, as_json: bool) -> None:
    """Copy a store into another: files, servers, both ways.

    SOURCE and TARGET are paths or URLs. TARGET is made if there is none; otherwise it is empty, or holds what an
    earlier copy of SOURCE has brought, and the copy goes on from there. It is checked against SOURCE before it
    says done. SOURCE may be in use. Exit 1 where a value is damaged.

    \b
    Example:   foldlog copy history.db postgresql+psycopg://me@host/histories
               foldlog copy postgresql+psycopg://me@host/histories history.db
    """
    import foldlog  # noqa: PLC0415  (help does not pay for it)

    bar, total = Progress("copying", 1), 1

    def show(done: int, of: int) -> None:
        nonlocal bar, total
        if of != total:
            bar, total = Progress("copying", of), of
        bar.show(done)

    try:
        copied = foldlog.copy(source, target, progress=show)
    finally:
        bar.__exit__()
    if as_json:
        print_json("copy", {"ok": copied.ok, **dataclasses.asdict(copied)})
    else:
        for line in str(copied).splitlines():
            click.echo(shown(line))
    if not copied.ok:
        sys.exit(1)


COMMANDS: Final = (copy,)
