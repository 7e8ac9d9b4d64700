"""The trainer's composition root."""

import sys
from collections.abc import Callable

from services.trainer.computing import Computing
from services.trainer.handlers import Trainer
from services.trainer.in_process import InProcess
from services.trainer.promotion.requests import PromotionRequests
from services.trainer.registry import Registry, Tracking
from shared.contracts.events import (
    DatasetReady,
    ModelPublished,
    PromotionRequested,
    Snapshotted,
    Stage,
)
from shared.object_store import ObjectStore
from shared.observability.state import OF_MODELS
from shared.service import Resources, Service, run
from shared.settings import Settings


def build(resources: Resources) -> Service:
    """The trainer over these resources."""
    settings = resources.settings
    uri, timeout = settings.mlflow_tracking_uri, settings.silence_seconds
    tracking = Tracking(uri, timeout_seconds=timeout)
    computing, checks = where_to_compute(settings, resources.store)
    registry = Registry(uri, timeout_seconds=timeout)
    trainer = Trainer(
        settings.datasets_dir,
        resources.store,
        tracking,
        registry,
        settings.git_commit,
        computing,
        settings.drift_sample_rows,
    )
    return Service(
        name="trainer",
        handlers={
            Snapshotted: trainer.on_snapshotted,
            DatasetReady: trainer.on_dataset_ready,
            PromotionRequested: PromotionRequests(registry).on_promotion_requested,
            ModelPublished: trainer.on_model_published,
        },
        checks={"mlflow": tracking.check, **checks},
        state=OF_MODELS,
        stage_of={Snapshotted: Stage.DATASET, DatasetReady: Stage.TRAIN},
    )


def where_to_compute(
    settings: Settings, store: ObjectStore
) -> tuple[Computing, dict[str, Callable[[], None]]]:
    """Where datasets are built and models fitted by these settings, and what must answer for it."""
    if not settings.dask_scheduler_address:
        return InProcess(store), {}
    from services.trainer.cluster.on_cluster import OnCluster  # Dask: only where it is used
    from services.trainer.cluster.session import Cluster

    cluster = Cluster(
        settings.dask_scheduler_address, timeout_seconds=settings.dask_timeout_seconds
    )
    computing = OnCluster(
        store,
        cluster,
        partition_rows=settings.dask_partition_rows,
        rank_rows=settings.xgboost_rank_rows,
    )
    return computing, {"dask": cluster.check}


def main() -> None:
    """Run the trainer until it is told to stop."""
    sys.exit(run("trainer", build))


if __name__ == "__main__":
    main()
