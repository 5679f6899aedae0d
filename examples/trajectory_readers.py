"""Readers of recorded agent runs: they turn three formats into one shape.

A SWE-agent trajectory, an Inspect evaluation log and a Claude Code session log; which one a file is, is told
by what is in it. What the file does not say stays None; what has no place in the shape is a `Note`. Nothing
here knows of foldlog: `record_trajectory.py` journals what is read.
"""

import datetime as dt
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

Row = dict[str, Any]


class InputError(Exception):
    """The file cannot be read as a recorded run; says why in a line."""


# The one shape that all formats are read into.


@dataclass
class Message:
    """A message; `call` is the key of the model call that gave it, `asks` the tool calls in it."""

    role: str
    content: Any
    extra: Row
    call: str | None = None
    asks: tuple[str, ...] = ()


@dataclass
class Call:
    """A model call: `sent` are the messages that went to the model."""

    key: str
    model: str | None
    sent: Any
    response: Any
    usage: Row | None = None
    error: Any = None
    times: Row = field(default_factory=dict)
    extra: Row = field(default_factory=dict)


@dataclass
class Eval:
    """An action or a tool call that was carried out, and what was observed."""

    code: str
    observation: Any
    tool_call_id: str | None = None
    error: Any = None
    times: Row = field(default_factory=dict)
    extra: Row = field(default_factory=dict)


@dataclass
class Note:
    """Anything else."""

    type: str
    value: Any


@dataclass
class Step:
    """What happened in one turn, in order; or, where `is_turn` is false, between turns."""

    is_turn: bool = True
    started_at: str | None = None
    ended_at: str | None = None
    extra: Row = field(default_factory=dict)
    items: list[Message | Call | Eval | Note] = field(default_factory=list)


@dataclass
class Run:
    """One session."""

    model: str | None
    ids: Row
    steps: list[Step]
    final: Any = None
    error: Any = None


# What the readers share.


def rest(row: Row, *used: str) -> Row:
    """What is left of a row beside the keys that have found a place."""
    return {key: value for key, value in row.items() if key not in used}


def utc(text: Any) -> str | None:
    """A time of the file as foldlog writes times, so that both sort together in SQL."""
    if not isinstance(text, str):
        return None
    moment = dt.datetime.fromisoformat(text)
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if moment.tzinfo else text


def known_usage(usage: Row | None, cached: str) -> Row | None:
    """Usage as the file has it, with its cached tokens also under the name that foldlog sums."""
    return {**usage, "cached_tokens": usage[cached]} if usage and cached in usage else usage


def call_text(name: str, arguments: Any) -> str:
    """A tool call as text."""
    return f"{name}({json.dumps(arguments, ensure_ascii=False)})"


def told(message: Row, call: str | None = None) -> Message:
    """A message as the file has it."""
    asks = tuple(asked["id"] for asked in message.get("tool_calls") or ())
    return Message(message["role"], message["content"], rest(message, "role", "content"), call, asks)


# SWE-agent: steps, and beside them the history of all messages.


def read_swe_agent(data: Row) -> list[Run]:
    """A trajectory: each step is a turn with one model call and one action."""
    history, trajectory = data["history"], data["trajectory"]
    config = data.get("replay_config") or {}
    config = json.loads(config) if isinstance(config, str) else config
    model = config.get("agent", {}).get("model", {}).get("name")
    steps, read = [], 0
    for number, step in enumerate(trajectory):
        asked, answered, observed = messages_of_step(history[read:], step)
        read += len(asked) + len(answered) + len(observed)
        key, sent = f"step {number}", messages_sent(trajectory, number)
        turn = Step(
            extra=rest(
                step, "query" if "query" in step else "messages", "action", "observation", "response", "execution_time"
            )
        )
        turn.items += map(told, asked)
        turn.items.append(Call(key, model, sent, answered[0] if answered else step["response"], step.get("usage")))
        turn.items += [told(message, key) for message in answered]
        seconds = step.get("execution_time")
        times = {} if seconds is None else {"elapsed_ms": seconds * 1000}
        turn.items.append(Eval(step["action"], step["observation"], times=times))
        turn.items += map(told, observed)
        steps.append(turn)
    after = Step(is_turn=False, items=[told(message) for message in history[read:]])
    after.items += [Note(f"swe_agent.{key}", value) for key, value in rest(data, "history", "trajectory").items()]
    if trajectory and "messages" in trajectory[-1]:
        after.items.append(Note("swe_agent.messages", trajectory[-1]["messages"]))
    info = data.get("info") or {}
    instance_id = (config.get("problem_statement") or {}).get("id")
    ids = {"instance_id": instance_id, "environment": data.get("environment"), "exit_status": info.get("exit_status")}
    return [Run(model, ids, [*steps, after], final=info.get("submission"))]


