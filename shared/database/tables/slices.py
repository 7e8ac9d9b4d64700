"""Loads, slices and what each stage did with them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Double,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.database.tables.base import metadata, moment

datasets = Table(
    "datasets",
    metadata,
    Column("dataset", Text, primary_key=True),
    Column("spec_digest", Text, nullable=False),
    Column("layout", Integer, nullable=False, server_default="1"),
    Column("spec", JSONB, nullable=False),
    moment("applied_at", nullable=False, now=True),
    comment="The spec that each dataset's tables were last made from, and what was made of it.",
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
    Column("percentage", Double),
    Column("first_row", BigInteger),
    Column("end_row", BigInteger),
    Column("source_rows", BigInteger),
    Column("tables", JSONB),
    Column("images", JSONB),
    Column("changes", JSONB),
    Column("reasons", JSONB),
    Column("report_uri", Text),
    Column("kind", Text, nullable=False, server_default="load"),
    Column("trains", Boolean, nullable=False, server_default=text("true")),
    Column("corrects", Text),
    Column("correction", JSONB),
    moment("withdrawn_at"),
    moment("landing_pruned_at"),
    Column("landing_pruned_bytes", BigInteger),
    moment("report_pruned_at"),
    Column("report_pruned_bytes", BigInteger),
    moment("requested_at", nullable=False),
    moment("started_at", nullable=False, now=True),
    moment("finished_at"),
    Index(None, "dataset", "slice_key"),
    Index(None, "dataset", "started_at"),
    Index(
        "loads_under_way_idx",
        "dataset",
        "started_at",
        postgresql_where=text("status IN ('loading', 'loaded', 'validated')"),
    ),
    Index("loads_withdrawals_idx", "dataset", postgresql_where=text("kind = 'withdrawal'")),
    Index("loads_corrections_idx", "corrects", postgresql_where=text("corrects IS NOT NULL")),
    comment="One attempt to bring a slice in, or to withdraw it. load_id is the id of the event "
    "that asked for it. An increment is the rows [first_row, end_row) of source_rows, counted from "
    "0. withdrawn_at is when what it brought was taken back. What is pruned has its bytes when it "
    "is gone.",
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
    moment("published_at", nullable=False),
    Index(None, "dataset", "as_of"),
    comment="What is published of each slice: its newest revision and the load that brought it.",
)

source_indexes = Table(
    "source_indexes",
    metadata,
    Column("dataset", Text, primary_key=True),
    Column("uri", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("rows_apart", BigInteger, nullable=False),
    Column("offsets", JSONB, nullable=False),
    moment("made_at", nullable=False, now=True),
    comment="Where rows begin in a file that is loaded by shares: offsets[i] is the byte at which "
    "row i * rows_apart begins. fingerprint says for which state of the file.",
)

images = Table(
    "images",
    metadata,
    Column("dataset", Text, primary_key=True),
    Column("table_name", Text, primary_key=True),
    Column("row_key", Text, primary_key=True),
    Column("file", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("sha256", Text),
    Column("uri", Text),
    Column("bytes", BigInteger),
    Column("load_id", Text, nullable=False),
    moment("seen_at", nullable=False, now=True),
    Index(None, "dataset", "table_name", "state"),
    Index(None, "load_id"),
    comment="The picture of each row whose table has pictures, as its last load found it.",
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
    moment("event_time", nullable=False),
    moment("started_at", nullable=False),
    moment("finished_at"),
    Column("error", Text),
    Index(None, "load_id"),
    Index("stage_runs_running_idx", "dataset", postgresql_where=text("state = 'running'")),
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
    Column("severity", Text, nullable=False, server_default="critical"),
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
    Column("value_shares", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    comment="Row count and shares of NULLs and of values of each staged table, for the next slice.",
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
