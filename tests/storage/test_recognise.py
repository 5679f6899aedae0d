"""A store's schema is recognised before anything of it is used."""

import sqlite3
from pathlib import Path

import pytest

import foldlog
from foldlog.storage import migrate, recognise, sqlite

pytestmark = pytest.mark.sqlite("a schema as its file has it")


def changed(path: Path, *statements: str) -> None:
    foldlog.open(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def rewrite(table: str, old: str, new: str) -> tuple[str, ...]:
    return (
        "PRAGMA writable_schema = ON",
        f"UPDATE sqlite_master SET sql = replace(sql, '{old}', '{new}') WHERE name = '{table}'",
    )


@pytest.mark.parametrize(
    ("statements", "named"),
    [
        (("CREATE TRIGGER evil AFTER INSERT ON events BEGIN SELECT abs(1); END",), "events"),
        (("CREATE TRIGGER evil AFTER INSERT ON Messages BEGIN SELECT abs(1); END",), "messages"),
        (("CREATE TRIGGER evil AFTER DELETE ON alembic_version BEGIN SELECT abs(1); END",), "alembic_version"),
        (("CREATE UNIQUE INDEX evil ON events (type)",), "events"),
        (("DROP TABLE tree", "CREATE VIEW tree AS SELECT 1"), "tree"),
        (("DROP TABLE tree", "CREATE VIRTUAL TABLE tree USING fts5(a)"), "tree"),
        (("DROP TABLE lists",), "lists"),
        (("ALTER TABLE streams ADD COLUMN evil INTEGER CHECK (abs(evil) > 0)",), "streams"),
        (("ALTER TABLE messages ADD COLUMN evil INTEGER AS (abs(seq))",), "messages"),
        (("ALTER TABLE calls ADD COLUMN evil TEXT DEFAULT 'x'",), "calls"),
        (("DROP VIEW transcript", "CREATE VIEW transcript AS SELECT load_extension('x')"), "transcript"),
        (("DROP TRIGGER events_refuse_update", ("CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events "
          "BEGIN SELECT 1; END")), "events_refuse_update"),
        (rewrite("streams", "id TEXT", "id BLOB"), "streams"),
        (rewrite("blobs", "hash TEXT", "hash TEXT COLLATE NOCASE"), "blobs"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_not_as_foldlog_makes_it_is_refused_by_name(
    path: Path, statements: tuple[str, ...], named: str, read_only: bool
) -> None:
    changed(path, *statements)
    before = path.read_bytes()
    with pytest.raises(foldlog.NotAStoreError, match=f"[ .]{named}( |$)"):
        foldlog.open(path, read_only=read_only)
    assert path.read_bytes() == before


def test_an_applications_own_tables_views_and_indexes_are_left_alone(path: Path) -> None:
    changed(
        path,
        "CREATE TABLE own (a INTEGER CHECK (abs(a) > 0), b AS (a + 1))",
        "CREATE TRIGGER own_trigger AFTER INSERT ON own BEGIN SELECT 1; END",
        "CREATE VIEW own_view AS SELECT * FROM messages",
        "CREATE INDEX own_index ON messages (role)",
        "CREATE VIRTUAL TABLE own_search USING fts5(a)",
    )
    with foldlog.open(path) as store, store.start_session(id="demo") as session:
        session.add_message("user", "hello")
    with foldlog.open(path, read_only=True) as store:
        assert [row["role"] for row in store.query("SELECT role FROM own_view")] == ["user"]


@pytest.mark.parametrize(
    "statement", ["DROP TRIGGER events_refuse_delete", "DROP VIEW transcript", "DROP INDEX ix_turns_running"]
)
def test_what_is_gone_and_can_be_made_again_is_no_reason_to_refuse(path: Path, statement: str) -> None:
    changed(path, statement)
    foldlog.open(path, read_only=True).close()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER evil AFTER INSERT ON streams BEGIN SELECT abs(1); END",
        "ALTER TABLE streams ADD COLUMN evil INTEGER CHECK (abs(evil) > 0)",
        "DROP VIEW transcript; CREATE TABLE transcript (a)",
        (
            "DROP TRIGGER events_refuse_delete; CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events BEGIN "
            "DELETE FROM blobs; END"
        ),
    ],
)
def test_an_older_store_is_looked_at_before_it_is_upgraded(path: Path, statement: str) -> None:
    foldlog.open(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(f"{statement}; PRAGMA user_version = 3;")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(foldlog.NotAStoreError):
        foldlog.open(path)
    assert path.read_bytes() == before


def test_a_store_as_it_is_made_is_recognised_at_once(path: Path) -> None:
    sqlite.create(path, migrate.make_schema)
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    connection.close()
    assert recognise.schema_digest(rows) == recognise._AS_MADE, "the schema has changed: so does this constant"
