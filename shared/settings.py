"""All that can be set from outside, read once from the environment.

No other module reads `os.environ`, but for what starts child processes. Every field is documented
in `docs/operations.md`; a test keeps the two in step.
"""

import socket
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import InvalidSettings


class Settings(BaseSettings):
    """The settings of one process. The field `topic_prefix` is the variable `TOPIC_PREFIX`.

    Raises `InvalidSettings` with each variable that can't be used. What it is set to is left out:
    it may be a secret.
    """

    model_config = SettingsConfigDict(frozen=True, env_file=None, extra="ignore")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InvalidSettings("; ".join(map(_fault, error.errors()))) from None

    # Where the servers are
    database_url: SecretStr = SecretStr("postgresql://headrace@127.0.0.1:5432/headrace")
    kafka_bootstrap_servers: str = "127.0.0.1:9092"
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"
    kafka_username: str = ""
    kafka_password: SecretStr | None = None
    kafka_ca_file: Path | None = None
    kafka_cert_file: Path | None = None
    kafka_key_file: Path | None = None
    s3_endpoint_url: str | None = None
    s3_ca_file: Path | None = None
    aws_access_key_id: SecretStr | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_region: str = "us-east-1"
    mlflow_tracking_uri: str = "http://127.0.0.1:5000"

    # For `headrace migrate` alone
    admin_database_url: SecretStr | None = None
    mlflow_database_url: SecretStr | None = None

    # What is ours on them
    topic_prefix: str = ""
    bucket_prefix: str = "headrace-"
    topic_partitions: int = Field(default=6, ge=1)
    topic_replication: int = Field(default=1, ge=1)
    datasets_dir: Path = Path("datasets")
    source_roots: str = Field(default="", pattern=r"^\s*((/|s3://[^/\s])\S*(\s+|$))*$")

    # The process
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8000, ge=0, le=65535)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "json", "human"] = "auto"
    git_commit: str = "unknown"
    replica_name: str = ""
    api_token: SecretStr | None = Field(default=None, min_length=16)

    # Telemetry
    otel_exporter_otlp_endpoint: str = Field(default="", pattern=r"^$|^https?://[^/]")
    trace_url_template: str = Field(default="", pattern=r"^$|^https?://.*\{trace_id\}")

    # Servers that are away
    connect_timeout_seconds: float = Field(default=5.0, gt=0)
    silence_seconds: float = Field(default=60.0, ge=3)
    watch_interval_seconds: float = Field(default=5.0, gt=0)

    # The consumer
    handler_threads: int = Field(default=2, ge=1)
    look_ahead_records: int = Field(default=2000, ge=1)
    session_timeout_seconds: float = Field(default=6.0, gt=0)
    consumer_instance_id: str = Field(default="", max_length=150, pattern=r"^[A-Za-z0-9._-]*$")
    heartbeat_interval_seconds: float = Field(default=2.0, gt=0)
    shutdown_grace_seconds: float = Field(default=8.0, gt=0)
    unknown_error_attempts: int = Field(default=3, ge=1)
    retry_floor_seconds: float = Field(default=0.2, gt=0)
    retry_ceiling_seconds: float = Field(default=30.0, gt=0)
    relay_interval_seconds: float = Field(default=1.0, gt=0)
    lag_interval_seconds: float = Field(default=2.0, gt=0)
    health_stall_seconds: float = Field(default=30.0, gt=0)

    # The schedules
    schedule_poll_seconds: float = Field(default=1.0, gt=0)
    schedule_grace_seconds: float = Field(default=60.0, gt=0)
    schedule_moments_kept: int = Field(default=1000, ge=1)

    # The work
    csv_block_bytes: int = Field(default=1 << 20, ge=1 << 12)
    image_threads: int = Field(default=8, ge=1)
    quarantine_rows_kept: int = Field(default=10_000, ge=1)
    failing_keys_kept: int = Field(default=20, ge=1)
    parquet_row_group_rows: int = Field(default=100_000, ge=1)
    drift_sample_rows: int = Field(default=50_000, ge=100)

    # The Dask cluster
    dask_scheduler_address: str | None = None
    dask_timeout_seconds: float = Field(default=10.0, gt=0)
    dask_partition_rows: int = Field(default=500_000, ge=1)
    xgboost_rank_rows: int = Field(default=1_000_000, ge=1)

    # Messages to people
    notify_urls: SecretStr | None = None
    notify_on: str = Field(
        default="rejected promoted registered drift dead",
        pattern=r"^\s*((rejected|promoted|registered|drift|dead)(\s+|$))*$",
    )
    notify_max_age_hours: float = Field(default=24.0, gt=0)
    notify_give_up_hours: float = Field(default=24.0, gt=0)
    notify_timeout_seconds: float = Field(default=15.0, gt=0)
    notify_retry_floor_seconds: float = Field(default=5.0, gt=0)
    notify_retry_ceiling_seconds: float = Field(default=300.0, gt=0)
    notify_unknown_after_seconds: float = Field(default=600.0, gt=0)

    # The console
    console_database_url: SecretStr | None = None
    console_mlflow_url: str = ""
    console_logs_url_template: str = ""
    console_page_rows: int = Field(default=50, ge=5, le=1000)
    console_query_seconds: float = Field(default=15.0, gt=0)
    console_live_readers: int = Field(default=200, ge=1)
    console_live_ping_seconds: float = Field(default=15.0, gt=0)
    console_password: SecretStr | None = Field(default=None, min_length=12)
    console_session_hours: float = Field(default=12.0, gt=0)
    console_login_attempts: int = Field(default=10, ge=1)
    console_login_window_seconds: float = Field(default=900.0, gt=0)
    console_services: str = Field(
        default="", pattern=r"^\s*([A-Za-z0-9_.-]+=https?://\S+(\s+|$))*$"
    )
    console_services_interval_seconds: float = Field(default=5.0, gt=0)
    console_answer_seconds: float = Field(default=10.0, gt=0)
    console_upload_bytes: int = Field(default=1 << 30, ge=1)
    console_upload_files: int = Field(default=100, ge=1)
    console_preview_rows: int = Field(default=100_000, ge=1)

    # What `headrace prune` may remove
    prune_staging_days: float = Field(default=30.0, gt=0)
    prune_landing_days: float = Field(default=90.0, gt=0)
    prune_reports_days: float = Field(default=365.0, gt=0)
    prune_snapshots_days: float = Field(default=180.0, gt=0)
    prune_snapshots_kept: int = Field(default=12, ge=1)
    prune_orphans_days: float = Field(default=7.0, gt=0)
    prune_events_days: float = Field(default=90.0, gt=0)
    prune_inbox_margin_days: float = Field(default=14.0, gt=0)
    prune_dead_letters_days: float = Field(default=365.0, gt=0)
    prune_notifications_days: float = Field(default=90.0, gt=0)
    prune_schedule_runs_days: float = Field(default=365.0, gt=0)
    prune_uploads_days: float = Field(default=7.0, gt=0)
    prune_audit_days: float = Field(default=1095.0, gt=0)

    # For tests alone
    fail_point: str = ""

    @field_validator(
        *("kafka_security_protocol", "kafka_sasl_mechanism", "kafka_password"),
        *("kafka_ca_file", "kafka_cert_file", "kafka_key_file", "s3_ca_file"),
        *("console_database_url", "console_password"),
        mode="before",
    )
    @classmethod
    def _empty_is_unset(cls, value: object, field: ValidationInfo) -> object:
        """Take an empty variable, as a compose file passes it on, for one that is not set."""
        return cls.model_fields[field.field_name or ""].default if value == "" else value

    @model_validator(mode="after")
    def _heartbeats_come_within_a_session(self) -> Self:
        if self.heartbeat_interval_seconds >= self.session_timeout_seconds:
            raise ValueError(
                f"HEARTBEAT_INTERVAL_SECONDS={self.heartbeat_interval_seconds:g} has to be less "
                f"than SESSION_TIMEOUT_SECONDS={self.session_timeout_seconds:g}"
            )
        return self

    def replica(self) -> str:
        """What this process is called among those of its service."""
        return self.replica_name or socket.gethostname()

    def topic(self, name: str) -> str:
        """The broker's name of the topic `name` in this environment."""
        return self.topic_prefix + name

    def bucket(self, name: str) -> str:
        """The store's name of the bucket `name` in this environment."""
        return self.bucket_prefix + name


def _fault(found: ErrorDetails) -> str:
    """What is wrong with a variable, by its name. A fault of several names them itself."""
    said = found["msg"].removeprefix("Value error, ")
    return ": ".join([*(str(field).upper() for field in found["loc"][:1]), said])
