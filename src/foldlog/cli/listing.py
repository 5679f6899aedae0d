"""The verb that lists sessions: ls. What each used is added up by `foldlog.outlets.calls`."""

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from foldlog.cli import arguments
from foldlog.cli.forms import TABLE, Row, print_rows, row_forms
from foldlog.cli.output import money, next_commands, plural, say

if TYPE_CHECKING:
    from foldlog.store.store import Store

_STATUSES: Final = ("running", "stopped", "error")
_SESSIONS: Final = """
SELECT sessions.session_id, sessions.status, sessions.created_at, sessions.ended_at, sessions.root_id,
  (SELECT count(*) FROM sessions AS below
   WHERE below.session_id > sessions.session_id || '/' AND below.session_id < sessions.session_id || '0')
    AS session_below_count,
  final.turn_count, final.call_count, final.eval_count,
  (SELECT max(event_id) FROM events WHERE events.session_key = streams.session_key) AS event_count,
  sessions.checkpoint_event_id
FROM sessions
JOIN streams ON streams.id = sessions.session_id
JOIN sessions AS roots ON roots.session_id = sessions.root_id
LEFT JOIN final ON final.session_id = sessions.session_id
WHERE (:all OR sessions.session_id = sessions.root_id) AND (CAST(:status AS TEXT) IS NULL OR sessions.status = :status)
ORDER BY roots.created_at DESC, sessions.root_id DESC, sessions.session_id
LIMIT :limit
"""
_LACKING: Final = """
SELECT count(*) AS session_count FROM streams
WHERE substr(id, 1, 1) <> '.' AND NOT EXISTS (SELECT 1 FROM sessions WHERE session_id = id)
"""
# More than there are.
_ALL: Final = 10**12
_USED: Final = ("input_tokens", "output_tokens", "total_tokens", "cached_tokens", "usd", "usd_status")


@click.command()
@arguments.store
@click.option("--all", "-a", "everyone", is_flag=True, help="Also the sessions below others.")
@click.option("--status", type=click.Choice(_STATUSES), help="Only those of this status.")
@click.option("--limit", "-n", type=arguments.COUNT, metavar="N", help="The first N only.")
@row_forms
def ls(store_path: arguments.Place, *, everyone: bool, status: str | None, limit: int | None, form: str) -> None:
    """List the sessions of a store.

    The newest first; those below others come with --all, after the one at the top. Turns and calls are the
    session's own; tokens and cost include all sessions below, and usage says whether every call told its
    tokens (known), some did (partial) or none (unknown). All as of each session's last checkpoint; events
    are counted as of now.

    \b
    Example:   foldlog ls history.db
               foldlog ls history.db --all --status stopped --limit 10
               foldlog ls history.db --json
    """
    with arguments.open_to_read(store_path) as store:
        params = {"all": everyone, "status": status, "limit": _ALL if limit is None else limit + 1}
        found = list(store.query(_SESSIONS, params))
        is_cut = limit is not None and len(found) > limit
        rows = list(_with_usage(store, found[:limit]))
        lacking_count = next(store.query(_LACKING))["session_count"]
    behind = sum(row["events_behind"] > 0 for row in rows)
    # Columns that would say the same of every session are left out of the table.
    kept = {key for key in _OPTIONAL if any(row[_OPTIONAL[key]] for row in rows)}
    print_rows("ls", rows, form, listed=lambda row: _listed(row, kept), absent="unknown")
    if lacking_count:
        _tell_of_lacking(lacking_count)
    if form != TABLE:
        return
    if not rows:
        if status or not lacking_count:
            say(f"{store_path} has no sessions{' of this status' if status else ''}")
        return
    if is_cut:
        say(f"the first {len(rows)}; there are more")
    if behind:
        say(f"{plural(behind, 'session')} went on after the last checkpoint; show says how they stand now")
    next_commands(("show", store_path, rows[0]["session_id"]), ("usage", store_path))


def _tell_of_lacking(count: int) -> None:
    from foldlog.outlets.findings import FINISH, lacking  # noqa: PLC0415  (see `foldlog.cli.main`)

    say(f"{lacking(count)}: {arguments.typed(click.get_current_context(), FINISH)}")


def _with_usage(store: "Store", found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    from foldlog.outlets import calls  # noqa: PLC0415  (see `foldlog.cli.main`)

    documents = calls.usage_documents(store, list({row["root_id"]: None for row in found}))
    for row in found:
        row.pop("root_id")
        document = documents(row["session_id"])
        used = calls.measures_of(document) if document is not None else {}
        yield {
            **row,
            "events_behind": row["event_count"] - row["checkpoint_event_id"],
            **{name: used.get(name) for name in _USED},
            "usage_status": used.get("status", "unknown"),
        }


_OPTIONAL: Final = {"below": "session_below_count", "behind": "events_behind", "usd": "usd"}


def _listed(row: Row, kept: set[str]) -> Row:
    """A row with what a person reads."""
    found = {
        "session": row["session_id"],
        "status": row["status"],
        "created UTC": _day_or_time(row["created_at"] or ""),
        "turns": row["turn_count"],
        "calls": row["call_count"],
        "below": row["session_below_count"],
        "events": row["event_count"],
        "behind": row["events_behind"],
        "tokens": row["total_tokens"],
        "usd": money(row["usd"]),
        "usage": row["usage_status"],
    }
    return {key: value for key, value in found.items() if key not in _OPTIONAL or key in kept}


def _day_or_time(at: str) -> str:
    """Day and time of this year's, the date of what is older: as `ls -l` has it."""
    return at[5:16].replace("T", " ") if at[:4] == str(dt.datetime.now(dt.UTC).year) else at[:10]


COMMANDS: Final = (ls,)
