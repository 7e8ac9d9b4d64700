"""A correction as it arrives: the corrected load's files, with the mended rows in their places."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from services.ingestor.mending.rewriting import rewrite
from shared.contracts.events import Correction, LoadRequested
from shared.errors import InconsistentState
from shared.mending.correction import check_newest
from shared.mending.landed import LandedSlice, find_load
from shared.mending.sheet import MendedRow
from shared.object_store import ObjectStore, ObjectUri
from shared.reading.spool import SpooledFile, SpooledSlice


def read_mended(store: ObjectStore, uris: Iterable[str]) -> dict[str, dict[int, MendedRow]]:
    """The mended rows by file and record; of one that was mended twice, as it was last.

    Raises `InconsistentState` where an object isn't what its name says.
    """
    rows: dict[str, dict[int, MendedRow]] = {}
    for uri in uris:
        data = store.get_bytes(ObjectUri.parse(uri))
        if hashlib.sha256(data).hexdigest() != uri.rpartition("/")[2].partition(".")[0]:
            raise InconsistentState(f"{uri} is not what its name says: it was changed")
        for line in data.splitlines():
            said = json.loads(line)
            fields = None if said["fields"] is None else tuple(said["fields"])
            row = MendedRow(said["file"], said["record"], fields)
            rows.setdefault(row.file, {})[row.record] = row
    return rows


def corrected_load(connection: Connection, requested: LoadRequested) -> dict[str, Any]:
    """The load whose rows are mended, as it is recorded.

    Raises `InconsistentState` where it is of another slice than is asked for, and `LoadedSince`.
    """
    if requested.correction is None:
        raise InconsistentState("the request is no correction")
    base = find_load(connection, requested.correction.load_id)
    if (base["dataset"], base["slice_key"]) != (requested.dataset, requested.slice_key):
        raise InconsistentState(
            f"load {base['load_id']} is of {base['dataset']}/{base['slice_key']}, its correction "
            f"says {requested.dataset}/{requested.slice_key}"
        )
    check_newest(connection, base)
    return base


def take_corrected(
    store: ObjectStore, landed: LandedSlice, correction: Correction
) -> tuple[SpooledSlice, dict[str, Any]]:
    """The files of the load that is corrected, with the mended rows; and what is to be kept of it.

    Raises what `rewrite` raises.
    """
    mended = read_mended(store, correction.mended)
    spooled: dict[str, SpooledFile] = {}
    lost = 0
    for number, file in enumerate(landed.files()):
        path = landed.path(file)
        if rows := mended.get(file):
            path = landed.directory / f"mended-{number:04d}"
            lost += rewrite(landed, file, rows, path)
        spooled[file] = _spooled(file, path, landed.first_row)
    if unknown := sorted(mended.keys() - spooled.keys()):
        raise InconsistentState(f"load {correction.load_id} has no file {unknown[0]}")
    tables = {}
    for table, names in landed.tables.items():
        joined = tuple(spooled[name] for name in landed.joined(table))
        tables[table] = [_with_joined(spooled[name], joined) for name in names]
    facts = {
        "mended": list(correction.mended),
        "rows": sum(len(rows) for rows in mended.values()),
        "left_out": lost,
    }
    return SpooledSlice(tables), facts


def _spooled(name: str, path: Path, first_row: int) -> SpooledFile:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return SpooledFile(name, path, digest, first_row=first_row)


def _with_joined(file: SpooledFile, joined: tuple[SpooledFile, ...]) -> SpooledFile:
    return SpooledFile(file.name, file.path, file.sha256, first_row=file.first_row, joined=joined)
