"""Events: done, to be sent, given up, told to people; and what asks for loads by itself."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.database.tables.base import metadata, moment

inbox = Table(
    "inbox",
    metadata,
    Column("consumer", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    moment("processed_at", nullable=False, now=True),
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
    moment("created_at", nullable=False, now=True),
    moment("published_at"),
    Index(
        "outbox_unpublished_idx",
        "source",
        "outbox_id",
        postgresql_where=text("published_at IS NULL"),
    ),
    Index(
        "outbox_load_requests_idx",
        "key",
        postgresql_where=text("topic = 'load-requested'"),
    ),
    Index(None, "key", "topic", "outbox_id"),
    Index("outbox_correlation_idx", text("(headers ->> 'ce_correlationid')")),
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
    Column("raw_headers", JSONB(none_as_null=True)),
    Column("value", LargeBinary),
    Column("record_sha256", Text, nullable=False, server_default=""),
    Column("error_class", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    moment("failed_at", nullable=False, now=True),
    moment("redriven_at"),
    moment("dropped_at"),
    Column("dropped_by", Text),
    Column("drop_reason", Text),
    # The place alone would not do: a broker that was wiped begins with offset 0 again.
    UniqueConstraint("service", "topic", "partition", "offset", "record_sha256"),
    Index(None, "correlation_id"),
    Index(None, "event_id"),
    Index(
        "dead_letters_open_idx",
        "dataset",
        postgresql_where=text("redriven_at IS NULL AND dropped_at IS NULL"),
    ),
    comment="Records that a service could not process, whole. Open until redriven or dropped. "
    "raw_headers has the headers in base64 where `headers` can't hold them: repeated ones, and "
    "bytes that are no UTF-8.",
)

notifications = Table(
    "notifications",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("event_type", Text, nullable=False),
    Column("dataset", Text, nullable=False),
    Column("slice_key", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text),
    moment("created_at", nullable=False, now=True),
    moment("next_try_at", nullable=False, now=True),
    moment("sent_at"),
    Index(
        "notifications_pending_idx",
        "next_try_at",
        postgresql_where=text("state = 'pending'"),
    ),
    comment="Messages to people, one for each event and target. target is a digest: the address "
    "holds secrets.",
)

audit = Table(
    "audit",
    metadata,
    Column("audit_id", BigInteger, Identity(always=True), primary_key=True),
    moment("at", nullable=False, now=True),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("dataset", Text),
    Column("subject", Text, nullable=False),
    Column("detail", JSONB, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("event_id", Text),
    Column("session_id", Text),
    Column("address", Text, nullable=False),
    Index(None, "at"),
    Index(None, "dataset", "audit_id"),
    Index("audit_sessions_idx", "session_id", postgresql_where=text("session_id IS NOT NULL")),
    Index("audit_logins_idx", "address", "at", postgresql_where=text("action = 'log in'")),
    comment="What people did at the console, with their logins. Written with the effects; event_id "
    "is the event that asked for it, where one did.",
)

prunings = Table(
    "prunings",
    metadata,
    Column("pruning_id", BigInteger, Identity(always=True), primary_key=True),
    Column("what", Text, nullable=False),
    moment("before", nullable=False),
    Column("items", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    moment("pruned_at", nullable=False, now=True),
    Index(None, "what", "before"),
    comment="What `headrace prune` has removed: of things older than `before`, by its rules.",
)

schedules = Table(
    "schedules",
    metadata,
    Column("dataset", Text, primary_key=True),
    Column("is_paused", Boolean, nullable=False, server_default=text("false")),
    moment("settled_until", nullable=False),
    moment("changed_at", nullable=False, now=True),
    Column("changed_by", Text, nullable=False),
    comment="A dataset's schedule: every moment of it up to settled_until is decided.",
)

schedule_runs = Table(
    "schedule_runs",
    metadata,
    Column("dataset", Text, primary_key=True),
    moment("due_at", primary_key=True),
    Column("outcome", Text, nullable=False),
    Column("slice_key", Text),
    Column("load_id", Text),
    Column("detail", Text),
    moment("decided_at", nullable=False, now=True),
    comment="What became of each moment of a schedule, once, whatever the number of ingestors.",
)
