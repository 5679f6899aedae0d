"""Idempotency keys: a retried append finds the event it appended the first time."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("events", sa.Column("idempotency_key", Text))
    op.create_index(
        "ix_events_idempotency_key",
        "events",
        ["session_key", "idempotency_key"],
        unique=True,
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )


def downgrade() -> None:
    raise RuntimeError("a history is only ever brought forward; restore a backup instead")
