"""Mended sheets back: from what a person sends to the request of a correction."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from shared.contracts.events import LoadRequested
from shared.contracts.spec_file import find_spec
from shared.mending.correction import (
    check_newest,
    correction_request,
    keep_mended,
    mended_rows,
)
from shared.mending.exporting import Export, export
from shared.mending.landed import LandedSlice, find_load
from shared.mending.sheet import BadSheet, MendedRow, ReadRow, Sheet
from shared.object_store import ObjectStore
from shared.settings import Settings


def export_load(
    connection: Connection, settings: Settings, store: ObjectStore, load_id: str
) -> Export:
    """The sheets of a load's quarantined rows.

    Raises `InconsistentState` where there is no such load, and `NotMendable`.
    """
    load = find_load(connection, load_id)
    with tempfile.TemporaryDirectory(prefix="headrace-") as directory:
        landed = LandedSlice.of(
            find_spec(settings.datasets_dir, load["dataset"]),
            load,
            store,
            Path(directory),
            settings.csv_block_bytes,
        )
        return export(connection, load, landed)


@dataclass(frozen=True)
class Mending:
    """What a person has changed of a load's quarantined rows. `base` is that load's row."""

    base: Mapping[str, Any]
    sheets: Sequence[Sheet]
    rows: Sequence[MendedRow]

    def said(self) -> list[str]:
        """What was changed, a line for each record."""
        return changes_said(self.sheets, self.rows)

    def request(
        self, connection: Connection, store: ObjectStore, *, requested_by: str
    ) -> LoadRequested:
        """Keep the mended rows, and the request for the load that brings them.

        Raises `LoadedSince` where the slice came again meanwhile.
        """
        check_newest(connection, self.base)
        uri = keep_mended(store, self.base, self.rows)
        return correction_request(connection, self.base, [uri], requested_by=requested_by)


def read_mending(
    connection: Connection, settings: Settings, store: ObjectStore, read: Sequence[ReadRow]
) -> Mending:
    """What the rows of one or several sheets say, which must be of one load.

    Without `rows` where nothing differs from what was exported. Raises `BadSheet`, `NotMendable`.
    """
    if len({row.load_id for row in read}) != 1:
        raise BadSheet("the sheets are of several loads: replay those of one at a time")
    load_id = read[0].load_id
    sheets = export_load(connection, settings, store, load_id).sheets
    return Mending(find_load(connection, load_id), sheets, mended_rows(sheets, read))


def changes_said(sheets: Sequence[Sheet], rows: Sequence[MendedRow]) -> list[str]:
    """What a person has changed, a line for each record."""
    by_file = {sheet.file: sheet for sheet in sheets}
    lines = []
    for row in rows:
        sheet = by_file[row.file]
        where = f"{row.file}, record {row.record}"
        if row.fields is None:
            lines.append(f"{where}: left out")
            continue
        was = next(each.fields for each in sheet.rows if each.record == row.record)
        changed = [
            f"{sheet.header[place] if place < len(sheet.header) else 'surplus'} "
            f"{was[place] if place < len(was) else ''!r} -> {field!r}"
            for place, field in enumerate(row.fields)
            if field is not None
        ]
        lines.append(f"{where}: {', '.join(changed) or 'taken as it is'}")
    return lines
