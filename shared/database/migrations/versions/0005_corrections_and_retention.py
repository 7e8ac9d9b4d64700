"""Corrections, withdrawals, dropped dead letters, and what was pruned.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SCHEMA = "headrace"
MOMENT = sa.DateTime(timezone=True)


def columns() -> list[tuple[str, "sa.Column[object]"]]:
    return [
        ("loads", sa.Column("kind", sa.Text(), nullable=False, server_default="load")),
        (
            "loads",
            sa.Column("trains", sa.Boolean(), nullable=False, server_default=sa.text("true")),
        ),
        ("loads", sa.Column("corrects", sa.Text())),
        ("loads", sa.Column("correction", postgresql.JSONB())),
        ("loads", sa.Column("withdrawn_at", MOMENT)),
        ("loads", sa.Column("landing_pruned_at", MOMENT)),
        ("loads", sa.Column("landing_pruned_bytes", sa.BigInteger())),
        ("loads", sa.Column("report_pruned_at", MOMENT)),
        ("loads", sa.Column("report_pruned_bytes", sa.BigInteger())),
        ("coverage", sa.Column("withdrawn_at", MOMENT)),
        ("snapshots", sa.Column("pruned_at", MOMENT)),
        ("snapshots", sa.Column("pruned_bytes", sa.BigInteger())),
        ("dead_letters", sa.Column("dropped_at", MOMENT)),
        ("dead_letters", sa.Column("dropped_by", sa.Text())),
        ("dead_letters", sa.Column("drop_reason", sa.Text())),
    ]


OPEN = "dead_letters_open_idx"
COMMENTS = {
    "loads": "One attempt to bring a slice in, or to withdraw it. load_id is the id of the event "
    "that asked for it. An increment is the rows [first_row, end_row) of source_rows, counted from "
    "0. withdrawn_at is when what it brought was taken back. What is pruned has its bytes when it "
    "is gone.",
    "snapshots": "A dataset frozen as (as_of, known_at). With pruned_at its objects may be gone, "
    "with pruned_bytes they are.",
    "coverage": "Which of the keys that a load left unchanged were in its slice. What was "
    "withdrawn says nothing any more.",
    "dead_letters": "Records that a service could not process, whole. Open until redriven or "
    "dropped. raw_headers has the headers in base64 where `headers` can't hold them: repeated ones, and "
    "bytes that are no UTF-8.",
}
BEFORE = {
    "loads": "One attempt to bring a slice in. load_id is the id of its load-requested event. An "
    "increment is the rows [first_row, end_row) of source_rows, counted from 0.",
    "snapshots": "A dataset frozen as (as_of, known_at).",
    "coverage": "Which of the keys that a load left unchanged were in its slice.",
    "dead_letters": "Records that a service could not process, whole. raw_headers has the headers in base64 where `headers` can't hold them: repeated ones, and "
    "bytes that are no UTF-8.",
}


def upgrade() -> None:
    for table, column in columns():
        op.add_column(table, column, schema=SCHEMA)
    op.create_table(
        "prunings",
        sa.Column("pruning_id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("before", MOMENT, nullable=False),
        sa.Column("items", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("pruned_at", MOMENT, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("pruning_id", name=op.f("prunings_pkey")),
        schema=SCHEMA,
        comment="What `headrace prune` has removed: of things older than `before`, by its rules.",
    )
    op.create_index(op.f("prunings_what_before_idx"), "prunings", ["what", "before"], schema=SCHEMA)
    op.create_index(
        "loads_withdrawals_idx",
        "loads",
        ["dataset"],
        schema=SCHEMA,
        postgresql_where=sa.text("kind = 'withdrawal'"),
    )
    op.create_index(
        "loads_corrections_idx",
        "loads",
        ["corrects"],
        schema=SCHEMA,
        postgresql_where=sa.text("corrects IS NOT NULL"),
    )
    _open_letters("redriven_at IS NULL AND dropped_at IS NULL")
    for table, comment in COMMENTS.items():
        op.create_table_comment(table, comment, schema=SCHEMA)


def downgrade() -> None:
    for table, comment in BEFORE.items():
        op.create_table_comment(table, comment, schema=SCHEMA)
    _open_letters("redriven_at IS NULL")
    for name in ("loads_corrections_idx", "loads_withdrawals_idx"):
        op.drop_index(name, table_name="loads", schema=SCHEMA)
    op.drop_table("prunings", schema=SCHEMA)
    for table, column in reversed(columns()):
        op.drop_column(table, column.name, schema=SCHEMA)


def _open_letters(where: str) -> None:
    op.drop_index(OPEN, table_name="dead_letters", schema=SCHEMA)
    op.create_index(
        OPEN, "dead_letters", ["dataset"], schema=SCHEMA, postgresql_where=sa.text(where)
    )
