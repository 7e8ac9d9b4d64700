"""A demo's result as data: what `--json` writes and the closing tables show."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from sqlalchemy import Connection, select

from cli.demo.plan import Plan
from cli.demo.run import Outcome
from cli.progress import hops
from cli.session import Session
from shared.contracts.events import Stage
from shared.contracts.training_spec import Metric
from shared.database.tables import training_datasets

METRICS = (
    Metric.WEIGHTED_F1, Metric.MACRO_F1, Metric.ACCURACY, Metric.F1, Metric.ROC_AUC,
)  # fmt: skip
EVENT_TO_MODEL = "event_to_model"
MLFLOW_SECONDS = 10.0

Facts = dict[str, Any]


def gather(
    session: Session, plan: Plan, outcomes: Sequence[Outcome], *, total_seconds: float
) -> Facts:
    """Everything that is worth knowing afterwards, of types that JSON has."""
    with session.engine.connect() as connection:
        medians = hops(connection, [each.progress.load_id for each in outcomes])
        slices = [_slice(connection, session, plan, each) for each in outcomes]
    return {
        "dataset": plan.spec.dataset,
        "slices": slices,
        "hop_seconds": {stage.value: round(median, 3) for stage, median in medians.items()},
        "total_seconds": round(total_seconds, 2),
    }


def _slice(connection: Connection, session: Session, plan: Plan, outcome: Outcome) -> Facts:
    progress = outcome.progress
    load: Mapping[str, Any] = progress.load or {}
    snapshot = progress.snapshot or {}
    as_of = load.get("as_of")
    tables = {name: table["rows"] for name, table in (snapshot.get("tables") or {}).items()}
    to_model = outcome.seconds_to_model
    return {
        "dataset": plan.spec.dataset,
        "slice_key": load.get("slice_key"),
        "as_of": as_of.isoformat() if as_of else None,
        "percentage": load.get("percentage"),
        "status": progress.status,
        "reasons": progress.reasons(),
        "rows_in": load.get("rows_in"),
        "rows_loaded": load.get("rows_loaded"),
        "rows_quarantined": load.get("rows_quarantined"),
        "changes": load.get("changes") or {},
        "images": load.get("images"),
        "tables": tables,
        "current_data_state": _plain(outcome.current_data_state),
        "snapshot_id": snapshot.get("snapshot_id"),
        "dataset_version": (progress.promotion or {}).get("dataset_version"),
        "training_dataset": _training_dataset(connection, session, outcome),
        "model": _model(session, outcome),
        "seconds": {
            **{stage.value: progress.seconds(stage) for stage in Stage},
            EVENT_TO_MODEL: None if to_model is None else round(to_model, 3),
        },
    }


def _training_dataset(connection: Connection, session: Session, outcome: Outcome) -> Facts | None:
    """The classes before and after the balancing, and the plots of them."""
    promotion = outcome.progress.promotion
    if promotion is None:
        return None
    query = select(training_datasets).where(
        training_datasets.c.dataset == promotion["dataset"],
        training_datasets.c.dataset_version == promotion["dataset_version"],
    )
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    return {
        "train_rows": row["train_rows"],
        "test_rows": row["test_rows"],
        "class_counts": row["class_counts"],
        **_run(session, row["run_id"]),
    }


def _model(session: Session, outcome: Outcome) -> Facts | None:
    promotion = outcome.progress.promotion
    if promotion is None:
        return None
    measured = promotion["metrics"]
    return {
        "name": promotion["model_name"],
        "version": promotion["model_version"],
        "alias": promotion["alias"],
        "promoted": promotion["promoted"],
        "decision": promotion["decision"],
        "reason": promotion["reason"],
        "metric": promotion["metric"],
        "score": promotion["score"],
        "metrics": {name.value: measured[name] for name in METRICS if name in measured},
        **_run(session, promotion["run_id"]),
    }


def _run(session: Session, run_id: str | None) -> Facts:
    """Where MLflow shows a run, and the paths of its plots; nothing where MLflow doesn't answer."""
    if run_id is None:
        return {"run_url": None, "plots": []}
    server = session.settings.mlflow_tracking_uri.rstrip("/")
    api = f"{server}/api/2.0/mlflow"
    try:
        with httpx.Client(timeout=MLFLOW_SECONDS, trust_env=False) as client:
            run = client.get(f"{api}/runs/get", params={"run_id": run_id}).raise_for_status()
            experiment = run.json()["run"]["info"]["experiment_id"]
            listed = client.get(
                f"{api}/artifacts/list", params={"run_id": run_id, "path": "plots"}
            ).raise_for_status()
            plots = [file["path"] for file in listed.json().get("files", [])]
    except (httpx.HTTPError, KeyError, ValueError):
        return {"run_url": None, "plots": []}
    return {"run_url": f"{server}/#/experiments/{experiment}/runs/{run_id}", "plots": plots}


def _plain(row: Mapping[str, Any] | None) -> Facts | None:
    """A database row with what JSON has no type for as text."""
    if row is None:
        return None
    known = (str, int, float, bool, type(None), list, dict)
    return {name: value if isinstance(value, known) else str(value) for name, value in row.items()}
