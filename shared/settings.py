"""All that can be set from outside, read once from the environment.

No other module reads `os.environ`, but for what starts child processes. Every field is documented
in `docs/operations.md`; a test keeps the two in step.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """The settings of one process. The field `topic_prefix` is the variable `TOPIC_PREFIX`."""

    model_config = SettingsConfigDict(frozen=True, env_file=None, extra="ignore")

    # Where the servers are
    database_url: SecretStr = SecretStr("postgresql://headrace@127.0.0.1:5432/headrace")
    kafka_bootstrap_servers: str = "127.0.0.1:9092"
    s3_endpoint_url: str | None = None
    aws_access_key_id: SecretStr | None = None
    aws_secret_access_key: SecretStr | None = None
    aws_region: str = "us-east-1"
    mlflow_tracking_uri: str = "http://127.0.0.1:5000"

    # What is ours on them
    topic_prefix: str = ""
    bucket_prefix: str = "headrace-"
    topic_partitions: int = Field(default=6, ge=1)
    topic_replication: int = Field(default=1, ge=1)
    datasets_dir: Path = Path("datasets")

    # The process
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=8000, ge=0, le=65535)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "human"] = "json"
    git_commit: str = "unknown"

    # The consumer
    handler_threads: int = Field(default=2, ge=1)
    session_timeout_seconds: float = Field(default=6.0, gt=0)
    heartbeat_interval_seconds: float = Field(default=2.0, gt=0)
    shutdown_grace_seconds: float = Field(default=8.0, gt=0)
    unknown_error_attempts: int = Field(default=3, ge=1)
    retry_floor_seconds: float = Field(default=0.2, gt=0)
    retry_ceiling_seconds: float = Field(default=30.0, gt=0)
    relay_interval_seconds: float = Field(default=1.0, gt=0)
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

    # Messages to people
    notify_urls: SecretStr | None = None
    notify_on: str = Field(
        default="rejected promoted registered dead",
        pattern=r"^\s*((rejected|promoted|registered|dead)(\s+|$))*$",
    )
    notify_max_age_hours: float = Field(default=24.0, gt=0)
    notify_give_up_hours: float = Field(default=24.0, gt=0)
    notify_timeout_seconds: float = Field(default=15.0, gt=0)
    notify_retry_floor_seconds: float = Field(default=5.0, gt=0)
    notify_retry_ceiling_seconds: float = Field(default=300.0, gt=0)
    notify_unknown_after_seconds: float = Field(default=600.0, gt=0)

    def topic(self, name: str) -> str:
        """The broker's name of the topic `name` in this environment."""
        return self.topic_prefix + name

    def bucket(self, name: str) -> str:
        """The store's name of the bucket `name` in this environment."""
        return self.bucket_prefix + name
