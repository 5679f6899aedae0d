"""What verbs print with: tables, names, a progress bar. Knows text, not stores.

Rows as JSON and CSV, and the options that ask for them, are in `foldlog.cli.forms`.
"""

import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import click

UNKNOWN: Final = "unknown"
_CELL_CHARS_MIN: Final = 8
_FIRST_CHARS_MIN: Final = 24
_BAR_CHARS: Final = 30
_REDRAW_S: Final = 0.05


def shown(text: str) -> str:
    """A text for a terminal: control characters, and what no encoding has, are escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def number(value: float | None) -> str:
    """A number for people; what is not known is not 0."""
    # 15 digits are all that a float has for people: 0.00041, not 0.00041000000000000005.
    return UNKNOWN if value is None else f"{value:,.15g}" if isinstance(value, float) else f"{value:,}"


def money(value: float | None) -> float | None:
    """A sum of money for people: six digits."""
    return None if value is None else float(f"{value:.6g}")


def plural(count: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def heading(text: str) -> None:
    """Print a heading, bold where that is welcome."""
    click.echo(f"\n{strong(text)}")


def strong(text: str) -> str:
    """A text, bold where that is welcome: on a terminal, unless NO_COLOR is set."""
    return click.style(text, bold=True) if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else text


def say(text: str) -> None:
    """Talk: a line on stderr, out of the way of data."""
    click.echo(shown(text), err=True)


def next_commands(*commands: Sequence[object]) -> None:
    """Print what is worth asking next, ready to paste; on stderr, and not where it would run into a pager."""
    if sys.stderr.isatty() and not sys.stdout.isatty():
        return
    for at, command in enumerate(commands):
        line = shlex.join(["foldlog", *map(str, command)])
        # Quoted for a shell; a name that no terminal should show stays escaped, and is no command then.
        say(f"{'next:' if at == 0 else '     '} {line}")


def table(rows: Iterable[Mapping[str, Any]], *, indent: str = "  ", absent: str = UNKNOWN) -> None:
    """Print rows in aligned columns, numbers to the right; the first row's keys are the heads.

    On a terminal the widest texts are cut until a row fits its width; elsewhere nothing is cut. `absent`
    stands for None.
    """
    found = list(rows)
    if not found:
        click.echo(f"{indent}(no rows)")
        return
    names = list(found[0])
    cells = [[_cell(row[name], absent) for name in names] for row in found]
    to_right = [
        all(isinstance(row[name], int | float) or row[name] is None for row in found)
        and any(row[name] is not None for row in found)
        for name in names
    ]
    heads = [shown(name) for name in names]
    widths = [max(len(head), *(len(line[at]) for line in cells)) for at, head in enumerate(heads)]
    if sys.stdout.isatty():
        widths = _fitted(widths, to_right, shutil.get_terminal_size().columns - len(indent))
    for line in (heads, ["-" * width for width in widths], *cells):
        click.echo(f"{indent}{_line(line, widths, to_right)}")


def _fitted(widths: Sequence[int], to_right: Sequence[bool], width_max: int) -> list[int]:
    """Narrower columns, the widest text first, so that a line fits; numbers are never cut.

    The first column, by which a row is called, is cut last: a session is still known by what is left of its id.
    """
    found = list(widths)
    while (over := sum(found) + 2 * (len(found) - 1) - width_max) > 0:
        texts = [at for at, right in enumerate(to_right) if at and not right and found[at] > _CELL_CHARS_MIN]
        if texts:
            found[max(texts, key=found.__getitem__)] -= 1
            continue
        if found and not to_right[0]:
            found[0] = min(found[0], max(found[0] - over, _FIRST_CHARS_MIN))
        break
    return found


def cut(text: str, width: int) -> str:
    """A text in at most so many characters; one that is cut says so."""
    return text if len(text) <= width else f"{text[: max(width - 3, 0)]}..."


def terminal_line(text: str) -> str:
    """A line as wide as the terminal at most; elsewhere as it is."""
    return cut(text, shutil.get_terminal_size().columns) if sys.stdout.isatty() else text


def block(text: str, indent: str) -> str:
    """A text of several lines for a terminal, each one indented; control characters are escaped."""
    return "\n".join(f"{indent}{shown(line)}".rstrip() for line in text.expandtabs(4).split("\n"))


def _cell(value: Any, absent: str) -> str:
    if value is None:
        return absent
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else shown(str(value))


def _line(cells: Sequence[str], widths: Sequence[int], to_right: Sequence[bool]) -> str:
    padded = [
        cell.rjust(width) if right else cut(cell, width).ljust(width)
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
