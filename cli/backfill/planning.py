"""What a backfill does with each slice of its range, as things stand."""

from dataclasses import dataclass

from sqlalchemy import text

from cli.session import Session
from shared.contracts.dataset_spec import DatasetSpec
from shared.errors import PermanentError
from shared.load_requests import IN_PROGRESS, load_request
from shared.object_store import ObjectStore
from shared.source_roots import SourceRoots

TO_LOAD, UNDER_WAY, IN_ALREADY, NO_SOURCE = "to load", "under way", "in already", "no source"
_STATE = """
    SELECT (
               SELECT load_id FROM headrace.loads
               WHERE dataset = :dataset AND slice_key = :slice_key AND kind <> 'withdrawal'
                   AND status = ANY (:in_progress)
               ORDER BY started_at DESC LIMIT 1
           ) AS under_way,
           (
               SELECT load_id FROM headrace.slices
               WHERE dataset = :dataset AND slice_key = :slice_key
           ) AS published
"""


@dataclass(frozen=True)
class Planned:
    """A slice of the range and what is to be done with it."""

    slice_key: str
    what: str
    load_id: str | None = None
    """The load that is under way, or that brought it."""
    source_uri: str | None = None
    as_of: str | None = None
    detail: str | None = None


def plan(
    current: Session, spec: DatasetSpec, key: str, source: str | None, *, again: bool
) -> Planned:
    """What is to be done with the slice, as things stand now."""
    from shared.reading.sources import open_source

    with current.engine.connect() as connection:
        state = connection.execute(
            text(_STATE),
            {
                "dataset": spec.dataset,
                "slice_key": key,
                "in_progress": [status.value for status in IN_PROGRESS],
            },
        ).one()
        if state.under_way is not None:
            return Planned(key, UNDER_WAY, state.under_way)
        if state.published is not None and not again:
            return Planned(key, IN_ALREADY, state.published)
        try:
            asked = load_request(
                connection,
                current.settings,
                dataset=spec.dataset,
                slice_key=key,
                source=source,
                requested_by="backfill",
            )
            roots = SourceRoots.of(current.settings)
            open_source(asked.source_uri, ObjectStore(current.settings), roots).names()
        except PermanentError as error:
            return Planned(key, NO_SOURCE, detail=str(error))
    as_of = asked.as_of or spec.slices.as_of(key)
    return Planned(key, TO_LOAD, None, asked.source_uri, str(as_of))
