"""A service of one handler, as a process: its effect is a row in `effects`."""

import sys
import time

from sqlalchemy import text

from shared.contracts.envelope import Event
from shared.contracts.events import LoadRequested
from shared.messaging.unit_of_work import UnitOfWork
from shared.service import Resources, Service, run

WORK_SECONDS = 0.03


def build(resources: Resources) -> Service:
    def note(event: Event[LoadRequested], unit: UnitOfWork) -> None:
        time.sleep(WORK_SECONDS)
        with unit.transaction() as transaction:
            transaction.connection.execute(
                text("INSERT INTO effects VALUES (:id, :member)"),
                {"id": event.id, "member": resources.settings.replica()},
            )

    return Service("member", {LoadRequested: note}, {})


if __name__ == "__main__":
    sys.exit(run("member", build))
