"""How far training datasets are from what the champion learned.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SCHEMA = "headrace"
MOMENT = sa.DateTime(timezone=True)
KEY = ("dataset", "snapshot_id", "baseline_version", "feature", "measure")


def upgrade() -> None:
    op.create_table(
        "drift",
        *(sa.Column(name, sa.Text(), nullable=False) for name in KEY),
        sa.Column("is_target", sa.Boolean(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("p_value", sa.Double()),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("is_drifted", sa.Boolean(), nullable=False),
        sa.Column("bins", postgresql.JSONB(), nullable=False),
        sa.Column("load_id", sa.Text(), nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.Column("dataset_version", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("champion_version", sa.Text(), nullable=False),
        sa.Column("baseline_snapshot_id", sa.Text(), nullable=False),
        sa.Column("baseline_as_of", sa.Date(), nullable=False),
        sa.Column("baseline_rows", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column(
            "measured_at", MOMENT, server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint(*KEY, name=op.f("drift_pkey")),
        schema=SCHEMA,
        comment="How far each feature of a snapshot's training dataset is from the one that the "
        "champion was trained on (baseline_version), by each measure. bins has rows, or words, by "
        "bin of both; rows and baseline_rows say how many were looked at.",
    )
    op.create_index(
        op.f("drift_dataset_measured_at_idx"), "drift", ["dataset", "measured_at"], schema=SCHEMA
    )


def downgrade() -> None:
    op.drop_table("drift", schema=SCHEMA)
