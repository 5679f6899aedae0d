"""What Datasette is to know of a store: words for tables and columns, facets, order, queries with parameters.

One JSON object, for both lines of Datasette. 0.65 takes all of it as `--metadata`. 1.0 takes the words from
`--metadata`, and tables, queries, settings and permissions from `--config`: the same file, given twice. Datasette opens
the store read-only itself; foldlog does not run it and does not need it.
"""

import contextlib
import shlex
from pathlib import Path
from typing import Any, Final

from foldlog.storage.described import COLUMNS, TABLES
from foldlog.storage.sql_views import SQL_VIEWS
from foldlog.storage.sqlite import sqlite_of
from foldlog.store.store import Store

Config = dict[str, Any]

# What helps nobody who looks: pieces of values, keys, Alembic's own row.
_HIDDEN: Final = ("alembic_version", "blobs", "lists", "parts", "quarantine", "streams")
# A view of a large store takes longer than Datasette's second.
_SETTINGS: Final = {
    "sql_time_limit_ms": 5000,
    "facet_time_limit_ms": 1000,
    "suggest_facets": False,
    # The file alone is not the store while its log holds what is new: `foldlog backup` makes a copy that is.
    "allow_download": False,
}
# Datasette opens a store for writing for whoever may do these; foldlog would believe what they wrote.
_WRITING: Final = (
    "execute-write-sql", "insert-row", "update-row", "delete-row",
    "create-table", "alter-table", "drop-table", "create-view", "drop-view",
)  # fmt: skip

_TABLES: Final[dict[str, Config]] = {
    "sessions": {"facets": ["status", "kind"], "sort_desc": "created_at", "label_column": "session_id"},
    "messages": {"facets": ["role"]},
    "turns": {"facets": ["status"], "sort_desc": "started_at"},
    "evals": {"facets": ["status"]},
    "calls": {"facets": ["type", "status", "model"], "sort_desc": "started_at"},
    "events": {"sort_desc": "position", "size": 50},
    "call_usage": {"facets": ["provider", "model", "status"], "sort_desc": "started_at"},
    "session_usage": {"facets": ["status"], "sort_desc": "usd"},
    "model_usage": {"sort_desc": "usd"},
    "daily_usage": {"sort_desc": "day"},
    "turn_summary": {"facets": ["status"]},
    "errors": {"facets": ["kind", "status"], "sort_desc": "at"},
    "session_tree": {"sort": "path"},
    "deletions": {"sort_desc": "position"},
}

# A session and all below it, by its index: "0" is the character after "/".
_BELOW: Final = "(session_id = :session OR (session_id > :session || '/' AND session_id < :session || '0'))"

