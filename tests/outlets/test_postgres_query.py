"""Read-only SQL on PostgreSQL, asked by a superuser, who may do anything: what is refused, and that the rest ends."""

import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import foldlog
from foldlog.outlets.postgres_query_text import checked
from postgres_server import PostgresServer

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
SOON_S = 60


@pytest.fixture
def place(server: PostgresServer) -> str:
    return server.new_store()


@pytest.fixture
def filled(place: str, config: foldlog.Config) -> Iterator[foldlog.Store]:
    with foldlog.open(place, config=config) as store:
        with store.start_session(id="demo") as session:
            for number in range(20):
                session.add_message("user", f"hello {number}")
        yield store


def refused(store: foldlog.Store, sql: str, params: Any = (), timeout: float = 1) -> foldlog.QueryError:
    started = time.monotonic()
    with pytest.raises(foldlog.QueryError) as caught:
        list(store.query(sql, params, timeout=timeout))
    assert time.monotonic() - started < SOON_S
    return caught.value


def one(store: foldlog.Store, sql: str, params: Any = ()) -> Any:
    (row,) = store.query(sql, params)
    return row


HOSTILE = [
    # What is no SELECT, or more than one statement.
    "",
    "-- nothing",
    "/* x */",
    "nonsense",
    ";",
    "DROP TABLE events",
    "INSERT INTO streams (id) VALUES ('x')",
    "UPDATE sessions SET status = 'x'",
    "DELETE FROM messages",
    "CREATE TABLE t (a int)",
    "CREATE TEMP VIEW v AS SELECT 1",
    "COPY messages TO '/tmp/foldlog-x'",
    "COPY messages FROM PROGRAM 'id'",
    "SET statement_timeout = 0",
    "RESET ALL",
    "BEGIN",
    "COMMIT",
    "LISTEN x",
    "NOTIFY x",
    "DO $$BEGIN END$$",
    "CALL x()",
    "EXPLAIN ANALYZE SELECT 1",
    "VACUUM",
    "LOCK TABLE events",
    "PREPARE p AS SELECT 1",
    "DECLARE c CURSOR FOR SELECT 1",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE messages",
    "SELECT 1) AS q; DROP TABLE messages; --",
    "SELECT 1) AS q, (SELECT 2",
    "SELECT 1 -- \n; DROP TABLE messages",
    "SELECT 1 \0; DROP TABLE messages",
    "\ud800",
    "SELECT '\ud800'",
    "SELECT * INTO stolen FROM messages",
    "WITH d AS (DELETE FROM messages RETURNING *) SELECT * FROM d",
    "SELECT * FROM messages FOR UPDATE",
    "SELECT (1",
    "SELECT ']' ]",
    "SELECT 'x",
    'SELECT "x',
    "SELECT $a$ x",
    "SELECT /* x",
    # Functions that wait, read files, end others, change settings, write, run SQL.
    "SELECT pg_sleep(30)",
    "SELECT pg_sleep_for('1 hour')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT pg_terminate_backend(1)",
    "SELECT pg_reload_conf()",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_notify('a', 'b')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT lo_get(1)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT set_config('a.b', 'c', false)",
    "SELECT nextval('streams_session_key_seq')",
    "SELECT setval('streams_session_key_seq', 1)",
    "SELECT dblink('x', 'y')",
    "SELECT query_to_xml('DELETE FROM messages', true, true, '')",
    "SELECT * FROM ts_stat('SELECT 1')",
    "SELECT database_to_xml(true, true, '')",
    "SELECT current_setting('data_directory')",
    "SELECT txid_current()",
    "SELECT currval('streams_session_key_seq')",
    "SELECT inet_server_addr()",
    "SELECT repeat('x', 1000000000)",
    "SELECT lpad('x', 1000000000)",
    "SELECT format('%1000000000s', 'x')",
    "SELECT array_fill(1, ARRAY[100000000])",
    # The same under other names and in other places.
    'SELECT "pg_sleep"(30)',
    "SELECT PG_SLEEP(30)",
    "SELECT pg_catalog.pg_sleep(30)",
    "SELECT pg_sleep/**/(30)",
    "SELECT pg_sleep--\n(30)",
    'SELECT U&"pg\\005fsleep"(30)',
    "SELECT u&'x'",
    "SELECT E'x'",
    "SELECT e'\\'' || pg_sleep(30)",
    "SELECT E'a'\n'\\' ' || pg_sleep(30) -- '",
    "SELECT 'a' || $$b$$ || pg_sleep(30)",
    "SELECT 1 WHERE 'a' = 'b' OR pg_sleep(30) IS NULL",
    "SELECT (SELECT pg_sleep(30))",
    "SELECT * FROM pg_sleep(30)",
    "SELECT * FROM ROWS FROM (pg_sleep(30))",
    "SELECT 1 ORDER BY pg_sleep(30)",
    "SELECT DISTINCT ON (1) pg_sleep(30)",
    "SELECT CASE WHEN true THEN pg_sleep(30) END",
    "SELECT x.pg_read_file FROM (SELECT '/etc/passwd' AS a) AS x",
    "SELECT 1 OPERATOR(pg_catalog.+) 1",
    "SELECT * FROM (SELECT 1 AS x) AS t, dblink(x) AS (a int)",
    "SELECT * FROM messages, dblink(id) AS (values int)",
    "SELECT /* /* */ pg_sleep(30) */ pg_sleep(30)",
    "SELECT a$b$.c$b$ FROM (SELECT 1) AS a$b$, pg_sleep(30)",
    "WITH pg_sleep(x) AS (SELECT 1) SELECT * FROM pg_sleep",
    "SELECT * FROM messages AS m CROSS JOIN LATERAL set_config(m.role, 'x', false)",
    # Tables and schemas that are none of the store's.
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_shadow",
    'SELECT * FROM "pg_authid"',
    "SELECT * FROM pg_catalog.pg_authid",
    "SELECT * FROM pg_stat_activity",
    "SELECT * FROM pg_hba_file_rules",
    "SELECT * FROM pg_largeobject",
    "SELECT * FROM information_schema.tables",
    'SELECT * FROM "information_schema".tables',
    "SELECT * FROM public.secrets",
    "SELECT * FROM public . secrets",
    "SELECT * FROM public/**/.secrets",
    'SELECT * FROM "public".secrets',
    "TABLE pg_authid",
    "SELECT * FROM foldlog.public.secrets",
    # Types and operators that look things up or take the product of two long values.
    "SELECT 'pg_authid'::regclass",
    "SELECT CAST('pg_authid' AS regclass)",
    "SELECT '<a/>'::xml",
    "SELECT ARRAY[1] @> ARRAY[1]",
    "SELECT ARRAY[1] && ARRAY[1]",
    "SELECT '((0,0),(1,1))'::path",
    "SELECT strpos('a', 'b')",
    "SELECT position('a' in 'b')",
    "SELECT replace('a', 'b', 'c')",
    "SELECT translate('a', 'b', 'c')",
    "SELECT split_part('a', 'b', 1)",
    "SELECT trim(both 'x' from 'a')",
    "SELECT rtrim('a', 'b')",
    "SELECT overlay('a' placing 'b' from 1)",
    "SELECT ts_rank(words, 'a'::tsquery) FROM search_index",
]


