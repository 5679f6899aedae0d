"""The forms of an answer: a table for people, NDJSON or CSV for programs; and the options that choose.

Each JSON object or line has a key `schema`, `foldlog.VERB/1`: the number changes when a key goes or changes
its meaning, not when one is added. Values are written as in the files of an export.
"""

import csv
import functools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar, cast

import click

from foldlog.cli.output import shown, table

Row = Mapping[str, Any]
Function = TypeVar("Function", bound=Callable[..., Any])

TABLE: Final = "table"
JSON: Final = "json"
CSV: Final = "csv"
_VERSION: Final = 1


def row_forms(function: Function) -> Function:
    """The options --json, --csv and --table, as the argument `form`; more than one of them is refused."""

    @functools.wraps(function)
    def with_form(*args: Any, as_table: bool, as_csv: bool, as_json: bool, **named: Any) -> Any:
        asked = [form for form, is_asked in ((TABLE, as_table), (CSV, as_csv), (JSON, as_json)) if is_asked]
        if len(asked) > 1:
            raise click.UsageError(f"--{asked[0]} or --{asked[1]}, not both")
        return function(*args, form=asked[0] if asked else TABLE, **named)

    found: Any = with_form
    for option in (
        click.option("--table", "as_table", is_flag=True, help="Print a table: the default."),
        click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with a head."),
        click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line."),
    ):
        found = option(found)
    return cast("Function", found)


json_form = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


def print_rows(
    verb: str, rows: Iterable[Row], form: str, *, listed: Callable[[Row], Row] = lambda row: row, absent: str = ""
) -> int:
    """Print rows in a form; how many there were. `listed`: a row as a table for people has it."""
    count = 0

    def counted() -> Iterator[Row]:
        nonlocal count
        for count, row in enumerate(rows, 1):  # noqa: B007  (counted for the caller)
            yield row

    if form == JSON:
        for row in counted():
            print_json(verb, row)
    elif form == CSV:
        _print_csv(counted())
    else:
        found = [listed(row) for row in counted()]
        if found:
            table(found, indent="", absent=absent)
    return count


def print_json(verb: str, fields: Row) -> None:
    """Print one object on a line, with the schema's name first."""
    from foldlog.core.columns import dump  # noqa: PLC0415  (help does not pay for the codec)

    text = f'{{"schema":"foldlog.{verb}/{_VERSION}"{"," if fields else ""}{dump(fields)[1:]}'
    click.echo(_escaped(text))


def _escaped(text: str) -> str:
    r"""JSON as this stream can take it: what it cannot, or a terminal must not, becomes \u and four digits."""
    encoding = (sys.stdout.encoding or "utf-8").lower().replace("_", "-")
    if sys.stdout.isatty():
        return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
    if encoding in ("utf-8", "utf8") or text.isascii():
        return text
    return "".join(char if char.isascii() else json.dumps(char)[1:-1] for char in text)


def _print_csv(rows: Iterator[Row]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for at, row in enumerate(rows):
        if at == 0:
            writer.writerow(row)
        writer.writerow([_csv_cell(value) for value in row.values()])


def _csv_cell(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str) and sys.stdout.isatty():
        return shown(value)
    return value
