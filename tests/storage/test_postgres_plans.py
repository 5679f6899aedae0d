"""How PostgreSQL answers the usual questions over 100,000 calls: by the indexes that SQLite uses."""

import re
from collections.abc import Iterator

import psycopg
import pytest
from test_sql_plans import FILTERED

import foldlog
from postgres_server import PostgresServer

_FILL = (
    """INSERT INTO sessions (session_id, name, kind, status, parent_id, root_id, created_at, checkpoint_event_id,
    folded, data)
    SELECT 's-' || n, 's-' || n, 'root',
    CASE WHEN n % 50 = 0 THEN 'error' WHEN n % 20 = 0 THEN 'running' ELSE 'stopped' END,
    CASE WHEN n % 10 <> 0 THEN 's-' || (n - n % 10) END, 's-' || (n - n % 10),
    to_char(timestamp '2026-01-01' + n * interval '1 hour', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 1, '{}', '{}'
    FROM generate_series(1, 1000) AS n""",
    "INSERT INTO streams (id) SELECT session_id FROM sessions",
    """INSERT INTO calls (session_id, id, seq, type, status, turn_id, started_at, first_event_id, last_event_id, data)
    SELECT 's-' || (1 + n / 100), n % 100, n % 100, 'leaf', CASE WHEN n % 1000 = 0 THEN 'error' WHEN n % 1500 = 1
    THEN 'running' ELSE 'ok' END, n % 10, to_char(timestamp '2026-01-01' + n * interval '1 minute',
    'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 1, 1, '{}' FROM generate_series(0, 99999) AS n""",
    """INSERT INTO messages (session_id, id, seq, role, turn_id, first_event_id, last_event_id, data)
    SELECT session_id, id, seq, 'user', turn_id, 1, 1, '{}' FROM calls""",
    """INSERT INTO evals (session_id, id, seq, status, turn_id, first_event_id, last_event_id, data)
    SELECT session_id, id, seq, 'ok', turn_id, 1, 1, '{}' FROM calls WHERE id < 20""",
    """INSERT INTO turns (session_id, id, seq, status, first_event_id, last_event_id, data)
    SELECT session_id, id, seq, CASE id WHEN 7 THEN status ELSE 'final' END, 1, 1, '{}' FROM calls WHERE id < 10""",
    """INSERT INTO usage SELECT session_id, 0, 'unknown', NULL, NULL, NULL, NULL, NULL, 100, 'known', 5, 5, 5, 5, 0.5,
    0, '{}' FROM sessions""",
    """INSERT INTO tree (session_id, call_id, seq, child_session_id, edge_type)
    SELECT parent_id, row_number() OVER (), 1, session_id, 'spawned' FROM sessions WHERE parent_id IS NOT NULL""",
    "ANALYZE",
)


@pytest.fixture(scope="module")
def connection(server: PostgresServer) -> Iterator[psycopg.Connection[tuple[str]]]:
    server.execute("CREATE SCHEMA plans")
    foldlog.open(server.url("plans")).close()
    with psycopg.connect(server.conninfo(), autocommit=True) as found:
        found.execute("SET search_path = plans")
        for statement in _FILL:
            found.execute(statement.encode())
        yield found


def plan(connection: psycopg.Connection[tuple[str]], sql: str) -> str:
    return "\n".join(row[0] for row in connection.execute(f"EXPLAIN {sql}".encode()))


@pytest.mark.parametrize(("sql", "index"), FILTERED.items(), ids=list(FILTERED))
def test_the_usual_filters_have_an_index(connection: psycopg.Connection[tuple[str]], sql: str, index: str) -> None:
    found = plan(connection, sql.replace("'demo'", "'s-500'").replace("'2026-11-22'", "'2026-03-10'"))
    # Within a session, its few rows are found by its key as well.
    names = {index, re.sub(r"sqlite_autoindex_(\w+)_1", r"\1_pkey", index)}
    if "session_id =" in sql and "status" not in sql:
        names |= {f"{table}_pkey" for table in ("calls", "messages", "evals")}
    assert any(name in found for name in names), found


@pytest.mark.parametrize("view", ["transcript", "turn_summary", "errors", "call_usage", "session_usage"])
def test_a_view_asked_about_one_session_reads_no_calls_of_others(
    connection: psycopg.Connection[tuple[str]], view: str
) -> None:
    found = plan(connection, f"SELECT * FROM {view} WHERE session_id = 's-500'")
    assert not re.search(r"Seq Scan on (calls|messages|evals|turns)", found), found


def test_words_are_found_by_their_index(connection: psycopg.Connection[tuple[str]]) -> None:
    from foldlog.storage.postgres_index import _MATCHES  # noqa: PLC0415

    connection.execute(
        b"INSERT INTO search_texts (session_key, event_id, kind, field, text) "
        b"SELECT 1, n, 'message', 'message.content', 'word' || n FROM generate_series(1, 5000) AS n"
    )
    connection.execute(b"INSERT INTO search_index SELECT text_id, to_tsvector('simple', text) FROM search_texts")
    connection.execute(b"ANALYZE")
    sql = _MATCHES.format(joined="", where="").replace(":match", "'word77'").replace(":ranked", "20000")
    found = plan(connection, sql.replace(":hits", "20"))
    assert "ix_search_index_words" in found, found