@pytest.mark.parametrize("sql", HOSTILE)
def test_what_is_no_plain_select_is_refused_and_changes_nothing(filled: foldlog.Store, sql: str) -> None:
    refused(filled, sql)
    assert one(filled, "SELECT count(*) AS n FROM messages") == {"n": 20}
    assert not Path("/tmp/foldlog-x").exists()


def test_other_schemas_are_not_read_by_search_path_either(filled: foldlog.Store, server: PostgresServer) -> None:
    server.execute("CREATE TABLE IF NOT EXISTS public.secrets (x text)")
    assert 'relation "secrets" does not exist' in refused(filled, "SELECT * FROM secrets").message


@pytest.mark.parametrize(
    "sql",
    [
        f"{ENDLESS} SELECT count(*) FROM c",
        f"{ENDLESS} SELECT length(string_agg(x::text, 'aaaaaaaaaaaaaaaa')) FROM c",
        f"{ENDLESS} SELECT x FROM c WHERE x < 0",
        f"SELECT count(*) FROM {', '.join(f'messages AS m{number}' for number in range(12))}",
        "SELECT count(*) FROM generate_series(1, 1000000000000)",
        f"SELECT 1 WHERE 'x' IN ({', '.join(['1'] * 100_000)})",
        "SELECT 9999999999::numeric ^ 13000 ^ 2",
        f"SELECT {'(' * 50_000}1{')' * 50_000}",
    ],
)
def test_what_would_not_end_is_ended(filled: foldlog.Store, sql: str) -> None:
    refused(filled, sql)


def test_what_would_fill_the_disk_is_ended(filled: foldlog.Store) -> None:
    error = refused(filled, f"{ENDLESS} SELECT x FROM c ORDER BY x::text || ? DESC", ["x" * 1_000_000], timeout=30)
    assert "memory or disk" in error.message


def test_a_query_that_is_given_up_ends_on_the_server(filled: foldlog.Store, server: PostgresServer) -> None:
    with pytest.raises(foldlog.QueryError, match="longer than"):
        next(filled.query(f"{ENDLESS} SELECT x FROM c WHERE x < 0", timeout=0.3))
    rows = filled.query("SELECT id FROM messages")
    next(rows)
    del rows
    gc.collect()
    import psycopg  # noqa: PLC0415

    sql = (
        b"SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' AND query LIKE '%FETCH%' "
        b"AND pid <> pg_backend_pid()"
    )
    deadline = time.monotonic() + SOON_S
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        while (connection.execute(sql).fetchone() or (0,))[0]:
            assert time.monotonic() < deadline


# What may be asked.


