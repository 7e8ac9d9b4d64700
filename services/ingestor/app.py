"""The ingestor's composition root."""

import sys

import pyarrow as pa

from services.ingestor.api import router
from services.ingestor.handlers import Ingestor
from services.ingestor.schedule.clockwork import Clockwork
from services.ingestor.schedule.schedules import Schedules
from services.ingestor.withdrawals import Withdrawals
from shared.contracts.events import LoadRequested, Stage, WithdrawRequested
from shared.observability.state import OF_SLICES
from shared.service import Resources, Service, run


def build(resources: Resources) -> Service:
    """The ingestor on `resources`."""
    # Arrow's own allocator keeps some of the heap of each of its threads: 35 MB of our 300.
    pa.set_memory_pool(pa.system_memory_pool())
    settings = resources.settings
    ingestor = Ingestor(settings, resources.store)
    schedules = Schedules(
        resources.engine,
        settings,
        resources.clock,
        wake_relay=resources.wake_relay,
        runs=resources.metrics.schedule_runs,
    )
    return Service(
        name="ingestor",
        handlers={
            LoadRequested: ingestor.on_load_requested,
            WithdrawRequested: Withdrawals(settings).on_withdraw_requested,
        },
        stage_of={LoadRequested: Stage.INGEST, WithdrawRequested: Stage.INGEST},
        router=router(resources),
        state=OF_SLICES,
        companions=[Clockwork(schedules.run_due, poll_seconds=settings.schedule_poll_seconds)],
    )


def main() -> None:
    """Run the ingestor until it is told to stop."""
    sys.exit(run("ingestor", build))


if __name__ == "__main__":
    main()
