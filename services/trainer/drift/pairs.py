"""Which two datasets are compared once it is decided about a model version."""

from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, RowMapping, select, text

from services.trainer.records import latest_promotion
from shared.contracts.decisions import Decision
from shared.contracts.envelope import Event
from shared.contracts.events import ModelPublished
from shared.database.tables import promotions, training_datasets
from shared.errors import InconsistentState

BY_HAND = frozenset({Decision.PROMOTED_BY_HAND.value, Decision.ROLLED_BACK.value})
_NEWEST = """
    SELECT d.dataset_version, d.snapshot_id, d.as_of, d.manifest_uri, s.load_id, s.slice_key
    FROM headrace.training_datasets AS d
    JOIN headrace.snapshots AS s USING (snapshot_id)
    WHERE d.dataset = :dataset
    ORDER BY d.as_of DESC, d.created_at DESC
    LIMIT 1
"""


@dataclass(frozen=True)
class Stored:
    """A training dataset in the store, and the snapshot that it is of."""

    dataset_version: str
    manifest_uri: str
    snapshot_id: str
    load_id: str
    slice_key: str
    as_of: date


@dataclass(frozen=True)
class Pair:
    """The dataset that the champion was trained on, and the one that is held against it."""

    model_name: str
    champion_version: str
    baseline: Stored
    current: Stored


def find_pair(connection: Connection, event: Event[ModelPublished]) -> Pair | None:
    """The datasets to compare; None where there was no champion, or it was trained on the same.

    After a training that is its dataset, against that of the champion whom it came to, whether or
    not that one still is. After a person's word it is the newest dataset, against the champion of
    that person's choice. Raises `InconsistentState` where nothing is recorded of the decision.
    """
    published = event.payload
    champion: str | None
    if published.decision in BY_HAND:
        champion, current = published.model_version, _newest(connection, published.dataset)
    else:
        champion, current = _judged_against(connection, event), _trained_on(connection, published)
    if champion is None or current is None:
        return None
    known = latest_promotion(connection, published.model_name, champion)
    if known is None or known["dataset"] != published.dataset:
        return None  # somebody gave the alias in MLflow itself to a version that isn't ours
    baseline = _of_champion(connection, known)
    if baseline.dataset_version == current.dataset_version:
        return None
    return Pair(published.model_name, champion, baseline, current)


def _judged_against(connection: Connection, event: Event[ModelPublished]) -> str | None:
    """The champion at the time of the decision. A decision is kept under the event's cause."""
    query = select(promotions.c.champion_version).where(
        promotions.c.event_id == event.causation_id,
        promotions.c.model_version == event.payload.model_version,
    )
    row = connection.execute(query).first()
    if row is None:
        raise InconsistentState(
            f"no decision about {event.payload.model_name} version {event.payload.model_version} "
            f"is recorded for event {event.causation_id}"
        )
    return None if row.champion_version is None else str(row.champion_version)


def _trained_on(connection: Connection, published: ModelPublished) -> Stored:
    return Stored(
        published.dataset_version,
        _manifest_uri(connection, published.dataset, published.dataset_version),
        published.snapshot_id,
        published.load_id,
        published.slice_key,
        published.as_of,
    )


def _of_champion(connection: Connection, decided: RowMapping) -> Stored:
    return Stored(
        decided["dataset_version"],
        _manifest_uri(connection, decided["dataset"], decided["dataset_version"]),
        decided["snapshot_id"],
        decided["load_id"],
        decided["slice_key"],
        decided["as_of"],
    )


def _newest(connection: Connection, dataset: str) -> Stored | None:
    row = connection.execute(text(_NEWEST), {"dataset": dataset}).mappings().first()
    return None if row is None else Stored(**row)


def _manifest_uri(connection: Connection, dataset: str, version: str) -> str:
    query = select(training_datasets.c.manifest_uri).where(
        training_datasets.c.dataset == dataset, training_datasets.c.dataset_version == version
    )
    found = connection.execute(query).scalar()
    if found is None:
        raise InconsistentState(f"nothing is recorded of {dataset}'s training dataset {version}")
    return str(found)