def messages_of_step(history: list[Row], step: Row) -> tuple[list[Row], list[Row], list[Row]]:
    """The messages before a step's answer, the answer, and those up to the next; none if it is not there."""
    for index, message in enumerate(history):
        if message["role"] == "assistant" and message["content"] == step["response"]:
            end = index + 1
            while end < len(history) and history[end]["role"] != "assistant":
                end += 1
            return history[:index], [message], history[index + 1 : end]
    return [], [], []


def messages_sent(trajectory: list[Row], number: int) -> Any:
    """What the model was sent at a step; None where the file does not say.

    Newer files have it (`query`). Older ones have the messages as each step left them, its own answer and
    observation among them: so what was sent is what the step before left.
    """
    if "query" in trajectory[number]:
        return trajectory[number]["query"]
    if number > 0:
        return trajectory[number - 1].get("messages")
    messages = trajectory[0].get("messages") or []
    answers = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    return messages[: answers[-1]] if answers else None


# Inspect: samples, each a list of events.


def read_inspect(data: Row) -> list[Run]:
    """An evaluation log: each sample is a session, each model call opens a turn."""
    if not data["samples"]:
        raise InputError("Inspect evaluation log without samples: nothing ran")
    evaluation = data["eval"]
    ids = {key: evaluation.get(key) for key in ("eval_id", "run_id", "task", "task_id")}
    log = Note("inspect.log", rest(data, "samples"))
    return [read_sample(sample, evaluation.get("model"), ids, log) for sample in data["samples"]]


def read_sample(stored: Row, model: str | None, ids: Row, log: Note) -> Run:
    """One sample; texts that it keeps as attachments are put back where they belong."""
    attachments = stored.get("attachments") or {}
    sample = attached(rest(stored, "attachments"), attachments)
    by_tool_call = {
        message["tool_call_id"]: (index, message)
        for index, message in enumerate(sample["messages"])
        if "tool_call_id" in message
    }
    seen: set[str] = set()

    def unseen(messages: Iterable[tuple[int, Row]], key: str | None = None) -> Iterator[Message]:
        for index, message in messages:
            name = message.get("id") or f"{index} {json.dumps(message)}"  # old logs give messages no ids
            if name not in seen:
                seen.add(name)
                yield told(message, key)

    steps = [Step(is_turn=False, items=[log])]
    for number, event in enumerate(all_events(sample["events"])):
        kind, extra = event["event"], rest(event, "input", "output", "result", "error")
        times: Row = {"started_at": utc(event.get("timestamp")), "ended_at": utc(event.get("completed"))}
        if kind == "model":
            steps.append(Step(started_at=times["started_at"], ended_at=times["ended_at"]))
            sent, output, key = event["input"], event.get("output") or {}, f"event {number}"
            usage = known_usage(output.get("usage"), "input_tokens_cache_read")
            call = Call(key, event["model"], sent, output, usage, event.get("error"), times, extra)
            answers = [choice["message"] for choice in output.get("choices", [])[:1]]
            steps[-1].items += [*unseen(enumerate(sent)), call, *unseen(enumerate(answers, len(sent)), key)]
            if not any(answer.get("tool_calls") for answer in answers):
                steps.append(Step(is_turn=False))
        elif kind == "tool":
            code, call_id = call_text(event["function"], event["arguments"]), event["id"]
            if event.get("working_time") is not None:
                times["elapsed_ms"] = event["working_time"] * 1000
            steps[-1].ended_at = times["ended_at"]
            steps[-1].items.append(Eval(code, event.get("result"), call_id, event.get("error"), times, extra))
            steps[-1].items += unseen([by_tool_call[call_id]] if call_id in by_tool_call else [])
        else:
            steps[-1].items.append(Note(f"inspect.{kind}", event))
    steps.append(Step(is_turn=False, items=[*unseen(enumerate(sample["messages"]))]))
    steps[-1].items.append(Note("inspect.sample", rest(sample, "messages", "events")))
    text = json.dumps(stored)
    unused = {name: value for name, value in attachments.items() if f'"attachment://{name}"' not in text}
    if unused:
        steps[-1].items.append(Note("inspect.attachments", unused))
    choices = (sample.get("output") or {}).get("choices")
    final = {"answer": choices[0]["message"]["content"] if choices else None, "scores": sample.get("scores")}
    ids = {**ids, "sample_id": sample.get("id"), "epoch": sample.get("epoch"), "sample_uuid": sample.get("uuid")}
    return Run(model, ids, steps, final, sample.get("error"))


