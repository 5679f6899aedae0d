"""The journal: streams, events that can only be appended, and blobs."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Integer = sa.Integer().with_variant(sa.BigInteger(), "postgresql")
Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

_REFUSE = """CREATE FUNCTION events_refuse() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  RAISE EXCEPTION 'events is append-only' USING ERRCODE = 'restrict_violation';
END $$"""


def upgrade() -> None:
    op.create_table(
        "streams",
        sa.Column("session_key", Integer, primary_key=True),
        sa.Column("id", Text, nullable=False),
        sa.UniqueConstraint("id", name="uq_streams_id"),
        comment="foldlog 666f6c64",
    )
    op.create_table(
        "events",
        sa.Column("position", Integer, primary_key=True),
        sa.Column("session_key", Integer, sa.ForeignKey("streams.session_key"), nullable=False),
        sa.Column("event_id", Integer, nullable=False),
        sa.Column("type", Text, nullable=False),
        sa.Column("at", Text, nullable=False),
        sa.Column("data", Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("chain", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("session_key", "event_id", name="uq_events_session_key_event_id"),
    )
    op.create_table(
        "blobs",
        sa.Column("hash", Text, primary_key=True),
        sa.Column("bytes", Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_REFUSE)
        op.execute(
            "CREATE TRIGGER events_refuse_change BEFORE UPDATE OR DELETE ON events "
            "FOR EACH ROW EXECUTE FUNCTION events_refuse()"
        )
        op.execute("CREATE TRIGGER events_refuse_truncate BEFORE TRUNCATE ON events EXECUTE FUNCTION events_refuse()")
        return
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER events_refuse_{verb.lower()} BEFORE {verb} ON events "
            "BEGIN SELECT RAISE(ABORT, 'events is append-only'); END"
        )


def downgrade() -> None:
    raise RuntimeError("a history is only ever brought forward; restore a backup instead")
