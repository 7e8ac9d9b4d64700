"""Runs the migrations on the connection that `upgrade` hands over."""

from alembic import context

from shared.database.tables import SCHEMA, metadata


def include_name(name: str | None, kind: str, parents: object) -> bool:
    """Whether Alembic compares this object: only what lies in our schema."""
    return kind != "schema" or name == SCHEMA


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table_schema=SCHEMA,
    include_schemas=True,
    include_name=include_name,
    compare_type=True,
    compare_server_default=False,
)
with context.begin_transaction():
    context.run_migrations()
