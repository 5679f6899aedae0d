"""messages and calls: what was said, what was called."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_stores import parsed

import foldlog

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_a_transcript_in_order(run_here: Run, mixed: Path) -> None:
    text = run_here("messages", mixed, "run-a").stdout
    parts = [
        "--- turn 1, final", "[1] user", "  How many words?", "[2] assistant  call 1, m-1", "  Asking two others.",
        "[eval 1] code, error, 0.5 ms", "    print(2 + 2)", "    1 / 0", "  stdout:", "    4", "ZeroDivisionError",
    ]  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_control_characters_stay_text(run_here: Run, mixed: Path) -> None:
    text = run_here("messages", mixed, "run-b").stdout
    assert "  hi\\x1b[31m\n  there\n" in text
    assert "\x1b" not in text + run_here("show", mixed, "run-b").stdout + run_here("events", mixed, "run-b").stdout


def test_last_role_and_turn(run_here: Run, mixed: Path) -> None:
    rows = parsed(run_here("messages", mixed, "run-a", "--json").stdout, "messages")
    assert [(row["kind"], row["row"]["id"]) for row in rows] == [("message", 1), ("message", 2), ("eval", 1)]
    rows = parsed(run_here("messages", mixed, "run-a", "--json", "--role", "assistant").stdout, "messages")
    assert [row["row"]["content"] for row in rows] == ["Asking two others."]
    assert len(parsed(run_here("messages", mixed, "run-a", "--last", "2", "--json").stdout, "messages")) == 2
    done = run_here("messages", mixed, "run-a", "--last", "1")
    assert "the last 1 of 3" in done.stderr
    assert len(parsed(run_here("messages", mixed, "run-a", "--turn", "1", "--json").stdout, "messages")) == 3
    none = run_here("messages", mixed, "run-a", "--turn", "1", "--role", "tool")
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "run-a has no such messages\n")


def test_long_texts_are_cut_unless_all_is_wanted(run_here: Run, tmp_path: Path) -> None:
    with foldlog.open(tmp_path / "long.db") as store, store.start_session(id="s") as session:
        session.add_message("user", "word " * 2000)
    short = run_here("messages", "long.db", "s").stdout
    assert short.endswith("... 8,000 more characters (--full)\n")
    assert run_here("messages", "long.db", "s", "--full").stdout.count("word") == 2000


def test_messages_as_csv(run_here: Run, mixed: Path) -> None:
    lines = run_here("messages", mixed, "run-a", "--csv").stdout.splitlines()
    assert lines[:3] == [
        "session_id,kind,id,turn_id,role,text",
        "run-a,message,1,1,user,How many words?",
        "run-a,message,2,1,assistant,Asking two others.",
    ]


def ids(text: str) -> list[tuple[str, int]]:
    return [(row["session_id"], row["id"]) for row in parsed(text, "calls")]


def test_calls_of_a_session_and_all_below(run_here: Run, mixed: Path) -> None:
    everyone = [
        ("run-a", 1),
        ("run-a", 2),
        ("run-a", 3),
        ("run-a", 4),
        ("run-a/child-0001", 1),
        ("run-a/child-0002", 1),
    ]
    assert ids(run_here("calls", mixed, "run-a", "--json").stdout) == everyone
    assert ids(run_here("calls", mixed, "--json").stdout) == everyone
    assert ids(run_here("calls", mixed, "run-a/child-0001", "--json").stdout) == everyone[4:5]


@pytest.mark.parametrize("scope", [(), ("run-a",)])
def test_filters_mean_the_same_for_one_session_and_all(run_here: Run, mixed: Path, scope: tuple[str, ...]) -> None:
    def found(*options: str) -> list[tuple[str, int]]:
        return ids(run_here("calls", mixed, *scope, *options, "--json").stdout)

    assert found("--status", "error") == [("run-a", 4)]
    assert found("--model", "m-1", "--model", "m-3") == [("run-a", 1), ("run-a", 4)]
    assert found("--type", "leaf", "--status", "ok") == [("run-a/child-0001", 1), ("run-a/child-0002", 1)]
    assert found("--limit", "2") == [("run-a", 1), ("run-a", 2)]
    assert found("--costliest", "2") == [("run-a/child-0001", 1), ("run-a/child-0002", 1)]
    assert found("--slowest", "1", "--type", "child") == [("run-a", 2)]
    assert found("--status", "nonsense") == []


def test_calls_as_of_now_and_of_one_turn(run_here: Run, tmp_path: Path) -> None:
    with foldlog.open(tmp_path / "live.db") as store, store.start_session(id="live") as session:
        turn = session.add_turn()
        session.add_call("leaf", turn_id=turn["id"], status="ok")
        session.add_call("tool", status="running")
        assert ids(run_here("calls", "live.db", "live", "--json").stdout) == [("live", 1), ("live", 2)]
        assert ids(run_here("calls", "live.db", "live", "--turn", "1", "--json").stdout) == [("live", 1)]
        assert ids(run_here("calls", "live.db", "live", "--status", "running", "--json").stdout) == [("live", 2)]


@pytest.mark.parametrize(
    "options", [("--slowest", "1", "--costliest", "1"), ("--turn", "1"), ("--slowest", "0"), ("--limit", "x")]
)
def test_usage_errors(run_here: Run, mixed: Path, options: tuple[str, ...]) -> None:
    done = run_here("calls", mixed, *options)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_status_or_type_that_no_call_can_have_is_a_mistake(run_here: Run, mixed: Path) -> None:
    for form in ("--table", "--json", "--csv"):
        done = run_here("calls", mixed, "--status", "nope", form)
        assert (done.returncode, done.stdout) == (2, "")
        assert "no call has status 'nope'; there are running, ok, final, error, interrupted" in done.stderr
    assert "no call has type 'nope'; there are root" in run_here("calls", mixed, "run-a", "--type", "nope").stderr
    assert run_here("calls", mixed, "--status", "interrupted", "--type", "child_batch_item").returncode == 0
    with foldlog.open(mixed) as store, store.start_session() as session:
        session.add_call("mine", status="odd")
    assert run_here("calls", mixed, "run-a", "--status", "odd", "--type", "mine").returncode == 0
    assert "interrupted, odd" in run_here("calls", mixed, "--status", "nope").stderr


@pytest.mark.parametrize("verb", ["ls", "usage", "calls", "events", "messages run-a", "sql"])
def test_two_forms_are_one_too_many(run_here: Run, mixed: Path, verb: str) -> None:
    verb, *rest = verb.split()
    given = [verb, mixed, *rest, *(["SELECT 1"] if verb == "sql" else [])]
    for forms in (("--json", "--csv"), ("--csv", "--json"), ("--table", "--json"), ("--table", "--csv")):
        done = run_here(*given, *forms)
        assert (done.returncode, done.stdout) == (2, "")
        assert "not both" in done.stderr
    assert run_here(*given, "--json", "--json").returncode == 0
