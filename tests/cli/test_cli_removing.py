"""rm shows what goes, asks, deletes, and says what it did."""

import io
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import foldlog

Run = Callable[..., Any]


@pytest.fixture
def made(path: Path) -> Path:
    with foldlog.open(path) as store, store.start_session(id="demo") as session:
        session.emit("a", ref=session.value_ref("x" * 9000))
        session.snapshot({"n": 1})
        session.start_child().close()
    return path


def there(path: Path) -> list[str]:
    with foldlog.open(path, read_only=True) as store:
        return sorted(row["id"] for row in store.sessions())


def test_a_dry_run_says_what_would_go(run_here: Run, made: Path) -> None:
    done = run_here("rm", made, "demo", "--dry-run")
    assert (done.returncode, done.stdout.split()) == (0, ["demo", "demo/child-0001"])
    assert "2 sessions, 6 events, 1 blob (9,002 bytes) would be deleted" in done.stderr
    assert there(made) == ["demo", "demo/child-0001"]


def test_it_deletes_when_told_to(run_here: Run, made: Path) -> None:
    done = run_here("rm", made, "demo", "--yes", "--reason", "a try", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["sessions"], found["reason"]) == (0, ["demo", "demo/child-0001"], "a try")
    assert there(made) == []
    done = run_here("rm", made, "demo", "--yes")
    assert done.returncode == 1
    assert "there is no session 'demo'" in done.stderr
    assert run_here("verify", made).returncode == 0


@pytest.mark.parametrize(
    ("answer", "left"), [("y\n", []), ("n\n", ["demo", "demo/child-0001"]), ("", ["demo", "demo/child-0001"])]
)
def test_it_asks_first(
    run_here: Run, made: Path, monkeypatch: pytest.MonkeyPatch, answer: str, left: list[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    done = run_here("rm", made, "demo")
    assert "2 sessions, 6 events, 1 blob (9,002 bytes) will be deleted" in done.stderr
    assert (done.returncode == 0) == (left == [])
    assert there(made) == left


def test_nobody_to_ask_is_a_matter_of_usage(run_here: Run, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    done = run_here("rm", made, "demo")
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: nobody answered: with --yes it deletes without asking" in done.stderr
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    done = run_here("rm", made, "demo")
    assert (done.returncode, done.stderr.splitlines()[-1].endswith("nothing was deleted")) == (1, True)


@pytest.mark.parametrize("options", [("--yes",), ("--dry-run",), ()])
def test_the_beginning_of_an_id_deletes_nothing(run_here: Run, made: Path, options: tuple[str, ...]) -> None:
    done = run_here("rm", made, "de", *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "error: rm takes an id in full, and 'de' is only how demo begins",
        f"hint: `foldlog rm {shlex.quote(str(made))} demo` deletes that one",
    ]
    assert there(made) == ["demo", "demo/child-0001"]


def test_refusals_are_said_in_words(run_here: Run, made: Path, tmp_path: Path) -> None:
    with foldlog.open(made) as store:
        store.resume_session("demo", id="later")
        done = run_here("rm", made, "demo", "--yes")
        assert (done.returncode, "later" in done.stderr, "--despite" in done.stderr) == (1, True, True)
        done = run_here("rm", made, "later", "--yes")
        assert (done.returncode, "being written by" in done.stderr) == (1, True)
    assert run_here("rm", made, "demo", "--yes", "--despite-descendants").returncode == 0
    assert there(made) == ["later"]
    assert run_here("rm", tmp_path / "none.db", "demo", "--yes").returncode == 1
    assert not (tmp_path / "none.db").exists()
    assert run_here("rm", made).returncode == 2
