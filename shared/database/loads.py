"""Where a load stands, as every stage records it."""

from typing import Any

from sqlalchemy import Connection, select, text, update

from shared.database.statuses import LoadStatus
from shared.database.tables import loads

FINAL = frozenset(
    {
        LoadStatus.PUBLISHED,
        LoadStatus.REJECTED,
        LoadStatus.UNCHANGED,
        LoadStatus.SUPERSEDED,
        LoadStatus.FAILED,
        LoadStatus.WITHDRAWN,
    }
)


def set_status(connection: Connection, load_id: str, status: LoadStatus, **values: Any) -> None:
    """Move the load to `status` and set `values`, columns of `loads`.

    A final status also sets `finished_at`.
    """
    if status in FINAL:
        values["finished_at"] = text("clock_timestamp()")
    connection.execute(
        update(loads).where(loads.c.load_id == load_id).values(status=status.value, **values)
    )


def status_of(connection: Connection, load_id: str) -> LoadStatus | None:
    """The load's status; None where there is no such load."""
    found = connection.execute(select(loads.c.status).where(loads.c.load_id == load_id)).scalar()
    return None if found is None else LoadStatus(found)
