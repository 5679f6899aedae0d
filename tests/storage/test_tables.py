"""The projection tables: rows in, the same rows out, in order."""

from collections.abc import Iterator
from typing import Any

import pytest

from foldlog.core.codec import decode
from foldlog.core.columns import row_columns, session_columns, tree_columns
from foldlog.core.rows import Entry
from foldlog.storage import schema, tables
from foldlog.storage.database import Database

EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN", "postgres": "EXPLAIN"}


def row(kind: str, seq: int, /, session_id: str = "demo", **fields: Any) -> dict[str, Any]:
    return row_columns(kind, session_id, Entry({"id": seq, **fields}, seq + 1, seq + 2, seq))


@pytest.fixture
def writer(database: Database) -> Iterator[Any]:
    with database.write() as connection:
        yield connection


def read(database: Database, kind: str, session_id: str = "demo") -> list[Any]:
    with database.read() as connection:
        return [decode(data) for data, *_ in tables.read_rows(connection, kind, session_id)]


@pytest.mark.parametrize("kind", sorted(schema.ROW_TABLES))
def test_rows_are_read_back_in_order_with_their_events(database: Database, writer: Any, kind: str) -> None:
    tables.write_rows(writer, f"{kind}s", [row(kind, seq) for seq in (3, 1, 2)])
    with database.read() as connection:
        found = list(tables.read_rows(connection, kind, "demo"))
    assert [(decode(data)["id"], first, last, seq) for data, first, last, seq in found] == [
        (1, 2, 3, 1), (2, 3, 4, 2), (3, 4, 5, 3),
    ]  # fmt: skip


def test_a_row_that_is_there_is_replaced(database: Database, writer: Any) -> None:
    for status in ("running", "ok"):
        tables.write_rows(writer, "calls", [row("call", 1, status=status)])
    assert read(database, "call") == [{"id": 1, "status": "ok"}]


def test_a_row_that_moves_is_found_where_it_went_and_those_beside_it_where_they_were(
    database: Database, writer: Any
) -> None:
    for turn_id, status in ((1, "running"), (2, "ok")):
        rows = [row("call", 1, turn_id=turn_id, status=status), row("call", 2, turn_id=1, status=status)]
        tables.write_rows(writer, "calls", rows)
    found = writer.execute("SELECT id, turn_id, status FROM calls ORDER BY id").fetchall()
    assert found == [(1, 2, "ok"), (2, 1, "ok")]
    assert writer.execute("SELECT id FROM calls WHERE session_id = 'demo' AND turn_id = 1").fetchall() == [(2,)]


@pytest.mark.sqlite("its write-ahead log")
def test_rows_that_stay_leave_the_indexes_alone(database: Database, writer: Any) -> None:
    def write(status: str, ids: Any) -> int:
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        writer.execute("BEGIN")
        tables.write_rows(writer, "calls", [row("call", seq, turn_id=seq % 50, status=status) for seq in ids])
        writer.execute("COMMIT")
        pages: int = writer.execute("PRAGMA wal_checkpoint").fetchone()[1]
        return pages

    write("late", range(1, 2000))
    assert write("fine", (100, 900, 1800)) == 3  # each row's own, none of the index by turn


def test_numbers_and_names_are_ids_of_their_own(engine: str, database: Database, writer: Any) -> None:
    rows = [row_columns("call", "demo", Entry({"id": row_id}, 1, 1, seq)) for seq, row_id in enumerate((1, "a", "0x1"))]
    tables.write_rows(writer, "calls", rows)
    assert [one["id"] for one in read(database, "call")] == [1, "a", "0x1"]
    kinds = [type(tables_id) for (tables_id,) in writer.execute("SELECT id FROM calls ORDER BY seq").fetchall()]
    assert kinds == {"sqlite": [int, str, str], "postgres": [int, int, int]}[engine]


def test_one_row_is_read_by_its_id_and_type_of_id(database: Database, writer: Any) -> None:
    rows = [row_columns("call", "demo", Entry({"id": row_id}, 4, 5, seq)) for seq, row_id in enumerate((1, "a"), 1)]
    tables.write_rows(writer, "calls", rows)
    with database.read() as connection:
        assert tables.read_row(connection, "call", "demo", 1) == ('{"id":1}', 4, 5, 1)
        assert tables.read_row(connection, "call", "demo", "a") == ('{"id":"a"}', 4, 5, 2)
        assert tables.read_row(connection, "call", "demo", 2) is None
        assert tables.read_row(connection, "call", "other", 1) is None


def test_what_runs_is_found_by_its_own_small_index(engine: str, database: Database, writer: Any) -> None:
    for kind in ("call", "turn"):
        rows = [row(kind, seq, status=("ok", "running")[seq % 2]) for seq in range(1, 6)]
        tables.write_rows(writer, f"{kind}s", [*rows, row(kind, 9, session_id="other", status="running")])
        with database.read() as connection:
            found = [seq for *_, seq in tables.read_rows(connection, kind, "demo", running=True)]
            if engine == "postgres":
                connection.exec_driver_sql("SET enable_seqscan = off")  # of so few rows
            sql = f"SELECT data FROM {kind}s WHERE session_id = 'demo' AND status = 'running' ORDER BY seq"
            plan = connection.exec_driver_sql(f"{EXPLAIN[engine]} {sql}").all()
        assert found == [1, 3, 5]
        assert f"ix_{kind}s_running" in str(plan)