def test_marks_are_marks_only_where_they_are_none_else(filled: foldlog.Store) -> None:
    sql = "SELECT ? || '?' AS a, ':x' AS b, $$ :y ? $$ AS c, \"?\" AS d FROM (SELECT 1 AS \"?\") AS q -- ? :z\n"
    assert one(filled, sql, ["v"]) == {"a": "v?", "b": ":x", "c": " :y ? ", "d": 1}
    assert one(filled, "SELECT :a::text || :b AS x, :a AS y /* :c /* ? */ */", {"a": "1", "b": "2"}) == {
        "x": "12",
        "y": "1",
    }
    assert one(filled, "SELECT (ARRAY[1, 2, 3])[1:2] AS x, (ARRAY[4, 5])[:n] AS y", {"n": 2}) == {"x": "{1,2}", "y": 5}
    assert one(filled, "SELECT a[1:n] AS x FROM (SELECT ARRAY[1, 2, 3] AS a, 2 AS n) AS s") == {"x": "{1,2}"}
    assert one(filled, "SELECT ?-1 AS x", [3]) == {"x": 2}
    for params in ([1], {"a": 1}, {"b": 1}):
        refused(filled, "SELECT :a AS x, ? AS y", params)


def test_what_reads_alike_is_allowed(filled: foldlog.Store) -> None:
    assert one(filled, "SELECT data::json ->> 'content' AS x FROM messages WHERE id = 3") == {"x": "hello 2"}
    assert one(
        filled, "WITH a(x, y) AS (VALUES (1, 2)), b AS MATERIALIZED (SELECT * FROM a) SELECT x + y AS s FROM b"
    ) == {"s": 3}
    assert one(filled, "SELECT x FROM (VALUES (1)) AS v(x)") == {"x": 1}
    assert one(filled, "SELECT CAST('7' AS int) AS x, 1.50::numeric(10, 2) AS y, trim(' z ') AS z") == {
        "x": 7,
        "y": 1.5,
        "z": "z",
    }
    assert one(filled, "(SELECT 1 AS x);") == {"x": 1}
    assert list(filled.query('SELECT 1 AS a, 2 AS a, 3 AS "a_2"')) == [{"a": 1, "a_2": 2, "a_2_2": 3}]
    row = one(
        filled,
        "SELECT date '2026-11-22' AS d, '{\"a\": 1}'::json AS j, NULL AS n, 'x'::bytea AS b, 2::numeric AS w, "
        "true AS t",
    )
    assert row == {"d": "2026-11-22", "j": '{"a": 1}', "n": None, "b": b"x", "w": 2, "t": True}
    assert {type(row["w"]), type(row["t"])} == {int, bool}
    filled.checkpoint()
    sql = (
        "SELECT kind FROM searchable JOIN search_index ON search_index.text_id = searchable.text_id "
        "WHERE words @@ to_tsquery('simple', ?)"
    )
    assert one(filled, sql, ["hello & 7"]) == {"kind": "message"}


def test_errors_name_what_is_near_and_tell_no_value(filled: foldlog.Store) -> None:
    assert "messages" in refused(filled, "SELECT * FROM mesages").hint
    assert "checkpoint_event_id" in refused(filled, "SELECT checkpoint_evnt_id FROM sessions").hint
    assert "data::json" in refused(filled, "SELECT data ->> 'x' FROM messages").hint
    with filled.open_session("demo") as session:
        session.add_message("user", "canary-4711")
    for sql in (
        "SELECT (data::json ->> 'content')::int FROM messages",
        "SELECT (data::json ->> 'content')::json FROM messages",
        "SELECT data::date FROM messages",
        "SELECT 1 / (length(data) - length(data)) FROM messages",
    ):
        error = refused(filled, sql)
        assert "canary" not in f"{error.message} {error.hint} {error!r} {error.__cause__!r} {error.__context__!r}"


def test_a_role_without_rights_is_bounded_too(filled: foldlog.Store, server: PostgresServer) -> None:
    schema = filled.database.schema  # type: ignore[attr-defined]
    server.execute(
        "DROP ROLE IF EXISTS onlooker", "CREATE ROLE onlooker LOGIN",
        f"GRANT USAGE ON SCHEMA {schema} TO onlooker", f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO onlooker",
    )  # fmt: skip
    try:
        with foldlog.open(server.url(schema).replace("foldlog@", "onlooker@"), read_only=True) as reader:
            assert one(reader, "SELECT count(*) AS n FROM messages") == {"n": 20}
            assert len(reader.search("hello")) == 20
            refused(reader, f"{ENDLESS} SELECT count(*) FROM c")
    finally:
        server.execute("DROP OWNED BY onlooker", "DROP ROLE onlooker")


@pytest.mark.parametrize(
    ("sql", "count"),
    [("SELECT ? = ?", 2), ("SELECT '?'", 0), ("SELECT a->?", 1), ("SELECT ? -- ?\n, ?", 2), ("SELECT $x$?$x$, ?", 1)],
)
def test_values_are_counted_as_the_server_counts_them(sql: str, count: int) -> None:
    text = checked(sql, list(range(count)))
    assert [f"${number}" in text.sql for number in range(1, 4)] == [number <= count for number in range(1, 4)]
    with pytest.raises(foldlog.QueryError):
        checked(sql, list(range(count + 1)))
