"""Snapshots, training datasets, and the decisions about model versions."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Double,
    Index,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.database.tables.base import metadata, moment

snapshots = Table(
    "snapshots",
    metadata,
    Column("snapshot_id", Text, primary_key=True),
    Column("dataset", Text, nullable=False),
    Column("load_id", Text, nullable=False, unique=True),
    Column("slice_key", Text, nullable=False),
    Column("as_of", Date, nullable=False),
    moment("known_at", nullable=False),
    Column("manifest_uri", Text, nullable=False),
    Column("manifest_sha256", Text, nullable=False),
    Column("tables", JSONB, nullable=False),
    moment("pruned_at"),
    Column("pruned_bytes", BigInteger),
    UniqueConstraint("dataset", "as_of", "known_at"),
    comment="A dataset frozen as (as_of, known_at). With pruned_at its objects may be gone, with "
    "pruned_bytes they are.",
)

coverage = Table(
    "coverage",
    metadata,
    Column("load_id", Text, primary_key=True),
    Column("table_name", Text, primary_key=True),
    Column("dataset", Text, nullable=False),
    Column("as_of", Date, nullable=False),
    moment("recorded_at", nullable=False),
    Column("kind", Text, nullable=False),
    moment("withdrawn_at"),
    Index(None, "dataset", "table_name", "as_of"),
    comment="Which of the keys that a load left unchanged were in its slice. What was withdrawn "
    "says nothing any more.",
)

training_datasets = Table(
    "training_datasets",
    metadata,
    Column("dataset", Text, primary_key=True),
    Column("dataset_version", Text, primary_key=True),
    Column("snapshot_id", Text, nullable=False),
    Column("as_of", Date, nullable=False),
    Column("manifest_uri", Text, nullable=False),
    Column("train_uri", Text, nullable=False),
    Column("test_uri", Text, nullable=False),
    Column("train_rows", BigInteger, nullable=False),
    Column("test_rows", BigInteger, nullable=False),
    Column("class_counts", JSONB, nullable=False),
    Column("run_id", Text),
    moment("created_at", nullable=False, now=True),
    Index(None, "dataset", "as_of"),
    comment="Train/test pairs by their content's digest; snapshot_id is the first that gave it.",
)

promotions = Table(
    "promotions",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("dataset", Text, nullable=False),
    Column("load_id", Text, nullable=False),
    Column("snapshot_id", Text, nullable=False),
    Column("as_of", Date, nullable=False),
    Column("dataset_version", Text, nullable=False),
    Column("model_name", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("promoted", Boolean, nullable=False),
    Column("alias", Text),
    Column("decision", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("score", Double, nullable=False),
    Column("champion_version", Text),
    Column("champion_score", Double),
    Column("metrics", JSONB, nullable=False),
    Column("model_sha256", Text),
    moment("decided_at", nullable=False, now=True),
    Index(None, "dataset", "decided_at"),
    Index(None, "model_name", "decided_at"),
    Index(None, "load_id"),
    comment="Every promotion decision, also the negative ones and rollbacks.",
)

drift = Table(
    "drift",
    metadata,
    Column("dataset", Text, primary_key=True),
    Column("snapshot_id", Text, primary_key=True),
    Column("baseline_version", Text, primary_key=True),
    Column("feature", Text, primary_key=True),
    Column("measure", Text, primary_key=True),
    Column("is_target", Boolean, nullable=False),
    Column("value", Double, nullable=False),
    Column("p_value", Double),
    Column("threshold", Double, nullable=False),
    Column("is_drifted", Boolean, nullable=False),
    Column("bins", JSONB, nullable=False),
    Column("load_id", Text, nullable=False),
    Column("as_of", Date, nullable=False),
    Column("dataset_version", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("model_name", Text, nullable=False),
    Column("champion_version", Text, nullable=False),
    Column("baseline_snapshot_id", Text, nullable=False),
    Column("baseline_as_of", Date, nullable=False),
    Column("baseline_rows", BigInteger, nullable=False),
    Column("event_id", Text, nullable=False),
    moment("measured_at", nullable=False, now=True),
    Index(None, "dataset", "measured_at"),
    comment="How far each feature of a snapshot's training dataset is from the one that the "
    "champion was trained on (baseline_version), by each measure. bins has rows, or words, by bin "
    "of both; rows and baseline_rows say how many were looked at.",
)
