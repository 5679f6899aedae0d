"""Linear bytes: what large values have in common is stored once, as parts and lists."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "parts",
        sa.Column("part_id", sa.Integer, primary_key=True),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("hash", name="uq_parts_hash"),
    )
    op.create_table(
        "lists",
        sa.Column("list_id", sa.Integer, primary_key=True),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("prefix_id", sa.Integer, sa.ForeignKey("lists.list_id")),
        sa.Column("items", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("hash", name="uq_lists_hash"),
    )
    # Blobs that are there stay as they are: whole text is text without markers.


def downgrade() -> None:
    raise RuntimeError("a history is only ever brought forward; restore a backup instead")
