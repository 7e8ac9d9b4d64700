"""Cutting a snapshot into ranges of entities, and finding where the rows of each lie."""

import math
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from services.trainer.cluster.tasks import EntityRange, Survey, Where
from shared.contracts.manifest import FilePart

SAMPLES = 20
"""Entities looked at for each range: the more, the more equal the ranges are."""

Surveys = Mapping[str, Sequence[tuple[FilePart, Survey]]]
"""The parts of each table, with what they have."""


def stride(rows: int) -> int:
    """Every how-many-th entity of a part is to be looked at, for ranges of so many rows."""
    return max(1, rows // SAMPLES)


def entity_ranges(surveys: Surveys, rows: int) -> list[EntityRange]:
    """Adjoining ranges, in order, that hold all entities between them; in each of them a table has
    about `rows` rows at the most, if the tables have the same entities.
    """
    largest = max(sum(found.rows for _, found in parts) for parts in surveys.values())
    number = max(1, math.ceil(largest / rows))
    sample = pa.concat_arrays([found.sample for parts in surveys.values() for _, found in parts])
    sample = sample.drop_null()
    if pa.types.is_floating(sample.type):
        sample = sample.filter(pc.invert(pc.is_nan(sample)))
    in_order = sample.take(pc.sort_indices(sample))
    places = sorted({len(in_order) * cut // number for cut in range(1, number)} - {0})
    limits = pc.unique(in_order.take(pa.array(places, pa.int64()))).to_pylist()
    # A limit at the least entity of all would leave nothing before it: an empty range, no harm.
    return [
        EntityRange(start, stop)
        for start, stop in zip([None, *limits], [*limits, None], strict=True)
    ]


def row_groups_of(surveys: Surveys, entities: EntityRange) -> Where:
    """The row groups that may have entities of the range."""
    return {
        table: [
            (part.uri, groups) for part, found in parts if (groups := _overlapping(found, entities))
        ]
        for table, parts in surveys.items()
    }


def _overlapping(found: Survey, entities: EntityRange) -> tuple[int, ...]:
    overlaps = pa.repeat(pa.scalar(True), len(found.least))
    if entities.start is not None:
        start = pa.scalar(entities.start, found.greatest.type)
        overlaps = pc.and_(overlaps, pc.greater_equal(found.greatest, start).fill_null(True))
    if entities.stop is not None:
        stop = pa.scalar(entities.stop, found.least.type)
        overlaps = pc.and_(overlaps, pc.less(found.least, stop).fill_null(True))
    return tuple(pc.indices_nonzero(overlaps).to_pylist())
