"""Upgrading: an old store becomes a current one in place, whole or not at all."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

import foldlog
from foldlog.core.codec import encode
from foldlog.storage import migrate, schema
from old_stores import alembic_config, first_schema, migrated

pytestmark = pytest.mark.sqlite("files of older versions; a server's are in test_upgrade_on_server")

ROOT = Path(__file__).parents[2]


def shape(path: Path) -> dict[str, Any]:
    """The schema as SQLite understands it, apart from how the DDL was written."""
    connection = sqlite3.connect(path)
    found: dict[str, Any] = {}
    objects = connection.execute("SELECT type, name, tbl_name FROM sqlite_master").fetchall()
    for kind, name, table in objects:
        found[f"{kind} {name}"] = table
        if kind == "table":
            found[f"columns {name}"] = sorted(row[1:] for row in connection.execute(f"PRAGMA table_info({name})"))
            found[f"keys {name}"] = connection.execute(f"PRAGMA foreign_key_list({name})").fetchall()
        if kind == "index":
            found[f"index columns {name}"] = connection.execute(f"PRAGMA index_xinfo({name})").fetchall()
    connection.close()
    return found


@pytest.fixture
def old(path: Path) -> Path:
    """A store of schema 1, as it was before idempotency keys: a journal and no tables."""
    current = path.with_name("current.db")
    with foldlog.open(current) as store, store.start_session(id="demo") as session:
        with session.turn() as turn:
            turn.message("user", "hi")
            turn.call("leaf", request_ref=session.value_ref("x" * 9000))
            turn.final(42)
        session.start_child().close()
    first_schema(path, current)
    return path


def test_an_old_store_is_upgraded_in_place(old: Path) -> None:
    with foldlog.open(old.with_name("current.db"), read_only=True) as store:
        expected = [store.view("demo").document(), store.final("demo"), store.tree("demo")]
        events = list(store.events())
    with foldlog.open(old) as store:
        assert list(store.events()) == events
        assert [store.view("demo").document(), store.final("demo"), store.tree("demo")] == expected
        assert store.verify().problems == []
        assert [row["status"] for row in store.query("SELECT status FROM sessions ORDER BY session_id")] == [
            "stopped", "running",
        ]  # fmt: skip
        assert list(store.query("SELECT id FROM mine WHERE id = 'demo'")) == [{"id": "demo"}]
        store.open_session("demo").emit("note", idempotency_key="k")
    assert shape(old).items() >= shape(old.with_name("current.db")).items()


def test_blobs_of_schema_2_are_read_as_they_are_and_not_rewritten(path: Path) -> None:
    with foldlog.open(path.with_name("current.db")) as store, store.start_session(id="demo") as session:
        transcript = [{"role": "user", "content": f"{number} " * 400} for number in range(20)]
        value = {"messages": transcript, "$foldlog": "part", "id": 1, "seen": {1, 2}}
        session.add_call("leaf", request_ref=session.value_ref(value))
    migrated(path, "0002")
    body = encode(value, canonical=True).data
    connection = sqlite3.connect(path)
    connection.execute("ATTACH ? AS new", (str(path.with_name("current.db")),))
    connection.execute("INSERT INTO streams SELECT * FROM new.streams")
    connection.execute("INSERT INTO events SELECT * FROM new.events")
    connection.execute("INSERT INTO blobs SELECT hash, bytes, ? FROM new.blobs", (body,))
    connection.commit()
    connection.close()
    with foldlog.open(path) as store, store.open_session("demo") as session:
        assert session.read_ref(session.view.calls[1]["request_ref"]) == value
        session.add_call("leaf", request_ref=session.value_ref(value))
        grown = session.add_call("leaf", request_ref=session.value_ref([*transcript, "more"]))["request_ref"]
        assert session.read_ref(session.view.calls[3]["request_ref"]) == [*transcript, "more"]
        assert store.verify().problems == []
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT data FROM blobs WHERE hash <> ?", (grown["hash"],)).fetchall() == [(body,)]
    connection.close()


def test_an_old_store_is_not_upgraded_by_a_reader(old: Path) -> None:
    before = old.read_bytes()
    with pytest.raises(foldlog.StoreError, match="older schema 1"):
        foldlog.open(old, read_only=True)
    assert old.read_bytes() == before


def test_a_failed_upgrade_leaves_the_store_as_it_was(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shape(old)

    def fail(*_: Any) -> None:
        raise sqlite3.OperationalError("no")

    with monkeypatch.context() as patch:
        patch.setattr(migrate, "mark_current", fail)
        with pytest.raises(foldlog.FoldlogError):
            foldlog.open(old)
    assert shape(old) == before
    foldlog.open(old).close()
    assert shape(old) != before


def test_a_store_made_new_is_what_the_migrations_make(path: Path) -> None:
    foldlog.open(path).close()
    migrated(path.with_name("migrated.db"), schema.REVISION)
    durable = shape(path.with_name("migrated.db"))
    assert {key: value for key, value in shape(path).items() if key in durable} == durable
    # And what is only in the new one is the projection, which migrations leave alone.
    tables = {key.removeprefix("table ") for key in set(shape(path)) - set(durable) if key.startswith("table ")}
    made = {*schema.projection.tables, *schema.search.tables}
    assert {name for name in tables if not name.startswith("search_index")} == made


def test_alembic_has_nothing_to_add(path: Path) -> None:
    foldlog.open(path).close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        command.check(alembic_config(connection))
        assert MigrationContext.configure(connection).get_current_revision() == schema.REVISION
    engine.dispose()


def test_the_revision_in_the_code_is_the_newest_migration() -> None:
    scripts = ScriptDirectory(str(migrate.migrations_folder()))
    assert scripts.get_heads() == [schema.REVISION]
    assert int(schema.REVISION) == schema.SCHEMA_NUMBER


def test_alembic_runs_from_the_top_of_the_checkout(path: Path) -> None:
    foldlog.open(path).close()
    config = AlembicConfig(str(ROOT / "alembic.ini"), cmd_opts=type("Options", (), {"x": [f"store={path}"]})())
    command.check(config)


@pytest.mark.parametrize("verb", ["UPDATE events SET at = ''", "DELETE FROM events", "UPDATE events SET data = '{}'"])
def test_the_journal_refuses_change_even_from_outside(path: Path, verb: str) -> None:
    foldlog.new_state(path, id="demo").close()
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(verb)
    connection.close()
