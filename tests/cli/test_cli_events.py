"""events: which, in which form, and following another process's writing until it ends."""

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_stores import parsed

import foldlog

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def rows(done: "subprocess.CompletedProcess[str]") -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return parsed(done.stdout, "events")


def test_json_has_all_of_each_event(run_here: Run, mixed: Path) -> None:
    with foldlog.open(mixed, read_only=True) as store:
        expected = [(event.position, event.session_id, event["type"], event["at"]) for event in store.events()]
    found = rows(run_here("events", mixed, "--json"))
    assert expected == [(row["position"], row["session_id"], row["event"]["type"], row["event"]["at"]) for row in found]


def test_a_line_each(run_here: Run, mixed: Path) -> None:
    done = run_here("events", mixed, "run-a", "--limit", "2")
    first, second = (line.split() for line in done.stdout.splitlines())
    assert first[0] == "1"
    assert first[3:6] == ["run-a", "1", "session.started"]
    assert second[5] == "turn.started"


def test_which_events(run_here: Run, mixed: Path) -> None:
    everything = rows(run_here("events", mixed, "--json"))
    assert rows(run_here("events", mixed, "--json", "--after", "3")) == everything[3:]
    assert rows(run_here("events", mixed, "--json", "--since", "3")) == everything[2:]
    assert rows(run_here("events", mixed, "--json", "--since", "0")) == everything
    assert rows(run_here("events", mixed, "--json", "--limit", "2")) == everything[:2]
    at = everything[4]["event"]["at"]
    assert rows(run_here("events", mixed, "--json", "--since", at)) == everything[4:]
    assert rows(run_here("events", mixed, "--json", "--since", "2026-01-01T00:00:00+00:00")) == everything
    assert rows(run_here("events", mixed, "--json", "--since", "2026-01-01T00:00")) == everything
    assert rows(run_here("events", mixed, "--json", "--since", "2199-01-01")) == []
    kinds = ("message.added", "eval.added")
    found = rows(run_here("events", mixed, "run-a", "--json", "--type", kinds[0], "--type", kinds[1]))
    assert found == [row for row in everything if row["session_id"] == "run-a" and row["event"]["type"] in kinds]


def test_csv(run_here: Run, mixed: Path) -> None:
    lines = run_here("events", mixed, "--csv", "--limit", "1").stdout.splitlines()
    assert lines[0] == "position,session_id,event_id,type,at,data"
    assert lines[1].startswith("1,run-a,1,session.started,2026-01-01T00:00:00.")


@pytest.mark.parametrize(
    "options", [("--since", "tomorrow"), ("--since", "-1"), ("--after", "-1"), ("--since", "1", "--after", "1"),
                ("--idle-timeout", "1"), ("--limit", "0"), ("--since", "999999999d")]
)  # fmt: skip
def test_usage_errors(run_here: Run, mixed: Path, options: tuple[str, ...]) -> None:
    done = run_here("events", mixed, *options)
    assert (done.returncode, done.stdout) == (2, "")


def test_following_ends_when_nothing_comes(run_here: Run, mixed: Path) -> None:
    everything = rows(run_here("events", mixed, "--json"))
    assert rows(run_here("events", mixed, "--json", "--follow", "--idle-timeout", "0.05")) == everything
    late = rows(run_here("events", mixed, "--json", "--follow", "--idle-timeout", "0.05", "--since", "2199-01-01"))
    assert late == []
    assert rows(run_here("events", mixed, "--json", "-f", "--limit", "3")) == everything[:3]


@contextmanager
def following(path: Path, environment: dict[str, str], *options: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-P", "-m", "foldlog.cli.main", "events", str(path), "--follow", "--json", *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_following_another_process_until_ctrl_c(tmp_path: Path, environment: dict[str, str]) -> None:
    path = tmp_path / "live.db"
    with foldlog.open(path) as store, store.start_session(id="live") as session:  # noqa: SIM117  (it needs the store)
        with following(path, environment) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert json.loads(process.stdout.readline())["position"] == 1
            for number in range(2, 6):
                session.add_message("user", str(number))
                # Each one comes while the follower waits for more: nothing stays in a buffer.
                assert json.loads(process.stdout.readline())["position"] == number
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 130
            assert (process.stdout.read(), process.stderr.read()) == ("", "stopped\n")


def test_following_ends_when_its_reader_leaves(tmp_path: Path, environment: dict[str, str]) -> None:
    path = tmp_path / "live.db"
    with foldlog.open(path) as store, store.start_session(id="live") as session:  # noqa: SIM117  (it needs the store)
        with following(path, environment) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            deadline = time.monotonic() + 30
            while process.poll() is None and time.monotonic() < deadline:
                session.add_message("user", "anyone?")
                time.sleep(0.01)
            assert (process.poll(), process.stderr.read()) == (141, "")


def test_head_ends_a_long_list(mixed: Path, environment: dict[str, str]) -> None:
    foldlog_command = f"{sys.executable} -P -m foldlog.cli.main"
    with foldlog.open(mixed) as store, store.start_session(id="long") as session, session.batch():
        for number in range(3000):
            session.add_message("user", f"{number} {'word ' * 20}")
    done = subprocess.run(
        ["bash", "-c", f"{foldlog_command} events {shlex.quote(str(mixed))} | head -1; exit ${{PIPESTATUS[0]}}"],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (141, "", 1)


def test_a_type_that_no_event_has_is_told_of(run_here: Run, mixed: Path) -> None:
    done = run_here("events", mixed, "--type", "call.startd", "--json")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("no event of the store is of type call.startd; nearest: call.started")
    assert "there are: call.put" in run_here("events", mixed, "--type", "qqqq").stderr
    for known in ("call.started", "snapshot.added"):
        assert "is of type" not in run_here("events", mixed, "--type", known).stderr
    with foldlog.open(mixed) as store, store.start_session() as session:
        session.emit("my.own")
    assert "is of type" not in run_here("events", mixed, "--type", "my.own").stderr
    assert "nearest: my.own" in run_here("events", mixed, "--type", "my.owm").stderr
