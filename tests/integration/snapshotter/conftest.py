"""A dataset to publish into."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from published_dataset import Dataset, MakeDataset, spec_of
from sqlalchemy import Engine

from shared.object_store import ObjectStore


@pytest.fixture
def make_dataset(engine: Engine, store: ObjectStore, tmp_path: Path) -> MakeDataset:
    """Makes a dataset from a name and the tables of its spec."""

    def make(name: str, tables: Mapping[str, Any], **options: Any) -> Dataset:
        return Dataset(spec_of(name, tables), engine, store, tmp_path, **options)

    return make
