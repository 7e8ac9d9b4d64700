"""Asking for a withdrawal: what the command line and the console have in common."""

from sqlalchemy import Connection, text

from shared.contracts.events import WithdrawRequested
from shared.contracts.spec_file import find_spec
from shared.database.statuses import LoadKind, LoadStatus
from shared.load_requests import IN_PROGRESS, BadRequest
from shared.settings import Settings


def withdraw_request(
    connection: Connection,
    settings: Settings,
    *,
    dataset: str,
    slice_key: str,
    reason: str,
    requested_by: str,
) -> WithdrawRequested:
    """The request, checked. Raises `UnknownDataset`, `FaultySpec`, and `BadRequest` where nothing
    can be withdrawn or nobody says why.
    """
    if not reason.strip():
        raise BadRequest("say why it is withdrawn: the reason is kept with the withdrawal")
    find_spec(settings.datasets_dir, dataset)
    if obstacle := obstacle_to_withdrawing(connection, dataset, slice_key):
        raise BadRequest(obstacle)
    return WithdrawRequested(
        dataset=dataset, slice_key=slice_key, reason=reason, requested_by=requested_by
    )


def obstacle_to_withdrawing(connection: Connection, dataset: str, slice_key: str) -> str | None:
    """Why there is nothing to withdraw; None where there is."""
    row = connection.execute(
        text(_STATE),
        {
            "dataset": dataset,
            "slice_key": slice_key,
            "in_progress": [status.value for status in IN_PROGRESS],
        },
    ).one_or_none()
    what = f"{dataset}/{slice_key}"
    if row is None:
        return f"{what} was never loaded: see `headrace slices {dataset}`"
    is_under_way = row.status in IN_PROGRESS
    if row.kind == LoadKind.WITHDRAWAL and is_under_way:
        return f"{what} is being withdrawn already, by load {row.load_id}"
    if row.is_published or is_under_way:
        return None
    if row.withdrawn is not None:
        return f"{what} is withdrawn already, {row.withdrawn}"
    last = LoadStatus(row.status)
    return f"{what} isn't published, there is nothing to withdraw: its last load is {last.value}"


_STATE = """
    SELECT l.load_id, l.status, l.kind,
           EXISTS (
               SELECT FROM headrace.slices
               WHERE dataset = :dataset AND slice_key = :slice_key
           ) AS is_published,
           (
               SELECT 'on ' || to_char(finished_at, 'YYYY-MM-DD') || ' by ' || requested_by || ': '
                      || coalesce(reasons -> 0 ->> 'message', '')
               FROM headrace.loads
               WHERE dataset = :dataset AND slice_key = :slice_key AND status = 'withdrawn'
               ORDER BY started_at DESC
               LIMIT 1
           ) AS withdrawn
    FROM headrace.loads AS l
    WHERE l.dataset = :dataset AND l.slice_key = :slice_key
    ORDER BY l.status <> ALL (:in_progress), l.started_at DESC
    LIMIT 1
"""
