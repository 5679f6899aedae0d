"""What hints say: commands that can be typed, and no Python, wherever the command line can meet them."""

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import foldlog
from foldlog.storage.schema import SCHEMA_NUMBER

pytestmark = pytest.mark.sqlite("it is of paths; test_cli_servers has URLs")

Run = Callable[..., "subprocess.CompletedProcess[str]"]

SOURCES = Path(foldlog.__file__).parent
# Those whose errors a verb may raise. What opens a session to write it is a program, which is told of Python.
MODULES = sorted(
    path
    for path in [
        *(SOURCES / "storage").glob("*.py"),
        *(SOURCES / "store").glob("*.py"),
        *(SOURCES / "outlets").glob("*.py"),
        *(SOURCES / "cli").glob("*.py"),
        SOURCES / "session" / "stored_rows.py",
    ]
    if path.name != "first_row.py"  # starting a session
)
# Hints of refusals that only a program can earn: its own session's commit, its own values.
OF_PROGRAMS = {
    "call reload() to see what was kept, then go on",
    "open it with open_session(), or choose another id",
    "a ref belongs to its store: make another with value_ref(value)",
    "read them while the store is open, or all at once with view.load(), or open the store again",
}
PYTHON = re.compile(r"(?<!substr)(?<=\w)\(|\w=\w|\b(store|session|foldlog|view)\.[a-z_]+\b|\bConfig\b|\bTrue\b")


def hints_in(path: Path) -> Iterator[str]:
    """The texts that a module gives as hints."""
    for node in ast.walk(ast.parse(path.read_text())):
        found: list[ast.expr] = []
        if isinstance(node, ast.Call):
            found += [keyword.value for keyword in node.keywords if keyword.arg == "hint"]
            if isinstance(node.func, ast.Name) and node.func.id in ("Problem", "Finding") and node.args:
                found.append(node.args[-1])
        elif isinstance(node, ast.Assign) and any(
            isinstance(name, ast.Name) and name.id.strip("_").lower() in ("hint", "again", "anew", "save", "repair")
            for name in node.targets
        ):
            found.append(node.value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found += [node.value] if node.target.id.strip("_").lower() in ("hint", "again") else []
        for one in found:
            yield from (
                part.value for part in ast.walk(one) if isinstance(part, ast.Constant) and type(part.value) is str
            )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_hint_is_python(path: Path) -> None:
    wrong = [hint for hint in hints_in(path) if PYTHON.search(hint) and hint not in OF_PROGRAMS]
    assert wrong == []


def test_the_search_for_hints_finds_them() -> None:
    found = [hint for path in MODULES for hint in hints_in(path)]
    assert len(found) > 80
    assert PYTHON.search("open it with read_only=True")
    assert PYTHON.search("store.sessions(), or `foldlog ls`")


def test_commands_in_hints_name_the_store_and_a_verb() -> None:
    from foldlog.cli.main import VERBS  # noqa: PLC0415

    for path in MODULES:
        for hint in hints_in(path):
            for command in re.findall(r"`foldlog ([^`]*)`", hint):
                verb, _, rest = command.partition(" ")
                assert verb in VERBS, (path, hint)
                assert rest.startswith("STORE"), (path, hint)


def test_a_hint_has_the_store_that_was_given(run_here: Run, mixed: Path, tmp_path: Path) -> None:
    del mixed
    (tmp_path / "mixed.db").rename(tmp_path / "my store.db")
    done = run_here("show", "my store.db", "qqq")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[1] == "hint: `foldlog ls 'my store.db' --all` lists those there are"


def test_paths_are_printed_as_they_were_given(run_here: Run, mixed: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("no database at all, but long enough to look like one" * 20)
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(mixed.read_bytes()[:3000])
    link = tmp_path / "link.db"
    link.symlink_to(mixed)
    for args in (
        ("ls", "none.db"),
        ("ls", "."),
        ("ls", "text.db"),
        ("ls", "damaged.db"),
        ("verify", "damaged.db"),
        ("doctor", "damaged.db"),
        ("repair", "damaged.db"),
        ("show", "mixed.db", "qqq"),
        ("show", "link.db", "qqq"),
        ("rm", "none.db", "x", "--yes"),
    ):
        done = run_here(*args)
        assert done.returncode == 1, args
        assert args[1] in done.stdout + done.stderr, args
        assert str(tmp_path) not in done.stdout + done.stderr, args
    assert run_here("ls", mixed.parent / "none.db").stderr.startswith(f"error: there is no store at {tmp_path}")


def test_the_address_of_a_row_leads_to_its_verb(run_here: Run, mixed: Path) -> None:
    del mixed
    show = "show mixed.db run-a:turn/1"
    for given, ways in {
        "messages mixed.db run-a:turn/1": ["messages mixed.db run-a --turn 1", show],
        "calls mixed.db run-a:turn/1": ["calls mixed.db run-a --turn 1", show],
        "usage mixed.db run-a:turn/1": ["usage mixed.db run-a --by turn", show],
        "usage mixed.db run-a:call/1": ["show mixed.db run-a:call/1"],
        "search mixed.db x --session run-a:turn/1": [show],
    }.items():
        done = run_here(*given.split())
        assert (done.returncode, done.stdout) == (2, "")
        assert f"takes a session: try {' or '.join(f'`foldlog {way}`' for way in ways)}" in done.stderr
        for way in ways:
            assert run_here(*way.split()).returncode == 0


def test_a_row_that_is_not_there_is_not_found(run_here: Run, mixed: Path) -> None:
    del mixed
    for args, verb in {
        ("show", "mixed.db", "run-a:turn/9"): "events mixed.db run-a --type turn.started",
        ("show", "mixed.db", "run-a:call/9"): "calls mixed.db run-a",
        ("show", "mixed.db", "run-a:eval/9"): "messages mixed.db run-a",
        ("show", "mixed.db", "run-a:event/99"): "events mixed.db run-a",
        ("messages", "mixed.db", "run-a", "--turn", "9"): "events mixed.db run-a --type turn.started",
        ("calls", "mixed.db", "run-a", "--turn", "x"): "events mixed.db run-a --type turn.started",
    }.items():
        done = run_here(*args)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[1] == f"hint: `foldlog {verb}` lists those there are"
        assert run_here(*verb.split()).returncode == 0


def test_what_may_not_be_looked_at_is_said(run_here: Run, mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.stat

    def forbidden(path: Path, **named: bool) -> object:
        if path.name == mixed.name:
            raise PermissionError(13, "Permission denied")
        return real(path, **named)

    monkeypatch.setattr(Path, "stat", forbidden)
    done = run_here("ls", "mixed.db")
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        1,
        "error: mixed.db cannot be looked at (Permission denied)",
    )


def test_upgrade_of_what_is_up_to_date_writes_nothing(run_here: Run, mixed: Path) -> None:
    mixed.chmod(0o400)
    done = run_here("upgrade", "mixed.db")
    assert (done.returncode, done.stdout) == (0, f"schema {SCHEMA_NUMBER}: up to date\n")


def test_only_the_place_of_the_store_is_filled_in(run_here: Run, mixed: Path) -> None:
    done = run_here("show", mixed, "STORE")
    assert done.stderr.splitlines()[0] == f"error: there is no session 'STORE' in {mixed}"
    done = run_here("show", mixed, "run-a:turn/STORE")
    assert done.stderr.startswith("error: session 'run-a' has no turn 'STORE'")
