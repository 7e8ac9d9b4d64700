"""A correction: mended rows on their way from a person to the load that brings them.

They are kept in the landing bucket under their own digest, one JSON line a row. The load names the
one whose rows they are, and all that was mended of it before, so that sheets may come one by one.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, text

from shared.contracts.events import Correction, LoadRequested
from shared.database.statuses import LoadKind, LoadStatus
from shared.errors import PermanentError
from shared.load_requests import IN_PROGRESS
from shared.mending.sheet import (
    BadSheet,
    MendedRow,
    ReadRow,
    Sheet,
    SheetRow,
    mended_row,
)
from shared.object_store import Bucket, ObjectStore

_FOLDER = "mended"


class LoadedSince(PermanentError):
    """The slice was loaded again, or withdrawn, after the load whose rows are mended."""


def check_newest(connection: Connection, base: Mapping[str, Any]) -> None:
    """Raise `LoadedSince` where the rows of `base` would overwrite what came after it.

    Corrections of the same load don't count: a later one has their rows too.
    """
    since = connection.execute(
        text(_SINCE),
        {
            **{name: base[name] for name in ("dataset", "slice_key", "load_id", "started_at")},
            "statuses": [*IN_PROGRESS, LoadStatus.PUBLISHED.value, LoadStatus.WITHDRAWN.value],
        },
    ).first()
    if since is None:
        return
    what = f"{base['dataset']}/{base['slice_key']}"
    if since.kind == LoadKind.WITHDRAWAL:
        raise LoadedSince(
            f"{what} was withdrawn since load {base['load_id']}: load it again with `headrace load`"
        )
    raise LoadedSince(
        f"{what} was loaded again since, by load {since.load_id} ({since.status}): mend the rows "
        f"of that one (`headrace rejects export {since.load_id[:8]}`)"
    )


def mended_rows(sheets: Iterable[Sheet], rows: Iterable[ReadRow]) -> list[MendedRow]:
    """What a person has changed of `sheets`, in the order of the rows.

    Raises `BadSheet` for a row that isn't on them, and for one that is there twice.
    """
    known: dict[tuple[str, int], tuple[Sheet, SheetRow]] = {
        (sheet.file, row.record): (sheet, row) for sheet in sheets for row in sheet.rows
    }
    seen: dict[tuple[str, int], int] = {}
    mended = []
    for row in rows:
        place = (row.file, row.record)
        if place not in known:
            raise BadSheet(
                f"line {row.line}: record {row.record} of {row.file} isn't one of the quarantined "
                f"rows of load {row.load_id}"
            )
        if place in seen:
            raise BadSheet(
                f"line {row.line}: record {row.record} of {row.file} stands in line "
                f"{seen[place]} too"
            )
        seen[place] = row.line
        if (found := mended_row(*known[place], row)) is not None:
            mended.append(found)
    return mended


def keep_mended(store: ObjectStore, base: Mapping[str, Any], rows: Sequence[MendedRow]) -> str:
    """Put mended rows into the landing bucket; their address follows from their content."""
    ordered = sorted(rows, key=lambda row: (row.file, row.record))
    lines = [
        json.dumps({"file": row.file, "record": row.record, "fields": row.fields}) + "\n"
        for row in ordered
    ]
    data = "".join(lines).encode()
    name = f"{_FOLDER}/{base['load_id']}/{hashlib.sha256(data).hexdigest()}.jsonl"
    uri = store.uri(Bucket.LANDING, f"{base['dataset']}/{base['slice_key']}/{name}")
    store.put_bytes(uri, data, content_type="application/jsonl")
    return str(uri)


def correction_request(
    connection: Connection, base: Mapping[str, Any], mended: Sequence[str], *, requested_by: str
) -> LoadRequested:
    """The request for a load of `base`'s slice with the rows in `mended`.

    With those of earlier corrections of the same load, the later ones counting.
    """
    earlier = connection.execute(text(_EARLIER), {"load_id": base["load_id"]}).scalar() or []
    objects = [uri for uri in earlier if uri not in mended] + list(mended)
    return LoadRequested(
        dataset=base["dataset"],
        slice_key=base["slice_key"],
        source_uri=base["source_uri"],
        as_of=base["as_of"],
        requested_by=requested_by,
        correction=Correction(load_id=base["load_id"], mended=tuple(objects)),
    )


_SINCE = """
    SELECT load_id, status, kind
    FROM headrace.loads
    WHERE dataset = :dataset AND slice_key = :slice_key AND started_at > :started_at
        AND status = ANY (:statuses) AND corrects IS DISTINCT FROM :load_id
    ORDER BY started_at DESC
    LIMIT 1
"""
_EARLIER = """
    SELECT correction -> 'mended'
    FROM headrace.loads
    WHERE corrects = :load_id AND correction IS NOT NULL AND status <> 'failed'
    ORDER BY started_at DESC
    LIMIT 1
"""
