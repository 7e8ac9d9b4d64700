"""Alembic migrations of the control tables. `upgrade` brings a database to the newest."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text


def alembic_config() -> Config:
    """Alembic's configuration, without a file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(engine: Engine) -> None:
    """Bring the control tables to the newest version. Several processes may do so at once."""
    config = alembic_config()
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('headrace migrate'))"))
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS headrace"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
