"""From a load's quarantined rows to the sheets in which they are mended."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from shared.database.tables import quarantined_rows
from shared.mending.landed import LandedSlice, ReadRecords
from shared.mending.sheet import Sheet, SheetRow


@dataclass(frozen=True)
class Export:
    """The sheets of a load, one for each file with bad records."""

    sheets: tuple[Sheet, ...]
    missing: tuple[str, ...]
    """What couldn't be put on a sheet, in words."""


@dataclass
class _Record:
    """A bad record of a file, with all that is said of it."""

    tables: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def add(self, row: Mapping[str, Any]) -> None:
        self.tables.append(row["table_name"])
        self.columns.append(row["column_name"] or "")
        self.codes.append(row["code"])
        self.reasons.append(row["reason"])


def export(connection: Connection, load: Mapping[str, Any], landed: LandedSlice) -> Export:
    """The quarantined rows of `load`, each with the whole record as it stands in its file.

    A value that is joined to a row from another file is mended there, in the record beside it.
    """
    records: dict[str, dict[int, _Record]] = {}
    missing: list[str] = []
    placed = 0
    for row, file, number in _placed(connection, load, landed, missing):
        records.setdefault(file, {}).setdefault(number, _Record()).add(row)
        placed += 1
    if (more := (load["rows_quarantined"] or 0) - placed - len(missing)) > 0:
        missing.append(
            f"{more} more rows are bad; of a table no more than QUARANTINE_ROWS_KEPT are kept"
        )
    sheets = tuple(
        _sheet(load["load_id"], file, found, landed.read(file, found.keys()))
        for file, found in sorted(records.items())
    )
    return Export(sheets, tuple(missing))


def _sheet(load_id: str, file: str, records: Mapping[int, _Record], read: ReadRecords) -> Sheet:
    rows = tuple(
        SheetRow(
            record=number,
            tables=tuple(record.tables),
            columns=tuple(filter(None, record.columns)),
            codes=tuple(record.codes),
            reasons=tuple(record.reasons),
            fields=read.fields[number],
        )
        for number, record in sorted(records.items())
    )
    return Sheet(load_id, file, read.header, rows)


def _placed(
    connection: Connection, load: Mapping[str, Any], landed: LandedSlice, missing: list[str]
) -> Iterator[tuple[dict[str, Any], str, int]]:
    """Each quarantined row with the file and the number of the record to be mended."""
    query = (
        select(quarantined_rows)
        .where(quarantined_rows.c.load_id == load["load_id"])
        .order_by(quarantined_rows.c.quarantine_id)
    )
    joined: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in map(dict, connection.execute(query).mappings()):
        column = landed.spec.tables[row["table_name"]].columns.get(row["column_name"] or "")
        if column is not None and column.file and column.file != row["file"]:
            joined.setdefault((row["file"], column.file), []).append(row)
        else:
            yield row, row["file"], row["record_number"]
    for (own, other), rows in joined.items():
        beside = _beside(landed, own, other, {row["record_number"] for row in rows})
        for row in rows:
            number = row["record_number"]
            if number in beside:
                yield row, other, number
            else:
                missing.append(
                    f"record {number} of {own}: its {row['column_name']} is in {other}, whose "
                    "record at the same place has another row number; mend it at the source"
                )


def _beside(landed: LandedSlice, own: str, other: str, numbers: Iterable[int]) -> set[int]:
    """Those records of `own` whose row number the record at the same place in `other` has."""
    increment = landed.spec.slices.increment
    header = increment.row_number if increment else ""
    wanted = set(numbers)
    mine, theirs = landed.read(own, wanted), landed.read(other, wanted)
    if header not in mine.header or header not in theirs.header:
        return set()
    here, there = mine.header.index(header), theirs.header.index(header)
    return {
        number
        for number in wanted
        if number in mine.fields
        and number in theirs.fields
        and _field(mine.fields[number], here) == _field(theirs.fields[number], there)
    }


def _field(fields: tuple[str, ...], place: int) -> str | None:
    return fields[place].strip() if place < len(fields) else None
