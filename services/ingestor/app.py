"""The ingestor's composition root."""

import sys

from services.ingestor.api import router
from services.ingestor.handlers import Ingestor
from shared.contracts.events import LoadRequested, Stage
from shared.service import Resources, Service, run


def build(resources: Resources) -> Service:
    """The ingestor on `resources`."""
    ingestor = Ingestor(resources.settings, resources.store)
    return Service(
        name="ingestor",
        handlers={LoadRequested: ingestor.on_load_requested},
        stage_of={LoadRequested: Stage.INGEST},
        router=router(resources),
    )


def main() -> None:
    """Run the ingestor until it is told to stop."""
    sys.exit(run("ingestor", build))


if __name__ == "__main__":
    main()
