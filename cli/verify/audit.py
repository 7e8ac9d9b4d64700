"""The front door of the audit: every check, in the order in which things come about."""

from collections.abc import Callable
from typing import Final

from cli.verify.current import check_current
from cli.verify.datasets import check_datasets
from cli.verify.events import check_events
from cli.verify.findings import Audit, Difference, Finding
from cli.verify.ground import Ground
from cli.verify.history import check_history
from cli.verify.landing import check_landing
from cli.verify.leftovers import check_staging
from cli.verify.loads import check_rows, check_slices
from cli.verify.models import check_models
from cli.verify.snapshots import check_snapshots
from cli.verify.under_way import under_way
from shared.database.engine import make_engine
from shared.settings import Settings

MOST = 20
"""Differences of each check that are listed; the others are counted."""

Check = Callable[[Ground, Finding], None]
CHECKS: Final[dict[str, Check]] = {
    "rows": check_rows,
    "slices": check_slices,
    "events": check_events,
    "landing": check_landing,
    "staging": check_staging,
    "history": check_history,
    "current": check_current,
    "snapshots": check_snapshots,
    "datasets": check_datasets,
    "models": check_models,
}


def audit(settings: Settings, dataset: str | None = None) -> list[Difference]:
    """What isn't as it must be, of one dataset or of all; empty is well.

    See `examine`.
    """
    return examine(settings, dataset).differences


def examine(
    settings: Settings,
    dataset: str | None = None,
    *,
    most: int = MOST,
    report: Callable[[Finding], None] = lambda finding: None,
) -> Audit:
    """Run every check and give what each has looked at and found; `report` gets each at its end.

    Changes nothing, and may run beside the services: what is under way is no difference. Memory is
    bounded, whatever is stored; the database needs room for the rows of one table of a snapshot.

    Raises `UnknownDataset`, `ServerUnavailable` where the store is away, and SQLAlchemy's
    `OperationalError` where the database is.
    """
    engine = make_engine(settings, application="verify")
    try:
        ground = Ground.of(settings, engine, dataset)
        findings = []
        for name, check in CHECKS.items():
            finding = Finding(name, most)
            check(ground, finding)
            report(finding)
            findings.append(finding)
        return Audit(findings, under_way(ground))
    finally:
        engine.dispose()
