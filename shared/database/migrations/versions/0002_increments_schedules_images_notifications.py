"""Slices by share, schedules, images and notifications.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "images",
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("row_key", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("uri", sa.Text(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("load_id", sa.Text(), nullable=False),
        sa.Column(
            "seen_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("dataset", "table_name", "row_key", name=op.f("images_pkey")),
        schema="headrace",
        comment="The picture of each row whose table has pictures, as its last load found it.",
    )
    op.create_index(
        op.f("images_dataset_table_name_state_idx"),
        "images",
        ["dataset", "table_name", "state"],
        unique=False,
        schema="headrace",
    )
    op.create_index(
        op.f("images_load_id_idx"), "images", ["load_id"], unique=False, schema="headrace"
    )
    op.create_table(
        "notifications",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("slice_key", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "next_try_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("event_id", "target", name=op.f("notifications_pkey")),
        schema="headrace",
        comment="Messages to people, one for each event and target. target is a digest: the address holds secrets.",
    )
    op.create_index(
        "notifications_pending_idx",
        "notifications",
        ["next_try_at"],
        unique=False,
        schema="headrace",
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_table(
        "schedule_runs",
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("slice_key", sa.Text(), nullable=True),
        sa.Column("load_id", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column(
            "decided_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("dataset", "due_at", name=op.f("schedule_runs_pkey")),
        schema="headrace",
        comment="What became of each moment of a schedule, once, whatever the number of ingestors.",
    )
    op.create_table(
        "schedules",
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("is_paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("settled_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "changed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("changed_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("dataset", name=op.f("schedules_pkey")),
        schema="headrace",
        comment="A dataset's schedule: every moment of it up to settled_until is decided.",
    )
    op.create_table(
        "source_indexes",
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("rows_apart", sa.BigInteger(), nullable=False),
        sa.Column("offsets", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "made_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("dataset", "uri", name=op.f("source_indexes_pkey")),
        schema="headrace",
        comment="Where rows begin in a file that is loaded by shares: offsets[i] is the byte at which row i * rows_apart begins. fingerprint says for which state of the file.",
    )
    op.add_column(
        "datasets",
        sa.Column("layout", sa.Integer(), server_default="1", nullable=False),
        schema="headrace",
    )
    op.create_table_comment(
        "datasets",
        "The spec that each dataset's tables were last made from, and what was made of it.",
        existing_comment="The spec that each dataset's tables were last made from.",
        schema="headrace",
    )
    op.add_column("loads", sa.Column("percentage", sa.Double(), nullable=True), schema="headrace")
    op.add_column(
        "loads", sa.Column("first_row", sa.BigInteger(), nullable=True), schema="headrace"
    )
    op.add_column("loads", sa.Column("end_row", sa.BigInteger(), nullable=True), schema="headrace")
    op.add_column(
        "loads", sa.Column("source_rows", sa.BigInteger(), nullable=True), schema="headrace"
    )
    op.add_column(
        "loads",
        sa.Column("images", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        schema="headrace",
    )
    op.create_table_comment(
        "loads",
        "One attempt to bring a slice in. load_id is the id of its load-requested event. An increment is the rows [first_row, end_row) of source_rows, counted from 0.",
        existing_comment="One attempt to bring a slice in. load_id is the id of its load-requested event.",
        schema="headrace",
    )
    op.add_column(
        "table_profiles",
        sa.Column(
            "value_shares",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'::jsonb"),
            nullable=False,
        ),
        schema="headrace",
    )
    op.create_table_comment(
        "table_profiles",
        "Row count and shares of NULLs and of values of each staged table, for the next slice.",
        existing_comment="Row count and share of NULLs by column of each staged table, for the next slice.",
        schema="headrace",
    )
    op.add_column(
        "validation_results",
        sa.Column("severity", sa.Text(), server_default="critical", nullable=False),
        schema="headrace",
    )
    op.add_column(
        "promotions", sa.Column("model_sha256", sa.Text(), nullable=True), schema="headrace"
    )


def downgrade() -> None:
    op.drop_column("promotions", "model_sha256", schema="headrace")
    op.drop_column("validation_results", "severity", schema="headrace")
    op.create_table_comment(
        "table_profiles",
        "Row count and share of NULLs by column of each staged table, for the next slice.",
        existing_comment="Row count and shares of NULLs and of values of each staged table, for the next slice.",
        schema="headrace",
    )
    op.drop_column("table_profiles", "value_shares", schema="headrace")
    op.create_table_comment(
        "loads",
        "One attempt to bring a slice in. load_id is the id of its load-requested event.",
        existing_comment="One attempt to bring a slice in. load_id is the id of its load-requested event. An increment is the rows [first_row, end_row) of source_rows, counted from 0.",
        schema="headrace",
    )
    op.drop_column("loads", "images", schema="headrace")
    op.drop_column("loads", "source_rows", schema="headrace")
    op.drop_column("loads", "end_row", schema="headrace")
    op.drop_column("loads", "first_row", schema="headrace")
    op.drop_column("loads", "percentage", schema="headrace")
    op.create_table_comment(
        "datasets",
        "The spec that each dataset's tables were last made from.",
        existing_comment="The spec that each dataset's tables were last made from, and what was made of it.",
        schema="headrace",
    )
    op.drop_column("datasets", "layout", schema="headrace")
    op.drop_table("source_indexes", schema="headrace")
    op.drop_table("schedules", schema="headrace")
    op.drop_table("schedule_runs", schema="headrace")
    op.drop_index(
        "notifications_pending_idx",
        table_name="notifications",
        schema="headrace",
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.drop_table("notifications", schema="headrace")
    op.drop_index(op.f("images_load_id_idx"), table_name="images", schema="headrace")
    op.drop_index(
        op.f("images_dataset_table_name_state_idx"), table_name="images", schema="headrace"
    )
    op.drop_table("images", schema="headrace")
