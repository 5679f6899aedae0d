"""The verbs report and csv: where the text goes, what is said, what is refused."""

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import foldlog
from foldlog.cli import reporting
from foldlog.outlets import report
from report_runs import HOSTILE, fill_family, fill_hostile

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "history.db"
    with foldlog.open(path) as store:
        fill_family(store)
        fill_hostile(store)
    return path


def names_in(folder: Path) -> list[str]:
    # SQLite's own -wal and -shm may come and go with a reader.
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.endswith(("-wal", "-shm")))


def test_the_formats_are_those_of_the_outlet() -> None:
    assert tuple(report.FORMATS) == reporting._FORMATS


def test_a_page_is_written_and_named(run_here: Run, path: Path, tmp_path: Path) -> None:
    done = run_here("report", path, "family", "-o", "report.html")
    size = (tmp_path / "report.html").stat().st_size
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "report.html\n",
        f"{size:,} bytes: open it in a browser\n",
    )
    done = run_here("report", path, "family", "-o", "report.html", "--json")
    assert json.loads(done.stdout) == {
        "schema": "foldlog.report/1", "path": "report.html", "session": "family", "format": "html", "bytes": size,
    }  # fmt: skip
    assert done.stderr == ""


@pytest.mark.parametrize("form", report.FORMATS)
@pytest.mark.parametrize("session", ["family", "family/child-0001", "hostile"])
def test_every_format_is_printed_or_written_alike(
    run_here: Run, path: Path, tmp_path: Path, form: str, session: str
) -> None:
    printed = run_here("report", path, session, "--format", form)
    assert (printed.returncode, printed.stderr) == (0, "")
    assert run_here("report", path, session, "--format", form, "-o", "made").returncode == 0
    with foldlog.open(path, read_only=True) as store:
        expected = "".join(report.chunks(store, session, form))
    # The time it was made is in all but the diagram.
    assert abs(len(printed.stdout.encode()) - len(expected.encode())) <= 64
    assert abs((tmp_path / "made").stat().st_size - len(expected.encode())) <= 64


def test_what_is_wrong_is_a_sentence_and_a_hint(run_here: Run, path: Path, tmp_path: Path) -> None:
    before = names_in(tmp_path)
    for args, words in {
        ("report", path, "nobody"): "there is no session 'nobody'",
        ("report", path, "../x"): "'../x'",
        ("report", path, "family", "-o", tmp_path): "is in the way",
        ("report", path, "family", "-o", "no/such/folder.html"): "cannot write",
        ("csv", path, "sqlite_master"): "no table or view 'sqlite_master'",
        ("csv", path, "model_usage", "family"): "no rows of single sessions",
        ("csv", path, "calls", "nobody"): "there is no session 'nobody'",
    }.items():
        done = run_here(*args)
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr.splitlines()[0]
        assert done.stderr.splitlines()[1].startswith("hint: ")
    assert names_in(tmp_path) == before


def test_usage_errors(run_here: Run, path: Path) -> None:
    for args in (
        ("report", path),
        ("report", path, "family", "-f", "pdf"),
        ("report", path, "family", "--json"),
        ("csv", path),
    ):
        done = run_here(*args)
        assert (done.returncode, done.stdout) == (2, "")


def test_csv_is_printed_or_written(run: Run, path: Path, tmp_path: Path) -> None:
    done = run("csv", path, "call_usage", "family")
    assert done.returncode == 0
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert sorted(row["model"] for row in rows) == ["", "large", "large", "small", "small"]
    done = run("csv", path, "calls", "hostile", "-o", "calls.csv")
    assert (done.returncode, done.stdout) == (0, "calls.csv\n")
    with (tmp_path / "calls.csv").open(newline="", encoding="utf-8") as file:
        [first, _] = csv.DictReader(file)
    assert first["model"] == HOSTILE
