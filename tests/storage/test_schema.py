"""The schema: what the design measured, and what a database refuses by itself."""

import sqlite3
from typing import Any

import pytest

from foldlog.storage import schema
from foldlog.storage.sql_views import SQL_VIEWS
from foldlog.storage.sqlite import SqliteDatabase as Database

pytestmark = pytest.mark.sqlite("the schema in SQLite's words; a server's is in test_postgres_schema")


@pytest.fixture
def rows(database: Database) -> Any:
    def ask(sql: str) -> list[tuple[Any, ...]]:
        with database.read() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(sql)]

    return ask


def test_the_journal_has_the_documented_columns(rows: Any) -> None:
    assert [name for _, name, *_ in rows("PRAGMA table_info(streams)")] == ["session_key", "id"]
    assert [name for _, name, *_ in rows("PRAGMA table_info(events)")] == [
        "position", "session_key", "event_id", "type", "at", "data", "digest", "chain", "idempotency_key",
    ]  # fmt: skip
    assert [name for _, name, *_ in rows("PRAGMA table_info(blobs)")][:2] == ["hash", "bytes"]


def test_nothing_costs_an_event_a_page_more_than_it_must(rows: Any) -> None:
    assert rows("SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%'") == []
    indexes = rows("SELECT name, \"unique\", partial FROM pragma_index_list('events')")
    assert sorted(indexes) == [("ix_events_idempotency_key", 1, 1), ("sqlite_autoindex_events_1", 1, 0)]


def test_positions_and_keys_are_row_ids(rows: Any) -> None:
    for table, column in (("events", "position"), ("streams", "session_key")):
        (found,) = [one for one in rows(f"PRAGMA table_info({table})") if one[5]]
        assert found[1:3] == (column, "INTEGER")


def test_a_foldlog_store_says_so(rows: Any) -> None:
    assert rows("PRAGMA application_id") == [(schema.APPLICATION_ID,)] == [(int.from_bytes(b"fold", "big"),)]
    assert rows("PRAGMA user_version") == [(schema.SCHEMA_NUMBER,)]
    assert rows("SELECT version_num FROM alembic_version") == [(schema.REVISION,)]


def test_an_event_belongs_to_a_stream(database: Database) -> None:
    insert = (
        "INSERT INTO events (session_key, event_id, type, at, data, digest, chain) VALUES (9, 1, 'a', '', '', '', '')"
    )
    with database.write() as connection, pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
        connection.execute(insert)


def test_every_row_table_names_the_events_of_its_rows() -> None:
    for table in schema.ROW_TABLES.values():
        assert {"session_id", "id", "seq", "first_event_id", "last_event_id", "data"} <= set(table.columns.keys())
        assert [column.name for column in table.primary_key] == ["session_id", "id"]


def test_a_turns_table_holds_none_of_its_lists() -> None:
    assert not [column for column in schema.turns.columns if column.name.endswith("_ids")]


@pytest.mark.parametrize("view", SQL_VIEWS)
def test_every_sql_view_can_be_asked_and_says_what_it_is(rows: Any, view: str) -> None:
    assert len(rows(f"SELECT * FROM {view}")) == (1 if view == "blob_stats" else 0)
    assert SQL_VIEWS[view].what.endswith(".")


def test_the_stable_views_are_there() -> None:
    assert {"call_usage", "session_usage", "session_tree", "transcript", "model_usage"} <= set(SQL_VIEWS)


def test_the_views_can_be_asked_by_a_connection_that_trusts_no_schema(database: Database) -> None:
    connection = database.new_reader()
    connection.execute("PRAGMA trusted_schema = OFF")
    for view in SQL_VIEWS:
        connection.execute(f"SELECT * FROM {view}").fetchall()
    connection.close()
