"""What people did at the console, with their logins.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SCHEMA = "headrace"
COMMENT = "What people did at the console, with their logins. Written with the effects; event_id is the event that asked for it, where one did."


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("audit_id", sa.BigInteger(), sa.Identity(always=True), primary_key=True),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("clock_timestamp()"),
        ),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text()),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text()),
        sa.Column("session_id", sa.Text()),
        sa.Column("address", sa.Text(), nullable=False),
        schema=SCHEMA,
        comment=COMMENT,
    )
    op.create_index("audit_at_idx", "audit", ["at"], schema=SCHEMA)
    op.create_index("audit_dataset_audit_id_idx", "audit", ["dataset", "audit_id"], schema=SCHEMA)
    op.create_index(
        "audit_sessions_idx",
        "audit",
        ["session_id"],
        schema=SCHEMA,
        postgresql_where=sa.text("session_id IS NOT NULL"),
    )
    op.create_index(
        "audit_logins_idx",
        "audit",
        ["address", "at"],
        schema=SCHEMA,
        postgresql_where=sa.text("action = 'log in'"),
    )


def downgrade() -> None:
    op.drop_table("audit", schema=SCHEMA)
