"""The trainer's composition root."""

import sys

from services.trainer.handlers import Trainer
from services.trainer.registry import Registry, Tracking
from shared.contracts.events import DatasetReady, Snapshotted, Stage
from shared.service import Resources, Service, run


def build(resources: Resources) -> Service:
    """The trainer over these resources."""
    settings = resources.settings
    tracking = Tracking(settings.mlflow_tracking_uri)
    trainer = Trainer(
        settings.datasets_dir,
        resources.store,
        tracking,
        Registry(settings.mlflow_tracking_uri),
        settings.git_commit,
    )
    return Service(
        name="trainer",
        handlers={
            Snapshotted: trainer.on_snapshotted,
            DatasetReady: trainer.on_dataset_ready,
        },
        checks={"mlflow": tracking.check},
        stage_of={Snapshotted: Stage.DATASET, DatasetReady: Stage.TRAIN},
    )


def main() -> None:
    """Run the trainer until it is told to stop."""
    sys.exit(run("trainer", build))


if __name__ == "__main__":
    main()
