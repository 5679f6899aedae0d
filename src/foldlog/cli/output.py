"""What verbs print with: tables, names, a progress bar. Knows text, not stores."""

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import click

UNKNOWN: Final = "unknown"
_CELL_CHARS_MAX: Final = 60
_BAR_CHARS: Final = 30
_REDRAW_S: Final = 0.05


def shown(text: str) -> str:
    """A text for a terminal: control characters, and what no encoding has, are escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def number(value: float | None) -> str:
    """A number for people; what is not known is not 0."""
    return UNKNOWN if value is None else f"{value:,}"


def plural(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def heading(text: str) -> None:
    """Print a heading, bold where that is welcome."""
    click.echo(f"\n{click.style(text, bold=True) if _is_styled() else text}")


def _is_styled() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def table(rows: Iterable[Mapping[str, Any]], *, indent: str = "  ") -> None:
    """Print rows in aligned columns, numbers to the right; the first row's keys are the heads."""
    found = list(rows)
    if not found:
        click.echo(f"{indent}(no rows)")
        return
    names = list(found[0])
    cells = [[_cell(row[name]) for name in names] for row in found]
    widths = [max(len(name), *(len(line[at]) for line in cells)) for at, name in enumerate(names)]
    to_right = [all(isinstance(row[name], int | float) or row[name] is None for row in found) for name in names]
    for line in (names, ["-" * width for width in widths], *cells):
        click.echo(f"{indent}{_line(line, widths, to_right)}")


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return number(value)
    text = shown(str(value))
    return text if len(text) <= _CELL_CHARS_MAX else f"{text[: _CELL_CHARS_MAX - 3]}..."


def _line(cells: Sequence[str], widths: Sequence[int], to_right: Sequence[bool]) -> str:
    padded = [
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, to_right, strict=True)
    ]
    return "  ".join(padded).rstrip()


class Progress:
    """A bar on stderr where that is a terminal, and nothing elsewhere; a context manager."""

    def __init__(self, label: str, total: int) -> None:
        self._label = label
        self._total = max(total, 1)
        self._is_shown = sys.stderr.isatty()
        self._drawn_at = 0.0

    def show(self, count: int) -> None:
        """Show how many are done."""
        now = time.monotonic()
        if not self._is_shown or (count < self._total and now - self._drawn_at < _REDRAW_S):
            return
        self._drawn_at = now
        filled = min(count, self._total) * _BAR_CHARS // self._total
        bar = "#" * filled + "." * (_BAR_CHARS - filled)
        click.echo(f"\r{self._label} [{bar}] {count:,}/{self._total:,}", err=True, nl=False)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_error: object) -> None:
        if self._is_shown:
            click.echo("\r\033[K", err=True, nl=False)
