"""Withdrawals: what the ingestor does is give each its place among the loads of its dataset."""

import logging
from dataclasses import dataclass

from sqlalchemy import Connection, insert, text

from services.ingestor.loads import after_all_loads, lock_slice
from shared.contracts.envelope import Event, of_type
from shared.contracts.events import Payload, Reason, WithdrawalQueued, WithdrawRequested
from shared.contracts.spec_file import find_spec
from shared.database.statuses import LoadKind, LoadStatus
from shared.database.tables import loads
from shared.errors import PermanentError
from shared.load_requests import WITHDRAWN_CODE, check_slice_key
from shared.messaging import inbox
from shared.messaging.unit_of_work import AlreadyDone, UnitOfWork
from shared.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Withdrawals:
    """Handles `withdraw-requested`."""

    settings: Settings

    def on_withdraw_requested(self, event: Event[Payload], unit: UnitOfWork) -> None:
        """Record the withdrawal as an attempt at the slice, and send it the way of the loads.

        Its way leads through the validator, which lets it pass when all that was loaded before is
        published; so it takes back just what was asked for before it. Raises `PermanentError`
        where there is no such dataset, or nobody ever asked for such a slice.
        """
        requested = of_type(event, WithdrawRequested)
        payload = requested.payload
        check_slice_key(payload.slice_key)
        find_spec(self.settings.datasets_dir, payload.dataset)
        with unit.engine.begin() as guard:
            lock_slice(guard, payload.dataset, payload.slice_key)
            if inbox.is_done(guard, unit.consumer, event.id):
                raise AlreadyDone(event.id)
            with unit.transaction() as transaction:
                _begin(transaction.connection, requested)
                transaction.emit(
                    WithdrawalQueued(
                        dataset=payload.dataset,
                        slice_key=payload.slice_key,
                        load_id=event.correlation_id,
                    )
                )


def _begin(connection: Connection, event: Event[WithdrawRequested]) -> None:
    payload = event.payload
    newest = connection.execute(
        text(_NEWEST), {"dataset": payload.dataset, "slice_key": payload.slice_key}
    ).one_or_none()
    if newest is None:
        raise PermanentError(f"{event.subject} was never loaded: there is nothing to withdraw")
    reason = Reason(code=WITHDRAWN_CODE, message=payload.reason)
    connection.execute(
        insert(loads).values(
            load_id=event.correlation_id,
            dataset=payload.dataset,
            slice_key=payload.slice_key,
            as_of=newest.as_of,
            percentage=newest.percentage,
            status=LoadStatus.LOADED.value,
            kind=LoadKind.WITHDRAWAL.value,
            source_uri=newest.source_uri,
            requested_by=payload.requested_by,
            requested_at=event.time,
            started_at=after_all_loads(payload.dataset, event.correlation_id),
            reasons=[reason.model_dump(mode="json")],
        )
    )


_NEWEST = """
    SELECT l.as_of, l.percentage, l.source_uri
    FROM headrace.loads AS l
    LEFT JOIN headrace.slices AS s ON s.load_id = l.load_id
    WHERE l.dataset = :dataset AND l.slice_key = :slice_key
    ORDER BY s.load_id IS NULL, l.started_at DESC
    LIMIT 1
"""
