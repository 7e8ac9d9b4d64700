"""What the control tables have in common."""

from sqlalchemy import Column, DateTime, MetaData, text

SCHEMA = "headrace"
metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    },
)


def moment(
    name: str, *, nullable: bool = True, now: bool = False, primary_key: bool = False
) -> "Column[object]":
    """A column of a point in time; with `now` the moment of the insert is its default."""
    default = text("clock_timestamp()") if now else None
    return Column(
        name,
        DateTime(timezone=True),
        nullable=nullable and not primary_key,
        primary_key=primary_key,
        server_default=default,
    )
