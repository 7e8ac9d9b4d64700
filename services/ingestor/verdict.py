"""Whether a staged slice may go on: what its tables' budgets and rules say."""

from collections.abc import Iterator, Sequence

from services.ingestor.quarantine import Code
from services.ingestor.staging import StagedTable
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.events import Reason
from shared.contracts.table_spec import Table


def rejection(spec: DatasetSpec, tables: Sequence[StagedTable]) -> tuple[Reason, ...]:
    """Why the slice is rejected for its rows; empty where it is accepted.

    A table over its budget gives a reason for each pair of code and column, and one that says how
    many there were and may be. A table whose spec rejects duplicates gives those in any case.
    """
    return tuple(
        reason for staged in tables for reason in _of_table(spec.tables[staged.table], staged)
    )


def _of_table(table: Table, staged: StagedTable) -> Iterator[Reason]:
    quarantine = staged.quarantine
    budget = table.budget_rows(staged.rows_in)
    is_over = quarantine.count > budget or quarantine.dropped > 0
    for reason in quarantine.reasons():
        is_refused = reason.code == Code.DUPLICATE_KEY and table.duplicates == "reject"
        if is_over or is_refused:
            yield reason
    if not is_over:
        return
    allowed = f"the budget of {table.quarantine_budget} allows {budget}"
    if quarantine.count <= budget:
        allowed = f"no more than {len(quarantine.rows)} can be kept, and none may be lost"
    yield Reason(
        code=Code.BUDGET_EXCEEDED.value,
        message=f"{quarantine.count} of {staged.rows_in} rows are bad; {allowed}",
        table=staged.table,
        count=quarantine.count,
    )
