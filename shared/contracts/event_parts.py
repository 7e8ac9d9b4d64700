"""The parts of events' payloads; `shared.contracts.events` has the payloads, and these by name."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """Base of every part: frozen, and an unknown field is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class TableLoad(Part):
    """One table's part of a slice. `rows_in = rows_loaded + rows_quarantined`, always."""

    table: str
    staging_table: str
    """Name in the schema `<dataset>_staging`."""
    rows_in: int
    rows_loaded: int
    rows_quarantined: int
    present: bool = True
    """False where an optional table's file was not in the slice."""


class Reason(Part):
    """One cause of a rejection, precise enough to mend the drop."""

    code: str
    """Of `shared/reading/quarantine.py` or the expectation's type."""
    message: str
    table: str | None = None
    column: str | None = None
    count: int = 1
    sample: tuple[str, ...] = ()
    """Keys or raw texts of the first offenders."""


class TableChanges(Part):
    """What merging one table did to its rows."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0


class Correction(Part):
    """Rows of a load that a person has mended, to be put in the place of what came."""

    load_id: str
    """The load whose rows they are. Its files, as they landed, are what is corrected."""
    mended: tuple[str, ...]
    """Objects in the landing bucket, one JSON line a row; the later one counts."""


class DriftedFeature(Part):
    """A feature, or the target, that has drifted, by the measure that says so most clearly."""

    feature: str
    """`<table>.<column>`."""
    measure: str
    """A member of `shared.contracts.drift_spec.Measure`."""
    value: float
    threshold: float
