"""The entry point: the group of verbs, and what becomes of errors.

It knows no verb's work, only where each is: a verb's module is imported when it is called, so that help and
completion load nothing heavy. Data goes to stdout, talk to stderr. Exit 0: done; 1: failed, not found,
problems; 2: usage.
"""

import contextlib
import errno
import importlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from foldlog._version import __version__
from foldlog.cli.output import shown
from foldlog.core.errors import FoldlogError

FAILED = 1
INTERRUPTED = 130
# What a shell says of a program that wrote to a pipe nobody reads: 128 and SIGPIPE.
PIPE_BROKEN = 141

# Each verb: the module it is in, and its line in the list, which is the first of its own help. In this order.
VERBS: Final = {
    "demo": ("demo", "Record a session, kill it half-way, go on."),
    "ls": ("listing", "List the sessions of a store."),
    "show": ("showing", "Show a session, or one row of it."),
    "tree": ("showing", "Show a session and those below it as a tree."),
    "usage": ("usage", "Say what was used: tokens and cost."),
    "messages": ("messages", "Print a session as a transcript."),
    "calls": ("calls", "List calls: all, or the slow, the failed."),
    "events": ("events", "Print the journal, and follow it."),
    "sql": ("asking", "Ask a store with a SELECT."),
    "search": ("searching", "Find texts by their words."),
    "export": ("stores", "Write sessions as JSON files into a folder."),
    "report": ("reporting", "Write one session, with all below it, to look at."),
    "csv": ("reporting", "Print the rows of a table or view as CSV."),
    "datasette-config": ("datasette", "Write what Datasette needs to show a store well."),
    "verify": ("care", "Check that a store says what it said."),
    "repair": ("care", "Make the tables anew, and set damaged events apart."),
    "doctor": ("care", "Look at what surrounds a store and could do it harm."),
    "backup": ("stores", "Copy a store, in use or not, to a new file."),
    "copy": ("copying", "Copy a store into another: files, servers, both ways."),
    "upgrade": ("stores", "Bring an older store up to date."),
    "rm": ("removing", "Delete a session and every session below it."),
    "completion": ("completing", "Print what makes a shell complete foldlog."),
}


class _ReaderLeftError(Exception):
    """Whoever read our output has gone. Not an OSError, of which click would make exit status 1."""


class _StoppedError(Exception):
    """Ctrl-C. Not a KeyboardInterrupt, after which click would print an empty line."""


class Verbs(click.Group):
    """The group of verbs, each imported when it is called."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb that is asked for."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderLeftError from error
        except KeyboardInterrupt as error:
            raise _StoppedError from error
        except FoldlogError as error:
            from foldlog.cli import arguments  # noqa: PLC0415  (the list of verbs needs none)

            error.hint = arguments.typed(ctx, error.hint)
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of the list."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A verb, from its module."""
        del ctx
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"foldlog.cli.{VERBS[cmd_name][0]}")
        found: click.Command = next(command for command in module.COMMANDS if command.name == cmd_name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb that is asked for; the nearest ones are named where there is none."""
        self.commands = dict.fromkeys(VERBS, self)  # names only: what click looks for near ones in
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs, without importing any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The verbs that begin so, without importing any, and the options."""
        verbs = [CompletionItem(name, help=line) for name, (_, line) in VERBS.items() if name.startswith(incomplete)]
        return verbs + click.Command.shell_complete(self, ctx, incomplete)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="foldlog")
def cli() -> None:
    """An append-only history of LLM sessions in SQLite or PostgreSQL.

    \b
    Try it:    foldlog demo
    Then:      foldlog ls foldlog-demo/history.db
    """


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
    except (click.Abort, _StoppedError, KeyboardInterrupt):
        # On a terminal the line is begun, by what was asked or by ^C.
        click.echo(f"{chr(10) if sys.stderr.isatty() else ''}stopped", err=True)
        sys.exit(INTERRUPTED)
    except (BrokenPipeError, _ReaderLeftError):
        # Whoever read us has what it wanted; the interpreter's own last flush must find somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(PIPE_BROKEN)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:
            _say("no space is left where the output goes", "make room, or send it elsewhere; it is not whole")
        where = "" if error.filename is None else f"{error.filename}: "
        _say(f"{where}{error.strerror or type(error).__name__}", "check the path and its permissions")


def _say(message: str, hint: str) -> None:
    click.echo(f"error: {shown(message)}\nhint: {shown(hint)}", err=True)
    sys.exit(FAILED)


if __name__ == "__main__":
    main()
