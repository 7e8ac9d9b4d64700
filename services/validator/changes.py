"""How a table differs from what it was in the slice before, and whether by more than it may."""

import math
from collections.abc import Iterable

from services.validator.profiles import Profile
from services.validator.results import ValidationResult
from shared.contracts.table_spec import Stability

ROW_CHANGE = "headrace_row_change"
NULL_SHARE_CHANGE = "headrace_null_share_change"
VALUE_SHARE_CHANGE = "headrace_value_share_change"
NOTHING_BEFORE = "no earlier slice to compare with"
STANDARD_ERRORS = 3.0
"""By which chance alone may move a share; one value in 370 moves by more."""
_NO_ROWS = "no rows to compare"
_SHOWN = 5
_OBSERVED = 50


def changes(
    table: str, stability: Stability, now: Profile, before: Profile | None
) -> Iterable[ValidationResult]:
    """The results of those checks that `stability` asks for; of values, one for each column."""
    if stability.max_row_change is not None:
        yield _row_change(table, stability.max_row_change, now, before)
    if stability.max_null_share_change is not None:
        yield _null_share_change(table, stability.max_null_share_change, now, before)
    for column, limit in stability.max_value_share_change.items():
        yield _value_share_change(table, column, limit, now, before)


def _row_change(table: str, limit: float, now: Profile, before: Profile | None) -> ValidationResult:
    kwargs = {"max_row_change": limit}
    if before is None:
        return ValidationResult(table, ROW_CHANGE, True, kwargs, message=NOTHING_BEFORE)
    change = abs(now.rows - before.rows) / max(before.rows, 1)
    message = (
        f"{table}: {now.rows:,} rows after {before.rows:,}, a change of {change:.1%} where at most "
        f"{limit:.1%} is allowed"
    )
    observed = {"rows_before": before.rows, "rows": now.rows, "change": change}
    is_met = change <= limit
    return ValidationResult(
        table,
        ROW_CHANGE,
        is_met,
        kwargs,
        observed_value=observed,
        message=None if is_met else message,
    )


def _null_share_change(
    table: str, limit: float, now: Profile, before: Profile | None
) -> ValidationResult:
    kwargs = {"max_null_share_change": limit}
    if before is None:
        return ValidationResult(table, NULL_SHARE_CHANGE, True, kwargs, message=NOTHING_BEFORE)
    change = {
        column: abs(share - before.null_shares[column])
        for column, share in now.null_shares.items()
        if column in before.null_shares
    }
    beyond = sorted((c for c in change if change[c] > limit), key=lambda c: -change[c])
    if not beyond:
        observed = {"largest_change": max(change.values(), default=0.0)}
        return ValidationResult(table, NULL_SHARE_CHANGE, True, kwargs, observed_value=observed)
    observed_by_column = {
        column: {"share_before": before.null_shares[column], "share": now.null_shares[column]}
        for column in beyond
    }
    told = "; ".join(
        f"{column} from {before.null_shares[column]:.1%} to {now.null_shares[column]:.1%}"
        for column in beyond
    )
    return ValidationResult(
        table,
        NULL_SHARE_CHANGE,
        False,
        kwargs,
        tuple(beyond),
        observed_by_column,
        message=f"{table}: the share of missing values changed by more than {limit:.1%}: {told}",
    )


def _value_share_change(
    table: str, column: str, limit: float, now: Profile, before: Profile | None
) -> ValidationResult:
    """Of all values of either slice: one that is new had the share 0, one that is gone has it.

    A change that chance alone may bring between two samples of these sizes is none: of 250 rows a
    class's share is not known to a point. So the limit is widened by three standard errors of the
    difference of two shares.
    """
    kwargs = {"column": column, "max_value_share_change": limit}
    if before is None or column not in before.value_shares:
        return ValidationResult(
            table, VALUE_SHARE_CHANGE, True, kwargs, (column,), message=NOTHING_BEFORE
        )
    if not now.rows or not before.rows:
        return ValidationResult(
            table, VALUE_SHARE_CHANGE, True, kwargs, (column,), message=_NO_ROWS
        )
    was, is_now = before.value_shares[column], now.value_shares[column]
    change = {v: abs(is_now.get(v, 0.0) - was.get(v, 0.0)) for v in {**was, **is_now}}

    def allowed(value: str) -> float:
        shares = (was.get(value, 0.0), is_now.get(value, 0.0))
        chance = _standard_error(shares, (before.rows, now.rows))
        # Shares are divisions: a change of just the limit may come out a hair's breadth above it.
        return limit + STANDARD_ERRORS * chance + 1e-9

    beyond = sorted((v for v in change if change[v] > allowed(v)), key=lambda v: (-change[v], v))
    if not beyond:
        observed = {"largest_change": max(change.values(), default=0.0)}
        return ValidationResult(
            table, VALUE_SHARE_CHANGE, True, kwargs, (column,), observed_value=observed
        )
    told = "; ".join(
        f"{v} from {was.get(v, 0.0):.1%} to {is_now.get(v, 0.0):.1%}" for v in beyond[:_SHOWN]
    )
    which = "the share of 1 value" if len(beyond) == 1 else f"the shares of {len(beyond):,} values"
    more = f"; and {len(beyond) - _SHOWN:,} more" if len(beyond) > _SHOWN else ""
    return ValidationResult(
        table,
        VALUE_SHARE_CHANGE,
        False,
        kwargs,
        (column,),
        {
            v: {"share_before": was.get(v, 0.0), "share": is_now.get(v, 0.0)}
            for v in beyond[:_OBSERVED]
        },
        unexpected_count=len(beyond),
        message=(
            f"{table}.{column}: {which} changed by more than {limit:.1%} and chance: {told}{more}"
        ),
    )


def _standard_error(shares: tuple[float, float], rows: tuple[int, int]) -> float:
    """Of the difference of a value's shares in two samples of one population."""
    pooled = (shares[0] * rows[0] + shares[1] * rows[1]) / (rows[0] + rows[1])
    return math.sqrt(pooled * (1 - pooled) * (1 / rows[0] + 1 / rows[1]))
