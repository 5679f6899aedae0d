"""Verbs that look after a store: verify, repair, doctor.

Each exits 1 where something is wrong, or still is. The work is that of `foldlog.outlets`; errors become
lines in `foldlog.cli.main`.
"""

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

import foldlog
from foldlog.cli import arguments
from foldlog.cli.forms import json_form, print_json
from foldlog.cli.output import Progress, shown


class _Bar:
    """A progress bar that learns while it runs what there is to do."""

    def __init__(self, label: str) -> None:
        self._bar = Progress(label, 1)
        self._label = label
        self._total = 1

    def __call__(self, done: int, total: int) -> None:
        if total != self._total:
            self._bar, self._total = Progress(self._label, total), total
        self._bar.show(done)

    def end(self) -> None:
        """Take the bar away."""
        self._bar.__exit__()


@contextlib.contextmanager
def _bar(label: str) -> Iterator[_Bar]:
    bar = _Bar(label)
    try:
        yield bar
    finally:
        bar.end()


def _print_lines(text: str) -> None:
    for line in arguments.typed(click.get_current_context(), text).splitlines():
        click.echo(shown(line))


def _fields(value: Any) -> dict[str, Any]:
    return {"ok": value.ok, **dataclasses.asdict(value)}


@click.command()
@arguments.store
@click.option("--quick", is_flag=True, help="Check the file and the journal only, not values, tables and blobs.")
@click.option(
    "--exported",
    metavar="DIR",
    type=arguments.FILE,
    help="Also hold the files of an export to the journal.",
)
@json_form
def verify(store_path: arguments.Place, *, quick: bool, exported: Path | None, as_json: bool) -> None:
    """Check that a store says what it said.

    Every event's digest and chain, every blob's hash, and that folding the journal gives what the tables
    say. Changes nothing; exit 1 where something is wrong.

    \b
    Example:   foldlog verify history.db
               foldlog verify history.db --exported exported/
    """
    with arguments.open_to_read(store_path) as store, _bar("verifying") as bar:
        report = store.verify(deep=not quick, exported=exported, progress=bar)
    if as_json:
        print_json("verify", _fields(report))
    else:
        _print_lines(str(report))
    if not report.ok:
        sys.exit(1)


@click.command()
@arguments.store
@click.option(
    "--into",
    metavar="NEW",
    type=arguments.FILE,
    help="Save what can be read into a new store; the damaged file is only read.",
)
@json_form
def repair(store_path: arguments.Place, *, into: Path | None, as_json: bool) -> None:
    """Make the tables anew, and set damaged events apart.

    In place: SQL tables and views are rebuilt from the journal; events that are damaged or missing are noted,
    so that all others can be read and the session goes on. No event is changed. Exit 1 where something is
    still wrong.

    With --into, for a file that is damaged itself: what can be read is saved, row by row, into a new store.

    \b
    Example:   foldlog repair history.db
               foldlog repair history.db --into saved.db
    """
    with _bar("repairing") as bar:
        if into is not None:
            file = arguments.file_of(store_path, "--into")
            # That it opens as no store is why it is to be saved.
            with contextlib.suppress(foldlog.NotAStoreError, foldlog.CorruptJournalError):
                arguments.wait_until_free(file)
            repairs = foldlog.salvage(file, into, progress=bar)
        else:
            with arguments.open_to_write(store_path) as store:
                repairs = store.repair(progress=bar)
    if as_json:
        print_json("repair", _fields(repairs))
    else:
        _print_lines(str(repairs))
    if not repairs.ok:
        sys.exit(1)


@click.command()
@arguments.store
@json_form
def doctor(store_path: arguments.Place, *, as_json: bool) -> None:
    """Look at what surrounds a store and could do it harm.

    SQLite's version and its known bugs, the file system, modes, sizes, the tables' lag, who writes. Opens the
    store read-only and makes nothing; exit 1 on a problem. Whether the data is whole is for verify.

    \b
    Example:   foldlog doctor history.db
    """
    found = foldlog.doctor(arguments.place_of(store_path))
    if as_json:
        print_json("doctor", {**_fields(found), "path": str(found.path)})
    else:
        _print_lines(str(found))
    if not found.ok:
        sys.exit(1)


COMMANDS: Final = (verify, repair, doctor)
