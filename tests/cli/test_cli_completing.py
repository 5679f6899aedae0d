"""completion: the scripts, and what they ask foldlog for."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(run_here: Run, shell: str) -> None:
    done = run_here("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_FOLDLOG_COMPLETE={shell}_complete" in done.stdout


def test_bash_takes_the_script(run_here: Run, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(run_here("completion", "bash").stdout)
    done = subprocess.run(
        ["bash", "-c", "set -e; source ./script; complete -p foldlog"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "foldlog" in done.stdout


def completed(environment: dict[str, str], words: list[str], folder: Path) -> list[str]:
    """What bash would be offered for the last word."""
    asked = {"_FOLDLOG_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "foldlog.cli.main"],
        cwd=folder, env={**environment, **asked}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


@pytest.mark.sqlite("a shell does not wait for a server")
def test_verbs_options_and_sessions(environment: dict[str, str], mixed: Path) -> None:
    folder = mixed.parent
    assert completed(environment, ["foldlog", "s"], folder) == ["show", "sql", "search"]
    assert completed(environment, ["foldlog", "ls", "mixed.db", "--l"], folder) == ["--limit"]
    assert completed(environment, ["foldlog", "usage", "mixed.db", "--by", "m"], folder) == ["model"]
    assert completed(environment, ["foldlog", "show", "mixed.db", "run-a/"], folder) == [
        "run-a/child-0001",
        "run-a/child-0002",
    ]
    assert completed(environment, ["foldlog", "show", "mixed.db", "nobody"], folder) == []


@pytest.mark.parametrize("name", ["missing.db", "text.db", "."])
def test_silent_where_there_is_no_store(environment: dict[str, str], tmp_path: Path, name: str) -> None:
    (tmp_path / "text.db").write_text("just some text\n" * 100)
    assert completed(environment, ["foldlog", "show", name, ""], tmp_path) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.db"]
