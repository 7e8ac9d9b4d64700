"""A declared table's relations in the database, as the SQL of the merge names them."""

from dataclasses import dataclass

from shared.contracts.dataset_spec import DatasetSpec
from shared.database.dataset_tables import quoted, staging_schema

# Temporary tables of the merge, dropped when the table is done.
KNOWN = "pg_temp.known"
DIFFERENCE = "pg_temp.difference"
OPEN_KEYS = "pg_temp.open_keys"


@dataclass(frozen=True)
class Relations:
    """The table `name` of a spec. The names of relations and columns are quoted, ready for SQL."""

    name: str
    key: tuple[str, ...]
    values: tuple[str, ...]
    """Columns outside the key; may be none."""
    deletes_absent: bool
    """Whether a row's absence from a slice means that it is gone."""
    staging: str
    current: str
    primary_key: str
    history: str
    coverage: str

    @classmethod
    def of(cls, spec: DatasetSpec, name: str, staging_table: str) -> "Relations":
        """The relations of the table `name`, staged as `staging_table`."""
        table = spec.tables[name]
        return cls(
            name=name,
            key=tuple(quoted(column) for column in table.key),
            values=tuple(quoted(c) for c in table.columns if c not in table.key),
            deletes_absent=table.absence == "delete",
            staging=quoted(staging_schema(spec.dataset), staging_table),
            current=quoted(spec.dataset, name),
            primary_key=quoted(f"{name}_pkey"),
            history=quoted(spec.dataset, f"{name}_history"),
            coverage=quoted(spec.dataset, f"{name}_coverage"),
        )

    def keys(self, alias: str = "") -> str:
        """The key's columns, each with `alias.` before it if given."""
        return _listed(self.key, alias)

    def columns(self, alias: str = "") -> str:
        """The key's columns, then the others, each with `alias.` before it if given."""
        return _listed((*self.key, *self.values), alias)

    def and_values(self, alias: str) -> str:
        """The columns outside the key with `alias.` before each, to follow others in a list."""
        return "".join(f", {alias}.{column}" for column in self.values)

    def same_key(self, left: str, right: str) -> str:
        """The condition that the rows `left` and `right` have the same key."""
        return " AND ".join(f"{left}.{column} = {right}.{column}" for column in self.key)

    def differs(self, left: str, right: str) -> str:
        """The condition that the rows `left` and `right` differ outside the key."""
        return (
            " OR ".join(
                f"{left}.{column} IS DISTINCT FROM {right}.{column}" for column in self.values
            )
            or "FALSE"
        )


def _listed(columns: tuple[str, ...], alias: str) -> str:
    return ", ".join(f"{alias}.{column}" if alias else column for column in columns)
