"""What a log line says of an event that was committed: a sentence, and its figures as facts."""

from collections.abc import Mapping

from shared.contracts.events import (
    DatasetReady,
    DriftDetected,
    ModelPublished,
    Payload,
    SliceLoaded,
    SliceRejected,
    Snapshotted,
    TableChanges,
    Validated,
)

Facts = Mapping[str, str | int | float | bool | None]


def told(payload: Payload) -> tuple[str, Facts]:
    """A sentence about the event, and its figures by name. The sentence has no line breaks of ours.

    Of the data itself it says what the event says: codes and counts, and of a rejection a sample.
    """
    if isinstance(payload, SliceLoaded):
        return _loaded(payload)
    if isinstance(payload, SliceRejected):
        first = payload.reasons[0].message if payload.reasons else "no reason was given"
        more = len(payload.reasons) - 1
        others = f"; and {more} more reasons" if more > 0 else ""
        return f"rejected: {first}{others}", {
            "stage": payload.stage.value,
            "reasons": len(payload.reasons),
        }
    if isinstance(payload, Validated):
        return f"{payload.expectations} expectations evaluated, {payload.flagged} flagged", {
            "expectations": payload.expectations,
            "flagged": payload.flagged,
        }
    if isinstance(payload, Snapshotted):
        return _snapshotted(payload)
    if isinstance(payload, DatasetReady):
        rows = {"train_rows": payload.train_rows, "test_rows": payload.test_rows}
        said = f"training dataset {payload.dataset_version[:12]} has {payload.train_rows} and "
        return said + f"{payload.test_rows} rows", {
            "dataset_version": payload.dataset_version,
            **rows,
        }
    if isinstance(payload, ModelPublished):
        named = f"{payload.model_name} version {payload.model_version}"
        holds = f"is {payload.alias}" if payload.alias else "has no alias"
        return f"{named} {holds}: {payload.reason}", {
            "model": payload.model_name,
            "model_version": payload.model_version,
            "decision": payload.decision,
            "promoted": payload.promoted,
        }
    if isinstance(payload, DriftDetected):
        drifted, compared = payload.features_drifted, payload.features_compared
        of = f"{payload.model_name} version {payload.champion_version}"
        return f"{drifted} of {compared} features are far from what {of} was trained on", {
            "features_drifted": drifted,
            "features_compared": compared,
        }
    return f"emitted {payload.type}", {}


def _loaded(payload: SliceLoaded) -> tuple[str, Facts]:
    loaded = sum(table.rows_loaded for table in payload.tables)
    quarantined = sum(table.rows_quarantined for table in payload.tables)
    return f"revision {payload.revision} is staged: {loaded} rows, {quarantined} in quarantine", {
        "revision": payload.revision,
        "rows_loaded": loaded,
        "rows_quarantined": quarantined,
    }


def _snapshotted(payload: Snapshotted) -> tuple[str, Facts]:
    changes = {
        name: sum(getattr(table, name) for table in payload.changes.values())
        for name in TableChanges.model_fields
    }
    said = ", ".join(f"{rows} {name}" for name, rows in changes.items())
    return f"snapshot {payload.snapshot_id}: {said}", {
        "snapshot_id": payload.snapshot_id,
        **changes,
    }
