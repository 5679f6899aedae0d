"""How SQLite answers the usual questions: by an index, and without looking at what was not asked for."""

import re
import sqlite3

import pytest

from foldlog.storage.schema import projection
from foldlog.storage.sqlite import SqliteDatabase as Database

pytestmark = pytest.mark.sqlite("its own plans")

# What people filter by, and the index that finds it. Within a session any index that begins with it will do.
FILTERED = {
    "SELECT * FROM sessions WHERE session_id = 'demo'": "sqlite_autoindex_sessions_1",
    "SELECT * FROM sessions WHERE status = 'running'": "ix_sessions_status",
    "SELECT * FROM sessions WHERE status = 'error' ORDER BY created_at DESC LIMIT 20": "ix_sessions_status",
    "SELECT * FROM sessions ORDER BY created_at DESC LIMIT 20": "ix_sessions_created_at",
    "SELECT * FROM sessions WHERE created_at >= '2026-11-22'": "ix_sessions_created_at",
    "SELECT * FROM sessions WHERE root_id = 'demo'": "ix_sessions_root_id",
    "SELECT * FROM sessions WHERE parent_id = 'demo'": "ix_sessions_parent_id",
    "SELECT * FROM calls WHERE session_id = 'demo' AND id = 1": "sqlite_autoindex_calls_1",
    "SELECT * FROM calls WHERE session_id = 'demo' AND turn_id = 1": "ix_calls_turn_id",
    "SELECT * FROM calls WHERE session_id = 'demo' AND status = 'running' ORDER BY seq": "ix_calls_running",
    "SELECT * FROM calls WHERE status IN ('error', 'interrupted')": "ix_calls_failed",
    "SELECT * FROM calls ORDER BY started_at DESC LIMIT 20": "ix_calls_started_at",
    "SELECT * FROM calls WHERE started_at >= '2026-11-22'": "ix_calls_started_at",
    "SELECT * FROM turns WHERE session_id = 'demo' AND status = 'running' ORDER BY seq": "ix_turns_running",
    "SELECT * FROM turns WHERE status IN ('error', 'interrupted')": "ix_turns_failed",
    "SELECT * FROM evals WHERE session_id = 'demo' AND turn_id = 1": "ix_evals_turn_id",
    "SELECT * FROM messages WHERE session_id = 'demo' AND turn_id = 1": "ix_messages_turn_id",
    "SELECT * FROM messages WHERE session_id = 'demo' AND role = 'user'": "ix_messages_turn_id",
    "SELECT * FROM tree WHERE child_session_id = 'demo'": "ix_tree_child_session_id",
    "SELECT * FROM call_usage WHERE root_id = 'demo'": "ix_sessions_root_id",
    "SELECT * FROM call_usage WHERE session_id = 'demo'": "ix_calls_turn_id",
    "SELECT * FROM call_usage ORDER BY started_at DESC LIMIT 20": "ix_calls_started_at",
}
# Views asked about one session: they read no table as a whole.
ABOUT_ONE = ("session_usage", "transcript", "turn_summary", "errors", "call_usage")
SCANNED = re.compile(
    rf"SCAN ({'|'.join(projection.tables)}|events|streams)\b(?! USING .*INDEX ix_\w+_(failed|running))"
)


@pytest.fixture
def reader(database: Database) -> sqlite3.Connection:
    return database.new_reader()


def plan(connection: sqlite3.Connection, sql: str) -> str:
    try:
        return "\n".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}"))
    finally:
        connection.close()


@pytest.mark.parametrize(("sql", "index"), FILTERED.items(), ids=list(FILTERED))
def test_the_usual_filters_have_an_index(reader: sqlite3.Connection, sql: str, index: str) -> None:
    found = plan(reader, sql)
    assert re.search(rf"USING (COVERING )?INDEX {index}\b", found), found


@pytest.mark.parametrize("view", ABOUT_ONE)
def test_a_view_asked_about_one_session_reads_no_more(reader: sqlite3.Connection, view: str) -> None:
    found = plan(reader, f"SELECT * FROM {view} WHERE session_id = 'demo'")
    assert "SEARCH" in found
    assert not SCANNED.search(found), found


def test_errors_are_found_without_reading_what_went_well(reader: sqlite3.Connection) -> None:
    found = plan(reader, "SELECT * FROM errors")
    assert not re.search(r"SCAN (calls|turns|evals|sessions)\b(?! USING)", found), found


def test_models_and_days_read_calls_and_nothing_else(database: Database) -> None:
    for view in ("model_usage", "daily_usage"):
        found = plan(database.new_reader(), f"SELECT * FROM {view}")
        assert "SCAN calls" in found
        assert "sessions" not in found, found
