"""The validator's composition root. Great Expectations is imported with it, once, at the start."""

import sys

from services.validator.handlers import Validator
from services.validator.suites import Suites
from shared.contracts.events import SliceLoaded, Stage, WithdrawalQueued
from shared.service import Resources, Service, run


def build(resources: Resources) -> Service:
    """The service's handlers on its resources."""
    validator = Validator(
        settings=resources.settings,
        store=resources.store,
        suites=Suites(resources.engine, failing_keys_kept=resources.settings.failing_keys_kept),
    )
    return Service(
        name="validator",
        handlers={
            SliceLoaded: validator.on_slice_loaded,
            WithdrawalQueued: validator.on_withdrawal_queued,
        },
        stage_of={SliceLoaded: Stage.VALIDATE, WithdrawalQueued: Stage.VALIDATE},
    )


def main() -> None:
    """Run the service until it is told to stop."""
    sys.exit(run("validator", build))


if __name__ == "__main__":
    main()
