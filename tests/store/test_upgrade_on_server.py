"""Opening and upgrading a store on a server: whole or not at all, by many at once, and nothing of others is touched."""

import subprocess
import sys
from typing import Any

import pytest

import foldlog
from damaged_stores import server_connection
from foldlog.storage import migrate
from foldlog.storage.schema import REVISION
from postgres_server import PostgresServer


@pytest.fixture
def url(server: PostgresServer) -> str:
    """An empty schema."""
    return server.new_store()


def fill(url: str) -> None:
    with foldlog.open(url) as store, store.start_session(id="demo") as session:
        with session.turn() as turn:
            turn.message("user", "hi")
            turn.call("leaf", request_ref=session.value_ref("x" * 9000))
            turn.final(42)
        session.start_child().close()


def said(store: foldlog.Store) -> list[Any]:
    return [list(store.events()), store.view("demo").document(), store.final("demo"), store.tree("demo")]


def run(url: str, *statements: str) -> None:
    with server_connection(url) as server:
        for statement in statements:
            server.execute(statement)


def content(url: str) -> dict[str, Any]:
    """Everything in the schema: relations, and the rows of each table."""
    with server_connection(url) as server:
        sql = (
            "SELECT relname, relkind::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace ORDER BY 1"
        )
        found: dict[str, Any] = {"": server.execute(sql).fetchall()}
        for name, kind in found[""]:
            if kind == "r":
                found[name] = sorted(map(str, server.execute(f'SELECT * FROM "{name}"').fetchall()))
    return found


# As schema 3 was, in part: no quarantine, tables of another form or none.
OLDER = (
    "DROP TABLE quarantine",
    "DROP TABLE messages CASCADE",
    "DROP TABLE sessions CASCADE",
    "ALTER TABLE turns DROP COLUMN status CASCADE",
    (
        "CREATE OR REPLACE FUNCTION events_refuse() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS "
        "'BEGIN RAISE EXCEPTION ''events is append-only'' USING ERRCODE = ''restrict_violation''; END'"
    ),
    "UPDATE alembic_version SET version_num = '0003'",
)


@pytest.fixture
def old(url: str) -> str:
    fill(url)
    run(url, *OLDER)
    return url


def test_an_older_store_is_upgraded_in_place(url: str) -> None:
    fill(url)
    with foldlog.open(url, read_only=True) as store:
        expected = said(store)
    run(url, *OLDER, "CREATE VIEW mine AS SELECT id FROM streams")
    with foldlog.open(url) as store:
        assert said(store) == expected
        report = store.verify()
        assert report.ok, str(report)
        with store.open_session("demo") as session:
            session.emit("note", idempotency_key="k")
        store.delete_session("demo")
        assert store.verify().ok
    with server_connection(url) as server:
        assert server.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISION,)]
        assert server.execute("SELECT count(*) FROM mine").fetchone() == (3,)


def test_an_older_store_is_not_upgraded_by_a_reader(old: str) -> None:
    before = content(old)
    with pytest.raises(foldlog.StoreError, match="older schema 3"):
        foldlog.open(old, read_only=True)
    assert content(old) == before


@pytest.mark.parametrize("where", ["mark_current", "remake_projection"])
def test_a_failed_upgrade_leaves_the_store_as_it_was(old: str, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    before = content(old)

    def fail(*_: Any) -> None:
        raise foldlog.StoreError("no", hint="none")

    with monkeypatch.context() as patch:
        patch.setattr(migrate, where, fail)
        with pytest.raises(foldlog.StoreError, match="no"):
            foldlog.open(old)
    assert content(old) == before
    with foldlog.open(old) as store:
        assert store.verify().ok


def test_a_migration_that_fails_leaves_the_store_as_it_was(old: str) -> None:
    run(old, "CREATE TABLE quarantine (mine int)")
    before = content(old)
    with pytest.raises(foldlog.UpgradeError, match="could not be upgraded"):
        foldlog.open(old)
    assert content(old) == before


OPEN = """
import sys, foldlog
with foldlog.open(sys.argv[1], config=foldlog.Config(durability="normal")) as store:
    print("open", flush=True)
    sys.stdin.readline()
    with store.start_session(id=f"of-{sys.argv[2]}") as session:
        session.add_message("user", "hello")
    report = store.verify()
    assert report.ok, str(report)
"""


def open_at_once(url: str, count: int) -> list[str]:
    """Open a store in many processes at once, and write to it; what each said that failed."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, url, str(number)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(count)
    ]  # fmt: skip
    said = [process.communicate("\n", timeout=120) for process in processes]
    return [error for process, (_, error) in zip(processes, said, strict=True) if process.returncode]


def test_four_processes_open_an_older_store_at_once(old: str) -> None:
    assert open_at_once(old, 4) == []
    with foldlog.open(old, read_only=True) as store:
        assert len(list(store.sessions())) == 2 + 4
        assert store.verify().ok


def test_eight_processes_open_a_store_for_the_first_time(url: str) -> None:
    assert open_at_once(url, 8) == []
    with foldlog.open(url, read_only=True) as store:
        assert len(list(store.sessions())) == 8
        assert store.verify().ok


def test_a_newer_store_is_refused_untouched(url: str) -> None:
    fill(url)
    run(url, "UPDATE alembic_version SET version_num = '9999'")
    before = content(url)
    for read_only in (False, True):
        with pytest.raises(foldlog.SchemaTooNewError, match="schema 9999"):
            foldlog.open(url, read_only=read_only)
    assert content(url) == before


@pytest.mark.parametrize(
    "table", ["streams (x int)", "events (x int)", "sessions (id text)", "alembic_version (version_num varchar(32))"]
)
def test_what_is_somebody_elses_is_refused_untouched(url: str, table: str) -> None:
    run(url, f"CREATE TABLE {table}")
    before = content(url)
    for read_only in (False, True):
        with pytest.raises(foldlog.NotAStoreError):
            foldlog.open(url, read_only=read_only)
    assert content(url) == before


@pytest.mark.parametrize("table", ["leases", "usage", "tree", "quarantine", "search_texts"])
def test_any_table_in_the_way_is_refused_untouched(url: str, table: str) -> None:
    run(url, f"CREATE TABLE {table} (x int)")
    before = content(url)
    with pytest.raises(foldlog.NotAStoreError, match=f"has a table {table} of another program"):
        foldlog.open(url)
    assert content(url) == before


def test_tables_that_have_nothing_to_do_with_it_stay(url: str) -> None:
    run(url, "CREATE TABLE mine (x int)", "INSERT INTO mine VALUES (1)")
    fill(url)
    assert content(url)["mine"] == ["(1,)"]
    with foldlog.open(url) as store:
        assert store.verify().ok


def test_a_reader_finds_no_store_where_there_is_none(url: str) -> None:
    with pytest.raises(foldlog.NotAStoreError, match="no store"):
        foldlog.open(url, read_only=True)
    assert content(url) == {"": []}


def test_a_revision_that_is_none_is_refused(url: str) -> None:
    fill(url)
    run(url, "UPDATE alembic_version SET version_num = 'a1b2c3'")
    before = content(url)
    with pytest.raises(foldlog.FoldlogError):
        foldlog.open(url)
    assert content(url) == before
