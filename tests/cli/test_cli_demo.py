"""The demo, run as its users run it, and its session killed wherever it stands."""

import itertools
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import foldlog
from foldlog.cli import demo_files, demo_worker

Run = Callable[..., "subprocess.CompletedProcess[str]"]
SOURCES = Path(foldlog.__file__).parents[1]


def leaf_calls(store: foldlog.Store, status: str) -> list[str]:
    sql = "SELECT json_extract(data, '$.path') AS path FROM calls WHERE type = 'leaf' AND status = ?"
    return [row["path"] for row in store.query(sql, (status,))]


def check_finished(store: foldlog.Store, folder: Path) -> None:
    """Every file has one finished call, every session is over and counted once, and the store is whole."""
    expected = files_of(demo_files.find(folder).top)
    assert Counter(leaf_calls(store, "ok")) == Counter(expected)
    assert leaf_calls(store, "running") == []
    assert {row["status"] for row in store.sessions()} == {"stopped"}
    tree, usage = store.tree("demo"), store.usage("demo")
    addresses = list(addresses_in(tree))
    assert len(addresses) == len(set(addresses)) == len(list(store.sessions()))
    tokens = sum(row["t"] for row in store.query("SELECT total_tokens AS t FROM calls WHERE total_tokens NOT NULL"))
    assert usage["total_tree"]["total_tokens"].get("known") == tokens
    assert usage["cost"]["total_tree"]["usd"]["status"] == "unknown"
    view = store.view("demo")
    assert view.final_ref is not None
    assert store.verify().ok


def files_of(package: demo_files.Package) -> list[str]:
    return [*package.files, *(path for below in package.packages for path in files_of(below))]


def addresses_in(entry: dict[str, Any]) -> Any:
    yield entry["session_id"]
    for child in entry["children"]:
        yield from addresses_in(child)


def was_killed(store: foldlog.Store) -> bool:
    found = list(store.events(types=["session.recovered"]))
    return any(event.session_id == "demo" and event["interrupted"]["turns"] == [1] for event in found)


@pytest.mark.parametrize("which", ["project", "sources"])
def test_demo_kills_and_finishes(run: Run, project: Path, tmp_path: Path, which: str) -> None:
    folder = project if which == "project" else SOURCES
    done = run("demo", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "foldlog-demo/history.db" in done.stdout
    assert "foldlog-demo/files/demo" in done.stdout
    assert "(SIGKILL)" in done.stdout
    assert "no finished call was made again" in done.stdout
    assert "foldlog verify: ok: " in done.stdout
    assert done.stdout.count("SELECT ") >= 3
    assert "\033" not in done.stdout
    with foldlog.open(tmp_path / "foldlog-demo" / "history.db", read_only=True) as store:
        check_finished(store, folder)
        assert was_killed(store)
        assert leaf_calls(store, "interrupted")
        root = tmp_path / "foldlog-demo" / "files" / "demo"
        assert sum(1 for _ in root.rglob("session.json")) == len(list(store.sessions()))


def test_half_of_the_calls_were_finished_by_the_worker(run: Run, project: Path, tmp_path: Path) -> None:
    run("demo", project, "--output", "out")
    with foldlog.open(tmp_path / "out" / "history.db", read_only=True) as store:
        first = min(event.position for event in store.events(types=["session.recovered"]))
        ended = [event for event in store.events(types=["call.updated"]) if event["changes"].get("status") == "ok"]
        assert sum(event.position < first for event in ended) == 4
        assert len(ended) == 8


def test_one_file(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "a.txt").write_text("words")
    done = run("demo", folder)
    assert done.returncode == 0
    assert "0 of 1 file answered, 1 leaf call running" in done.stdout
    with foldlog.open(tmp_path / "foldlog-demo" / "history.db", read_only=True) as store:
        check_finished(store, folder)


def test_the_demo_again_replaces_its_own_folder(run: Run, project: Path, tmp_path: Path) -> None:
    assert run("demo", ".", cwd=project).returncode == 0
    again = run("demo", ".", cwd=project)
    assert again.returncode == 0
    assert "8 files in 4 packages" in again.stdout
    (project / "foldlog-demo" / "mine").touch()
    refused = run("demo", ".", cwd=project)
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: foldlog-demo has mine")
    assert (project / "foldlog-demo" / "history.db").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["empty"], "there are no files to read in empty"),
        (["nowhere"], "nowhere is no folder"),
        (["project", "--output", "no/where"], "there is no folder no"),
        (["project", "--output", "project"], "project is inside the demo's own folder project"),
    ],
)
def test_demo_refuses_before_it_makes_anything(
    run: Run, project: Path, tmp_path: Path, args: list[str], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    before = sorted(path.name for path in tmp_path.iterdir())
    done = run("demo", *args)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {said}")
    assert "\nhint: " in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_modules_of_the_current_folder_do_not_stand_in_for_others(run: Run, project: Path) -> None:
    (project / "ast.py").write_text("raise SystemExit('not me')\n")
    (project / "foldlog.py").write_text("raise SystemExit('not me')\n")
    assert run("demo", ".", cwd=project).returncode == 0


def kill_after(path: Path, folder: Path, event_count: int, environment: dict[str, str]) -> None:
    """Run a worker and kill it when it has committed so many events, or does no more by itself."""
    foldlog.open(path).close()
    with foldlog.open(path, read_only=True) as store:
        last = max((event.position for event in store.events()), default=0)
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "foldlog.cli.demo_worker", str(path), str(folder), str(os.getpid())],
            env=environment,
        ) as worker:
            try:
                # The worker stops answering half-way, so the feed falls silent where the count is not reached.
                for _ in itertools.islice(store.follow(after=last, idle_timeout=5), event_count):
                    pass
            finally:
                worker.send_signal(signal.SIGKILL)
        assert worker.returncode == -signal.SIGKILL


