"""A person's word about the champion: a promotion by hand, and the rollback.

Each holds the model's lock from reading to commit, and publishes what it did, for who serves the
champion wants to hear of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine

from services.trainer.promotion.ruling import decision_tags
from services.trainer.records import (
    decisions,
    keep_promotion,
    kept_digest,
    latest_promotion,
    registry_lock,
)
from services.trainer.registry import Registry
from services.trainer.runs import CHALLENGER, CHAMPION
from shared.clock import Clock, utc_now
from shared.contracts.decisions import Decision, previous_champion
from shared.contracts.envelope import Event
from shared.contracts.events import ModelPublished, Payload
from shared.errors import InconsistentState
from shared.messaging import outbox

Publish = Callable[[ModelPublished], Event[Payload]]
"""Has the decision told once the transaction commits."""
SOURCE = "trainer"
"""Of the events of a person's decision: the trainer's relay sends them."""


@dataclass(frozen=True)
class Word:
    """Who says so, why, and the champion that they saw, where they saw one."""

    by: str
    reason: str = ""
    champion_version: str | None = None

    def said(self, what: str) -> str:
        """The decision's reason in words."""
        return f"{what} by {self.by}" + (f": {self.reason}" if self.reason else "")


def roll_back(
    engine: Engine,
    registry: Registry,
    model: str,
    *,
    by: str,
    reason: str = "",
    clock: Clock = utc_now,
) -> ModelPublished:
    """Make the previous champion of `model` champion again, and withdraw the present one.

    A withdrawn version is never promoted by the rule again. Alias, record and event belong
    together: after a failure in between, calling it again completes the same rollback.
    Raises `InconsistentState` where there is no champion before this one.
    """
    with registry_lock(engine, model) as connection:
        publish = _publisher(connection, clock)
        return roll_back_under_lock(
            connection, registry, model, Word(by, reason), now=clock(), publish=publish
        )


def roll_back_under_lock(
    connection: Connection,
    registry: Registry,
    model: str,
    word: Word,
    *,
    version: str | None = None,
    now: datetime,
    publish: Publish,
) -> ModelPublished:
    """`roll_back` in the transaction of `connection`, which holds the model's lock.

    Raises `InconsistentState` also where the previous champion isn't `version`, or the present one
    isn't the one that the person saw.
    """
    newest, previous = previous_champion(decisions(connection, model))
    holder = registry.holder(model, CHAMPION)
    if holder is not None and newest is not None and holder.version not in (newest, previous):
        # Somebody set the alias in MLflow itself: what Headrace knows of is before that.
        newest, previous = holder.version, newest
    if newest is None or previous is None:
        raise InconsistentState(f"{model} has no champion before the present one")
    _check_seen(model, newest, word)
    if version not in (None, previous):
        raise InconsistentState(
            f"the champion of {model} before version {newest} is version {previous}, "
            f"not {version}: look again"
        )
    why = word.said(f"rolled back from version {newest}")
    payload = _record(
        connection, model, previous, newest, Decision.ROLLED_BACK, why, publish=publish
    )
    registry.withdraw(model, newest, why)
    registry.annotate(model, newest, decision_tags(Decision.WITHDRAWN, why, now))
    _crown(registry, model, previous, decision_tags(Decision.ROLLED_BACK, why, now))
    return payload


def promote(
    engine: Engine,
    registry: Registry,
    model: str,
    version: str,
    *,
    by: str,
    reason: str = "",
    clock: Clock = utc_now,
) -> ModelPublished:
    """Make `version` champion on a person's word, whatever the rule says.

    Raises `InconsistentState` for a version that Headrace didn't make.
    """
    with registry_lock(engine, model) as connection:
        publish = _publisher(connection, clock)
        return promote_under_lock(
            connection, registry, model, version, Word(by, reason), now=clock(), publish=publish
        )


def promote_under_lock(
    connection: Connection,
    registry: Registry,
    model: str,
    version: str,
    word: Word,
    *,
    now: datetime,
    publish: Publish,
) -> ModelPublished:
    """`promote` in the transaction of `connection`, which holds the model's lock.

    Raises `InconsistentState` also where the champion isn't the one that the person saw.
    """
    holder = registry.holder(model, CHAMPION)
    champion = holder.version if holder else None
    if champion == version:  # so an attempt that got no further than the alias has left it
        champion = word.champion_version or champion
    _check_seen(model, champion, word)
    if registry.version(model, version) is None:
        raise InconsistentState(f"{model} has no version {version}")
    why = word.said("promoted")
    payload = _record(
        connection, model, version, champion, Decision.PROMOTED_BY_HAND, why, publish=publish
    )
    _crown(registry, model, version, decision_tags(Decision.PROMOTED_BY_HAND, why, now))
    return payload


def _publisher(connection: Connection, clock: Clock) -> Publish:
    """For a decision that no event asked for."""

    def publish(payload: ModelPublished) -> Event[Payload]:
        event: Event[Payload] = Event(payload, source=SOURCE, time=clock())
        outbox.put(connection, event)
        return event

    return publish


def _check_seen(model: str, champion: str | None, word: Word) -> None:
    if word.champion_version not in (None, champion):
        raise InconsistentState(
            f"the champion of {model} is version {champion} by now, and was version "
            f"{word.champion_version} when this was asked for: look again"
        )


def _record(
    connection: Connection,
    model: str,
    version: str,
    instead_of: str | None,
    decision: Decision,
    reason: str,
    *,
    publish: Publish,
) -> ModelPublished:
    known = latest_promotion(connection, model, version)
    if known is None:
        raise InconsistentState(f"nothing is recorded of version {version} of {model}")
    payload = ModelPublished(
        dataset=known["dataset"],
        slice_key=known["slice_key"],
        load_id=known["load_id"],
        snapshot_id=known["snapshot_id"],
        as_of=known["as_of"],
        dataset_version=known["dataset_version"],
        model_name=model,
        model_version=version,
        run_id=known["run_id"],
        alias=CHAMPION,
        promoted=True,
        decision=decision.value,
        reason=reason,
        metrics=known["metrics"],
    )
    keep_promotion(
        connection,
        event_id=publish(payload).id,
        **payload.model_dump(exclude={"slice_key"}),
        metric=known["metric"],
        score=known["score"],
        champion_version=instead_of,
        model_sha256=kept_digest(connection, model, version),
    )
    return payload


def _crown(registry: Registry, model: str, version: str, tags: Mapping[str, str]) -> None:
    """Give the alias. Called last, so that a refusal of the database leaves it where it was."""
    registry.withdraw(model, version, None)
    registry.annotate(model, version, tags)
    challenger = registry.holder(model, CHALLENGER)
    if challenger is not None and challenger.version == version:
        registry.release(model, CHALLENGER)
    registry.assign(model, CHAMPION, version)