def attached(value: Any, attachments: dict[str, str]) -> Any:
    """The value with each `attachment://<hash>` replaced by the text that it stands for."""
    if isinstance(value, str) and value.startswith("attachment://"):
        return attachments.get(value.removeprefix("attachment://"), value)
    if isinstance(value, list):
        return [attached(item, attachments) for item in value]
    if isinstance(value, dict):
        return {key: attached(item, attachments) for key, item in value.items()}
    return value


def all_events(events: list[Row]) -> Iterator[Row]:
    """The events in order; those that older logs nest in a tool's event come after it."""
    for event in events:
        nested = event.get("events") or []
        yield rest(event, "events") if nested else event
        yield from all_events(nested)


# Claude Code: a line for each message; one answer may take several.


def read_claude_code(lines: list[Row]) -> list[Run]:
    """A session log: each prompt opens a turn."""
    log = ClaudeCodeLog(lines)
    for number, line in enumerate(lines):
        log.read(line, number)
    unanswered = [Note("claude_code.no_result", use) for use, _ in log.tool_uses.values()]
    log.steps.append(Step(is_turn=False, items=[*unanswered]))
    model = next((call.model for step in log.steps for call in step.items if isinstance(call, Call)), None)
    session_id = next((line["sessionId"] for line in lines if "sessionId" in line), None)
    return [Run(model, {"claude_code_session_id": session_id}, log.steps, log.answer)]


