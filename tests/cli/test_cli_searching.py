"""foldlog search: what was found, where, and how it ends."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import foldlog
from foldlog.core.limits import SEARCH_PORTION_EVENTS, SEARCH_TAIL_EVENTS_MAX

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / "history.db"
    with foldlog.open(path) as store:
        with store.start_session(id="demo") as session, session.turn() as turn:
            turn.message("user", "is the disk \x1b[31mfull\n again?")
            turn.call("leaf", query="how full is it", result_ref=session.value_ref("quite full"))
        with store.start_session(id="other") as session:
            session.add_message("user", "full")
    return path


def test_found_texts_with_their_places(run_here: Run, made: Path) -> None:
    done = run_here("search", made, "disk", "FULL")
    assert done.returncode == 0
    assert done.stdout == "demo: message 1 content (user), turn 1, event 3\n    is the disk full  again?\n"
    assert done.stderr == f"next: foldlog show {made} demo:message/1 --full\n"


def test_filters(run_here: Run, made: Path) -> None:
    assert len(run_here("search", made, "full").stdout.splitlines()) == 8
    assert run_here("search", made, "full", "--session", "oth").stdout.startswith("other: message 1")
    assert run_here("search", made, "full", "--kind", "query").stdout.startswith("demo: call 1 query, turn 1")
    assert run_here("search", made, "full", "--role", "tool").returncode == 1
    done = run_here("search", made, "full", "--limit", "1")
    assert len(done.stdout.splitlines()) == 2
    assert "--limit shows more" in done.stderr


def test_json_is_a_line_for_each(run_here: Run, made: Path) -> None:
    lines = run_here("search", made, "quite", "--json").stdout.splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "schema": "foldlog.search/1", "session_id": "demo", "kind": "result", "field": "call.result_ref",
            "row_id": 1, "turn_id": 1, "role": None, "event_id": 4, "snippet": "quite full", "marks": [[0, 5]],
            "rank": pytest.approx(-1, abs=5),
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("nowhere",), 1, "nothing found"),
        (("***",), 1, "no word"),
        (("full", "--session", "nobody"), 1, "nobody"),
        (("full", "--kind", "odd"), 2, "odd"),
        (("full", "--limit", "0"), 2, "limit"),
        ((), 2, "TEXT"),
    ],
)
def test_what_is_not_found_or_not_to_be_searched_for(
    run_here: Run, made: Path, args: tuple[str, ...], code: int, said: str
) -> None:
    done = run_here("search", made, *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr


@pytest.mark.parametrize("option", [(), ("--update",)])
def test_no_store_is_made(run_here: Run, tmp_path: Path, option: tuple[str, ...]) -> None:
    assert run_here("search", tmp_path / "no.db", "x", *option).returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_what_waits_for_the_index_is_told_and_can_be_added(run_here: Run, made: Path) -> None:
    count = SEARCH_TAIL_EVENTS_MAX + SEARCH_PORTION_EVENTS
    with foldlog.open(made) as store:
        session = store.open_session("demo")
        with session.batch():
            session.add_message("user", "needle")
            for _ in range(count):
                session.emit("note")
            session.add_message("user", "haystack")
        done = run_here("search", made, "haystack")
        assert done.returncode == 1
        assert "wait for the index and were not looked at" in done.stderr
        assert "wait for" not in run_here("search", made, "haystack", "--update").stderr
