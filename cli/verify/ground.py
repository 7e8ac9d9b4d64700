"""What every check stands on: the servers, and the datasets with the specs of their tables."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, select, text

from cli.verify.removed import Removed
from shared.contracts.dataset_spec import DatasetSpec
from shared.database.tables import datasets
from shared.errors import UnknownDataset
from shared.object_store import ObjectStore
from shared.settings import Settings

ROWS_AT_ONCE = 1000
_KNOWN = """
    SELECT dataset FROM headrace.datasets
    UNION SELECT dataset FROM headrace.loads
    UNION SELECT dataset FROM headrace.snapshots
    UNION SELECT dataset FROM headrace.training_datasets
    ORDER BY dataset
"""


@dataclass(frozen=True)
class Ground:
    """One audit's servers and datasets."""

    settings: Settings
    engine: Engine
    store: ObjectStore
    specs: Mapping[str, DatasetSpec]
    """By dataset, the spec that its tables were last made from; only of those that have tables.
    Its tables and columns are in no certain order."""
    spec_digests: Mapping[str, str]
    """By dataset, the digest of that spec as it was declared."""
    names: Sequence[str]
    """The datasets to look at."""
    removed: Removed

    @classmethod
    def of(cls, settings: Settings, engine: Engine, dataset: str | None) -> "Ground":
        """The ground of an audit of `dataset`, else of all.

        Raises `UnknownDataset` where nothing was ever stored of it.
        """
        with engine.connect() as connection:
            removed = Removed.read(connection)
            known = list(connection.execute(text(_KNOWN)).scalars())
            rows = connection.execute(
                select(datasets.c.dataset, datasets.c.spec, datasets.c.spec_digest)
            ).all()
        if dataset is not None and dataset not in known:
            raise UnknownDataset(dataset, settings.datasets_dir)
        names = known if dataset is None else [dataset]
        specs = {row.dataset: DatasetSpec.model_validate(row.spec) for row in rows}
        wanted = {name: specs[name] for name in names if name in specs}
        digests = {row.dataset: row.spec_digest for row in rows if row.dataset in wanted}
        return cls(settings, engine, ObjectStore(settings), wanted, digests, names, removed)

    @contextmanager
    def view(self) -> Iterator[Connection]:
        """A transaction whose statements all see the database as it is at the first of them.

        To be held shortly: a table that was read can't be altered before it ends. It is rolled
        back, so nothing made in it stays.
        """
        with self.engine.connect() as connection:
            yield connection.execution_options(isolation_level="REPEATABLE READ")

    def each(self, connection: Connection, statement: str, **parameters: Any) -> Iterator[Row[Any]]:
        """The rows of a query of which there may be any number, some at a time."""
        values = {"datasets": list(self.names), **parameters}
        some = {"stream_results": True, "yield_per": ROWS_AT_ONCE}
        yield from connection.execute(text(statement), values, execution_options=some)

    def rows(self, connection: Connection, statement: str, **parameters: Any) -> list[Row[Any]]:
        """The rows of a query; `:datasets` are the names of those to look at."""
        values = {"datasets": list(self.names), **parameters}
        return list(connection.execute(text(statement), values))
