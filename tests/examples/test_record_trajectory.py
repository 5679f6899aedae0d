"""The example that journals recorded runs: what SQL says on the store is what the file says.

The numbers are counted here once more, straight from the file with `json`. Recorded runs that are not
part of the repository are read where they are; small ones are made up here, so that nothing depends on them.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import foldlog

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "record_trajectory.py"
TRACES = ROOT.parent / "shared" / "traces"
TOKENS = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens")

Row = dict[str, Any]


def run_example(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def trace(name: str) -> Path:
    if not TRACES.is_dir():
        pytest.skip(f"the recorded runs are not here: no folder {TRACES}")
    return TRACES / name


class Recorded:
    """A store that the example made of a file, with one session in it."""

    def __init__(self, store: foldlog.Store, printed: str) -> None:
        self.store = store
        self.printed = {line.split()[0]: line.split(maxsplit=1)[1] for line in printed.splitlines()}
        (self.session_id,) = [row["id"] for row in store.sessions()]
        self.view = store.view(self.session_id)

    def all(self, sql: str) -> list[Row]:
        return list(self.store.query(sql))

    def one(self, sql: str) -> Any:
        ((value,),) = [tuple(row.values()) for row in self.store.query(sql)]
        return value

    def refs(self, column: str) -> list[Any]:
        with self.store.open_session(self.session_id) as session:
            return [session.read_ref(row[column]) for row in self.view.calls.values() if column in row]

    def notes(self, event_type: str) -> list[Any]:
        with self.store.open_session(self.session_id) as session:
            return [
                session.read_ref(event["value_ref"]) for event in self.store.events(self.session_id, types=[event_type])
            ]


Record = Callable[[Path], Recorded]


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Record]:
    opened: list[foldlog.Store] = []

    def recorded(file: Path) -> Recorded:
        done = run_example(file, "--store", tmp_path / "run.db", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        opened.append(foldlog.open(tmp_path / "run.db"))
        return Recorded(opened[-1], done.stdout)

    yield recorded
    for store in opened:
        store.close()


def written(path: Path, *values: Any) -> Path:
    path.write_text("\n".join(json.dumps(value) for value in values), encoding="utf-8")
    return path


def check_totals(run: Recorded, *, messages: int, turns: int, calls: int, evals: int) -> None:
    """The counts, by tables, by views, as documents and as printed; and that nothing is wrong with the store."""
    assert run.one("SELECT count(*) FROM messages") == messages
    assert run.one("SELECT count(*) FROM transcript") == messages
    assert run.one("SELECT count(*) FROM turns") == run.one("SELECT count(*) FROM turn_summary") == turns
    assert run.one("SELECT count(*) FROM calls WHERE type = 'root'") == calls
    assert run.one("SELECT count(*) FROM call_usage") == run.one("SELECT call_count FROM session_usage") == calls
    assert run.one("SELECT sum(call_count) FROM model_usage") == calls
    assert run.one("SELECT count(*) FROM evals") == evals
    assert [run.printed[name] for name in ("messages", "turns", "calls", "evals")] == [
        str(count) for count in (messages, turns, calls, evals)
    ]
    final = run.store.final(run.session_id)
    assert (final["turn_count"], final["call_count"], final["eval_count"]) == (turns, calls, evals)
    # Every eval is linked to the message that asked for it, and that to the call that gave it.
    assert (
        run.one(
            "SELECT count(*) FROM evals JOIN messages m ON m.session_id = evals.session_id AND m.id = evals.message_id "
            "WHERE m.role = 'assistant' AND m.call_id = evals.call_id AND m.turn_id = evals.turn_id"
        )
        == evals
    )
    assert run.one("SELECT status FROM sessions") == "stopped"
    report = run.store.verify()
    assert (report.ok, list(report.problems)) == (True, [])


def check_usage(run: Recorded, usages: list[Row | None]) -> None:
    """Usage call by call and in sums; None is a call whose usage the file does not have."""
    rows = run.all(f"SELECT {', '.join(TOKENS)} FROM call_usage ORDER BY call_id")
    assert rows == [{name: (usage or {}).get(name) for name in TOKENS} for usage in usages]
    document = run.store.usage(run.session_id)["root"]
    for name in TOKENS:
        known = [usage[name] for usage in usages if usage and name in usage]
        total = sum(known) if known else None
        assert run.one(f"SELECT {name} FROM session_usage") == total
        assert run.one(f"SELECT sum({name}) FROM model_usage") == total
        assert run.printed[name] == ("unknown" if total is None else str(total))
        assert document[name].get("known") == total
        assert document[name]["status"] == (
            "unknown" if not known else "known" if len(known) == len(usages) else "partial"
        )
    unknown = sum(not usage or "input_tokens" not in usage or "output_tokens" not in usage for usage in usages)
    assert run.one("SELECT sum(unknown_call_count) FROM model_usage") == unknown
    assert run.printed["calls_of_unknown_tokens"] == str(unknown)


def check_reopened(run: Recorded, tmp_path: Path) -> None:
    """Reopened, from the tables and folded anew from the journal, the session is the same."""
    folded = foldlog.fold(run.store.events(run.session_id))
    with foldlog.open(tmp_path / "run.db", read_only=True) as again:
        view = again.view(run.session_id)
        for other in (view, folded):
            assert other.session == run.view.session
            for kind in ("messages", "turns", "calls", "evals"):
                assert list(getattr(other, kind).values()) == list(getattr(run.view, kind).values())
            assert (other.final_ref, other.counters) == (run.view.final_ref, run.view.counters)


def contents(run: Recorded) -> list[tuple[str, Any]]:
    return [(row["role"], row["content"]) for row in run.view.messages.values()]


def final_value(run: Recorded) -> Any:
    with run.store.open_session(run.session_id) as session:
        return session.read_ref(run.view.final_ref)


# SWE-agent.


def check_swe_agent(run: Recorded, data: Row) -> None:
    steps, history = data["trajectory"], data["history"]
    check_totals(run, messages=len(history), turns=len(steps), calls=len(steps), evals=len(steps))
    assert contents(run) == [(message["role"], message["content"]) for message in history]
    assert [row["content"] for row in run.all("SELECT content FROM transcript ORDER BY seq")] == [
        message["content"] for message in history
    ]
    evals = [(row["code"], row["stdout"], row["elapsed_ms"]) for row in run.view.evals.values()]
    assert evals == [(step["action"], step["observation"], step["execution_time"] * 1000) for step in steps]
    assert run.one("SELECT sum(elapsed_ms) FROM evals") == pytest.approx(
        1000 * sum(step["execution_time"] for step in steps)
    )
    assert [row["extra"]["state"] for row in run.view.turns.values()] == [step["state"] for step in steps]
    # The file has the messages as they were after each step: the last of them were sent to nobody.
    after = [step["messages"] for step in steps]
    assert run.refs("request_ref") == [after[0][:-2], *after[:-1]]
    assert run.notes("swe_agent.messages") == [after[-1]]
    assert [answer["content"] for answer in run.refs("response_ref")] == [step["response"] for step in steps]
    assert final_value(run) == data["info"]["submission"]
    assert run.notes("swe_agent.info") == [data["info"]]
    # Every model call's usage is unknown, and stays so: nothing is 0.
    check_usage(run, [None] * len(steps))
    assert not any("usage" in row for row in run.view.calls.values())
    assert run.store.usage(run.session_id)["status"] == run.one("SELECT status FROM session_usage") == "unknown"
    # The file has no times of day.
    assert run.one("SELECT count(*) FROM calls WHERE coalesce(started_at, ended_at) IS NOT NULL") == 0
    assert run.one("SELECT count(*) FROM turns WHERE coalesce(started_at, ended_at) IS NOT NULL") == 0


def test_a_real_swe_agent_trajectory(record: Record, tmp_path: Path) -> None:
    file = trace("swe-agent-marshmallow-1867.traj")
    data = json.loads(file.read_text(encoding="utf-8"))
    run = record(file)
    check_swe_agent(run, data)
    check_reopened(run, tmp_path)
    assert len(data["trajectory"]) == data["info"]["model_stats"]["api_calls"] == 13
    assert run.notes("swe_agent.replay_config") == [data["replay_config"]]
    session = run.view.session
    assert session["instance_id"] == data["replay_config"]["problem_statement"]["id"]
    assert (session["model"], session["source_file"]) == ("replay", file.name)


def made_trajectory() -> Row:
    def message(role: str, content: str, **more: Any) -> Row:
        return {"role": role, "content": content, "agent": "main", **more}

    history = [
        message("system", "You are an agent."),
        message("user", "Fix it. ☃"),
        message("assistant", "I look.", action="ls"),
        message("tool", "setup.py"),
        message("assistant", "I submit.", action="submit"),
        message("tool", "diff --git"),
    ]
    elided = [*history[:3], message("tool", "Old output: (1 line omitted)"), *history[4:]]
    return {
        "environment": "main",
        "history": history,
        "trajectory": [
            {
                "action": history[2 + 2 * number]["action"],
                "observation": history[3 + 2 * number]["content"],
                "response": history[2 + 2 * number]["content"],
                "thought": "…",
                "execution_time": 0.25,
                "state": {"working_dir": "/"},
                "messages": messages,
            }
            for number, messages in enumerate([history[:4], elided])
        ],
        "info": {"submission": "diff --git", "exit_status": "submitted"},
        "something new": [1, 2],
    }


def test_a_made_up_swe_agent_trajectory(record: Record, tmp_path: Path) -> None:
    data = made_trajectory()
    run = record(written(tmp_path / "made.traj", data))
    check_swe_agent(run, data)
    check_reopened(run, tmp_path)
    assert run.notes("swe_agent.something_new") == [[1, 2]]
    assert [row["user_message_id"] for row in run.all("SELECT user_message_id FROM turns ORDER BY id")] == [2, None]


def test_a_newer_trajectory_says_what_was_sent_and_a_step_may_carry_nothing_out(record: Record, tmp_path: Path) -> None:
    data = made_trajectory()
    queries = [[{"role": "user", "content": "one"}], [{"role": "user", "content": "two"}]]
    for step, query in zip(data["trajectory"], queries, strict=True):
        del step["messages"]
        step["query"] = query
    data["trajectory"][1] |= {"action": "", "observation": "Exit due to cost limit", "response": ""}
    data["history"] = data["history"][:4]
    data["replay_config"] = json.dumps({"agent": {"model": {"name": "openai/gpt-4o"}}})
    run = record(written(tmp_path / "made.traj", data))
    assert run.refs("request_ref") == queries
    assert run.all("SELECT DISTINCT provider, model FROM calls") == [{"provider": "openai", "model": "gpt-4o"}]
    assert run.view.evals[2]["stdout"] == "Exit due to cost limit"
    assert run.store.verify().ok


# Inspect.


def resolved(value: Any, attachments: Row) -> Any:
    text = json.dumps(value)
    for name, attachment in attachments.items():
        text = text.replace(f'"attachment://{name}"', json.dumps(attachment))
    return json.loads(text)


def check_inspect(run: Recorded, data: Row) -> None:
    (sample,) = data["samples"]
    events = resolved(sample["events"], sample.get("attachments", {}))
    models = [event for event in events if event["event"] == "model"]
    tools = [event for event in events if event["event"] == "tool"]
    others = [event for event in events if event["event"] not in ("model", "tool")]
    messages = sample["messages"]
    check_totals(run, messages=len(messages), turns=len(models), calls=len(models), evals=len(tools))
    assert contents(run) == [(message["role"], message["content"]) for message in messages]
    assert run.refs("request_ref") == [event["input"] for event in models]
    assert run.refs("response_ref") == [event["output"] for event in models]
    assert [row["code"] for row in run.view.evals.values()] == [
        f"{event['function']}({json.dumps(event['arguments'])})" for event in tools
    ]
    assert [row.get("stdout") for row in run.view.evals.values()] == [event["result"] for event in tools]
    assert [row["elapsed_ms"] for row in run.all("SELECT elapsed_ms FROM evals ORDER BY seq")] == [
        1000 * event["working_time"] for event in tools
    ]
    usages = [event["output"].get("usage") for event in models]
    cached = "input_tokens_cache_read"
    check_usage(run, [usage and {**usage, "cached_tokens": usage[cached]} for usage in usages])
    # All of the file's own keys are in the row as they were.
    for row, usage in zip(run.view.calls.values(), usages, strict=True):
        assert {key: value for key, value in row.get("usage", {}).items() if key != "cached_tokens"} == (usage or {})
    for kind in {event["event"] for event in others}:
        assert run.notes(f"inspect.{kind}") == [event for event in others if event["event"] == kind]
    assert run.notes("inspect.log") == [{key: value for key, value in data.items() if key != "samples"}]
    answer = sample["output"]["choices"][0]["message"]["content"]
    assert final_value(run) == {"answer": answer, "scores": sample["scores"]}
    model = data["eval"]["model"]
    assert [f"{row['provider']}/{row['model']}" for row in run.all("SELECT provider, model FROM model_usage")] == [
        model
    ]
    for key in ("eval_id", "run_id"):
        assert run.view.session[key] == data["eval"][key]


def test_a_real_inspect_log(record: Record, tmp_path: Path) -> None:
    file = trace("inspect-browser.json")
    data = json.loads(file.read_text(encoding="utf-8"))
    run = record(file)
    check_inspect(run, data)
    check_reopened(run, tmp_path)
    # The log's own sums are the ones that SQL finds.
    (own,) = data["stats"]["model_usage"].values()
    sums = run.all("SELECT call_count, input_tokens, output_tokens, total_tokens, cached_tokens FROM model_usage")
    assert sums == [
        {
            "call_count": 5,
            "input_tokens": own["input_tokens"],
            "output_tokens": own["output_tokens"],
            "total_tokens": own["total_tokens"],
            "cached_tokens": own["input_tokens_cache_read"],
        }
    ]
    assert run.one("SELECT count(*) FROM evals") == 4
    assert run.one("SELECT count(*) FROM events WHERE type = 'inspect.sandbox'") == 10
    # Local times with their offsets, told in UTC.
    assert run.view.calls[1]["started_at"] == "2025-05-13T00:27:38.462180Z"
    assert run.one("SELECT count(*) FROM calls WHERE started_at < ended_at") == 5


def made_log() -> Row:
    messages: list[Row] = [
        {"id": "m1", "role": "user", "content": "long question"},
        {"id": "m2", "role": "assistant", "content": "", "tool_calls": [{"id": "t1", "function": "f"}]},
        {"id": "m3", "role": "tool", "content": "found", "tool_call_id": "t1"},
        {"id": "m4", "role": "assistant", "content": "the answer"},
    ]
    sent = [{**messages[0], "content": "attachment://abc"}, *messages[1:]]
    usage = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12, "input_tokens_cache_read": 4}

    def at(second: int) -> Row:
        return {"timestamp": f"2025-01-01T00:00:0{second}+00:00", "completed": f"2025-01-01T00:00:0{second + 1}+00:00"}

    return {
        "version": 2,
        "status": "success",
        "eval": {"eval_id": "e", "run_id": "r", "model": "openai/m-1"},
        "samples": [
            {
                "id": 1,
                "epoch": 1,
                "messages": messages,
                "output": {"choices": [{"message": messages[3]}]},
                "scores": {"includes": {"value": "C"}},
                "attachments": {"abc": "long question", "def": "named nowhere"},
                "events": [
                    {"event": "span_begin", "id": "s", "name": "generate"},
                    {"event": "model", "model": "openai/m-1", "input": sent[:1], **at(1),
                     "output": {"choices": [{"message": messages[1]}], "usage": usage}},
                    {"event": "tool", "id": "t1", "function": "f", "arguments": {"x": 1}, "result": "found",
                     "working_time": 0.5, **at(2)},
                    {"event": "sandbox", "action": "exec", "cmd": "ls", "result": 0},
                    {"event": "model", "model": "openai/m-1", "input": sent[:3], **at(4),
                     "output": {"choices": [{"message": messages[3]}]}},
                    {"event": "span_end", "id": "s"},
                ],
            }
        ],
    }  # fmt: skip


def test_a_made_up_inspect_log(record: Record, tmp_path: Path) -> None:
    data = made_log()
    run = record(written(tmp_path / "made.json", data))
    check_inspect(run, data)
    check_reopened(run, tmp_path)
    assert run.store.usage(run.session_id)["root"]["input_tokens"]["status"] == "partial"
    assert run.notes("inspect.attachments") == [{"def": "named nowhere"}]


def test_errors_in_an_inspect_log_are_errors_in_the_store(record: Record, tmp_path: Path) -> None:
    data = made_log()
    (sample,) = data["samples"]
    sample["error"] = {"message": "the sandbox went away"}
    sample["events"][2] |= {"error": {"type": "timeout", "message": "too slow"}, "result": [{"type": "image"}]}
    sample["events"][4] |= {"error": "rate limited", "output": {"choices": []}}
    run = record(written(tmp_path / "made.json", data))
    found = run.all("SELECT kind, id, status FROM errors ORDER BY kind")
    assert [(row["kind"], row["id"]) for row in found] == [("call", 2), ("eval", 1), ("session", None)]
    assert run.view.error == sample["error"]
    assert run.view.calls[2]["error"] == "rate limited"
    assert run.view.calls[2]["ended_at"] == "2025-01-01T00:00:05.000000Z"
    assert run.view.evals[1]["value"] == [{"type": "image"}]
    assert run.one("SELECT count(*) FROM messages") == 4


def test_each_sample_of_an_inspect_log_is_a_session(tmp_path: Path) -> None:
    data = made_log()
    data["samples"].append({**data["samples"][0], "id": 2})
    done = run_example(written(tmp_path / "made.json", data), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    # Without --store the store is named after the file; a second run adds to it.
    assert run_example(tmp_path / "made.json", cwd=tmp_path).returncode == 0
    with foldlog.open(tmp_path / "made.db", read_only=True) as store:
        assert [row["sample_id"] for row in store.sessions()].count(2) == 2
        assert next(store.query("SELECT call_count, session_count FROM model_usage")) == {
            "call_count": 8,
            "session_count": 4,
        }


# Claude Code.


def check_claude_code(run: Recorded, lines: list[Row]) -> None:
    told = [line for line in lines if line["type"] in ("user", "assistant")]
    blocks = [
        (line, block)
        for line in told
        for block in (line["message"]["content"] if isinstance(line["message"]["content"], list) else [])
    ]
    results = [block for _, block in blocks if block["type"] == "tool_result"]
    prompts = [line for line in told if line["type"] == "user" and isinstance(line["message"]["content"], str)]
    answers: dict[str, list[tuple[int, Row]]] = {}
    for index, line in enumerate(told):
        if line["type"] == "assistant":
            answers.setdefault(line["message"].get("id", line["uuid"]), []).append((index, line["message"]))
    check_totals(run, messages=len(told), turns=len(prompts), calls=len(answers), evals=len(results))
    assert [content for _, content in contents(run)] == [line["message"]["content"] for line in told]
    assert run.refs("request_ref") == [[line["message"] for line in told[: parts[0][0]]] for parts in answers.values()]
    usages = [parts[-1][1].get("usage") for parts in answers.values()]
    cached = "cache_read_input_tokens"
    check_usage(run, [usage and {**usage, "cached_tokens": usage[cached]} for usage in usages])
    uses = {block["id"]: block for _, block in blocks if block["type"] == "tool_use"}
    evals = [(row["code"], row["stdout"], row["status"]) for row in run.view.evals.values()]
    assert evals == [
        (
            f"{uses[block['tool_use_id']]['name']}({json.dumps(uses[block['tool_use_id']]['input'])})",
            block["content"],
            "error" if block.get("is_error") else "ok",
        )
        for block in results
    ]
    for kind in {line["type"] for line in lines} - {"user", "assistant"}:
        assert run.notes(f"claude_code.{kind}") == [line for line in lines if line["type"] == kind]
    texts = [block["text"] for line, block in blocks if line["type"] == "assistant" and block["type"] == "text"]
    assert final_value(run) == texts[-1]
    assert run.view.session["claude_code_session_id"] == prompts[0]["sessionId"]


def test_a_real_claude_code_log(record: Record, tmp_path: Path) -> None:
    file = trace("claude-code-sample.jsonl")
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    run = record(file)
    check_claude_code(run, lines)
    check_reopened(run, tmp_path)
    # It has no usage and no model: unknown, three times.
    assert run.all("SELECT model, call_count, input_tokens, unknown_call_count FROM model_usage") == [
        {"model": None, "call_count": 3, "input_tokens": None, "unknown_call_count": 3}
    ]
    assert run.store.usage(run.session_id)["status"] == "unknown"
    assert run.one("SELECT started_at FROM turns WHERE id = 2") == "2025-12-24T10:01:00.000000Z"


def made_lines() -> list[Row]:
    def line(kind: str, second: int, **message: Any) -> Row:
        time = f"2025-01-01T00:00:0{second}.000Z"
        message = {"role": kind, **message}
        return {"type": kind, "sessionId": "s", "uuid": f"u{second}", "timestamp": time, "message": message}

    def usage(output: int) -> Row:
        return {"input_tokens": 3, "output_tokens": output, "cache_read_input_tokens": 100}

    return [
        {"type": "summary", "summary": "made up"},
        line("user", 1, content="Do two things"),
        # One answer in two lines: its usage counts once.
        line("assistant", 2, id="a1", model="m-1", usage=usage(1),
             content=[{"type": "tool_use", "id": "t1", "name": "Read", "input": {"path": "a"}}]),
        line("assistant", 3, id="a1", model="m-1", usage=usage(9),
             content=[{"type": "tool_use", "id": "t2", "name": "Read", "input": {"path": "b"}}]),
        line("user", 4, content=[{"type": "tool_result", "tool_use_id": "t2", "content": "no such file",
                                  "is_error": True}]),
        line("user", 5, content=[{"type": "tool_result", "tool_use_id": "t1", "content": "text"}]),
        line("assistant", 6, id="a2", model="m-1", content=[{"type": "text", "text": "Done."}]),
    ]  # fmt: skip


def test_a_made_up_claude_code_log(record: Record, tmp_path: Path) -> None:
    lines = made_lines()
    run = record(written(tmp_path / "made.jsonl", *lines))
    check_claude_code(run, lines)
    check_reopened(run, tmp_path)
    assert run.one("SELECT sum(output_tokens) FROM model_usage") == 9
    # Results that come in another order find the messages that asked for them.
    assert [row["message_id"] for row in run.all("SELECT message_id FROM evals ORDER BY seq")] == [3, 2]


def test_a_log_that_stops_at_a_tool_call_and_one_of_a_single_line(record: Record, tmp_path: Path) -> None:
    run = record(written(tmp_path / "made.jsonl", *made_lines()[:3]))
    assert [use["id"] for use in run.notes("claude_code.no_result")] == ["t1"]
    assert run.one("SELECT count(*) FROM evals") == 0
    assert run_example(written(tmp_path / "one.jsonl", made_lines()[1]), cwd=tmp_path).returncode == 0


# Bad input.


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file"),
        (b"", "broken JSON"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b'{"trajectory": [', "broken JSON"),
        (b'{"trajectory": [], "history": [NaN]}', "NaN"),
        (b'{"trajectory": [], "history": ["\\ud800"]}', "surrogates"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"type": "summary"}\n{"type": "user", ', "broken JSON in line 2"),
        (b'{"type": "summary"}\n{"type": "other"}', "not a SWE-agent"),
        (b"[]", "not a SWE-agent"),
        (b'{"messages": []}', "not a SWE-agent"),
        (b"42", "not a SWE-agent"),
        (b'{"trajectory": [{}], "history": []}', "SWE-agent trajectory, but malformed (KeyError"),
        (b'{"trajectory": 5, "history": []}', "SWE-agent trajectory, but malformed (TypeError"),
        (b'{"eval": {}, "samples": []}', "without samples"),
        (b'{"eval": {}, "samples": null}', "without samples"),
        (b'{"eval": {}, "samples": [{"events": []}]}', "Inspect evaluation log, but malformed"),
        (b'{"type": "user", "message": "hello"}', "Claude Code session log, but malformed"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_nothing_else(
    tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    file = tmp_path / "input.json"
    if content is not None:
        file.write_bytes(content)
    before = sorted(tmp_path.iterdir())
    done = run_example(file, "--store", tmp_path / "run.db", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert complaint in done.stderr
    assert str(file) in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_store_that_is_none_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    file = written(tmp_path / "made.traj", made_trajectory())
    for store in (tmp_path / "notes.txt", tmp_path):
        done = run_example(file, "--store", store, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert run_example(tmp_path, cwd=tmp_path).returncode == 1
