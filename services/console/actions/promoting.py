"""Promote a model version, or roll back: asked of the trainer, who has the registry."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, text

from services.console.actions.action import Action, Done, Field, Proposal, Values, ask
from services.console.forms import BadForm, given, needed
from services.console.session import Actor
from services.console.site import Site
from services.console.wording import model_url
from shared.contracts.decisions import Decision, champions
from shared.contracts.events import PromotionRequested

REASON = Field("reason", "Why", hint="Kept with the decision.")
_DECISIONS = """
    SELECT p.dataset, p.model_version, p.decision, p.metric, p.score, p.as_of,
           coalesce(l.slice_key, '') AS slice_key
    FROM headrace.promotions AS p
    LEFT JOIN headrace.loads AS l USING (load_id)
    WHERE p.model_name = :model
    ORDER BY p.decided_at
"""


@dataclass(frozen=True)
class Version:
    """A version of a model, as its newest decision tells it."""

    dataset: str
    slice_key: str
    said: str
    """Its score, and of when its data is."""


@dataclass(frozen=True)
class Standing:
    """A model's versions, its champion and the one before it."""

    versions: dict[str, Version]
    champions: tuple[str, ...]
    """Who has been champion, the present one last. A rollback takes one off."""

    @property
    def champion(self) -> str | None:
        """The present one."""
        return self.champions[-1] if self.champions else None

    @property
    def before(self) -> str | None:
        """The one that a rollback makes champion again."""
        return self.champions[-2] if len(self.champions) > 1 else None


def standing(connection: Connection, model: str) -> Standing:
    """As the decisions tell it; an alias that somebody moved in MLflow itself isn't known here."""
    versions: dict[str, Version] = {}
    history: list[tuple[str, Decision]] = []
    for row in connection.execute(text(_DECISIONS), {"model": model}):
        said = f"{row.metric} {row.score:.4f}, data of {row.as_of}"
        versions[row.model_version] = Version(row.dataset, row.slice_key, said)
        history.append((row.model_version, Decision(row.decision)))
    return Standing(versions, tuple(champions(history)))


def _propose_promotion(site: Site, connection: Connection, values: Values) -> Proposal:
    model, version = needed(values, "model"), needed(values, "version")
    found = standing(connection, model)
    wanted = _version(found, model, version)
    if found.champion == version:
        raise BadForm(f"version {version} is the champion of {model} already")
    return Proposal(
        title=f"Make version {version} the champion of {model}?",
        verb=f"Promote version {version}",
        says=(
            "The trainer makes it champion whatever the rule said. Whoever asks for the champion's "
            "answers gets those of this version from then on.",
        ),
        values={"model": model, "version": version, "champion": found.champion or ""},
        facts=(
            ("To be champion", f"version {version}: {wanted.said}"),
            ("Champion now", _described(found, found.champion)),
        ),
        fields=(REASON,),
        back=model_url(wanted.dataset, version),
    )


def _propose_rollback(site: Site, connection: Connection, values: Values) -> Proposal:
    model = needed(values, "model")
    found = standing(connection, model)
    if found.champion is None or found.before is None:
        raise BadForm(f"{model} has no champion before the present one")
    dataset = found.versions[found.champion].dataset
    return Proposal(
        title=f"Roll {model} back to version {found.before}?",
        verb=f"Roll back to version {found.before}",
        says=(
            f"The trainer makes version {found.before} champion again and withdraws version "
            f"{found.champion}, which the rule then never promotes again; only a person can.",
        ),
        values={"model": model, "version": found.before, "champion": found.champion},
        facts=(
            ("Champion again", _described(found, found.before)),
            ("Withdrawn", _described(found, found.champion)),
        ),
        fields=(REASON,),
        is_grave=True,
        back=model_url(dataset, found.champion),
    )


def _ask(
    action: Literal["promote", "roll_back"],
    site: Site,
    connection: Connection,
    actor: Actor,
    values: Values,
) -> Done:
    model, version = needed(values, "model"), needed(values, "version")
    wanted = _version(standing(connection, model), model, version)
    payload = PromotionRequested(
        dataset=wanted.dataset,
        slice_key=wanted.slice_key,
        action=action,
        model_name=model,
        model_version=version,
        champion_version=given(values, "champion") or None,
        reason=given(values, "reason"),
        requested_by=actor.name,
    )
    event = ask(site, connection, payload)
    verb = "promote" if action == "promote" else "roll back to"
    return Done(
        subject=f"{model} version {version}",
        message=f"Asked the trainer to {verb} version {version} of {model}.",
        dataset=payload.dataset,
        event_id=event.id,
        detail={
            "model": model,
            "version": version,
            "champion_then": payload.champion_version,
            "reason": payload.reason,
        },
    )


def _promote(site: Site, connection: Connection, actor: Actor, values: Values) -> Done:
    return _ask("promote", site, connection, actor, values)


def _roll_back(site: Site, connection: Connection, actor: Actor, values: Values) -> Done:
    return _ask("roll_back", site, connection, actor, values)


def _version(found: Standing, model: str, version: str) -> Version:
    if version not in found.versions:
        raise BadForm(f"nothing is recorded of version {version} of {model}")
    return found.versions[version]


def _described(found: Standing, version: str | None) -> str:
    return f"version {version}: {found.versions[version].said}" if version else "none"


PROMOTE = Action("promote", "promote", _propose_promotion, _promote)
ROLL_BACK = Action("roll-back", "roll back", _propose_rollback, _roll_back)