@pytest.mark.parametrize("event_counts", [(1,), (2, 1), (4, 3, 5), (7, 11), (16, 2), (20, 1, 1, 6)])
def test_a_map_killed_anywhere_is_finished(
    project: Path, tmp_path: Path, environment: dict[str, str], event_counts: tuple[int, ...]
) -> None:
    path = tmp_path / "history.db"
    for event_count in event_counts:
        kill_after(path, project, event_count, environment)
    with foldlog.open(path) as store:
        before = Counter(leaf_calls(store, "ok"))
        answers: list[None] = []
        demo_worker.map_or_continue(store, project, on_answer=lambda: answers.append(None))
        check_finished(store, project)
        assert len(answers) <= 8 - before.total()
        value = store.view("demo").final_ref
        events = list(store.events())
    with foldlog.open(path) as store:
        assert store.view("demo").final_ref == value
        assert len(list(store.events())) == len(events)


def test_a_file_that_went_away_is_an_error_of_its_call(project: Path, tmp_path: Path) -> None:
    def lose_a_file(root: foldlog.Session) -> None:
        plan = demo_files.find(project)
        document = {"top": plan.top.document(), "is_cut": plan.is_cut}
        root.add_eval(code=demo_worker.PLAN_CODE, status="ok", value=document)
        (project / "docs" / "guide" / "intro.txt").unlink()

    with foldlog.open(tmp_path / "history.db") as store:
        demo_worker.map_or_continue(store, project, on_open=lose_a_file)
        assert leaf_calls(store, "error") == ["docs/guide/intro.txt"]
        assert len(leaf_calls(store, "ok")) == 7
        assert store.verify().ok


def test_the_worker_ends_when_nobody_is_left_to_kill_it(
    project: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    path = tmp_path / "history.db"
    gone = 2**22 + 1  # above the largest process id
    worker = subprocess.run(
        [sys.executable, "-P", "-m", "foldlog.cli.demo_worker", str(path), str(project), str(gone)],
        env=environment,
        timeout=60,
        check=False,
    )
    assert worker.returncode == 1
    with foldlog.open(path) as store:
        demo_worker.map_or_continue(store, project)
        check_finished(store, project)
