"""The verb that asks with SQL: sql. What is refused, and how it is bounded, is `foldlog.outlets.query`'s."""

import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from foldlog.cli import arguments
from foldlog.cli.forms import CSV, JSON, TABLE, Row, print_rows, row_forms
from foldlog.cli.output import say

_NUMBER: Final = re.compile(r"[+-]?\d{1,18}|[+-]?(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?", re.ASCII)


@click.command()
@arguments.store
@click.argument("sql", metavar="SQL")
@click.option(
    "--param", "-p", "params", nargs=2, multiple=True, metavar="NAME VALUE", help="A value for :NAME; again for more."
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, max=10**9, min_open=True),
    metavar="SECONDS",
    help="Stop then; after 30 if left out.",
)
@row_forms
def sql(store_path: Path, sql: str, *, params: tuple[tuple[str, str], ...], timeout: float | None, form: str) -> None:
    """Ask a store with a SELECT.

    One statement that reads; `-` takes it from stdin. A VALUE that looks like a number is one. Tables are as
    of each session's last checkpoint. With --json each line has the row under `row`; bytes are hex digits.

    \b
    Example:   foldlog sql history.db "SELECT * FROM model_usage"
               foldlog sql history.db "SELECT * FROM calls WHERE status = :s" -p s ok --csv
               echo "SELECT count(*) AS n FROM events" | foldlog sql history.db - --json
    """
    text = sys.stdin.read() if sql == "-" else sql
    values = {name.lstrip(":@$"): _value(value) for name, value in params}
    with arguments.open_to_read(store_path) as store:
        rows: Iterator[Row] = store.query(text, values, timeout=timeout)
        if form == JSON:
            rows = ({"row": {key: _plain(value) for key, value in row.items()}} for row in rows)
        count = print_rows("sql", rows, form, absent="" if form == CSV else "NULL")
    if form == TABLE and not count:
        say("no rows")


def _value(text: str) -> Any:
    if not _NUMBER.fullmatch(text):
        return text
    return int(text) if text.lstrip("+-").isdecimal() and len(text) <= 19 else float(text)


def _plain(value: Any) -> Any:
    """A value of SQL as JSON has it: bytes and infinite numbers become text."""
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


COMMANDS: Final = (sql,)
