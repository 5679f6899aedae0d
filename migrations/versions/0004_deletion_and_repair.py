"""Deletion and repair: a deleted session's events may go, a damaged event is set apart."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "quarantine",
        sa.Column("session_key", sa.Integer, sa.ForeignKey("streams.session_key"), nullable=False),
        sa.Column("event_id", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("at", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("session_key", "event_id"),
    )
    op.execute("DROP TRIGGER events_refuse_delete")
    op.execute(
        "CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events "
        "WHEN substr(coalesce((SELECT id FROM streams WHERE session_key = OLD.session_key), ''), 1, 9) "
        "<> '.deleted/' "
        "BEGIN SELECT RAISE(ABORT, 'events is append-only'); END"
    )


def downgrade() -> None:
    raise RuntimeError("a history is only ever brought forward; restore a backup instead")
