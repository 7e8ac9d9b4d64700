"""The decision about a version: made once, kept with its run, carried out as often as need be."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime

from pydantic import ValidationError
from sqlalchemy import Connection

from services.trainer.computing import TestSide
from services.trainer.modelling.stored_model import UnreadableModel
from services.trainer.prediction.serving import load_version
from services.trainer.promotion.decision import Candidate, Champion, decide
from services.trainer.registry import RecordedRun, Registry, Tracking
from services.trainer.runs import (
    CHALLENGER,
    CHAMPION,
    DECIDED_AT_TAG,
    DECISION_TAG,
    REASON_TAG,
    SPLIT_TAG,
    TARGET_TAG,
    WITHDRAWN_TAG,
    RegisteredVersion,
)
from shared.contracts.decisions import Decision
from shared.contracts.manifest import DatasetManifest
from shared.contracts.training_spec import Split, Training
from shared.fail_points import FailPoint, reached

_CLASSES_IN_COMMON = 2
"""That a champion must know of those tested on, to be compared at all."""


@dataclass(frozen=True)
class Ruling:
    """A decision about a version as it is kept with its run, so that it is made once."""

    version: str
    decision: str
    reason: str
    score: float
    champion_version: str | None
    champion_score: float | None

    @property
    def promoted(self) -> bool:
        """Whether the version is champion by it."""
        return Decision(self.decision).makes_champion


def rule(
    connection: Connection,
    tracking: Tracking,
    registry: Registry,
    training: Training,
    manifest: DatasetManifest,
    test: TestSide,
    version: RegisteredVersion,
    metrics: dict[str, float],
    run: RecordedRun,
) -> Ruling:
    """Decide about `version`, keep the decision with the run, and return it.

    A run that has one keeps it, unless the champion has changed since by another hand, or a person
    has rolled the version back. Call under the model's lock, which `connection` holds.
    """
    present = registry.holder(training.model.name, CHAMPION)
    if run.decision is not None:
        kept = Ruling(**json.loads(run.decision))
        if _holds(kept, version, present):
            return kept
    score = metrics[training.metric.value]
    champion = None
    if present is not None and present.version == version.version:
        champion = Champion(present.version, present.as_of, score)
    elif present is not None:
        champion = _measured(connection, registry, training, manifest, test, present)
    candidate = Candidate(
        version.version, manifest.as_of, score, bool(version.tags.get(WITHDRAWN_TAG))
    )
    outcome = decide(training.metric, training.minimum, candidate, champion)
    ruling = Ruling(
        version.version,
        outcome.decision.value,
        outcome.reason,
        score,
        champion.version if champion else None,
        champion.score if champion else None,
    )
    reached(FailPoint.RULING_KEEPING)
    tracking.remember(run.run_id, json.dumps(asdict(ruling), sort_keys=True))
    reached(FailPoint.RULING_KEPT)
    return ruling


def decision_tags(decision: Decision, reason: str, now: datetime) -> dict[str, str]:
    """The newest decision about a version, as the version's tags tell it."""
    return {
        DECISION_TAG: decision.value,
        REASON_TAG: reason,
        DECIDED_AT_TAG: now.isoformat(),
    }


def carry_out(registry: Registry, model: str, ruling: Ruling, now: datetime) -> str | None:
    """Set tags and aliases as `ruling` says and give the alias that its version has then.

    The challenger is the newest version that isn't champion and never was. Doing it again changes
    nothing.
    """
    tags = decision_tags(Decision(ruling.decision), ruling.reason, now)
    registry.annotate(model, ruling.version, tags)
    challenger = registry.holder(model, CHALLENGER)
    if ruling.promoted:
        registry.assign(model, CHAMPION, ruling.version)
        if challenger is not None and challenger.version == ruling.version:
            registry.release(model, CHALLENGER)
        return CHAMPION
    if ruling.decision == Decision.WITHDRAWN:
        return None
    if challenger is None or int(challenger.version) < int(ruling.version):
        registry.assign(model, CHALLENGER, ruling.version)
        return CHALLENGER
    return CHALLENGER if challenger.version == ruling.version else None


def _holds(kept: Ruling, version: RegisteredVersion, present: RegisteredVersion | None) -> bool:
    """Whether what was decided about the version before is still to be carried out."""
    expected = {kept.champion_version}
    if kept.promoted:
        # Rolled back, its champion is the one before again, as if nothing had been carried out.
        if version.tags.get(WITHDRAWN_TAG):
            return False
        expected.add(kept.version)
    return (present.version if present else None) in expected


def _measured(
    connection: Connection,
    registry: Registry,
    training: Training,
    manifest: DatasetManifest,
    test: TestSide,
    version: RegisteredVersion,
) -> Champion:
    """The champion with its score on these test rows, or with what stands against one."""

    def not_comparable(obstacle: str) -> Champion:
        return Champion(version.version, version.as_of, None, obstacle)

    if version.tags.get(TARGET_TAG) != manifest.target:
        return not_comparable(f"it predicts {version.tags.get('headrace.target')}")
    if not _kept_apart(version, manifest):
        return not_comparable("it may have been trained on some of them, for the split has changed")
    try:
        model = load_version(connection, registry, version)
    except UnreadableModel as error:
        return not_comparable(str(error))
    try:
        asked = {field.name for field in manifest.features}
        if absent := sorted(set(model.feature_names_in_) - asked):
            return not_comparable(f"it needs {', '.join(absent)}")
        # A class that is new since, or that no row has any more, counts as it would in use; but
        # one who knows none of the classes, or only one, was asked something else.
        if len(set(model.classes_.tolist()) & set(test.target.tolist())) < _CLASSES_IN_COMMON:
            return not_comparable("it knows other classes")
        found = test.measure(model)
    except (ValueError, TypeError) as error:
        return not_comparable(str(error))
    return Champion(version.version, version.as_of, found.metrics[training.metric.value])


def _kept_apart(version: RegisteredVersion, manifest: DatasetManifest) -> bool:
    """Whether no entity that tests now can have trained the version: its own test side, by the
    same salt, was at least as large.
    """
    try:
        split = Split.model_validate_json(version.tags.get(SPLIT_TAG, ""))
    except ValidationError:
        return False
    return split.salt == manifest.split.salt and split.test_share >= manifest.split.test_share
