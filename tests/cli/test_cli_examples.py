"""Every example in help, and every command of the guide, runs on the demo's store."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from cli_stores import record_demo

from foldlog.cli.main import VERBS, cli

Run = Callable[..., "subprocess.CompletedProcess[str]"]
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "command-line.md"


def examples(verb: str) -> list[str]:
    """The lines of a verb's help after `Example:`."""
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    _, found, lines = (command.help or "").partition("Example:")
    assert found, f"{verb} has no example"
    return [line.strip() for line in lines.splitlines() if line.strip()]


def guided() -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


def play(run_here: Run, line: str, folder: Path, environment: dict[str, str]) -> None:
    words = shlex.split(line)
    if words[0] == "foldlog" and not {"|", ">"} & set(words):
        done = run_here(*words[1:])
    else:
        shell = f'set -o pipefail; foldlog() {{ {shlex.quote(sys.executable)} -P -m foldlog.cli.main "$@"; }}; {line}'
        done = subprocess.run(
            ["bash", "-c", shell], cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    # `| head` leaves before all is written, and that is how it should be.
    assert done.returncode in ((0, 141) if "| head" in line else (0,)), f"{line}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    assert done.stdout or ">" in words or {"--idle-timeout", "--costliest"} & set(words) or "eval" in line, line


_SERVER = "postgresql+psycopg://me@host/histories"


# `foldlog demo` has tests of its own.
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "demo"])
def test_examples_of_help_run(
    run_here: Run, history: Path, environment: dict[str, str], request: pytest.FixtureRequest, verb: str
) -> None:
    if verb == "verify":  # one of its examples looks at what another verb made
        assert run_here("export", "history.db", "exported/").returncode == 0
    place = ""
    for line in examples(verb):
        if _SERVER in line:
            place = place or request.getfixturevalue("server").new_store()
            line = line.replace(_SERVER, shlex.quote(place))  # noqa: PLW2901
        if "completion zsh" not in line:  # it needs zsh to say more than that it is there
            play(run_here, line, history.parent, environment)


def test_the_guide_runs(run_here: Run, tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "foldlog-demo").mkdir()
    record_demo(tmp_path / "foldlog-demo")  # of just now, as its user's: one command asks for the last ten minutes
    lines = guided()
    assert len(lines) > 15
    for line in lines:
        play(run_here, line, tmp_path, environment)


def test_every_verb_over_a_store_is_in_the_guide_or_another() -> None:
    said = "".join(path.read_text(encoding="utf-8") for path in GUIDE.parent.glob("*.md"))
    assert [verb for verb in VERBS if f"foldlog {verb}" not in said] == []
