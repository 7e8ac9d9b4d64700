"""The control tables, in the schema `headrace`. A test keeps `migrations/` in step with them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

SCHEMA = "headrace"
metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    },
)


def _moment(name: str, *, nullable: bool = True, now: bool = False) -> "Column[object]":
    default = text("clock_timestamp()") if now else None
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=default)


datasets = Table(
    "datasets",
    metadata,
    Column("dataset", Text, primary_key=True),
    Column("spec_digest", Text, nullable=False),
    Column("spec", JSONB, nullable=False),
    _moment("applied_at", nullable=False, now=True),
    comment="The spec that each dataset's tables were last made from.",
)

loads = Table(
    "loads",
    metadata,
    Column("load_id", Text, primary_key=True),
    Column("dataset", Text, nullable=False),
    Column("slice_key", Text, nullable=False),
    Column("as_of", Date),
    Column("revision", Integer),
    Column("status", Text, nullable=False),
    Column("source_uri", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("landing_uri", Text),
    Column("content_sha256", Text),
    Column("spec_digest", Text),
    Column("rows_in", BigInteger),
    Column("rows_loaded", BigInteger),
    Column("rows_quarantined", BigInteger),
    Column("tables", JSONB),
    Column("changes", JSONB),
    Column("reasons", JSONB),
    Column("report_uri", Text),
    _moment("requested_at", nullable=False),
    _moment("started_at", nullable=False, now=True),
    _moment("finished_at"),
    Index(None, "dataset", "slice_key"),
    Index(None, "dataset", "started_at"),
    comment="One attempt to bring a slice in. load_id is the id of its load-requested event.",
)

slices = Table(
    "slices",
    metadata,
    Column("dataset", Text, primary_key=True),
    Column("slice_key", Text, primary_key=True),
    Column("as_of", Date, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("load_id", Text, nullable=False),
    Column("content_sha256", Text, nullable=False),
    _moment("published_at", nullable=False),
    Index(None, "dataset", "as_of"),
    comment="What is published of each slice: its newest revision and the load that brought it.",
)

stage_runs = Table(
    "stage_runs",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("stage", Text, primary_key=True),
    Column("load_id", Text, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("slice_key", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    _moment("event_time", nullable=False),
    _moment("started_at", nullable=False),
    _moment("finished_at"),
    Column("error", Text),
    Index(None, "load_id"),
    comment="What each stage did with each event. started_at - event_time is the hop.",
)

validation_results = Table(
    "validation_results",
    metadata,
    Column("result_id", BigInteger, Identity(always=True), primary_key=True),
    Column("load_id", Text, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("table_name", Text, nullable=False),
    Column("expectation", Text, nullable=False),
    Column("kwargs", JSONB, nullable=False),
    Column("success", Boolean, nullable=False),
    Column("observed_value", JSONB),
    Column("element_count", BigInteger),
    Column("unexpected_count", BigInteger),
    Column("failing_keys", JSONB, nullable=False),
    Column("message", Text),
    Index(None, "load_id"),
    comment="Each expectation of each load, Great Expectations' and Headrace's own alike.",
)

table_profiles = Table(
    "table_profiles",
    metadata,
    Column("load_id", Text, primary_key=True),
    Column("table_name", Text, primary_key=True),
    Column("rows", BigInteger, nullable=False),
    Column("null_shares", JSONB, nullable=False),
    comment="Row count and share of NULLs by column of each staged table, for the next slice.",
)

quarantined_rows = Table(
    "quarantined_rows",
    metadata,
    Column("quarantine_id", BigInteger, Identity(always=True), primary_key=True),
    Column("load_id", Text, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("table_name", Text, nullable=False),
    Column("file", Text, nullable=False),
    Column("record_number", BigInteger),
    Column("column_name", Text),
    Column("code", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("raw", Text, nullable=False),
    Index(None, "load_id", "table_name"),
    comment="Rows that can't be typed or keyed, as they stood in the file.",
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("snapshot_id", Text, primary_key=True),
    Column("dataset", Text, nullable=False),
    Column("load_id", Text, nullable=False, unique=True),
    Column("slice_key", Text, nullable=False),
    Column("as_of", Date, nullable=False),
    _moment("known_at", nullable=False),
    Column("manifest_uri", Text, nullable=False),
    Column("manifest_sha256", Text, nullable=False),
    Column("tables", JSONB, nullable=False),
    UniqueConstraint("dataset", "as_of", "known_at"),
    comment="A dataset frozen as (as_of, known_at).",
)

coverage = Table(
    "coverage",
    metadata,
    Column("load_id", Text, primary_key=True),
    Column("table_name", Text, primary_key=True),
    Column("dataset", Text, nullable=False),
    Column("as_of", Date, nullable=False),
    _moment("recorded_at", nullable=False),
    Column("kind", Text, nullable=False),
    Index(None, "dataset", "table_name", "as_of"),
    comment="Which of the keys that a load left unchanged were in its slice.",
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
    _moment("created_at", nullable=False, now=True),
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
    _moment("decided_at", nullable=False, now=True),
    Index(None, "dataset", "decided_at"),
    comment="Every promotion decision, also the negative ones and rollbacks.",
)

inbox = Table(
    "inbox",
    metadata,
    Column("consumer", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    _moment("processed_at", nullable=False, now=True),
    comment="Which event each consumer has done. Written with the effects.",
)

outbox = Table(
    "outbox",
    metadata,
    Column("outbox_id", BigInteger, Identity(always=True), primary_key=True),
    Column("source", Text, nullable=False),
    Column("event_id", Text, nullable=False, unique=True),
    Column("topic", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("headers", JSONB, nullable=False),
    Column("value", LargeBinary, nullable=False),
    _moment("created_at", nullable=False, now=True),
    _moment("published_at"),
    Index(
        "outbox_unpublished_idx",
        "source",
        "outbox_id",
        postgresql_where=text("published_at IS NULL"),
    ),
    comment="Events to publish. Written with the effects, sent by the relay of `source`.",
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("dead_letter_id", BigInteger, Identity(always=True), primary_key=True),
    Column("service", Text, nullable=False),
    Column("event_id", Text),
    Column("event_type", Text),
    Column("correlation_id", Text),
    Column("dataset", Text),
    Column("slice_key", Text),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("key", LargeBinary),
    Column("headers", JSONB, nullable=False),
    Column("value", LargeBinary),
    Column("error_class", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    _moment("failed_at", nullable=False, now=True),
    _moment("redriven_at"),
    UniqueConstraint("service", "topic", "partition", "offset"),
    Index(None, "correlation_id"),
    comment="Records that a service could not process, whole.",
)
