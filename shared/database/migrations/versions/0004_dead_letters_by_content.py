"""A dead letter is known by its content too: after a broker was wiped, offsets begin anew.

And it has its headers as they came, where text by name can't hold them.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

PLACE = ["service", "topic", "partition", "offset"]
OLD = "dead_letters_service_topic_partition_offset_key"
NEW = "dead_letters_service_topic_partition_offset_record_sha256_key"

OLD_COMMENT = "Records that a service could not process, whole."
COMMENT = (
    f"{OLD_COMMENT} raw_headers has the headers in base64 where `headers` can't hold them: "
    "repeated ones, and bytes that are no UTF-8."
)


def upgrade() -> None:
    op.add_column(
        "dead_letters",
        sa.Column("record_sha256", sa.Text(), nullable=False, server_default=""),
        schema="headrace",
    )
    op.add_column("dead_letters", sa.Column("raw_headers", postgresql.JSONB()), schema="headrace")
    op.create_table_comment("dead_letters", COMMENT, schema="headrace")
    op.drop_constraint(OLD, "dead_letters", schema="headrace")
    op.create_unique_constraint(
        op.f(NEW), "dead_letters", [*PLACE, "record_sha256"], schema="headrace"
    )


def downgrade() -> None:
    op.drop_constraint(op.f(NEW), "dead_letters", schema="headrace")
    op.create_unique_constraint(op.f(OLD), "dead_letters", PLACE, schema="headrace")
    op.drop_column("dead_letters", "record_sha256", schema="headrace")
    op.drop_column("dead_letters", "raw_headers", schema="headrace")
    op.create_table_comment("dead_letters", OLD_COMMENT, schema="headrace")
