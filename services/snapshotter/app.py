"""The snapshotter's composition root."""

import sys

from services.snapshotter.handlers import Snapshotter
from shared.contracts.events import Stage, Validated, WithdrawalAdmitted
from shared.service import Resources, Service, run

NAME = "snapshotter"


def build(resources: Resources) -> Service:
    """The snapshotter over these resources."""
    snapshotter = Snapshotter(
        datasets_dir=resources.settings.datasets_dir,
        store=resources.store,
        row_group_rows=resources.settings.parquet_row_group_rows,
    )
    return Service(
        name=NAME,
        handlers={
            Validated: snapshotter.on_validated,
            WithdrawalAdmitted: snapshotter.on_withdrawal_admitted,
        },
        stage_of={Validated: Stage.SNAPSHOT, WithdrawalAdmitted: Stage.SNAPSHOT},
    )


def main() -> None:
    """Run the snapshotter until it is told to stop."""
    sys.exit(run(NAME, build))


if __name__ == "__main__":
    main()
