"""The tables: what is durable, and what checkpoints make of it.

`durable` (streams, events, and blobs with the parts and lists they are made of) is the history itself:
it changes only by the migrations in `migrations/`, and a test holds these definitions to them.
`projection` is rebuilt from the journal whenever its form changes, never migrated; so is `search`, which
follows the journal in portions (`foldlog.storage.search_tables`). SQL views over the tables are in
`foldlog.storage.sql_views`.
"""

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import (
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.schema import CreateIndex, CreateTable

# "fold" in ASCII: what makes a SQLite file a foldlog store.
APPLICATION_ID: Final = 0x666F6C64
# The schema's number (PRAGMA user_version) and the Alembic revision that brings a store to it.
SCHEMA_NUMBER: Final = 4
REVISION: Final = "0004"

# What the engines call by different names. Text is compared by its bytes, so that a range of ids is one: elsewhere
# the server's language would order it.
Integer: Final = sa.Integer().with_variant(sa.BigInteger(), "postgresql")
Text: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
# A number as somebody gave it, mostly whole: SQLite's columns take any.
Number: Final = sa.Integer().with_variant(sa.Numeric(), "postgresql")

durable = MetaData()
projection = MetaData()
search = MetaData()

# What tells a store's tables on a server from others of these names: a comment on the first of them.
MARK: Final = f"foldlog {APPLICATION_ID:x}"

streams = Table(
    "streams",
    durable,
    Column("session_key", Integer, primary_key=True),
    Column("id", Text, nullable=False),
    UniqueConstraint("id", name="uq_streams_id"),
    comment=MARK,
)

events = Table(
    "events",
    durable,
    Column("position", Integer, primary_key=True),
    Column("session_key", Integer, ForeignKey("streams.session_key"), nullable=False),
    Column("event_id", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("idempotency_key", Text),
    UniqueConstraint("session_key", "event_id", name="uq_events_session_key_event_id"),
    Index(
        "ix_events_idempotency_key",
        "session_key",
        "idempotency_key",
        unique=True,
        sqlite_where=text("idempotency_key IS NOT NULL"),
    ),
)

blobs = Table(
    "blobs",
    durable,
    Column("hash", Text, primary_key=True),
    Column("bytes", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

parts = Table(
    "parts",
    durable,
    Column("part_id", Integer, primary_key=True),
    Column("hash", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
    UniqueConstraint("hash", name="uq_parts_hash"),
)

lists = Table(
    "lists",
    durable,
    Column("list_id", Integer, primary_key=True),
    Column("hash", LargeBinary, nullable=False),
    Column("prefix_id", Integer),
    Column("items", LargeBinary, nullable=False),
    UniqueConstraint("hash", name="uq_lists_hash"),
    # A server would read the whole table for each list that goes; there nothing but a deletion takes lists away.
    ForeignKeyConstraint(["prefix_id"], ["lists.list_id"]).ddl_if(dialect="sqlite"),
)

# Events that a repair found damaged or gone: a fold goes on without them. `position` is null where even the
# row is gone. What is left of a damaged row stays where it is.
quarantine = Table(
    "quarantine",
    durable,
    Column("session_key", Integer, ForeignKey("streams.session_key"), nullable=False),
    Column("event_id", Integer, nullable=False),
    Column("position", Integer),
    Column("what", Text, nullable=False),
    Column("at", Text, nullable=False),
    PrimaryKeyConstraint("session_key", "event_id"),
)

# Streams that are no session have ids that begin with a dot, which nobody can choose.
# What the store has to tell of itself: deletions.
STORE_STREAM: Final = ".store"
# A deleted session leaves its stream, its key below 0: no other session gets the key, and an append to what was
# deleted finds no stream.
DELETED_PREFIX: Final = ".deleted/"

# UPDATE and DELETE on the history are refused by the database itself; what goes is a whole deleted session.
TRIGGERS: Final = {
    "events_refuse_update": "CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events "
    "BEGIN SELECT RAISE(ABORT, 'events is append-only'); END",
    "events_refuse_delete": "CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events "
    "WHEN substr(coalesce((SELECT id FROM streams WHERE session_key = OLD.session_key), ''), 1, 9) <> '.deleted/' "
    "BEGIN SELECT RAISE(ABORT, 'events is append-only'); END",
}


# The words of the partial indexes and of the view errors, which use each other only where they are the same.
FAILED: Final = "status IN ('error', 'interrupted')"


def _row_table(
    name: str, *columns: Column[Any], indexes: tuple[str, ...] = (), runs: bool = False, fails: bool = False
) -> Table:
    """A table of one kind of row: key, order, events, typed copies, and the row itself as JSON.

    Of rows that end, those that still run and those that failed are found by indexes of their own: they are as
    small as such rows are few.
    """
    running, failed = (
        Index(f"ix_{name}_{what}", "session_id", "seq", sqlite_where=text(where))
        for what, where in (("running", "status = 'running'"), ("failed", FAILED))
    )
    return Table(
        name,
        projection,
        Column("session_id", Text, nullable=False),
        Column("id", Integer, nullable=False),
        Column("seq", Integer, nullable=False),
        *columns,
        Column("first_event_id", Integer, nullable=False),
        Column("last_event_id", Integer, nullable=False),
        Column("data", Text, nullable=False),
        PrimaryKeyConstraint("session_id", "id"),
        *(Index(f"ix_{name}_{key}", "session_id", key) for key in indexes),
        *([running] if runs else []),
        *([failed] if fails else []),
    )


sessions = Table(
    "sessions",
    projection,
    Column("session_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", Text),
    Column("status", Text),
    Column("parent_id", Text, index=True),
    Column("root_id", Text, nullable=False, index=True),
    Column("created_at", Text, index=True),
    Column("ended_at", Text),
    Column("turn_count", Number),
    Column("latest_turn_id", Integer),
    Column("lineage_kind", Text),
    Column("source_session_id", Text),
    Column("artifact_version", Number),
    Column("checkpoint_event_id", Integer, nullable=False),
    Column("writer", Text),
    Column("folded", Text, nullable=False),
    Column("data", Text, nullable=False),
    Index("ix_sessions_status", "status", "created_at"),
)

messages = _row_table(
    "messages",
    Column("role", Text),
    Column("turn_id", Integer),
    Column("call_id", Integer),
    indexes=("turn_id",),
)

turns = _row_table(
    "turns",
    Column("status", Text),
    Column("user_message_id", Integer),
    Column("started_at", Text),
    Column("ended_at", Text),
    runs=True,
    fails=True,
)

evals = _row_table(
    "evals",
    Column("status", Text),
    Column("turn_id", Integer),
    Column("message_id", Integer),
    Column("call_id", Integer),
    Column("block_index", Number),
    Column("started_at", Text),
    Column("ended_at", Text),
    Column("elapsed_ms", Float),
    indexes=("turn_id",),
    fails=True,
)

calls = _row_table(
    "calls",
    Column("type", Text),
    Column("status", Text),
    Column("turn_id", Integer),
    Column("parent_eval_id", Integer),
    Column("started_at", Text, index=True),
    Column("ended_at", Text),
    Column("provider", Text),
    Column("model", Text),
    Column("input_tokens", Number),
    Column("output_tokens", Number),
    Column("total_tokens", Number),
    Column("cached_tokens", Number),
    Column("usd", Float),
    Column("cache_status", Text),
    Column("batch_id", Text),
    Column("batch_index", Number),
    Column("child_session_id", Text),
    Column("edge_type", Text),
    indexes=("turn_id",),
    runs=True,
    fails=True,
)

snapshots = _row_table(
    "snapshots",
    Column("kind", Text),
    Column("turn_id", Integer),
    Column("message_through_id", Integer),
    Column("eval_id", Integer),
    Column("created_at", Text),
)

final = Table(
    "final",
    projection,
    Column("session_id", Text, primary_key=True),
    Column("status", Text),
    Column("turn_count", Integer, nullable=False),
    Column("latest_turn_id", Integer),
    Column("eval_count", Integer, nullable=False),
    Column("call_count", Integer, nullable=False),
    Column("child_count", Integer, nullable=False),
    Column("attached_count", Integer, nullable=False),
    Column("snapshot_count", Integer, nullable=False),
    Column("data", Text, nullable=False),
)


def _group_columns(group: str) -> list[Column[Any]]:
    return [
        Column(f"{group}_call_count", Integer, nullable=False),
        Column(f"{group}_status", Text, nullable=False),
        Column(f"{group}_input_tokens", Number),
        Column(f"{group}_output_tokens", Number),
        Column(f"{group}_total_tokens", Number),
        Column(f"{group}_cached_tokens", Number),
        Column(f"{group}_usd", Float),
    ]


usage = Table(
    "usage",
    projection,
    Column("session_id", Text, primary_key=True),
    *_group_columns("root"),
    *_group_columns("leaf"),
    Column("child_call_count", Integer, nullable=False),
    Column("data", Text, nullable=False),
)

tree = Table(
    "tree",
    projection,
    Column("session_id", Text, nullable=False),
    Column("call_id", Integer, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("child_session_id", Text, index=True),
    Column("edge_type", Text),
    Column("status", Text),
    PrimaryKeyConstraint("session_id", "call_id"),
)


def table_statements(dialect: sa.Dialect, *metadata: MetaData) -> list[str]:
    """The DDL of tables and their indexes, in order, as an engine says it."""
    found: list[str] = []
    for one in metadata:
        for table in one.sorted_tables:
            found.append(str(CreateTable(table).compile(dialect=dialect)).strip())
            indexes = sorted(table.indexes, key=lambda index: str(index.name))
            found += [str(CreateIndex(index).compile(dialect=dialect)) for index in indexes]
    return found


ROW_TABLES: Final = {"message": messages, "turn": turns, "eval": evals, "call": calls, "snapshot": snapshots}

# What can be found by its words. Its own key: VACUUM gives new ones to rows without, and the FTS5 index names it.
search_texts = Table(
    "search_texts",
    search,
    Column("text_id", Integer, primary_key=True),
    Column("session_key", Integer, nullable=False),
    Column("event_id", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("field", Text, nullable=False),
    Column("row_id", Integer),
    Column("turn_id", Integer),
    Column("role", Text),
    Column("text", Text, nullable=False),
    Index("ix_search_texts_row", "session_key", "field", "row_id"),
)

# One row: through which position events are in search_texts and in the FTS5 index over it.
search_state = Table(
    "search_state",
    search,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, nullable=False),
)