class ClaudeCodeLog:
    """The state of reading a session log.

    The log does not say what the model was sent: that is taken to be the messages logged so far, those of
    subagents (`isSidechain`) apart. The parts of an answer have one message id and repeat its usage, which
    grows as the answer does: the last part's counts, once.
    """

    def __init__(self, lines: list[Row]) -> None:
        self.steps = [Step(is_turn=False)]
        self.tool_uses: dict[str, tuple[Row, str | None]] = {}
        self.answer: str | None = None
        self._sent: dict[bool, list[Row]] = {False: [], True: []}
        self._called: set[str] = set()
        self._parts: dict[str, list[Row]] = {}
        for number, line in enumerate(lines):
            if line.get("type") == "assistant":
                self._parts.setdefault(self._key(line, number), []).append(line)

    @staticmethod
    def _key(line: Row, number: int) -> str:
        return str(line["message"].get("id") or line.get("uuid") or number)

    def read(self, line: Row, number: int) -> None:
        """Read one line."""
        kind, time = line.get("type"), utc(line.get("timestamp"))
        if kind not in ("user", "assistant"):
            self.steps[-1].items.append(Note(f"claude_code.{kind}", line))
            return
        content = line["message"]["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if kind == "assistant":
            self._read_answer(line, blocks, self._key(line, number))
        else:
            self._read_user(line, blocks, time)
        self._sent[bool(line.get("isSidechain"))].append(line["message"])
        self.steps[-1].ended_at = time or self.steps[-1].ended_at

    def _read_answer(self, line: Row, blocks: list[Row], key: str) -> None:
        if key not in self._called:
            self._called.add(key)
            parts = self._parts[key]
            last = parts[-1]["message"]
            response = last if len(parts) == 1 else [part["message"] for part in parts]
            usage = known_usage(last.get("usage"), "cache_read_input_tokens")
            sent = list(self._sent[bool(line.get("isSidechain"))])
            times = {"ended_at": utc(parts[-1].get("timestamp"))}
            self.steps[-1].items.append(Call(key, last.get("model"), sent, response, usage, times=times))
        uses = [block for block in blocks if block["type"] == "tool_use"]
        self.tool_uses |= {use["id"]: (use, utc(line.get("timestamp"))) for use in uses}
        self._tell(line, "assistant", key, tuple(use["id"] for use in uses))
        if not line.get("isSidechain"):
            self.answer = "".join(block["text"] for block in blocks if block["type"] == "text") or self.answer

    def _read_user(self, line: Row, blocks: list[Row], time: str | None) -> None:
        results = [block for block in blocks if block["type"] == "tool_result"]
        if not (results or line.get("isMeta") or line.get("isSidechain")):
            self.steps.append(Step(started_at=time))
        for result in results:
            if result["tool_use_id"] in self.tool_uses:
                use, started_at = self.tool_uses.pop(result["tool_use_id"])
                observed = result.get("content")
                error = observed if result.get("is_error") else None
                times = {"started_at": started_at, "ended_at": time}
                code = call_text(use["name"], use["input"])
                self.steps[-1].items.append(Eval(code, text_of(observed), use["id"], error, times))
        self._tell(line, "tool" if results else "user")

    def _tell(self, line: Row, role: str, key: str | None = None, asks: tuple[str, ...] = ()) -> None:
        message = line["message"]
        extra = {**rest(line, "message"), "message": rest(message, "content")}
        self.steps[-1].items.append(Message(role, message["content"], extra, key, asks))


def text_of(content: Any) -> Any:
    """What a tool gave, as text where it is nothing else."""
    if isinstance(content, list) and all(block.get("type") == "text" for block in content):
        return "\n".join(block["text"] for block in content)
    return content


# Which format a file is.


def read_runs(data: Any) -> tuple[str, list[Run]]:
    """The name of the format that this JSON is in, and the runs in it; raises `InputError`."""
    if is_claude_code([data]):
        data = [data]  # a log of one line
    for name, is_format, read in _FORMATS:
        if is_format(data):
            try:
                return name, read(data)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                # Foreign data: what its format promises and this file lacks.
                raise InputError(f"{name}, but malformed ({type(error).__name__}: {error})") from error
    raise InputError("not a SWE-agent trajectory, an Inspect evaluation log or a Claude Code session log")


def is_claude_code(data: Any) -> bool:
    """Whether these are the lines of a Claude Code session log."""
    lines = data if isinstance(data, list) else []
    return all(isinstance(line, dict) for line in lines) and any(
        line.get("type") in ("user", "assistant") and "message" in line for line in lines
    )


_FORMATS: Final[list[tuple[str, Callable[[Any], bool], Callable[[Any], list[Run]]]]] = [
    ("SWE-agent trajectory", lambda data: isinstance(data, dict) and "trajectory" in data, read_swe_agent),
    (
        "Inspect evaluation log",
        lambda data: isinstance(data, dict) and {"eval", "samples"} <= data.keys(),
        read_inspect,
    ),
    ("Claude Code session log", is_claude_code, read_claude_code),
]
