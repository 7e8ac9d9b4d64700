"""What is kept and what is told of a comparison."""

from sqlalchemy import Connection, delete, insert

from services.trainer.drift.comparing import Comparison
from services.trainer.drift.pairs import Pair
from shared.contracts.events import DriftDetected, DriftedFeature
from shared.database.tables import drift

FEATURES_TOLD = 20
"""Of those that have drifted; all are in the table."""


def keep_drift(
    connection: Connection, dataset: str, pair: Pair, found: Comparison, event_id: str
) -> None:
    """Record the comparison, in the place of what an earlier one of the same two datasets gave."""
    of_pair = {
        "dataset": dataset,
        "snapshot_id": pair.current.snapshot_id,
        "baseline_version": pair.baseline.dataset_version,
    }
    same = [drift.c[name] == value for name, value in of_pair.items()]
    connection.execute(delete(drift).where(*same))
    rows = [
        {
            **of_pair,
            "feature": each.feature,
            "measure": each.measure.value,
            "is_target": each.is_target,
            "value": each.value,
            "p_value": each.p_value,
            "threshold": each.threshold,
            "is_drifted": each.is_drifted,
            "bins": each.bins.drawn(),
            "load_id": pair.current.load_id,
            "as_of": pair.current.as_of,
            "dataset_version": pair.current.dataset_version,
            "rows": found.current_rows,
            "model_name": pair.model_name,
            "champion_version": pair.champion_version,
            "baseline_snapshot_id": pair.baseline.snapshot_id,
            "baseline_as_of": pair.baseline.as_of,
            "baseline_rows": found.baseline_rows,
            "event_id": event_id,
        }
        for each in found.differences
    ]
    if rows:
        connection.execute(insert(drift), rows)


def detected(dataset: str, pair: Pair, found: Comparison) -> DriftDetected | None:
    """What is told; None where nothing has drifted, or where the champion knew later data."""
    drifted = found.drifted()
    if not drifted or pair.current.as_of < pair.baseline.as_of:
        return None
    return DriftDetected(
        dataset=dataset,
        slice_key=pair.current.slice_key,
        load_id=pair.current.load_id,
        snapshot_id=pair.current.snapshot_id,
        as_of=pair.current.as_of,
        dataset_version=pair.current.dataset_version,
        model_name=pair.model_name,
        champion_version=pair.champion_version,
        baseline_as_of=pair.baseline.as_of,
        baseline_version=pair.baseline.dataset_version,
        features_compared=found.features,
        features_drifted=len(drifted),
        features=tuple(
            DriftedFeature(
                feature=each.feature,
                measure=each.measure.value,
                value=each.value,
                threshold=each.threshold,
            )
            for each in drifted[:FEATURES_TOLD]
        ),
    )
