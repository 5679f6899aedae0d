"""Journal a recorded agent run in a foldlog store, as the agent could have done while it ran.

    python examples/record_trajectory.py FILE [--store PATH]

FILE is a SWE-agent trajectory, an Inspect evaluation log or a Claude Code session log; which one is told by
what is in it. The store is `<name of FILE>.db` in the current directory unless `--store` names another; a
store that is already there gets one more session (for an Inspect log, one for each sample).

The file is read as a whole, by `trajectory_readers.py` beside this one, before the store is opened: one that
cannot be read leaves nothing behind. Everything in it is in the journal: what has no place in a row is an
annotation event, and what the file does not say stays unknown. Copy from `journal` and `record`.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import foldlog

if TYPE_CHECKING:  # mypy knows this folder as a package; a script knows its neighbours by their names
    from examples.trajectory_readers import Call, Eval, InputError, Message, Note, Row, Run, read_runs
else:
    from trajectory_readers import Call, Eval, InputError, Message, Note, Row, Run, read_runs


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description="Journal a recorded agent run in a foldlog store.")
    parser.add_argument("file", type=Path, metavar="FILE", help="a trajectory, an evaluation log or a session log")
    parser.add_argument("--store", type=Path, metavar="PATH", help="the store (default: <name of FILE>.db)")
    given = parser.parse_args(arguments)
    try:
        format_name, runs = read_runs(load(given.file))
        with foldlog.open(given.store or Path(f"{given.file.stem}.db")) as store:
            for run in runs:
                print(summary(store, journal(store, run, given.file, format_name)))
    except InputError as error:
        print(f"record_trajectory: {given.file}: {error}", file=sys.stderr)
    except foldlog.FoldlogError as error:
        print(f"record_trajectory: {error}", file=sys.stderr)
    else:
        return 0
    return 1


def load(file: Path) -> Any:
    """The file's JSON: one value, or a list of the values of its lines."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(error.strerror or str(error)) from None
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text: {error}") from None
    try:
        return parse(text)
    except ValueError as error:
        if not str(error).startswith("Extra data"):
            raise InputError(f"broken JSON: {error}") from None
    values = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            values += [parse(line)] if line.strip() else []
        except ValueError as error:
            raise InputError(f"broken JSON in line {number}: {error}") from None
    return values


def parse(text: str) -> Any:
    """A JSON value; stricter than `json` where a journal is: no NaN, no half of a surrogate pair."""
    try:
        value = json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def refuse(constant: str) -> NoReturn:
    """Refuse NaN and the infinities."""
    raise ValueError(f"{constant} is not JSON")


# Journaling it.


def journal(store: foldlog.Store, run: Run, file: Path, format_name: str) -> str:
    """Record a run as a session; returns its id."""
    provider, model = provider_and_model(run.model)
    about = {"model": model, "source_file": file.name, "source_format": format_name, **run.ids}
    with store.start_session(provider=provider, **about) as session:
        links: dict[str, Row] = {}
        for step in run.steps:
            if not step.is_turn:
                for item in step.items:
                    record(session, item, None, links)
                continue
            with session.turn(started_at=step.started_at, extra=step.extra) as turn:
                for item in step.items:
                    record(session, item, turn.id, links)
            turn.update(ended_at=step.ended_at)  # the file's time in place of now
        if run.final is not None:
            session.mark_final(run.final)
        if run.error is not None:
            session.mark_error(run.error)
    return session.id


