"""Waiting for the dataset's slices before this one.

Stages work side by side: while a slice is being merged, the next one is staged already. It must
not be judged against current tables that the slice before it is about to change (a row whose
parent came with that slice would be refused), so the validator waits until what was loaded before
is published, rejected or given up.
"""

import time

from sqlalchemy import Connection, Engine, select

from shared.database.statuses import LoadStatus
from shared.database.tables import loads
from shared.errors import OutOfTurn

POLL_SECONDS = 0.05
PATIENCE_SECONDS = 0.5
_UNDER_WAY = (LoadStatus.LOADED.value, LoadStatus.VALIDATED.value)


class EarlierSliceUnderWay(OutOfTurn):
    """A slice of the same dataset that was loaded before this one is not published yet."""

    def __init__(self, slice_key: str, status: str, load_id: str) -> None:
        said = f"slice {slice_key} was loaded before and is still {status}"
        super().__init__(said, after=load_id)
        self.slice_key = slice_key
        self.status = status


def wait_for_turn(engine: Engine, load_id: str) -> None:
    """Return when no load of the same dataset that began earlier is under way.

    Raises `EarlierSliceUnderWay` after `PATIENCE_SECONDS`: the thread is for other datasets then.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        with engine.connect() as connection:
            earlier = _earlier(connection, load_id)
        if earlier is None:
            return
        if time.monotonic() >= deadline:
            raise EarlierSliceUnderWay(*earlier)
        time.sleep(POLL_SECONDS)


def _earlier(connection: Connection, load_id: str) -> tuple[str, str, str] | None:
    """Slice, status and id of the first load that this one has to wait for."""
    own = loads.alias("own")
    query = (
        select(loads.c.slice_key, loads.c.status, loads.c.load_id)
        .join(own, (own.c.dataset == loads.c.dataset) & (own.c.started_at > loads.c.started_at))
        .where(own.c.load_id == load_id, loads.c.status.in_(_UNDER_WAY))
        .order_by(loads.c.started_at)
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None else (row.slice_key, row.status, row.load_id)
