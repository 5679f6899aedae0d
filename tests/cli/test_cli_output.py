"""What is printed with: on a terminal it fits and is tame, elsewhere it is whole."""

import json
import sys

import pytest

from foldlog.cli import output
from foldlog.cli.forms import print_json, print_rows

Capture = pytest.CaptureFixture[str]
ROWS = [{"id": 1, "text": "word " * 40, "note": "n" * 50, "tokens": 1_234_567, "usd": None}]


def be_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output is a terminal of 60 columns; called in the test, whose stdout is another than a fixture's."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_a_table_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    be_a_terminal(monkeypatch)
    output.table(ROWS, indent="  ")
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 60 for line in lines)
    assert "1,234,567" in lines[-1]
    assert "unknown" in lines[-1]
    assert "..." in lines[-1]


def test_numbers_are_never_cut(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    be_a_terminal(monkeypatch)
    output.table([{f"column {number}": 10**15 for number in range(6)}])
    assert capsys.readouterr().out.splitlines()[-1].count("1,000,000,000,000,000") == 6


def test_a_table_is_whole_elsewhere(capsys: Capture) -> None:
    output.table(ROWS, indent="")
    assert "word " * 39 in capsys.readouterr().out


def test_a_table_of_nothing(capsys: Capture) -> None:
    output.table([])
    assert capsys.readouterr().out == "  (no rows)\n"


def test_no_color_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    be_a_terminal(monkeypatch)
    assert output.strong("x") == "\x1b[1mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.strong("x") == "x"


def test_no_color_without_a_terminal(capsys: Capture) -> None:
    assert output.strong("x") == "x"


@pytest.mark.parametrize(
    ("value", "said"), [(None, "unknown"), (0, "0"), (1234, "1,234"), (0.1 + 0.2, "0.3"), (4e-05, "4e-05")]
)
def test_numbers_for_people(value: float | None, said: str) -> None:
    assert output.number(value) == said


@pytest.mark.parametrize(
    ("stdout_is_terminal", "stderr_is_terminal", "is_said"),
    [(True, True, True), (False, True, False), (False, False, True), (True, False, True)],
)
def test_what_to_ask_next_stays_out_of_a_pager(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, stdout_is_terminal: bool, stderr_is_terminal: bool, is_said: bool
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: stdout_is_terminal)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: stderr_is_terminal)
    output.next_commands(("show", "a b.db", "demo"), ("ls", "a b.db"))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == ("next: foldlog show 'a b.db' demo\n      foldlog ls 'a b.db'\n" if is_said else "")


HOSTILE = "\x1b[31m\x07\x9b\u202e\nreal \u4f60\U0001f600"


def test_hostile_text_is_tame_on_a_terminal_in_every_form(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    be_a_terminal(monkeypatch)
    print_json("x", {"text": HOSTILE})
    as_json = capsys.readouterr().out
    assert json.loads(as_json)["text"] == HOSTILE
    print_rows("x", [{"text": HOSTILE}], "csv")
    print_rows("x", [{"text": HOSTILE}], "table")
    text = as_json + capsys.readouterr().out
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)


def test_json_elsewhere_is_as_it_is(capsys: Capture) -> None:
    print_json("x", {"text": HOSTILE})
    text = capsys.readouterr().out
    assert text.startswith('{"schema":"foldlog.x/1","text":"')
    assert json.loads(text) == {"schema": "foldlog.x/1", "text": HOSTILE}
    print_json("x", {})
    assert json.loads(capsys.readouterr().out) == {"schema": "foldlog.x/1"}


def test_a_block_keeps_its_lines_and_nothing_else() -> None:
    assert output.block("a\tb\n\x1b[1mc\n\nd", "  ") == "  a   b\n  \\x1b[1mc\n\n  d"
    assert output.cut("abcdef", 5) == "ab..."
