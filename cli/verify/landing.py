"""Objects that came with slices: the landing copies, and the pictures of rows.

A copy's digest is of each table's name with its files' digests, in the order of the tables' names
and the files'. Which file is which table's is as the spec says, read here once more.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Row

from cli.verify.findings import Finding
from cli.verify.ground import Ground
from cli.verify.stored_files import digest_of
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.table_spec import Table
from shared.object_store import ObjectUri

_LANDED = """
    SELECT dataset, slice_key, load_id, landing_uri, content_sha256, spec_digest
    FROM headrace.loads
    WHERE dataset = ANY(:datasets) AND landing_uri IS NOT NULL AND landing_pruned_at IS NULL
    ORDER BY dataset, landing_uri, started_at
"""
_IS_PRUNED = """
    SELECT landing_pruned_at IS NOT NULL AS is_pruned FROM headrace.loads WHERE load_id = :load_id
"""
_PICTURES = """
    SELECT DISTINCT dataset, uri, sha256, bytes
    FROM headrace.images
    WHERE dataset = ANY(:datasets) AND state = 'stored'
    ORDER BY dataset, uri
"""
_ENDINGS = (".csv", ".csv.gz", ".csv.bz2", ".csv.zst", ".parquet")
"""Of a table's file whose name the spec leaves open."""


def check_landing(ground: Ground, finding: Finding) -> None:
    """Each landing copy by the digest of its content, each stored picture by its own."""
    with ground.view() as connection:
        landed = ground.rows(connection, _LANDED)
    digests: dict[str, dict[str, str]] = {}
    for row in landed:
        if row.landing_uri not in digests:  # of the loads with the same content it is the same
            digests = {row.landing_uri: _digests(ground, finding, row.landing_uri)}
        before = finding.count
        _check_copy(ground, finding, row, digests[row.landing_uri])
        if finding.count > before and _is_pruned(ground, row):  # meanwhile
            finding.forget(before)
    _check_pictures(ground, finding)


def _digests(ground: Ground, finding: Finding, landing_uri: str) -> dict[str, str]:
    """The digest of each file of a copy, by its name."""
    finding.saw("landing copies")
    found = {}
    for item in ground.store.list(ObjectUri.parse(f"{landing_uri}/")):
        digest = digest_of(ground.store, str(item.uri))
        if digest is not None:  # None: pruned since it was listed
            finding.saw("files")
            finding.saw("bytes", item.size)
            found[str(item.uri).removeprefix(f"{landing_uri}/")] = digest
    return found


def _check_copy(
    ground: Ground, finding: Finding, row: Row[Any], digests: Mapping[str, str]
) -> None:
    where = f"{row.landing_uri}, of load {row.load_id}"
    name = row.landing_uri.rpartition("/")[2]
    finding.require(where, "the digest in its name", expected=row.content_sha256, found=name)
    if not digests:
        finding.differs(where, "its files", expected="those of the load", found=None)
        return
    spec = ground.specs.get(row.dataset)
    content = None if spec is None else _content(spec, digests)
    is_same_spec = row.spec_digest == ground.spec_digests.get(row.dataset)
    if content != row.content_sha256 and not is_same_spec:
        finding.tell(f"{where}: its spec was another one, so its digest can't be recomputed")
        return
    finding.require(where, "SHA-256 of its content", expected=row.content_sha256, found=content)


def _content(spec: DatasetSpec, digests: Mapping[str, str]) -> str:
    """The digest of a slice with these files."""
    whole = hashlib.sha256()
    for name in sorted(spec.tables):
        table = spec.tables[name]
        own = sorted(_own(name, table, digests))
        joined = {column.file for column in table.columns.values() if column.file} - set(own)
        for file in own:
            for part in (file, *sorted(joined)):
                whole.update(f"{name} {digests.get(part, 'not there')}\n".encode())
    return whole.hexdigest()


def _own(name: str, table: Table, files: Mapping[str, str]) -> Iterator[str]:
    """Those of `files` that are the table's own."""
    for file in files:
        if table.file is None:
            is_own = file in {name + ending for ending in _ENDINGS}
        elif "*" in table.file:
            pattern = ".*".join(map(re.escape, table.file.split("*")))
            is_own = file[0] not in "._" and re.fullmatch(pattern, file, re.DOTALL) is not None
        else:
            is_own = file == table.file
        if is_own:
            yield file


def _is_pruned(ground: Ground, row: Row[Any]) -> bool:
    with ground.view() as connection:
        found = ground.rows(connection, _IS_PRUNED, load_id=row.load_id)
    return not found or bool(found[0].is_pruned)


def _check_pictures(ground: Ground, finding: Finding) -> None:
    """A picture that is stored is the one that was found. One that is referenced isn't ours."""
    with ground.view() as connection:
        pictures = ground.rows(connection, _PICTURES)
    for row in pictures:
        finding.saw("pictures")
        finding.saw("bytes", row.bytes)
        digest = digest_of(ground.store, row.uri)
        finding.require(row.uri, "SHA-256", expected=row.sha256, found=digest)
