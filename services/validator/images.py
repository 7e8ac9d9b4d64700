"""Whether a slice's rows have their pictures, and as many of them as those of the slice before."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any

from sqlalchemy import Connection, select, text

from services.validator.changes import NOTHING_BEFORE
from services.validator.results import ValidationResult
from shared.contracts.table_spec import Images, Table
from shared.database.tables import loads
from shared.errors import InconsistentState

IMAGE_SHARE = "headrace_image_share"
IMAGE_SHARE_CHANGE = "headrace_image_share_change"

Counts = Mapping[str, int]
"""`rows`, `present`, `missing` and `bytes`, as the ingestor counted them."""


def image_counts(connection: Connection, load_id: str) -> Mapping[str, Counts]:
    """The counts of the load's tables whose pictures were looked for."""
    query = select(loads.c.images).where(loads.c.load_id == load_id)
    return connection.execute(query).scalar_one() or {}


def previous_image_counts(
    connection: Connection, tables: Iterable[str], dataset: str, slice_key: str, as_of: date
) -> dict[str, Counts]:
    """By table, the counts of the last other slice published up to `as_of` that had rows there."""
    query = text("""
        SELECT t.table_name, before.counts
        FROM unnest(CAST(:tables AS text[])) AS t (table_name)
        CROSS JOIN LATERAL (
            SELECT l.images -> t.table_name AS counts
            FROM headrace.slices AS s
            JOIN headrace.loads AS l ON l.load_id = s.load_id
            WHERE s.dataset = :dataset AND s.slice_key <> :slice_key AND s.as_of <= :as_of
                AND (l.images -> t.table_name ->> 'rows')::bigint > 0
            ORDER BY s.as_of DESC, s.published_at DESC
            LIMIT 1
        ) AS before
    """)
    where = {"tables": list(tables), "dataset": dataset, "slice_key": slice_key, "as_of": as_of}
    return {row.table_name: row.counts for row in connection.execute(query, where)}


def image_shares(
    name: str, table: Table, counts: Mapping[str, Counts], before: Counts | None
) -> Iterator[ValidationResult]:
    """The results of those of the two checks that the table asks for.

    Raises `InconsistentState` where its pictures were not looked for when the slice was loaded.
    """
    images = table.images
    if images is None or images.mode == "ignore":
        return
    if name not in counts:
        raise InconsistentState(
            f"the pictures of {name!r} were not looked for when this slice was loaded: load it "
            "again"
        )
    if images.min_share > 0:
        yield _share(name, images, counts[name])
    if images.max_share_change is not None:
        yield _share_change(name, images.max_share_change, counts[name], before)


def _share(name: str, images: Images, counts: Counts) -> ValidationResult:
    share = _share_of(counts)
    is_met = not counts["rows"] or share >= images.min_share
    message = (
        f"{name}: {counts['missing']:,} of {counts['rows']:,} rows have no picture "
        f"{images.file}; {share:.1%} have one where at least {images.min_share:.1%} must"
    )
    return ValidationResult(
        name,
        IMAGE_SHARE,
        is_met,
        {"min_share": images.min_share},
        images.columns,
        observed_value={"share": share},
        element_count=counts["rows"],
        unexpected_count=counts["missing"],
        message=None if is_met else message,
    )


def _share_change(
    name: str, limit: float, counts: Counts, before: Counts | None
) -> ValidationResult:
    kwargs: dict[str, Any] = {"max_share_change": limit}
    if before is None or not counts["rows"]:
        message = NOTHING_BEFORE if before is None else "no rows to compare"
        return ValidationResult(name, IMAGE_SHARE_CHANGE, True, kwargs, message=message)
    was, share = _share_of(before), _share_of(counts)
    is_met = abs(share - was) <= limit
    message = (
        f"{name}: {share:.1%} of the rows have their picture after {was:.1%}, where a change of at "
        f"most {limit:.1%} is allowed"
    )
    return ValidationResult(
        name,
        IMAGE_SHARE_CHANGE,
        is_met,
        kwargs,
        observed_value={"share_before": was, "share": share},
        message=None if is_met else message,
    )


def _share_of(counts: Counts) -> float:
    return counts["present"] / counts["rows"] if counts["rows"] else 0.0
