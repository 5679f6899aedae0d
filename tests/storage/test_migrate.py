"""Migrations: an old store becomes what a new one is, whole or not at all."""

import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from foldlog.core.chain import digest_of
from foldlog.core.errors import UpgradeError
from foldlog.storage import event_feed, migrate, sqlite
from foldlog.storage.schema import APPLICATION_ID, REVISION, SCHEMA_NUMBER, durable, projection
from foldlog.storage.sql_views import SQL_VIEWS
from foldlog.storage.sqlite import SqliteDatabase as Database

pytestmark = pytest.mark.sqlite("files as SQLite has them; a server's schema is in test_postgres_schema")


def config() -> Config:
    found = Config()
    found.set_main_option("script_location", str(migrate.migrations_folder()))
    return found


def make_old(path: Path, revision: str, *statements: str) -> None:
    """A store as an older foldlog made it."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        alembic = config()
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, revision)
        for statement in (f"PRAGMA application_id = {APPLICATION_ID}", "PRAGMA user_version = 1", *statements):
            connection.exec_driver_sql(statement)
    engine.dispose()


DIGEST = digest_of(b"{}").hex()
EVENT = (
    "INSERT INTO events (session_key, event_id, type, at, data, digest, chain) "
    f"VALUES (1, {{0}}, 'note', '2026', '{{{{}}}}', x'{DIGEST}', x'1{{0}}')"
)
HISTORY = ("INSERT INTO streams (id) VALUES ('demo')", EVENT.format(1), EVENT.format(2))


@pytest.fixture
def old(path: Path) -> Iterator[Database]:
    make_old(path, "0001", *HISTORY)
    database = Database(path)
    yield database
    database.close()


def shape(connection: sqlite3.Connection, names: set[str]) -> dict[str, Any]:
    """What a database is, as SQLite understands it and not as it is spelled."""
    found: dict[str, Any] = {}
    for kind, name, table, sql in connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall():
        if table not in names:
            continue
        if kind == "table":
            found[name] = [
                [row[1:] for row in connection.execute(f"PRAGMA table_info('{name}')")],
                [row[2:5] for row in connection.execute(f"PRAGMA foreign_key_list('{name}')")],
            ]  # fmt: skip
        elif kind == "index":
            unique = connection.execute(
                f"SELECT \"unique\", origin, partial FROM pragma_index_list('{table}') WHERE name = '{name}'"
            ).fetchall()
            columns = connection.execute(f"SELECT name FROM pragma_index_info('{name}')").fetchall()
            found[name] = [unique, columns, " ".join((sql or "").partition("WHERE")[2].split())]
        else:
            found[name] = re.sub(r"\s+", " ", sql)
    return found


def test_the_migrations_make_what_a_new_store_has(path: Path, tmp_path: Path) -> None:
    make_old(path, REVISION)
    sqlite.create(tmp_path / "new.db", migrate.make_schema)
    shapes = []
    for one in (path, tmp_path / "new.db"):
        connection = sqlite3.connect(one)
        shapes.append(shape(connection, {*durable.tables, "alembic_version"}))
        connection.close()
    assert shapes[0] == shapes[1]
    assert {"events", "streams", "blobs", "events_refuse_update", "events_refuse_delete"} <= set(shapes[0])


def test_the_newest_migration_is_the_one_the_schema_names() -> None:
    script = ScriptDirectory.from_config(config())
    assert script.get_heads() == [REVISION]
    assert len(list(script.walk_revisions())) == SCHEMA_NUMBER


def test_no_migration_works_by_batch() -> None:
    for file in migrate.migrations_folder().rglob("*.py"):
        assert "batch_alter_table" not in file.read_text()


def upgrade(database: Database) -> None:
    with database.transaction() as connection:
        migrate.remake_projection(connection)
        migrate.upgrade(connection)
        migrate.mark_current(connection)


def test_an_old_store_is_upgraded_in_place(old: Database, path: Path) -> None:
    upgrade(old)
    assert sqlite.probe(path) == SCHEMA_NUMBER
    assert [(one.event_id, one.data, one.idempotency_key) for one in event_feed.read_feed(old)] == [
        (1, "{}", None), (2, "{}", None),
    ]  # fmt: skip


def test_an_upgraded_store_is_what_a_new_one_is(old: Database, tmp_path: Path) -> None:
    upgrade(old)
    sqlite.create(tmp_path / "new.db", migrate.make_schema)
    names = {*durable.tables, *projection.tables, *SQL_VIEWS, "alembic_version"}
    fresh = sqlite3.connect(tmp_path / "new.db")
    with old.write() as connection:
        assert shape(connection, names) == shape(fresh, names)
    fresh.close()


def test_an_upgraded_history_still_refuses_to_be_changed(old: Database) -> None:
    upgrade(old)
    for statement in ("UPDATE events SET data = ''", "DELETE FROM events"):
        with old.write() as connection, pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)


def test_an_upgrade_that_fails_leaves_the_store_as_it_was(path: Path) -> None:
    make_old(path, "0001", *HISTORY, "ALTER TABLE events ADD COLUMN idempotency_key TEXT")
    database = Database(path)
    with database.write() as connection:
        before = list(connection.iterdump())
    with pytest.raises(UpgradeError, match="could not be upgraded") as caught:
        upgrade(database)
    assert caught.value.__cause__ is not None
    with database.write() as connection:
        assert list(connection.iterdump()) == before
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    database.close()


def test_projection_tables_of_any_form_are_made_anew(database: Database) -> None:
    with database.write() as connection:
        connection.execute("DROP TABLE turns")
        connection.execute("CREATE TABLE turns (of_another_form)")
        connection.execute("DROP VIEW transcript")
        connection.execute("CREATE VIEW transcript AS SELECT 1 AS of_another_form")
    with database.transaction() as connection:
        migrate.remake_projection(connection)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM turns WHERE status = 'x'").scalar() == 0
        assert connection.exec_driver_sql("SELECT message_id FROM transcript").scalars().all() == []


def test_an_applications_own_views_are_kept(database: Database) -> None:
    with database.write() as connection:
        connection.execute("CREATE VIEW theirs AS SELECT id FROM turns")
    with database.transaction() as connection:
        migrate.remake_projection(connection)
    with database.read() as connection:
        names = set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'view'").scalars())
        assert names == {"theirs", *SQL_VIEWS}
        assert connection.exec_driver_sql("SELECT * FROM theirs").scalars().all() == []


def test_remaking_the_projection_keeps_the_journal(old: Database) -> None:
    with old.transaction() as connection:
        migrate.remake_projection(connection)
    with old.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM events").scalar() == 2


def test_opening_a_current_store_does_not_import_alembic(path: Path) -> None:
    code = (
        "import sys, foldlog\n"
        "for _ in range(2):\n"
        "    foldlog.open(sys.argv[1]).close()\n"
        "sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 0
