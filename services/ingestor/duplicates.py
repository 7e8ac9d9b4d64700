"""Rows of a staged table that repeat a key: all but the last are quarantined and removed."""

from collections.abc import Iterable

from sqlalchemy import Connection, text

from services.ingestor.staging import StagedTable
from shared.contracts.dataset_spec import DatasetSpec
from shared.database.dataset_tables import column_list, quoted, staging_schema
from shared.reading.quarantine import Code, QuarantinedRow, csv_line

# For the rest of this transaction, whose other statements touch a row or two. A hash of millions of
# keys does not fit and goes to disk; a sort is several times as fast, and more so in parallel,
# which the planner would shun for fear of handing on every key.
_TUNING = """
    SET LOCAL enable_hashagg = off;
    SET LOCAL work_mem = '64MB';
    SET LOCAL parallel_setup_cost = 0;
    SET LOCAL parallel_tuple_cost = 0;
"""


def quarantine_duplicates(connection: Connection, spec: DatasetSpec, staged: StagedTable) -> int:
    """Remove all but the last row of each key from staging, and return how many that were.

    "Last" is in the order of the files' names and of the records in them. The keys have no NULL:
    rows with one are in quarantine. The raw text of these rows is made from their typed values.
    """
    if staged.is_ascending:
        return 0
    table = spec.tables[staged.table]
    name = quoted(staging_schema(spec.dataset), staged.name)
    key = column_list(table.key)
    connection.execute(text(_TUNING))
    any_repeated = text(f"SELECT 1 FROM {name} GROUP BY {key} HAVING count(*) > 1 LIMIT 1")
    if connection.execute(any_repeated).first() is None:
        return 0
    repeated = f"""
        SELECT {key}, max(record_number) AS last
        FROM {name}
        GROUP BY {key}
        HAVING count(*) > 1"""
    is_earlier = " AND ".join(
        [f"s.{quoted(column)} = r.{quoted(column)}" for column in table.key]
        + ["s.record_number < r.last"]
    )
    found = connection.execute(
        text(f"""
        SELECT s.record_number, r.last, {_texts(table.columns)}
        FROM {name} AS s JOIN ({repeated}) AS r ON {is_earlier}
        ORDER BY s.record_number
        LIMIT :room"""),
        {"room": max(staged.quarantine.room, 1)},
    )
    kept = 0
    for record_number, last, *values in found:
        staged.quarantine.add(_row(staged, table.key, record_number, last, values))
        kept += 1
    removed = connection.execute(
        text(f"DELETE FROM {name} AS s USING ({repeated}) AS r WHERE {is_earlier}")
    )
    staged.quarantine.count_only(Code.DUPLICATE_KEY, ", ".join(table.key), removed.rowcount - kept)
    return removed.rowcount


def _texts(columns: Iterable[str]) -> str:
    return ", ".join(f"s.{quoted(column)}::text" for column in columns)


def _row(
    staged: StagedTable, key: tuple[str, ...], record_number: int, last: int, values: list[object]
) -> QuarantinedRow:
    file, number = staged.origin(record_number)
    last_file, last_number = staged.origin(last)
    where = f"record {last_number}" + ("" if last_file == file else f" of {last_file}")
    return QuarantinedRow(
        file=file,
        record_number=number,
        column=", ".join(key),
        code=Code.DUPLICATE_KEY,
        reason=f"the key comes again in {where}",
        raw=csv_line(values, ",", '"'),
    )