_QUERIES: Final[dict[str, Config]] = {
    "runs": {
        "title": "Runs, newest first",
        "description": "Sessions that no session is above, with what they and all below them used.",
        "sql": """
SELECT sessions.session_id, sessions.status, created_at, ended_at, turn_count, session_below_count, call_count,
  total_tokens, usd, session_usage.status AS usage_status
FROM sessions JOIN session_usage ON session_usage.session_id = sessions.session_id
WHERE parent_id IS NULL ORDER BY created_at DESC LIMIT 200""",
    },
    "running": {
        "title": "What is running",
        "description": "Sessions without an end, and when they were last heard of: also those that a crash left.",
        "sql": """
SELECT sessions.session_id, sessions.created_at, events.event_id AS last_event_id, events.at AS last_event_at, writer
FROM sessions JOIN streams ON streams.id = sessions.session_id
JOIN events ON events.session_key = streams.session_key
  AND events.event_id = (SELECT max(event_id) FROM events e WHERE e.session_key = streams.session_key)
WHERE sessions.status = 'running' ORDER BY events.at DESC LIMIT 200""",
    },
    "session_transcript": {
        "title": "What was said in a session",
        "sql": """
SELECT at, turn_id, role, coalesce(text, content) AS text
FROM transcript WHERE session_id = :session ORDER BY seq""",
    },
    "session_turns": {
        "title": "The turns of a session",
        "sql": """
SELECT turn_id, status, started_at, ended_at, message_count, eval_count, call_count, total_tokens, usd
FROM turn_summary WHERE session_id = :session ORDER BY seq""",
    },
    "session_calls": {
        "title": "The model calls of a session and of all below it",
        "sql": f"""
SELECT started_at, session_id, turn_id, call_id, type, status, provider, model, elapsed_ms, input_tokens,
  output_tokens, usd
FROM call_usage WHERE {_BELOW} ORDER BY started_at""",
    },
    "session_below": {
        "title": "The tree under a session at the top",
        "sql": """
SELECT depth, session_id, status, kind, edge_type, parent_session_id, call_id
FROM session_tree WHERE top_id = :session ORDER BY path""",
    },
    "session_events": {
        "title": "The journal of a session",
        "description": "Events as they were committed, after one (0: from the first).",
        "sql": """
SELECT event_id, type, at, data FROM events
WHERE session_key = (SELECT session_key FROM streams WHERE id = :session) AND event_id > CAST(:after AS INTEGER)
ORDER BY event_id LIMIT 500""",
    },
    "session_errors": {
        "title": "What went wrong in a session and below it",
        "sql": f"""
SELECT at, session_id, turn_id, kind, id, status, error FROM errors WHERE {_BELOW} ORDER BY at""",
    },
    "latest_errors": {
        "title": "What went wrong last",
        "sql": """
SELECT at, session_id, turn_id, kind, id, status, error FROM errors ORDER BY at DESC LIMIT 200""",
    },
    "slowest_calls": {
        "title": "The slowest model calls",
        "description": "Of those that began on one day or later (2026-11-22; empty: of all).",
        "sql": """
SELECT elapsed_ms, session_id, turn_id, call_id, type, status, provider, model, started_at, total_tokens
FROM call_usage WHERE started_at >= :since AND elapsed_ms IS NOT NULL ORDER BY elapsed_ms DESC LIMIT 100""",
    },
    "usage_by_model": {
        "title": "Tokens and cost by model",
        "sql": "SELECT * FROM model_usage ORDER BY usd DESC",
    },
    "usage_by_day": {
        "title": "Tokens and cost by day",
        "sql": """
SELECT day, sum(call_count) AS call_count, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
  sum(total_tokens) AS total_tokens, sum(usd) AS usd
FROM daily_usage GROUP BY day ORDER BY day DESC""",
    },
}


def configuration(store: Store) -> Config:
    """The configuration for a store, which Datasette names by its file."""
    return {
        "title": "foldlog",
        "description": "LLM sessions, as they were recorded. Tables and views stand as of each session's last "
        "checkpoint; the table events is committed data, always.",
        "settings": dict(_SETTINGS),
        "databases": {
            sqlite_of(store.database, "Datasette").path.stem: {
                "description": "Prefer the views: they change least.",
                "tables": _tables(store),
                "queries": {name: {**query, "sql": query["sql"].strip()} for name, query in _QUERIES.items()},
                "permissions": dict.fromkeys(_WRITING, False),
            }
        },
    }


def _tables(store: Store) -> dict[str, Config]:
    words = {**TABLES, **{name: view.what for name, view in SQL_VIEWS.items()}}
    found: dict[str, Config] = {name: {"hidden": True} for name in _HIDDEN}
    with contextlib.closing(store.database.new_reader()) as reader:
        for name, description in words.items():
            columns = [column[0] for column in reader.execute(f"SELECT * FROM {name} LIMIT 0").description]
            found.setdefault(name, {}).update(_TABLES.get(name, {}))
            found[name]["description"] = description
            found[name]["columns"] = {column: COLUMNS[column] for column in columns if column in COLUMNS}
    return found


def commands(path: Path, file: Path) -> dict[str, str]:
    """How to run Datasette over a store with its configuration in `file`, by line of Datasette."""
    shown, config = shlex.quote(str(path)), shlex.quote(str(file))
    settings = " ".join(f"--setting {name} {_setting(value)}" for name, value in _SETTINGS.items())
    return {
        "0.65": f"datasette serve {shown} --metadata {config} {settings}",
        "1.0": f"datasette serve {shown} --metadata {config} --config {config}",
    }


def _setting(value: int | bool) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
