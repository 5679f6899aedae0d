"""Linear bytes: what large values have in common is stored once, as parts and lists."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Integer = sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "parts",
        sa.Column("part_id", Integer, primary_key=True),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("hash", name="uq_parts_hash"),
    )
    is_server = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "lists",
        sa.Column("list_id", Integer, primary_key=True),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("prefix_id", Integer),
        sa.Column("items", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("hash", name="uq_lists_hash"),
        # On a server each list that is deleted would cost a look through them all.
        *([] if is_server else [sa.ForeignKeyConstraint(["prefix_id"], ["lists.list_id"])]),
    )
    # Blobs that are there stay as they are: whole text is text without markers.


def downgrade() -> None:
    raise RuntimeError("a history is only ever brought forward; restore a backup instead")
