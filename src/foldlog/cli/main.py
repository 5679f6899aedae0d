"""The entry point: the group of verbs, and what becomes of errors.

It knows no verb's work: those are in a module per group (`stores`, `removing`, `reporting`, `care`, `demo`), each with
a `COMMANDS` to be listed here. Data goes to stdout, talk to stderr. Exit 0: done; 1: failed, not found, problems; 2:
usage.
"""

import contextlib
import io
import os
import sys
from collections.abc import Iterator

import click

from foldlog._version import __version__
from foldlog.cli import care, demo, removing, reporting, stores
from foldlog.cli.output import shown
from foldlog.core.errors import FoldlogError

FAILED = 1
INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="foldlog")
def cli() -> None:
    """An append-only history of LLM sessions in SQLite.

    \b
    Try it:    foldlog demo
    Then:      foldlog ls foldlog-demo/history.db
    """


for command in (*demo.COMMANDS, *stores.COMMANDS, *removing.COMMANDS, *reporting.COMMANDS, *care.COMMANDS):
    cli.add_command(command)


def main() -> None:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding lacks is printed escaped, not as a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    with _errors_as_lines():
        sys.exit(cli.main(prog_name="foldlog", standalone_mode=False) or 0)


@contextlib.contextmanager
def _errors_as_lines() -> Iterator[None]:
    try:
        try:
            yield
        finally:
            # Here and not at the interpreter's end, where a reader that left could not be ended quietly.
            sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except FoldlogError as error:
        _say(error.message, error.hint)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read us has what it wanted; the interpreter's own last flush must find somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        _say(f"{where}{error.strerror or type(error).__name__}", "check the path and its permissions")


def _say(message: str, hint: str) -> None:
    click.echo(f"error: {shown(message)}\nhint: {shown(hint)}", err=True)
    sys.exit(FAILED)


if __name__ == "__main__":
    main()
