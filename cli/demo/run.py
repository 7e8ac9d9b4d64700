"""Carrying out a demo's plan: the events published, and what comes of them watched."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, text

from cli.demo.plan import Plan
from cli.demo.screen import Screen
from cli.load import publish
from cli.progress import Progress, progress_of
from cli.session import Session
from shared.contracts.events import LoadRequested
from shared.database.dataset_tables import quoted
from shared.errors import HeadraceError

POLL_SECONDS = 0.15
GIVE_UP_SECONDS = 900.0
RELAY_SECONDS = 5.0
PUBLISHED_AT = text("""
    SELECT min(published_at)
    FROM headrace.outbox
    WHERE topic = 'model-published' AND headers ->> 'ce_correlationid' = :load_id
""")


@dataclass(frozen=True)
class Outcome:
    """What became of a load, and of the dataset by it."""

    progress: Progress
    requested_at: datetime
    """The time of the event that asked for it."""
    model_published_at: datetime | None
    """When `model-published` was on its topic; None where no model came of it."""
    current_data_state: Mapping[str, Any] | None
    """The dataset's view when this load was through; None where others were under way."""

    @property
    def seconds_to_model(self) -> float | None:
        """From the event to `model-published`."""
        if self.model_published_at is None:
            return None
        return (self.model_published_at - self.requested_at).total_seconds()


def carry_out(session: Session, plan: Plan, screen: Screen) -> list[Outcome]:
    """Publish the plan's events and watch until nothing more will come of any.

    One by one, a load that is refused or given up is the last one.

    Raises HeadraceError where a process dies or nothing happens for too long.
    """
    watch = _Watch(session, plan, screen)
    batches = [[request] for request in plan.requests] if plan.one_by_one else [plan.requests]
    for batch in batches:
        for request in batch:
            watch.publish(request)
        watch.until_over()
        if not watch.is_good():
            break
    return watch.outcomes()


class _Watch:
    def __init__(self, session: Session, plan: Plan, screen: Screen) -> None:
        self._session = session
        self._plan = plan
        self._screen = screen
        self._load_ids: list[str] = []
        self._requested_at: dict[str, datetime] = {}
        self._found: dict[str, Progress] = {}
        self._states: dict[str, Mapping[str, Any]] = {}

    def publish(self, request: LoadRequested) -> None:
        event = publish(self._session, request)
        self._load_ids.append(event.id)
        self._requested_at[event.id] = event.time

    def until_over(self) -> None:
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while not self._is_over():
            if self._session.stack and (deaths := self._session.stack.dead()):
                raise HeadraceError(f"{deaths[0].name} has died; its log ends:\n{deaths[0].tail}")
            if time.monotonic() > deadline:
                raise HeadraceError(f"the slices are not through after {GIVE_UP_SECONDS:g} s")
            time.sleep(POLL_SECONDS)
        with self._session.engine.connect() as connection:
            state = _current_data_state(connection, self._plan.spec.dataset)
        if self._load_ids and state is not None:
            self._states[self._load_ids[-1]] = state

    def _is_over(self) -> bool:
        trains = self._plan.spec.training is not None
        with self._session.engine.connect() as connection:
            for load_id in self._load_ids:
                known = self._found.get(load_id)
                if known is None or not known.is_over(with_model=trains):
                    self._found[load_id] = progress_of(connection, load_id)
        names = [request.slice_key for request in self._plan.requests]
        found = [self._found.get(load_id) for load_id in self._load_ids]
        found += [None] * (len(names) - len(found))
        self._screen.show(list(zip(names, found, strict=True)))
        return all(self._found[load_id].is_over(with_model=trains) for load_id in self._load_ids)

    def is_good(self) -> bool:
        return all(progress.is_good for progress in self._found.values())

    def outcomes(self) -> list[Outcome]:
        return [
            Outcome(
                progress=self._found[load_id],
                requested_at=self._requested_at[load_id],
                model_published_at=self._model_published_at(load_id),
                current_data_state=self._states.get(load_id),
            )
            for load_id in self._load_ids
        ]

    def _model_published_at(self, load_id: str) -> datetime | None:
        """When the relay had published it, which follows the commit that the watch has seen."""
        if self._found[load_id].promotion is None:
            return None
        deadline = time.monotonic() + RELAY_SECONDS
        while True:
            with self._session.engine.connect() as connection:
                found = connection.execute(PUBLISHED_AT, {"load_id": load_id}).scalar()
            if found is not None or time.monotonic() > deadline:
                return found
            time.sleep(POLL_SECONDS)


def _current_data_state(connection: Connection, dataset: str) -> Mapping[str, Any] | None:
    query = text(f"SELECT * FROM {quoted(dataset, 'current_data_state')}")
    row = connection.execute(query).mappings().first()
    return dict(row) if row is not None else None
