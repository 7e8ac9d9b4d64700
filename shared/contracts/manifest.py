"""Manifests: the small JSON objects that say which Parquet files make up a frozen thing.

A manifest is written last, so one that is there describes files that are there. Events carry its
URI and SHA-256; it carries theirs. Its bytes are those of `to_bytes`: the same content, the same
digest.
"""

import hashlib
import json
from datetime import date, datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.contracts.table_spec import ColumnType
from shared.contracts.training_spec import Balance, Split
from shared.errors import InconsistentState


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class SchemaField(_Part):
    """A column of the files, in the words of the spec."""

    name: str
    type: ColumnType
    nullable: bool = True


class FilePart(_Part):
    """One Parquet file. `sha256` is of its bytes, hexadecimal."""

    uri: str
    rows: int
    bytes: int
    sha256: str


class _Manifest(_Part):
    def to_bytes(self) -> bytes:
        """The manifest as JSON with sorted keys: equal manifests give equal bytes."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1).encode()

    @classmethod
    def from_bytes(cls, data: bytes, *, uri: str, sha256: str | None = None) -> Self:
        """The manifest in `data`, which was read from `uri`.

        Raises `InconsistentState` where it is no such manifest, or not the one with this digest.
        """
        found = hashlib.sha256(data).hexdigest()
        if sha256 is not None and found != sha256:
            raise InconsistentState(f"{uri} has the SHA-256 {found}, its event says {sha256}")
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise InconsistentState(
                f"{uri} is no {cls.__name__}: {where}: {first['msg']}"
            ) from error


class TableManifest(_Part):
    """One table of a snapshot: its files together hold exactly its rows."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    rows: int
    fields: tuple[SchemaField, ...] = Field(alias="schema")
    parts: tuple[FilePart, ...]


class SnapshotManifest(_Manifest):
    """A dataset frozen as (`as_of`, `known_at`): `manifest.json` in the snapshots bucket."""

    dataset: str
    as_of: date
    known_at: datetime
    load_id: str
    snapshot_id: str
    spec_digest: str
    tables: dict[str, TableManifest]

    def to_bytes(self) -> bytes:
        """As of any manifest, with the columns under the name `schema`."""
        content = self.model_dump(mode="json", by_alias=True)
        return json.dumps(content, sort_keys=True, indent=1).encode()


class FeatureField(_Part):
    """A feature as it stands in the files, and the column that it comes from."""

    name: str
    table: str
    column: str
    kind: ColumnType
    """The column's type in the spec. Dates and timestamps stand in the files as ages in days."""


class DatasetManifest(_Manifest):
    """A training dataset: `manifest.json` beside its `train.parquet` and `test.parquet`.

    It says nothing of loads and clocks, so that the same content has the same manifest whenever it
    was learned.
    """

    dataset: str
    dataset_version: str
    as_of: date
    entity: str
    target: str
    """The column to predict, as it is named in the files."""
    classes: tuple[str, ...]
    """The target's values as texts, in their own order; of two, the second is the positive one."""
    features: tuple[FeatureField, ...]
    split: Split
    balance: Balance
    train: FilePart
    test: FilePart
    class_counts: dict[str, dict[str, int]]
    """Rows by class of `train_before` (the balancing), `train` and `test`."""
