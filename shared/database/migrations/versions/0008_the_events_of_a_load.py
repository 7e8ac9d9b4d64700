"""The events of a load, and the newest of a dataset, are found without reading the whole outbox.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE INDEX outbox_correlation_idx
        ON headrace.outbox ((headers ->> 'ce_correlationid'))
        """
    )
    op.create_index(
        "outbox_key_topic_outbox_id_idx", "outbox", ["key", "topic", "outbox_id"], schema="headrace"
    )


def downgrade() -> None:
    op.drop_index("outbox_key_topic_outbox_id_idx", "outbox", schema="headrace")
    op.execute("DROP INDEX headrace.outbox_correlation_idx")
