"""The verb that asks with SQL: sql. What is refused, and how it is bounded, is `foldlog.outlets.query`'s."""

import contextlib
import math
import re
import sys
from collections.abc import Iterator
from typing import Any, Final

import click

from foldlog.cli import arguments
from foldlog.cli.forms import CSV, JSON, TABLE, Row, print_rows, row_forms
from foldlog.cli.output import say

# What of an SQL text is no code, which may hold colons; else a parameter and its name. `::` is PostgreSQL's cast.
_NO_CODE: Final = r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?(?:\*/|\Z)"""
_OF_SQLITE: Final = re.compile(rf"{_NO_CODE}|`[^`]*`|\[[^\]]*\]|[:@$](?P<name>\w+)|(?P<plain>\?\d*)", re.DOTALL)
_OF_POSTGRES: Final = re.compile(rf"{_NO_CODE}|(\$\w*\$).*?(?:\1|\Z)|::|:(?P<name>[^\W\d]\w*)|(?P<plain>\?)", re.DOTALL)


@click.command()
@arguments.store
@click.argument("sql", metavar="SQL")
@click.option(
    "--param", "-p", "params", nargs=2, multiple=True, metavar="NAME VALUE", help="A value for :NAME; again for more."
)
@click.option("--timeout", type=arguments.SECONDS, metavar="SECONDS", help="Stop then; after 30 if left out.")
@row_forms
def sql(
    store_path: arguments.Place, sql: str, *, params: tuple[tuple[str, str], ...], timeout: float | None, form: str
) -> None:
    """Ask a store with a SELECT.

    One statement that reads; `-` takes it from stdin. A VALUE written as a number is (7, -0.5) is one; any
    other, such as 007 or 1e3, is text. On a server it is what its place in the SQL takes. Tables are as of
    each session's last checkpoint. With --json each line has the row under `row`; bytes are hex digits.

    \b
    Example:   foldlog sql history.db "SELECT * FROM model_usage"
               foldlog sql history.db "SELECT * FROM calls WHERE status = :s" -p s ok --csv
               echo "SELECT count(*) AS n FROM events" | foldlog sql history.db - --json
    """
    text = sys.stdin.read() if sql == "-" else sql
    is_server = isinstance(store_path, arguments.ServerUrl)
    values: dict[str, Any] = {}
    for name, value in params:
        bare = name.lstrip(":@$")
        if bare in values:
            raise click.UsageError(f"-p {bare} is given twice")
        # A server has the type of each place, and takes no number where text belongs.
        values[bare] = value if is_server else _value(value)
    _check(text, values, _OF_POSTGRES if is_server else _OF_SQLITE)
    with arguments.open_to_read(store_path) as store:
        rows: Iterator[Row] = store.query(text, values, timeout=timeout)
        if form == JSON:
            rows = ({"row": {key: _plain(value) for key, value in row.items()}} for row in rows)
        count = print_rows("sql", rows, form, absent="" if form == CSV else "NULL")
    if form == TABLE and not count:
        say("no rows")


def _check(text: str, values: dict[str, Any], parameters: re.Pattern[str]) -> None:
    """Refuse a statement whose parameters and whose values do not belong together."""
    found = list(parameters.finditer(text))
    if any(match["plain"] for match in found):
        raise click.UsageError("a ? in the SQL takes no value here: write :NAME, and give it with -p NAME VALUE")
    names = {match["name"]: None for match in found if match["name"]}
    missing = [name for name in names if name not in values]
    if missing:
        raise click.UsageError(f"the SQL has :{missing[0]}, which has no value: give it with -p {missing[0]} VALUE")
    unused = [name for name in values if name not in names]
    if unused:
        raise click.UsageError(f"the SQL has no :{unused[0]}, for which -p gives a value")


def _value(text: str) -> Any:
    """A number, where the text is just how that number is written; else the text."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):  # also of a number of thousands of digits
            found = kind(text)
            if str(found) == text and math.isfinite(found) and -(2**63) <= found < 2**63:
                return found
    return text


def _plain(value: Any) -> Any:
    """A value of SQL as JSON has it: bytes and infinite numbers become text."""
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


COMMANDS: Final = (sql,)
