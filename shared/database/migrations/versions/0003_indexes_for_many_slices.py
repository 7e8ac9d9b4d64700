"""Indexes without which a query reads a whole table that grows with every slice.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INDEXES = (
    ("outbox_load_requests_idx", "outbox", ["key"], "topic = 'load-requested'"),
    ("dead_letters_event_id_idx", "dead_letters", ["event_id"], None),
    ("dead_letters_open_idx", "dead_letters", ["dataset"], "redriven_at IS NULL"),
    (
        "loads_under_way_idx",
        "loads",
        ["dataset", "started_at"],
        "status IN ('loading', 'loaded', 'validated')",
    ),
    ("stage_runs_running_idx", "stage_runs", ["dataset"], "state = 'running'"),
    (
        "training_datasets_dataset_as_of_idx",
        "training_datasets",
        ["dataset", "as_of"],
        None,
    ),
    ("promotions_model_name_decided_at_idx", "promotions", ["model_name", "decided_at"], None),
    ("promotions_load_id_idx", "promotions", ["load_id"], None),
)


def upgrade() -> None:
    for name, table, columns, where in INDEXES:
        op.create_index(
            op.f(name),
            table,
            columns,
            unique=False,
            schema="headrace",
            postgresql_where=sa.text(where) if where else None,
        )


def downgrade() -> None:
    for name, table, _, _ in reversed(INDEXES):
        op.drop_index(op.f(name), table_name=table, schema="headrace")
