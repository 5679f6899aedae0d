"""The schema on a server: migrated it is what is made, what is not as made is found, and what can be is mended."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config as AlembicConfig

import foldlog
from damaged_stores import server_connection
from foldlog.storage import postgres_schema
from foldlog.storage.driver import driver_of, sql_of
from foldlog.storage.schema import REVISION, durable
from postgres_server import PostgresServer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def new_url(server: PostgresServer) -> Callable[[], str]:
    """URLs of empty schemas."""

    return server.new_store


@pytest.fixture
def url(new_url: Callable[[], str]) -> str:
    """A store with a session in it."""
    found = new_url()
    with foldlog.open(found) as store, store.start_session(id="demo") as session, session.turn() as turn:
        turn.message("user", "hi")
        turn.call("leaf", request_ref=session.value_ref("x" * 9000)).ok()
    return found


def alembic(url: str) -> AlembicConfig:
    return AlembicConfig(str(ROOT / "alembic.ini"), cmd_opts=type("Options", (), {"x": [f"store={url}"]})())


SHAPE = {
    "columns": """SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, collname, attidentity,
        replace(pg_get_expr(adbin, adrelid), nspname || '.', '')
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        JOIN pg_namespace ON pg_namespace.oid = relnamespace
        LEFT JOIN pg_collation ON pg_collation.oid = attcollation
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE nspname = current_schema() AND relname = ANY (%(tables)s) AND attnum > 0 ORDER BY relname, attnum""",
    "comments": """SELECT relname, obj_description(pg_class.oid, 'pg_class') FROM pg_class
        WHERE pg_table_is_visible(oid) AND relname = ANY (%(tables)s) ORDER BY 1""",
    "constraints": """SELECT relname, conname, contype, condeferrable, replace(pg_get_constraintdef(pg_constraint.oid),
        nspname || '.', '') FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
        JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname = current_schema() AND relname = ANY (%(tables)s) ORDER BY 1, 2""",
    "indexes": """SELECT indexname, replace(indexdef, schemaname || '.', '') FROM pg_indexes
        WHERE schemaname = current_schema() AND tablename = ANY (%(tables)s) ORDER BY 1""",
    "triggers": """SELECT tgname, tgenabled, replace(pg_get_triggerdef(pg_trigger.oid), nspname || '.', ''), prosrc,
        proconfig::text LIKE '%%search_path=' || nspname || '%%'
        FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
        JOIN pg_proc ON pg_proc.oid = tgfoid
        WHERE nspname = current_schema() AND relname = ANY (%(tables)s) AND NOT tgisinternal ORDER BY 1""",
    "sequences": """SELECT sequencename, data_type::text, start_value, increment_by, cache_size FROM pg_sequences
        WHERE schemaname = current_schema() ORDER BY 1""",
}


def shape(url: str) -> dict[str, list[Any]]:
    """What the tables of the history are, as the server understands them."""
    tables = [*durable.tables, "alembic_version"]
    with server_connection(url) as server:
        return {what: server.execute(sql, {"tables": tables}).fetchall() for what, sql in SHAPE.items()}


def test_the_migrations_make_what_a_new_store_has(new_url: Callable[[], str]) -> None:
    made, migrated = new_url(), new_url()
    foldlog.open(made).close()
    command.upgrade(alembic(migrated), "head")
    expected = shape(made)
    expected["sequences"] = [row for row in expected["sequences"] if not row[0].startswith("search_")]
    assert shape(migrated) == expected
    assert all(expected.values())
    assert [row[0] for row in expected["triggers"]] == ["events_refuse_change", "events_refuse_truncate"]


@pytest.mark.parametrize("how", ["made", "migrated"])
def test_alembic_has_nothing_to_add(new_url: Callable[[], str], how: str) -> None:
    url = new_url()
    if how == "made":
        foldlog.open(url).close()
    else:
        command.upgrade(alembic(url), "head")
    command.check(alembic(url))
    with server_connection(url) as server:
        assert server.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISION,)]


def test_no_role_changes_the_history(url: str) -> None:
    with server_connection(url) as server:  # a superuser, and the owner
        import psycopg  # noqa: PLC0415

        before = server.execute("SELECT * FROM events").fetchall()
        for statement in (
            "UPDATE events SET data = '{}'",
            "UPDATE events SET position = position",
            "DELETE FROM events",
            "DELETE FROM events WHERE event_id = 1",
            "TRUNCATE events",
            "TRUNCATE streams CASCADE",
            "INSERT INTO events SELECT * FROM events ON CONFLICT (position) DO UPDATE SET data = '{}'",
        ):
            with pytest.raises(psycopg.errors.RestrictViolation):
                server.execute(statement)
        assert server.execute("SELECT * FROM events").fetchall() == before


FAULTS = [
    ("ALTER TABLE events DISABLE TRIGGER events_refuse_change", "the trigger events_refuse_change"),
    ("ALTER TABLE events ENABLE REPLICA TRIGGER events_refuse_change", "the trigger events_refuse_change"),
    ("DROP TRIGGER events_refuse_truncate ON events", "the trigger events_refuse_truncate"),
    (
        "CREATE OR REPLACE FUNCTION events_refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "the trigger events_refuse_change",
    ),
    (
        ("CREATE OR REPLACE TRIGGER events_refuse_change BEFORE DELETE OR UPDATE ON events FOR EACH ROW "
        "WHEN (OLD.event_id > 2) EXECUTE FUNCTION events_refuse()"),
        "the trigger events_refuse_change",
    ),
    ("DROP FUNCTION events_refuse CASCADE", "the trigger events_refuse_truncate"),
    ("DROP TABLE leases", "the table leases"),
    ("SELECT setval('events_position_seq', 1)", "the sequence of positions is behind"),
    ("DROP INDEX ix_events_idempotency_key", "the index ix_events_idempotency_key"),
    ("ALTER TABLE events DROP CONSTRAINT uq_events_session_key_event_id", "uq_events_session_key_event_id"),
    ("ALTER TABLE events DROP CONSTRAINT events_pkey", "the primary key of events"),
    ("ALTER TABLE events DROP CONSTRAINT events_session_key_fkey", "the foreign key of events.session_key"),
    ("DROP INDEX ix_calls_running", "the index ix_calls_running"),
    ("DROP INDEX ix_calls_failed; CREATE INDEX ix_calls_failed ON calls (session_id, seq)", "ix_calls_failed"),
    ("DROP TABLE snapshots CASCADE", "the table snapshots does not have the columns"),
    ("ALTER TABLE turns DROP COLUMN ended_at CASCADE", "the table turns does not have the columns"),
    ("ALTER TABLE calls ALTER COLUMN data DROP NOT NULL", "the table calls does not have the columns"),
    ('ALTER TABLE snapshots ALTER COLUMN kind TYPE text COLLATE "default"', "the table snapshots does not have"),
    ("TRUNCATE calls, turns, tree", "the table calls"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "what"), FAULTS)
def test_what_is_not_as_made_is_found_and_mended(url: str, statement: str, what: str) -> None:
    with server_connection(url) as server:
        server.execute(statement)
    with foldlog.open(url, read_only=True) as store:
        found = [problem.what for problem in store.verify().problems]
        assert any(what in one for one in found), found
        quick = store.verify(deep=False)
        assert quick.ok == statement.startswith("TRUNCATE")
    with foldlog.open(url) as store:
        repairs = store.repair()
        assert repairs.ok, str(repairs)
        assert repairs.set_apart == []
        store.start_session(id="after").close()
        assert store.verify().ok
        assert store.repair().changes == []


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE events ALTER COLUMN data DROP NOT NULL",
        "ALTER TABLE events ADD COLUMN more text",
        'ALTER TABLE blobs ALTER COLUMN hash TYPE text COLLATE "default"',
    ],
)  # fmt: skip
def test_a_table_of_the_history_of_another_form_is_told(url: str, statement: str) -> None:
    with server_connection(url) as server:
        server.execute(statement)
    with foldlog.open(url) as store:
        problem = store.verify(deep=False).problems[-1]
        assert "does not have the columns it should" in problem.what
        assert problem.hint == "restore a backup of the server's"


def test_what_others_built_on_a_table_that_must_go_is_told(url: str) -> None:
    with server_connection(url) as server:
        server.execute("ALTER TABLE calls ADD COLUMN more text")
        server.execute("CREATE VIEW theirs AS SELECT more FROM calls")
    with foldlog.open(url) as store:
        with pytest.raises(foldlog.StoreError, match="table calls is to be made anew"):
            store.repair()
        with server_connection(url) as server:
            assert server.execute("SELECT count(*) FROM theirs").fetchone() == (1,)
            server.execute("DROP VIEW theirs")
        assert store.repair().ok


def test_what_an_application_has_added_is_no_fault_and_stays(url: str) -> None:
    with server_connection(url) as server:
        server.execute("CREATE TABLE mine (x int)")
        server.execute("CREATE VIEW mine_too AS SELECT id, status FROM calls")
        server.execute("CREATE INDEX of_mine ON events (type)")
        server.execute("CREATE ROLE beholder")
        server.execute("GRANT SELECT ON calls TO beholder")
    with foldlog.open(url) as store:
        assert store.verify().ok
        assert store.repair().ok
    with server_connection(url) as server:
        assert server.execute("SELECT count(*) FROM mine_too").fetchone() == (1,)
        assert server.execute("SELECT has_table_privilege('beholder', 'calls', 'SELECT')").fetchone() == (True,)
        server.execute("DROP OWNED BY beholder")
        server.execute("DROP ROLE beholder")


@pytest.fixture
def views(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        postgres_schema,
        "POSTGRES_VIEWS",
        {
            "tried": "SELECT session_id AS session, count(*) AS n FROM calls GROUP BY 1",
            "tried_on": "SELECT n FROM tried",
        },
    )


@pytest.mark.usefixtures("views")
@pytest.mark.parametrize(
    "change",
    [
        "DROP VIEW tried CASCADE",
        "CREATE OR REPLACE VIEW tried AS SELECT session_id AS session, count(*) + 1 AS n FROM calls GROUP BY 1",
        "DROP VIEW tried CASCADE; CREATE VIEW tried AS SELECT session_id, count(*) AS n FROM calls GROUP BY 1",
        "DROP VIEW tried CASCADE; CREATE TABLE tried (session text, n bigint)",
        "CREATE OR REPLACE VIEW tried_on AS SELECT n FROM tried WHERE n > 0",
    ],
)
def test_a_view_that_asks_something_else_is_found(url: str, change: str) -> None:
    with foldlog.open(url) as store:
        assert store.repair().ok
        assert store.verify().ok
        with server_connection(url) as server:
            server.execute(change)
        found = [problem.what for problem in store.verify().problems]
        assert any("the SQL view tried" in one for one in found), found
        if "TABLE" not in change:
            assert store.repair().ok


def test_a_sequence_that_is_behind_refuses_appends_until_it_is_mended(url: str) -> None:
    with server_connection(url) as server:
        server.execute("SELECT setval('events_position_seq', 1)")
    with foldlog.open(url) as store:
        with pytest.raises(foldlog.FoldlogError):
            store.start_session(id="after")
        assert store.repair().ok
        store.start_session(id="later").close()


def test_who_deletes_stops_writers_and_no_reader(url: str) -> None:
    with foldlog.open(url) as store, foldlog.open(url) as other:
        events = list(other.events())
        follower = other.follow(idle_timeout=10)
        for _ in events:
            next(follower)
        with store.database.transaction() as connection:
            driver = driver_of(connection)
            sql_of(driver).hold_all(driver)
            assert list(other.events()) == events
            assert other.view("demo").counters["event"] == len(events)
            assert other.verify().ok
            with server_connection(url) as server:
                server.execute("SET lock_timeout = '100ms'")
                for statement in (
                    "BEGIN; LOCK TABLE events IN ROW EXCLUSIVE MODE",
                    "SELECT 1 FROM streams FOR UPDATE",
                    "INSERT INTO streams (id) VALUES ('x')",
                ):
                    with pytest.raises(Exception, match="lock timeout"):
                        server.execute(statement)
                    server.rollback()
            waiting = server_connection(url)
            waiting.pgconn.send_query(b"BEGIN; LOCK TABLE events IN ROW EXCLUSIVE MODE")
            # One who waits for the lock has no position yet: followers do not wait for it.
            assert other.database.settled_position() == events[-1].position
        waiting.close()
        store.start_session(id="after").close()
        assert next(follower).session_id == "after"
