"""Read-only SQL: what it refuses, and that what it allows ends in bounded time and memory."""

import gc
import math
import sqlite3
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import foldlog
from foldlog.core.limits import QUERY_VALUE_BYTES_MAX

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
# Far above what a loaded machine takes, far below what an unbounded query does.
SOON_S = 60


@pytest.fixture
def filled(path: Path, config: foldlog.Config) -> Iterator[foldlog.Store]:
    with foldlog.open(path, config=config) as store:
        with store.start_session(id="demo") as session:
            for number in range(20):
                session.add_message("user", f"hello {number}")
        yield store


def refused(store: foldlog.Store, sql: str, params: Any = (), timeout: float = 1) -> str:
    started = time.monotonic()
    with pytest.raises(foldlog.QueryError) as caught:
        list(store.query(sql, params, timeout=timeout))
    assert time.monotonic() - started < SOON_S
    return caught.value.message


@pytest.mark.sqlite("the SQL is SQLite's; test_postgres_query has PostgreSQL's")
@pytest.mark.parametrize(
    "sql",
    [
        "ATTACH 'other.db' AS other", "DETACH main", "PRAGMA query_only = 0", "PRAGMA writable_schema = 1",
        "SELECT * FROM pragma_table_info('events')", "SELECT * FROM dbstat", "SELECT * FROM sqlite_dbpage",
        "VACUUM INTO 'other.db'", "VACUUM", "SELECT load_extension('x')", "SELECT writefile('other.db', 'x')",
        "SELECT fts3_tokenizer('x')", "CREATE TEMP TABLE t (a)", "CREATE VIEW v AS SELECT 1", "DROP TABLE events",
        "INSERT INTO streams (id) VALUES ('x')", "UPDATE sessions SET status = 'x'", "DELETE FROM messages",
        "BEGIN IMMEDIATE", "SAVEPOINT s", "REINDEX", "ANALYZE", "SELECT 1; SELECT 2", "SELECT 1; DROP TABLE messages",
        "SELECT 1 \0; DROP TABLE messages", "", "-- nothing", "/* x */", "nonsense", "SELECT * FROM nowhere",
        "SELECT printf('%.*c', 1000000000, 'x')", "SELECT zeroblob(1000000000)", "SELECT randomblob(1000000000)",
        "SELECT json_patch('{}', '{}')", "\ud800",
    ],
)  # fmt: skip
def test_what_is_no_select_is_refused_and_changes_nothing(filled: foldlog.Store, sql: str) -> None:
    before = sorted(one.name for one in filled.path.parent.iterdir())
    refused(filled, sql)
    assert sorted(one.name for one in filled.path.parent.iterdir()) == before
    assert next(filled.query("SELECT count(*) AS n FROM messages")) == {"n": 20}


@pytest.mark.sqlite("the words are SQLite's; test_postgres_query has PostgreSQL's")
def test_the_nearest_names_are_told(filled: foldlog.Store) -> None:
    connection = sqlite3.connect(filled.path)  # an application's own view, of a table that is gone
    connection.execute("CREATE TABLE mine (thing)")
    connection.execute("CREATE VIEW broken AS SELECT * FROM mine")
    connection.execute("DROP TABLE mine")
    connection.commit()
    connection.close()
    for sql, hint in {
        "SELECT * FROM mesages": "nearest: messages",
        "SELECT rol FROM messages": "nearest: role (messages)",
        "SELECT * FROM brokn": "nearest: broken",
        "SELECT *": "SELECT name, sql FROM sqlite_schema shows the tables, views and columns",
    }.items():
        with pytest.raises(foldlog.QueryError) as caught:
            filled.query(sql)
        assert caught.value.hint.startswith(hint)


# A text of 4 MiB, doubled from 8 characters.
TEXT = (
    "(WITH RECURSIVE d(s) AS (SELECT 'aaaaaaaa' UNION ALL SELECT s || s FROM d WHERE length(s) < 4000000) "
    "SELECT s FROM d ORDER BY length(s) DESC LIMIT 1)"
)


