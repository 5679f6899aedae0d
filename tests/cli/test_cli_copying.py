"""The verb copy: what it prints, how it ends, and that Ctrl-C leaves what the next copy goes on with."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import foldlog
from copied_stores import Place, assert_copied, fill, rows_of
from foldlog.outlets import copying

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    with foldlog.open(tmp_path / "source.db") as store:
        fill(store)
    return tmp_path / "source.db"


def test_it_copies_and_says_what(run_here: Run, source: Path, path: Place) -> None:
    count = len(rows_of(source)["events"])
    done = run_here("copy", source, path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"copied {count} events, ")
    assert_copied(source, path)
    found = json.loads(run_here("copy", source, path, "--json").stdout)
    assert (found["ok"], found["event_count"], found["found_event_count"]) == (True, 0, count)
    assert found["schema"] == "foldlog.copy/1"


def test_it_copies_back_into_a_file(run_here: Run, source: Path, path: Place, tmp_path: Path) -> None:
    run_here("copy", source, path)
    assert run_here("copy", path, tmp_path / "back.db").returncode == 0
    assert_copied(source, tmp_path / "back.db")


def test_a_target_with_another_history_is_refused(run_here: Run, source: Path, path: Place) -> None:
    with foldlog.open(path) as store:
        store.start_session(id="own").close()
    done = run_here("copy", source, path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "'own'" in done.stderr
    assert "hint: copy into a new store" in done.stderr


def test_ls_says_of_half_a_copy_how_it_goes_on(run_here: Run, source: Path, path: Place) -> None:
    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        foldlog.copy(source, path, progress=stop)
    for words in ([], ["--json"]):
        done = run_here("ls", path, *words)
        assert (done.returncode, done.stdout.strip()) == (0, "")
        assert re.search(r"\d+ sessions in the journal, but not in the tables, as after a copy", done.stderr)
        assert "the same `foldlog copy` again goes on; `foldlog repair " in done.stderr
        assert "STORE" not in done.stderr
        assert "has no sessions" not in done.stderr
    run_here("copy", source, path)
    assert "in the tables" not in run_here("ls", path).stderr


@pytest.mark.sqlite("whatever the target is")
def test_wrong_use(run_here: Run, source: Path, path: Place) -> None:
    assert run_here("copy", source).returncode == 2
    done = run_here("copy", "nowhere.db", path)
    assert done.returncode == 1
    assert "there is no store at" in done.stderr
    assert not Path(path).exists()
    done = run_here("copy", source, "mysql://host/x")
    assert done.returncode == 1
    assert "begins with 'mysql' is no store's" in done.stderr


@pytest.mark.sqlite("what is damaged is a file")
def test_a_damaged_value_is_a_failure(
    run_here: Run, source: Path, path: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foldlog.outlets.copying_check.check_blobs", lambda *_: ["blob sha256:0 is damaged"])
    done = run_here("copy", source, path)
    assert done.returncode == 1
    assert "damaged: blob sha256:0" in done.stdout


_SLOWLY = """
import sys, time
from foldlog.cli.main import main
from foldlog.outlets import copying
copying._FIRST_PAGE_ROWS = copying._PAGE_ROWS_MAX = 5
see = copying._Copying._saw
def saw(self, count):
    see(self, count)
    print("page", file=sys.stderr, flush=True)
    time.sleep(0.2)
copying._Copying._saw = saw
sys.argv = ["foldlog", "copy", *sys.argv[1:]]
main()
"""


def test_ctrl_c_ends_it_with_130_and_the_next_goes_on(source: Path, path: Place, environment: dict[str, str]) -> None:
    words = [sys.executable, "-c", _SLOWLY, str(source), str(path)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for _ in range(2):
            assert process.stderr.readline() == "page\n"
        process.send_signal(signal.SIGINT)
        out, talk = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "stopped" in talk
    assert 10 <= len(rows_of(path)["events"]) < len(rows_of(source)["events"])
    assert foldlog.copy(source, path).found_event_count >= 10
    assert_copied(source, path)
    assert copying._PAGE_ROWS_MAX > 5