def test_the_rows_that_joined_turns_are_read_in_order(database: Database, writer: Any) -> None:
    roles = ("assistant", "tool", "user", "observation")
    rows = [row("message", seq, role=roles[seq % 4], turn_id=(1, "t", None)[seq % 3]) for seq in range(1, 13)]
    tables.write_rows(writer, "messages", reversed(rows))
    with database.read() as connection:
        found = tables.read_joined(connection, "message", "demo", through=12, roles=("tool", "observation"))
        assert found == [("t", 1, 2), (1, 3, 4), ("t", 7, 8), (1, 9, 10)]
        assert tables.read_joined(connection, "message", "demo", through=8, turn_id="t") == [
            ("t", 1, 2), ("t", 4, 5), ("t", 7, 8),
        ]  # fmt: skip
        assert tables.read_joined(connection, "message", "demo", through=0) == []


def test_the_calls_of_edges_are_read_whole(database: Database, writer: Any) -> None:
    calls = [Entry({"id": row_id, "type": "child", "n": seq}, 1, 2, seq) for seq, row_id in enumerate((9, "a", 2))]
    tables.write_rows(writer, "calls", [row_columns("call", "demo", one) for one in calls] + [row("call", 7)])
    tables.write_rows(writer, "tree", [tree_columns("demo", one) for one in reversed(calls)])
    with database.read() as connection:
        found = [(decode(data)["id"], *place) for data, *place in tables.read_edge_calls(connection, "demo")]
    assert found == [(9, 1, 2, 0), ("a", 1, 2, 1), (2, 1, 2, 2)]


def test_sessions_do_not_see_each_others_rows(database: Database, writer: Any) -> None:
    tables.write_rows(writer, "messages", [row("message", 1), row("message", 1, session_id="other", role="user")])
    tables.forget_messages(writer, "demo")
    assert (read(database, "message"), len(read(database, "message", "other"))) == ([], 1)


def test_rows_are_read_of_a_session_and_all_below_it(database: Database, writer: Any) -> None:
    names = ["demo", "demo/a", "demo/a/b", "demo2", "demo-x", "other"]
    tables.write_rows(writer, "sessions", [session_row(name) for name in names])
    with database.read() as connection:
        found = tables.read_below(connection, "sessions", "session_id", "demo")
    assert found == [("demo",), ("demo/a",), ("demo/a/b",)]


def test_edges_are_read_in_call_order_and_forgotten_one_by_one(database: Database, writer: Any) -> None:
    edges = [
        tree_columns("demo", Entry({"id": row_id, "child_session_id": f"demo/{row_id}", "type": "child"}, 1, 1, seq))
        for seq, row_id in enumerate((9, "a", 2))
    ]
    tables.write_rows(writer, "tree", reversed(edges))
    tables.forget_edges(writer, "demo", ["a"])
    with database.read() as connection:
        assert tables.read_below(connection, "tree", "call_id, child_session_id", "demo") == [
            (9, "demo/9"), (2, "demo/2"),
        ]  # fmt: skip


def test_a_session_that_never_checkpointed_has_no_row(database: Database) -> None:
    with database.read() as connection:
        assert tables.read_session(connection, "demo") is None
        assert tables.read_standing(connection, "demo") is None
        assert tables.read_usage(connection, "demo") is None
        assert tables.read_below(connection, "final", "data", "demo") == []
        assert tables.read_sessions(connection) == []


def session_row(name: str, at: str = "2026", writer: str | None = None) -> dict[str, Any]:
    found = session_columns(name, {"id": name, "created_at": at}, checkpoint_event_id=3, folded="{}")
    return {**found, "writer": writer}


def test_who_writes_a_session_is_stored_with_it(database: Database, writer: Any) -> None:
    for who in ("host:1", None):
        tables.write_rows(writer, "sessions", [session_row("demo", writer=who), session_row("other", writer="me")])
        with database.read() as connection:
            found = tables.read_session(connection, "demo")
            assert tables.read_standing(connection, "demo") == 3
        assert found is not None
        assert (found["writer"], found["checkpoint_event_id"]) == (who, 3)
        assert tables.read_writers(writer) == {"demo": who, "other": "me"}


def test_tables_of_another_form_name_no_writers(engine: str, writer: Any) -> None:
    for form in (
        "CREATE TABLE sessions (other TEXT)",
        "CREATE TABLE sessions (session_id TEXT, status TEXT)",
        "SELECT 1",
    ):
        writer.execute(f"DROP TABLE IF EXISTS sessions{'' if engine == 'sqlite' else ' CASCADE'}")
        writer.execute(form)
        assert tables.read_writers(writer) == {}


def test_a_whole_table_is_read_by_key_as_it_is_stored(database: Database, writer: Any) -> None:
    rows = [row("call", 1, type="leaf"), row("call", 2)]
    tables.write_rows(writer, "calls", [*rows, row("call", 1, session_id="other")])
    tables.write_rows(writer, "sessions", [session_row("demo", writer="me")])
    with database.read() as connection:
        assert tables.read_table(connection, "calls", "demo") == {1: rows[0], 2: rows[1]}
        (found,) = tables.read_table(connection, "sessions", "demo").values()
    assert found == {key: value for key, value in session_row("demo").items() if key != "writer"}


def test_sessions_are_listed_by_when_they_began(database: Database, writer: Any) -> None:
    tables.write_rows(
        writer, "sessions", [session_row("b", "2026-02"), session_row("c", "2026-01"), session_row("a", "2026-02")]
    )
    with database.read() as connection:
        assert [one["session_id"] for one in tables.read_sessions(connection)] == ["c", "a", "b"]


def test_the_tables_are_the_documented_ones() -> None:
    assert set(tables.table_names()) == {
        "sessions", "messages", "turns", "evals", "calls", "snapshots", "final", "usage", "tree",
    }  # fmt: skip