@pytest.mark.sqlite("the SQL is SQLite's; test_postgres_query has PostgreSQL's")
@pytest.mark.parametrize(
    "sql",
    [
        f"{ENDLESS} SELECT count(*) FROM c",
        f"{ENDLESS} SELECT length(group_concat(x, 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaa')) FROM c",
        f"{ENDLESS} SELECT x FROM c WHERE x < 0",
        f"SELECT count(*) FROM {', '.join(f'messages m{number}' for number in range(12))}",
        f"SELECT length(replace({TEXT}, 'a', 'aaaaaaaa'))",
        f"SELECT json_array({', '.join(['1'] * 100)})",
        f"SELECT 'x' LIKE '{'%a' * 300}'",
        f"SELECT {'(' * 5000}1{')' * 5000}",
        f"SELECT 1 IN ({', '.join(map(str, range(100_000)))})",
    ],
)
def test_what_would_not_end_is_ended(filled: foldlog.Store, sql: str) -> None:
    refused(filled, sql)


@pytest.mark.sqlite("the SQL is SQLite's; test_postgres_query has PostgreSQL's")
@pytest.mark.parametrize(
    "sql",
    [
        f"{ENDLESS} SELECT x FROM c ORDER BY x || ? DESC",
        f"{ENDLESS} SELECT length(json_group_array(?)) FROM c",
    ],
)
def test_what_would_fill_memory_or_disk_is_ended(
    filled: foldlog.Store, sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foldlog.outlets.query_bounds.QUERY_EXTRA_BYTES_MAX", 64 * 1024 * 1024)
    assert "memory or disk" in refused(filled, sql, ["x" * 1_000_000], timeout=30)


@pytest.mark.sqlite("the SQL is SQLite's; test_postgres_query has PostgreSQL's")
@pytest.mark.parametrize(
    "sql",
    [
        f"SELECT length(replace({TEXT}, substr({TEXT}, 1, 2000000) || 'b', 'c'))",
        f"SELECT instr({TEXT}, substr({TEXT}, 1, 2000000) || 'b')",
        f"SELECT length(rtrim({TEXT}, replace(substr({TEXT}, 1, 500000), 'a', 'bc') || 'a'))",
        f"SELECT {TEXT} LIKE '%{'a' * 90}b'",
    ],
)
def test_functions_of_two_long_texts_are_not_their_product(filled: foldlog.Store, sql: str) -> None:
    started = time.monotonic()
    assert len(list(filled.query(sql))) == 1
    assert time.monotonic() - started < SOON_S


VALUES = [None, "", "a", "aXbXc", "  a ", "ab" * 5, "é1é", 0, 12, -5, 1.5, 1.0, -2.0, 1e20, 1e-7, 0.1, b"ab", b"", "X"]


@pytest.mark.sqlite("the SQL is SQLite's; test_postgres_query has PostgreSQL's")
def test_replaced_functions_say_what_sqlites_own_say(filled: foldlog.Store) -> None:
    own = sqlite3.connect(":memory:")
    for sql, count in (
        ("instr(?, ?)", 2), ("replace(?, ?, ?)", 3), ("trim(?)", 1), ("ltrim(?)", 1), ("rtrim(?)", 1),
        ("trim(?, ?)", 2), ("ltrim(?, ?)", 2), ("rtrim(?, ?)", 2),
    ):  # fmt: skip
        for one in VALUES:
            for other in VALUES:
                values = [one, other, "Y"][:count]
                ours = next(iter(filled.query(f"SELECT {sql} AS x", values)))["x"]
                assert ours == own.execute(f"SELECT {sql}", values).fetchone()[0], (sql, values)
    own.close()


@pytest.mark.sqlite("the SQL is SQLite's; test_postgres_query has PostgreSQL's")
def test_json_can_be_asked_row_by_row(filled: foldlog.Store) -> None:
    rows = filled.query("SELECT j.value FROM messages, json_each(messages.data) j WHERE j.key = 'content' LIMIT 2")
    assert [row["value"] for row in rows] == ["hello 0", "hello 1"]


def test_a_value_above_the_limit_is_refused_and_others_are_read(filled: foldlog.Store) -> None:
    with filled.open_session("demo") as session:
        session.add_message("user", "x" * (QUERY_VALUE_BYTES_MAX + 1))
    assert "too large" in refused(filled, "SELECT data FROM messages", timeout=30)
    assert next(filled.query("SELECT count(id) AS n FROM messages")) == {"n": 21}


class _Conforming:
    def __conform__(self, protocol: object) -> str:
        raise RuntimeError("ran")


class _Broken(str):
    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError("ran")


@pytest.mark.parametrize(
    "params",
    [
        [_Conforming()], [_Broken("x")], [math.nan], [2**63], [-(2**63) - 1], [object()], [[1]], [{"a": 1}], ["\ud800"],
        "x", b"x", 5, None, [], [1, 2], {"x": 1}, [1 + 2j], {1},
    ],
)  # fmt: skip
def test_parameters_that_sqlite_would_not_take_as_they_are_are_refused(filled: foldlog.Store, params: Any) -> None:
    refused(filled, "SELECT ? AS x", params)


@pytest.mark.parametrize("value", [None, 5, 2.5, math.inf, "x", b"x", True, 2**63 - 1, bytearray(b"x")])
def test_plain_parameters_are_taken(filled: foldlog.Store, value: Any) -> None:
    assert list(filled.query("SELECT :v AS x", {"v": value})) == [{"x": value}]


def test_the_time_goes_on_between_rows(filled: foldlog.Store) -> None:
    rows = filled.query("SELECT id FROM messages", timeout=0.2)
    assert next(rows) == {"id": 1}
    time.sleep(0.3)
    with pytest.raises(foldlog.QueryError, match="longer than"):
        next(rows)
    assert list(rows) == []


def test_rows_that_nobody_reads_hold_nothing(filled: foldlog.Store) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filled.query("SELECT * FROM messages")
        started = filled.query("SELECT * FROM messages")
        next(started)
        del started
        gc.collect()
        left = filled.query("SELECT * FROM messages")
        next(left)
        left.close()  # type: ignore[attr-defined]
        assert list(left) == []


def test_a_query_ends_with_its_store(path: Path, filled: foldlog.Store) -> None:
    rows = filled.query("SELECT * FROM messages")
    next(rows)
    filled.close()
    with pytest.raises(foldlog.StoreClosedError):
        next(rows)


@pytest.mark.sqlite("the SQL is SQLite's; test_postgres_query has PostgreSQL's")
def test_no_row_is_told_in_an_error(filled: foldlog.Store) -> None:
    with filled.open_session("demo") as session:
        session.add_message("user", "canary-4711")
    for sql in (
        "SELECT json_extract('{}', json_extract(data, '$.content')) FROM messages",
        "SELECT json_extract(json_extract(data, '$.content'), '$.x') FROM messages",
        "SELECT abs(-9223372036854775807 - 1) || data FROM messages",
        "SELECT CAST(x'ff' AS TEXT) || data FROM messages",
    ):
        assert "canary" not in refused(filled, sql)


@pytest.mark.sqlite("the SQL is SQLite's; test_postgres_query has PostgreSQL's")
def test_the_handle_for_sqlite_utils_neither_writes_nor_attaches(filled: foldlog.Store, tmp_path: Path) -> None:
    database = filled.sqlite_utils()
    database.conn.execute("PRAGMA query_only = OFF")
    for sql in ("DELETE FROM messages", f"ATTACH '{tmp_path / 'other.db'}' AS other", "SELECT load_extension('x')"):
        with pytest.raises(sqlite3.Error):
            database.conn.execute(sql)
    database.conn.close()
    assert not (tmp_path / "other.db").exists()


def test_a_timeout_that_is_no_number_is_refused(filled: foldlog.Store) -> None:
    assert "timeout is a number" in refused(filled, "SELECT 1", timeout=float("nan"))
