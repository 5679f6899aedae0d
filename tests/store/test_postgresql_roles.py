"""Roles with least rights on a server: the SQL of the guide's page, and what each role can and cannot do then."""

import itertools
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

import foldlog
from foldlog.storage.schema import projection
from postgres_server import PostgresServer

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "postgresql-roles.md"
_names = itertools.count(1)

Urls = Callable[[str], str]


def blocks() -> list[str]:
    return re.findall(r"^```postgresql\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def url(server: PostgresServer) -> Iterator[Urls]:
    """The URL of a store for a role, made and granted by the very SQL of the page."""
    name = f"roles{next(_names)}"
    make, grant = (block.replace("history", name) for block in blocks())

    def url_of(role: str) -> str:
        return f"postgresql+psycopg://{name}_{role}@/foldlog?host={quote(str(server.folder), safe='')}"

    server.execute(make)
    with foldlog.open(url_of("owner")) as store, store.start_session(id="old") as session:
        session.add_message("user", "of the owner")
    for _ in range(2):  # any number of times
        server.execute(grant)
    yield url_of
    server.execute(
        f"DROP SCHEMA {name} CASCADE", *(f"DROP ROLE {name}_{role}" for role in ("owner", "writer", "reader"))
    )


def record(store: foldlog.Store, session_id: str) -> None:
    """All that checkpoints do, deleting rows of tables included."""
    with store.start_session(id=session_id) as session:
        with session.turn() as turn:
            turn.message("user", "hello")
            with turn.call("leaf", request_ref=session.value_ref([f"{number} " * 200 for number in range(20)])) as call:
                call.ok(usage={"input_tokens": 3})
        session.start_child().close()
        edge = next(row for row in session.view.calls.values() if row.get("child_session_id"))
        session.checkpoint()
        session.update_call(edge["id"], child_session_id=None)
        session.emit("session.restored", messages=[], counters={}, session_patch={})


def write(url: str, session_id: str) -> None:
    with foldlog.open(url) as store:
        record(store, session_id)


def test_the_page_has_the_sql_in_two_blocks() -> None:
    assert len(blocks()) == 2


def test_a_writer_writes(url: Urls) -> None:
    with foldlog.open(url("writer")) as store:
        record(store, "new")
        with store.open_session("old") as session:
            session.add_message("user", "of the writer")
        stale = store.open_session("new")
        with foldlog.open(url("writer")) as other:
            other.open_session("new", take_over=True).close()
        stale.close()
        store.checkpoint()
        report = store.verify()
        assert report.ok, str(report)
    with foldlog.open(url("reader"), read_only=True) as reader:
        assert len(reader.view("old").messages) == 2


FORBIDDEN = (
    "UPDATE events SET data = '{}'",
    "UPDATE events SET position = position + 1000",
    "DELETE FROM events",
    "TRUNCATE events",
    "TRUNCATE calls",
    "DELETE FROM blobs",
    "UPDATE blobs SET data = ''",
    "DELETE FROM streams",
    "UPDATE streams SET id = 'other'",
    "UPDATE streams SET session_key = 1000",
    "DELETE FROM quarantine",
    "INSERT INTO quarantine VALUES (1, 1, NULL, '', '')",
    "DROP TABLE events",
    "ALTER TABLE events DISABLE TRIGGER ALL",
    "DROP TRIGGER events_refuse_change ON events",
    "CREATE OR REPLACE FUNCTION events_refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
    "CREATE TABLE mine (x int)",
    "LOCK TABLE events IN EXCLUSIVE MODE",
    "UPDATE alembic_version SET version_num = '0001'",
    "SET session_replication_role = replica",
)


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_a_writer_neither_deletes_nor_alters(url: Urls, statement: str) -> None:
    with foldlog.open(url("writer")) as store, store.database.write() as connection:
        with pytest.raises(sqlite3.DatabaseError):
            connection.execute(statement)
        assert connection.execute("SELECT count(*) FROM events").fetchone()[0] > 0


def test_what_a_writer_may_not_is_said_in_a_sentence(url: Urls) -> None:
    with foldlog.open(url("writer")) as store:
        for ask in (lambda: store.delete_session("old"), store.repair):
            with pytest.raises(foldlog.StoreError, match="the role of this connection may not do that") as caught:
                ask()
            assert "GRANT" in caught.value.hint
        assert store.delete_session("old", dry_run=True).event_count > 0
        store.open_session("old").close()  # and nothing is left held
        assert store.verify().ok


def test_a_reader_reads_and_follows(url: Urls) -> None:
    with foldlog.open(url("reader"), read_only=True) as reader, foldlog.open(url("writer")) as writer:
        seen = reader.follow(idle_timeout=10)
        told = [next(seen)["type"] for _ in reader.events()]
        record(writer, "new")
        assert next(seen).session_id == "new"
        assert told[0] == "session.started"
        assert {row["id"] for row in reader.sessions()} == {"old", "new", "new/child-0001"}
        assert reader.tree("new")["session_id"] == "new"
        assert reader.database.leased(["old", "new"]) == set()
        report = reader.verify()
        assert report.ok, str(report)


def test_a_reader_writes_nothing(url: Urls) -> None:
    with pytest.raises(foldlog.StoreError, match="may not do that"):
        write(url("reader"), "new")
    with foldlog.open(url("reader"), read_only=True) as reader:
        with pytest.raises(foldlog.StoreError, match="read-only"):
            reader.start_session(id="new")
        connection = reader.database.new_reader()
        connection.execute("SET default_transaction_read_only = off")  # what anybody can say
        statements = [*FORBIDDEN, "INSERT INTO streams (id) VALUES ('x')", "SELECT nextval('events_position_seq')"]
        statements += [f"DELETE FROM {table.name}" for table in projection.sorted_tables]
        statements += ["DELETE FROM leases", "SELECT 1 FROM streams FOR UPDATE"]
        for statement in statements:
            with pytest.raises(sqlite3.DatabaseError):
                connection.execute(statement)
        connection.close()
        assert reader.verify().ok


def test_the_owner_deletes_and_repairs_and_rights_stay(url: Urls, server: PostgresServer) -> None:
    with foldlog.open(url("owner")) as store:
        with store.database.write() as connection:
            for statement in (
                "UPDATE events SET data = '{}'",
                "DELETE FROM events",
                "TRUNCATE events, streams CASCADE",
            ):
                with pytest.raises(sqlite3.DatabaseError, match="RestrictViolation"):
                    connection.execute(statement)
            connection.execute("DROP TABLE evals, turns CASCADE")  # views go along
            connection.execute("DROP INDEX ix_calls_running")
        assert not store.verify().ok
        assert store.repair().ok
        store.delete_session("old")
    with pytest.raises(foldlog.StoreError, match="may not do that"):
        write(url("writer"), "new")  # a table that was dropped has lost them
    schema = re.search(r"//(\w+)_owner@", url("owner"))
    assert schema is not None
    server.execute(blocks()[1].replace("history", schema[1]))
    with foldlog.open(url("writer")) as writer:
        record(writer, "other")
        assert writer.verify().ok


def test_rights_on_a_table_of_another_form_are_kept(url: Urls) -> None:
    with foldlog.open(url("owner")) as store:
        with store.database.write() as connection:
            connection.execute("ALTER TABLE evals DROP COLUMN block_index CASCADE")
        assert store.repair().ok
    with foldlog.open(url("writer")) as writer:
        record(writer, "new")
    with foldlog.open(url("reader"), read_only=True) as reader:
        assert reader.verify().ok


def test_an_older_store_is_upgraded_by_its_owner_only(url: Urls) -> None:
    with foldlog.open(url("owner")) as store, store.database.write() as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0003'")
        connection.execute("DROP TABLE quarantine")
    with pytest.raises(foldlog.StoreError, match="may not do that"):
        foldlog.open(url("writer"))
    with pytest.raises(foldlog.StoreError, match="older schema"):
        foldlog.open(url("reader"), read_only=True)
    foldlog.open(url("owner")).close()