def record(session: foldlog.Session, item: Message | Call | Eval | Note, turn_id: Any, links: dict[str, Row]) -> None:
    """Record one thing that happened; `links` remembers who asked for which tool call."""
    match item:
        case Message():
            call_id = links.get(f"call {item.call}", {}).get("call_id")
            row = session.add_message(item.role, item.content, turn_id=turn_id, call_id=call_id, extra=item.extra)
            if item.role == "user" and turn_id is not None:
                session.update_turn(turn_id, user_message_id=row["id"])
            if item.role == "assistant":
                for name in ("last", *(f"tool {tool_call}" for tool_call in item.asks)):
                    links[name] = {"message_id": row["id"], "call_id": call_id}
        case Call():
            record_call(session, item, turn_id, links)
        case Eval():
            is_text = isinstance(item.observation, str)
            session.add_eval(
                turn_id=turn_id,
                code=item.code,
                status="ok" if item.error is None else "error",
                error=item.error,
                **{"stdout" if is_text else "value": item.observation},
                **links.get(f"tool {item.tool_call_id}", links.get("last", {})),
                **item.times,
                **({"tool_call_id": item.tool_call_id, "extra": item.extra} if item.tool_call_id else {}),
            )
        case Note():
            # Event types are plain; a format's own names may not be. A large value goes by reference.
            event_type = re.sub(r"[^A-Za-z0-9._-]", "_", item.type)[:128]
            session.add_event(event_type, turn_id=turn_id, value_ref=session.value_ref(item.value))


def record_call(session: foldlog.Session, item: Call, turn_id: Any, links: dict[str, Row]) -> None:
    """Record a model call. Requests repeat the transcript and may be large: they go by reference."""
    provider, model = provider_and_model(item.model)
    started_at = item.times.get("started_at")
    about: Row = {"provider": provider, "model": model, "started_at": started_at}
    if item.extra:
        about["extra_ref"] = session.value_ref(item.extra)
    if item.sent is not None:
        about["request_ref"] = session.value_ref(item.sent)
    with session.call("root", turn_id=turn_id, **about) as call:
        links[f"call {item.key}"] = {"call_id": call.id}
        outcome: Row = {"ended_at": item.times.get("ended_at")}
        if item.usage is not None:
            outcome["usage"] = item.usage
        if item.response is not None:
            outcome["response_ref"] = session.value_ref(item.response)
        if item.error is None:
            call.ok(**outcome)
        else:
            call.error(item.error)
            call.update(**outcome)


def provider_and_model(name: str | None) -> tuple[str | None, str | None]:
    """A name such as openai/gpt-4o-mini, taken apart."""
    provider, slash, model = (name or "").partition("/")
    return (provider, model) if slash else (None, name)


# Asking the store what it has now.

_COUNTS = """
SELECT
  (SELECT count(*) FROM turns WHERE session_id = :id) AS turns,
  (SELECT count(*) FROM messages WHERE session_id = :id) AS messages,
  (SELECT count(*) FROM calls WHERE session_id = :id) AS calls,
  (SELECT count(*) FROM evals WHERE session_id = :id) AS evals,
  (SELECT count(*) FROM events JOIN streams USING (session_key)
   WHERE streams.id = :id AND substr(type, 1, instr(type, '.') - 1)
   NOT IN ('session', 'message', 'turn', 'call', 'eval', 'snapshot')) AS annotations
"""
_TOKENS = """
SELECT status AS tokens, input_tokens, output_tokens, total_tokens, cached_tokens,
  (SELECT count(*) FROM call_usage WHERE session_id = :id AND (input_tokens IS NULL OR output_tokens IS NULL))
    AS calls_of_unknown_tokens
FROM session_usage WHERE session_id = :id
"""
_BLOBS = (
    "SELECT count(*) AS blobs, coalesce(sum(bytes), 0) AS blob_bytes_as_values, "
    "coalesce(sum(length(data)), 0) AS blob_bytes_stored FROM blobs"
)


def summary(store: foldlog.Store, session_id: str) -> str:
    """What one session took, and the blobs of the whole store; NULL is what nobody knows."""
    found: Row = {"session": session_id}
    for sql in (_COUNTS, _TOKENS, _BLOBS):
        found |= next(store.query(sql, {"id": session_id}))
    found["store"] = store.path
    return "\n".join(f"{name:<24} {'unknown' if value is None else value}" for name, value in found.items())


if __name__ == "__main__":
    sys.exit(main())
