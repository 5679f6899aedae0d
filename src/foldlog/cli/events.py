"""The verb that prints the journal, and follows it: events. The feed itself is `foldlog.store.feed`'s."""

import difflib
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from foldlog.cli import arguments
from foldlog.cli.forms import CSV, JSON, TABLE, Row, print_json, print_rows, row_forms
from foldlog.cli.output import next_commands, say, shown, terminal_line

if TYPE_CHECKING:
    from foldlog.store.feed import RecordedEvent
    from foldlog.store.store import Store

_FIRST_SINCE: Final = """
SELECT coalesce(min(position), 1 + (SELECT coalesce(max(position), 0) FROM events)) AS position
FROM events WHERE at >= ?
"""
_OF_TYPE: Final = "SELECT EXISTS (SELECT 1 FROM events WHERE type = ?) AS is_there"


@click.command()
@arguments.store
@arguments.optional_session
@click.option("--since", type=arguments.SinceType(), help="From this position on, this time (UTC), or 10m ago.")
@click.option("--after", type=click.IntRange(min=0, max=2**63 - 1), metavar="POSITION", help="Only what is after it.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only of this type; again for more.")
@click.option("--limit", "-n", type=arguments.COUNT, metavar="N", help="The first N only.")
@click.option("--follow", "-f", is_flag=True, help="Go on with each new event, until Ctrl-C.")
@click.option(
    "--idle-timeout", type=arguments.SECONDS, metavar="SECONDS", help="Stop following after so long without any."
)
@row_forms
def events(
    store_path: arguments.Place,
    session: str | None,
    *,
    since: int | str | None,
    after: int | None,
    types: tuple[str, ...],
    limit: int | None,
    follow: bool,
    idle_timeout: float | None,
    form: str,
) -> None:
    """Print the journal, and follow it.

    Committed events in order of position, of all sessions or of SESSION itself. Each line: position, day
    and time (UTC), session, event id, type, and what it holds in short; with --json all of it, under `event`. Go on
    later with --after and the last position seen. A type that no event has is told of on stderr.

    \b
    Example:   foldlog events history.db --limit 20
               foldlog events history.db demo --type call.started --type call.updated
               foldlog events history.db --since 10m --follow --idle-timeout 1
               foldlog events history.db demo --after 10 --json
    """
    if since is not None and after is not None:
        raise click.UsageError("--since or --after, not both")
    if idle_timeout is not None and not follow:
        raise click.UsageError("--idle-timeout goes with --follow")
    with arguments.open_to_read(store_path) as store:
        found = None if session is None else store.find_session(session)
        start = max(since - 1, 0) if isinstance(since, int) else after or 0
        _tell_of_unknown(store, types)
        if isinstance(since, str):
            start = _position_before(store, since)
        wanted: dict[str, Any] = {"after": start, "types": types or None}
        feed = store.follow(found, idle_timeout=idle_timeout, **wanted) if follow else store.events(found, **wanted)
        last = _print(_limited(feed, since, limit), form, flush=follow)
    if form != TABLE or follow:
        return
    if last is None:
        say("no such events" if types or start or since else "no events")
    else:
        row = f"{last.session_id}:event/{last['id']}"
        next_commands(("show", store_path, row), ("events", store_path, "--after", last.position, "--follow"))


def _tell_of_unknown(store: "Store", types: tuple[str, ...]) -> None:
    """Say of a type that no event has, which may be a slip; it is no error, for an event may come."""
    from foldlog.core.fold import FOLDED_TYPES  # noqa: PLC0415  (see `foldlog.cli.main`)

    for name in types:
        if name in FOLDED_TYPES or next(store.query(_OF_TYPE, (name,)))["is_there"]:
            continue
        known = {row["type"] for row in store.query("SELECT DISTINCT type FROM events")} | FOLDED_TYPES
        near = difflib.get_close_matches(name, sorted(known), n=3) or sorted(known)
        say(
            f"no event of the store is of type {name}; {'nearest' if len(near) < 4 else 'there are'}: {', '.join(near)}"
        )


def _position_before(store: "Store", at: str) -> int:
    """The position before the first event of this time or later; the last one where there is none."""
    first = next(store.query(_FIRST_SINCE, (at,)))["position"]
    return int(first) - 1


def _limited(feed: "Iterator[RecordedEvent]", since: object, limit: int | None) -> "Iterator[RecordedEvent]":
    count = 0
    for event in feed:
        # Sessions are written by several clocks: a later position may have an earlier time.
        if isinstance(since, str) and event["at"] < since:
            continue
        yield event
        count += 1
        if count == limit:
            return


def _print(feed: "Iterator[RecordedEvent]", form: str, *, flush: bool) -> "RecordedEvent | None":
    """Print events as they come; the last of them."""
    last: RecordedEvent | None = None

    def noted() -> "Iterator[RecordedEvent]":
        nonlocal last
        for last in feed:
            yield last
            if flush:
                sys.stdout.flush()

    if form == CSV:
        print_rows("events", map(_columns, noted()), CSV)
        return last
    for event in noted():
        if form == JSON:
            print_json("events", {"position": event.position, "session_id": event.session_id, "event": dict(event)})
        else:
            click.echo(terminal_line(_line(event)))
    return last


def _columns(event: "RecordedEvent") -> Row:
    from foldlog.core.columns import dump  # noqa: PLC0415  (see `foldlog.cli.main`)

    named = {"position": event.position, "session_id": event.session_id, "event_id": event["id"]}
    return {**named, "type": event["type"], "at": event["at"], "data": dump(_payload(event))}


def _line(event: "RecordedEvent") -> str:
    at = event["at"][5:23].replace("T", " ")
    return f"{event.position:>7}  {at}  {event.session_id}  {event['id']:>5}  {event['type']:<16}  {_short(event)}"


def _payload(event: "RecordedEvent") -> dict[str, Any]:
    return {key: value for key, value in event.items() if key not in ("id", "type", "at")}


def _short(event: "RecordedEvent") -> str:
    """What an event holds, on one line: the row's id, then the keys that tell most."""
    payload = _payload(event)
    row = next((payload[key] for key in _ROWS if key in payload), None)
    changes = payload.get("changes")
    number = next((payload[key] for key in ("turn_id", "call_id") if key in payload and changes is not None), None)
    if isinstance(row, dict):
        kept = {key: row[key] for key in _TELLING if row.get(key) is not None}
        number, payload = row.get("id"), kept or row
    elif isinstance(changes, dict):
        payload = changes
    words = [f"{key}={_word(value)}" for key, value in payload.items()]
    return " ".join(([f"#{number}"] if number is not None and "session" not in event else []) + words)


_ROWS: Final = ("message", "turn", "call", "eval", "snapshot", "session")
_TELLING: Final = (
    "role", "content", "type", "status", "model", "child_session_id", "code", "kind", "provider", "prompt",
)  # fmt: skip
_WORD_CHARS_MAX: Final = 60


def _word(value: Any) -> str:
    if isinstance(value, str):
        text = value
    elif isinstance(value, dict) and value.get("kind") == "blob":
        text = f"<{value.get('bytes')} bytes>"
    else:
        text = json.dumps(value, default=str, ensure_ascii=False)
    text = shown(" ".join(text[: 4 * _WORD_CHARS_MAX].split()))
    return text if len(text) <= _WORD_CHARS_MAX else f"{text[: _WORD_CHARS_MAX - 3]}..."


COMMANDS: Final = (events,)
