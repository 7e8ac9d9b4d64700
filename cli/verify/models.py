"""Model versions in MLflow: one for each training, decided about, with the file as registered."""

import hashlib
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Row

from cli.verify.aliases import check_aliases
from cli.verify.findings import Finding
from cli.verify.ground import Ground
from cli.verify.mlflow_rest import MlflowRefuses, MlflowRest, Version
from shared.errors import ServerUnavailable, SourceNotFound
from shared.object_store import ObjectUri

_PROMOTIONS = """
    SELECT event_id, dataset, load_id, snapshot_id, dataset_version, model_name, model_version,
           run_id, promoted, decision, model_sha256, decided_at
    FROM headrace.promotions
    WHERE dataset = ANY(:datasets)
    ORDER BY decided_at
"""
# Of a dataset whose training isn't over, MLflow may be ahead of what is decided.
_TRAINING = """
    SELECT DISTINCT o.key AS dataset
    FROM headrace.outbox AS o
    WHERE o.key = ANY(:datasets) AND o.topic = 'dataset-ready'
        AND NOT EXISTS (
            SELECT FROM headrace.inbox AS i
            WHERE i.event_id = o.event_id AND i.consumer = 'trainer'
        )
    UNION
    SELECT dataset FROM headrace.stage_runs
    WHERE dataset = ANY(:datasets) AND stage = 'train' AND state <> 'done'
"""
_RUNS = """
    SELECT dataset, run_id, 'dataset ' || left(dataset_version, 12) AS what
    FROM headrace.training_datasets
    WHERE dataset = ANY(:datasets) AND run_id IS NOT NULL
    UNION ALL
    SELECT dataset, run_id, 'the training of ' || model_name || ' version ' || model_version
    FROM headrace.promotions
    WHERE dataset = ANY(:datasets)
"""
_TRAINING_TAG = "headrace.training_id"
_EVENT_TAG = "headrace.event_id"
_SHA256_TAG = "headrace.model_sha256"
_TAGS = {
    "headrace.dataset": "dataset",
    "headrace.dataset_version": "dataset_version",
}
_MODEL_FILE = "model.skops"


def check_models(ground: Ground, finding: Finding) -> None:
    """Versions, runs and aliases against the decisions. Without a training MLflow isn't asked."""
    if not (_decisions(ground) or _named_runs(ground)):
        return
    with MlflowRest(ground.settings.mlflow_tracking_uri) as mlflow:
        try:
            mlflow.check()
            busy = _busy(ground)
            _check_runs(ground, finding, mlflow)
            for model, decisions in _decisions(ground).items():
                finding.saw("models")
                _check_model(ground, finding, mlflow, model, decisions, busy)
        except ServerUnavailable as error:
            finding.miss(f"runs and versions: {error}")


def _busy(ground: Ground) -> set[str]:
    with ground.view() as connection:
        return {row.dataset for row in ground.rows(connection, _TRAINING)}


def _decisions(ground: Ground) -> dict[str, list[Row[Any]]]:
    """By model its decisions, oldest first; also of models that none was made about."""
    by_model: dict[str, list[Row[Any]]] = {
        spec.training.model.name: [] for spec in ground.specs.values() if spec.training
    }
    with ground.view() as connection:
        for row in ground.rows(connection, _PROMOTIONS):
            by_model.setdefault(row.model_name, []).append(row)
    return by_model


def _named_runs(ground: Ground) -> list[Row[Any]]:
    """The runs that the database names."""
    with ground.view() as connection:
        return ground.rows(connection, _RUNS)


def _check_runs(ground: Ground, finding: Finding, mlflow: MlflowRest) -> None:
    """One run of each event; those that the database names are there and finished."""
    status: dict[str, str] = {}
    for dataset in ground.names:
        for kind in ("datasets", "training"):
            by_event: dict[str, str] = {}
            for run in mlflow.runs(f"{dataset}_{kind}"):
                finding.saw("runs")
                status[run["run_id"]] = run["status"]
                event = run["tags"].get(_EVENT_TAG)
                if event is None:
                    continue
                if event in by_event:
                    finding.differs(
                        f"experiment {dataset}_{kind}",
                        f"runs of event {event}",
                        expected="one",
                        found=f"{by_event[event]} and {run['run_id']}",
                    )
                by_event[event] = run["run_id"]
    for row in _named_runs(ground):
        finding.require(
            f"run {row.run_id} of {row.dataset}, {row.what}",
            "its status in MLflow",
            expected="FINISHED",
            found=status.get(row.run_id),
        )


def _check_model(
    ground: Ground,
    finding: Finding,
    mlflow: MlflowRest,
    model: str,
    decisions: list[Row[Any]],
    busy: set[str],
) -> None:
    versions = {each.version: each for each in mlflow.versions(model)}
    is_busy = bool(busy & {row.dataset for row in decisions}) or bool(
        busy & {version.tags.get("headrace.dataset", "") for version in versions.values()}
    )
    decided = {row.model_version: row for row in decisions}
    by_training: dict[str, str] = {}
    for number, version in versions.items():
        training = version.tags.get(_TRAINING_TAG)
        if training is None:
            finding.tell(f"{model} version {number} is not of Headrace's making")
            continue
        finding.saw("versions")
        if training in by_training:
            finding.differs(
                model,
                f"versions of the training {training[:12]}",
                expected="one",
                found=f"{by_training[training]} and {number}",
            )
        by_training[training] = number
        if number not in decided and not is_busy:
            finding.differs(f"{model} version {number}", "a decision", expected="one", found=None)
    for number, row in decided.items():
        version_of = versions.get(number)
        where = f"{model} version {number}"
        if version_of is None:
            finding.differs(where, "in the registry", expected="a version", found=None)
        else:
            _check_version(ground, finding, mlflow, where, version_of, row)
    check_aliases(finding, mlflow, model, decisions, is_busy=is_busy)


def _check_version(
    ground: Ground,
    finding: Finding,
    mlflow: MlflowRest,
    where: str,
    version: Version,
    decided: Row[Any],
) -> None:
    for tag, column in _TAGS.items():
        expected = getattr(decided, column)
        finding.require(where, f"tag {tag}", expected=expected, found=version.tags.get(tag))
    expected = decided.model_sha256
    finding.require(
        where, f"tag {_SHA256_TAG}", expected=expected, found=version.tags.get(_SHA256_TAG)
    )
    digest = hashlib.sha256()
    size = 0
    try:
        for piece in _file(ground, mlflow, version):
            digest.update(piece)
            size += len(piece)
    except (MlflowRefuses, SourceNotFound) as error:
        finding.differs(where, _MODEL_FILE, expected=f"SHA-256 {expected}", found=error)
        return
    finding.saw("bytes", size)
    finding.require(where, f"SHA-256 of {_MODEL_FILE}", expected=expected, found=digest.hexdigest())


def _file(ground: Ground, mlflow: MlflowRest, version: Version) -> Iterator[bytes]:
    place = mlflow.artifact_place(version.source.removeprefix("models:/"))
    if place is None:
        raise MlflowRefuses(f"{version.source} is not there")
    if place.startswith("s3://"):
        with ground.store.open(ObjectUri.parse(place).child(_MODEL_FILE)) as source:
            while piece := source.read(1 << 20):
                yield piece
    else:
        yield from mlflow.artifact(place, _MODEL_FILE)
