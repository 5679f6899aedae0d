"""Deletion and repair: a deleted session's events may go, a damaged event is set apart."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

Integer = sa.Integer().with_variant(sa.BigInteger(), "postgresql")
Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

_REFUSE = """CREATE OR REPLACE FUNCTION events_refuse() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF EXISTS (SELECT 1 FROM streams WHERE session_key = OLD.session_key AND substr(id, 1, 9) = '.deleted/') THEN
      RETURN OLD;
    END IF;
  END IF;
  RAISE EXCEPTION 'events is append-only' USING ERRCODE = 'restrict_violation';
END $$"""


def upgrade() -> None:
    op.create_table(
        "quarantine",
        sa.Column("session_key", Integer, sa.ForeignKey("streams.session_key"), nullable=False),
        sa.Column("event_id", Integer, nullable=False),
        sa.Column("position", Integer),
        sa.Column("what", Text, nullable=False),
        sa.Column("at", Text, nullable=False),
        sa.PrimaryKeyConstraint("session_key", "event_id"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_REFUSE)
        return
    op.execute("DROP TRIGGER events_refuse_delete")
    op.execute(
        "CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events "
        "WHEN substr(coalesce((SELECT id FROM streams WHERE session_key = OLD.session_key), ''), 1, 9) "
        "<> '.deleted/' "
        "BEGIN SELECT RAISE(ABORT, 'events is append-only'); END"
    )


def downgrade() -> None:
    raise RuntimeError("a history is only ever brought forward; restore a backup instead")
