"""The notifier's composition root."""

import logging
import sys

from fastapi import APIRouter
from pydantic import BaseModel, Field

from services.notifier.handlers import SERVICE, Notifier
from services.notifier.sending import Sender
from services.notifier.targets import Targets, read_targets
from shared.contracts.events import DeadLettered, DriftDetected, ModelPublished, SliceRejected
from shared.service import Resources, Service, run

logger = logging.getLogger(__name__)


class TargetList(BaseModel):
    """Whom the notifier tells. `faults` says which addresses of the setting can't be used."""

    targets: list[str] = Field(examples=[["slack-3f2a9c"]])
    faults: list[str]


def build(resources: Resources) -> Service:
    """The notifier over these resources. A faulty address is logged and leaves the others be."""
    targets = read_targets(resources.settings)
    for fault in targets.faults:
        logger.error("%s", fault)
    if not targets.usable:
        logger.info("NOTIFY_URLS names no target: nobody is told")
    sender = Sender(
        resources.engine,
        targets.usable,
        resources.settings,
        resources.clock,
        resources.metrics,
    )
    notifier = Notifier(resources.settings, [target.name for target in targets.usable], sender.wake)
    return Service(
        name=SERVICE,
        handlers={
            SliceRejected: notifier.on_slice_rejected,
            ModelPublished: notifier.on_model_published,
            DriftDetected: notifier.on_drift_detected,
            DeadLettered: notifier.on_dead_lettered,
        },
        stage_of={},
        router=_router(targets),
        companions=(sender,),
    )


def _router(targets: Targets) -> APIRouter:
    router = APIRouter(tags=["targets"])

    @router.get("/targets")
    def list_targets() -> TargetList:
        """Whom the notifier tells, by names that give no secret away."""
        return TargetList(
            targets=[target.name for target in targets.usable], faults=list(targets.faults)
        )

    return router


def main() -> None:
    """Run the notifier until it is told to stop."""
    sys.exit(run(SERVICE, build))


if __name__ == "__main__":
    main()
