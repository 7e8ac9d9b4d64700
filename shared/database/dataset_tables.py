"""The tables made from a spec: staging, current, history, coverage, and the views over them.

For a table `t` with key `k` in the schema `<dataset>`:

- `t`: the current rows. Primary key `k`; `as_of` and `load_id` are of the row's last change.
- `t_history`: append-only. The new values (NULL beside the key where `operation` is `delete`),
  `as_of` (the data's date), `recorded_at` (when we learned it), `load_id`, `operation`.
- `t_coverage`: which keys a slice had although they left no history row; see
  `services/snapshotter/history.py`.
- `t_snapshots`: a view, unique by (`k`, `as_of`): the newest snapshot of each published date, row
  for row what its Parquet files hold. `known_at` says when it was taken.

`shared.database.state_views` has the views of the dataset as a whole.

A load's staging tables are `<dataset>_staging.<t>__<load>`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select, text
from sqlalchemy.dialects.postgresql import insert

from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.table_spec import ColumnType, Table
from shared.database.roles import let_readers_read
from shared.database.sql_names import column_list as column_list
from shared.database.sql_names import quoted as quoted
from shared.database.state_views import create_state_views, drop_state_views
from shared.database.tables import datasets
from shared.errors import InvalidSpec

LAYOUT = 2
"""Goes up when this code makes more, or other things, of the same spec: 2 has the state views."""

POSTGRES_TYPES: Mapping[ColumnType, str] = {
    ColumnType.STRING: "text",
    ColumnType.INTEGER: "bigint",
    ColumnType.NUMBER: "double precision",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.DATE: "date",
    ColumnType.TIMESTAMP: "timestamp with time zone",
}


def staging_schema(dataset: str) -> str:
    """The schema of a dataset's staging tables."""
    return f"{dataset}_staging"


def staging_table(table: str, load_id: str) -> str:
    """The name of a load's staging table; it follows from the load, so a retry finds its own."""
    return f"{table}__{load_id.replace('-', '')[:16]}"


def create_staging(spec: DatasetSpec, table: str, load_id: str) -> list[str]:
    """Statements that make an empty staging table in place of what an earlier try left.

    The columns are the spec's, in its order, then `record_number`. Nothing is constrained: what
    can't be keyed or typed is found and quarantined by the ingestor.
    """
    name = quoted(staging_schema(spec.dataset), staging_table(table, load_id))
    columns = _definitions(spec.tables[table])
    return [
        f"DROP TABLE IF EXISTS {name}",
        f"CREATE TABLE {name} ({columns}, record_number bigint NOT NULL)",
    ]


def ensure_dataset(connection: Connection, spec: DatasetSpec) -> None:
    """Make the dataset's schemas, tables and views, or add the columns that the spec has gained.

    Does nothing where this very spec was applied before by this version of the code. Waits for
    another process that is at it.

    Raises `InvalidSpec` for any other change of a table, with the statement that would be needed.
    """
    parameters = {"dataset": spec.dataset}
    if _is_applied(connection, spec):
        return
    lock = text("SELECT pg_advisory_xact_lock(hashtext('headrace spec'), hashtext(:dataset))")
    connection.execute(lock, parameters)
    if _is_applied(connection, spec):
        return
    for schema in (spec.dataset, staging_schema(spec.dataset)):
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}"))
    for statement in drop_state_views(spec.dataset):
        connection.execute(text(statement))
    for name, table in spec.tables.items():
        _ensure_table(connection, spec.dataset, name, table)
    for statement in create_state_views(spec):
        connection.execute(text(statement))
    let_readers_read(connection, spec.dataset)
    applied = insert(datasets).values(
        dataset=spec.dataset,
        spec_digest=spec.digest(),
        layout=LAYOUT,
        spec=spec.model_dump(mode="json"),
    )
    connection.execute(
        applied.on_conflict_do_update(
            index_elements=[datasets.c.dataset],
            set_={
                "spec_digest": applied.excluded.spec_digest,
                "layout": applied.excluded.layout,
                "spec": applied.excluded.spec,
                "applied_at": text("clock_timestamp()"),
            },
        )
    )


def _is_applied(connection: Connection, spec: DatasetSpec) -> bool:
    query = select(datasets.c.spec_digest, datasets.c.layout).where(
        datasets.c.dataset == spec.dataset
    )
    return connection.execute(query).one_or_none() == (spec.digest(), LAYOUT)


def _ensure_table(connection: Connection, dataset: str, name: str, table: Table) -> None:
    found = _existing_columns(connection, dataset, name)
    if not found:
        for statement in _create(dataset, name, table):
            connection.execute(text(statement))
    else:
        for statement in _additions(dataset, name, table, found):
            connection.execute(text(statement))
    connection.execute(text(f"DROP VIEW IF EXISTS {quoted(dataset, name + '_snapshots')}"))
    connection.execute(text(_snapshots_view(dataset, name, table)))


def _definitions(table: Table, *, not_null: Collection[str] = ()) -> str:
    return ", ".join(
        f"{quoted(name)} {POSTGRES_TYPES[column.type]}" + (" NOT NULL" if name in not_null else "")
        for name, column in table.columns.items()
    )


def _create(dataset: str, name: str, table: Table) -> list[str]:
    current = quoted(dataset, name)
    history = quoted(dataset, f"{name}_history")
    key = column_list(table.key)
    required = [name for name in table.columns if not table.is_nullable(name)]
    keys = ", ".join(
        f"{quoted(k)} {POSTGRES_TYPES[table.columns[k].type]} NOT NULL" for k in table.key
    )
    return [
        f"""
        CREATE TABLE {current} (
            {_definitions(table, not_null=required)},
            as_of date NOT NULL,
            load_id text NOT NULL,
            PRIMARY KEY ({key})
        )""",
        f"""
        CREATE TABLE {history} (
            history_id bigint GENERATED ALWAYS AS IDENTITY (CACHE 1000),
            {_definitions(table, not_null=table.key)},
            as_of date NOT NULL,
            recorded_at timestamp with time zone NOT NULL,
            load_id text NOT NULL,
            operation text NOT NULL CHECK (operation IN ('insert', 'update', 'delete'))
        )""",
        f"""
        CREATE TABLE {quoted(dataset, f"{name}_coverage")} (
            {keys},
            as_of date NOT NULL,
            load_id text NOT NULL
        )""",
    ]


def _additions(dataset: str, name: str, table: Table, found: Mapping[str, "_Found"]) -> list[str]:
    """Statements for what the spec adds to a table that is there."""
    current, history = quoted(dataset, name), quoted(dataset, f"{name}_history")
    statements, refused = [], []
    own = {"as_of", "load_id"}
    for gone in found.keys() - table.columns.keys() - own:
        refused.append(f"ALTER TABLE {current} DROP COLUMN {quoted(gone)}")
    for column, declared in table.columns.items():
        sql_type = POSTGRES_TYPES[declared.type]
        is_nullable = table.is_nullable(column)
        there = found.get(column)
        if there is None and is_nullable:
            statements += [
                f"ALTER TABLE {target} ADD COLUMN {quoted(column)} {sql_type}"
                for target in (current, history)
            ]
        elif there is None:
            refused.append(f"ALTER TABLE {current} ADD COLUMN {quoted(column)} {sql_type} NOT NULL")
        elif there.sql_type != sql_type:
            refused.append(f"ALTER TABLE {current} ALTER COLUMN {quoted(column)} TYPE {sql_type}")
        elif there.is_nullable != is_nullable:
            action = "DROP" if is_nullable else "SET"
            refused.append(f"ALTER TABLE {current} ALTER COLUMN {quoted(column)} {action} NOT NULL")
    key = tuple(
        sorted((f for f in found if found[f].key_position), key=lambda f: found[f].key_position)
    )
    if key != table.key:
        refused.append(f"ALTER TABLE {current} ADD PRIMARY KEY ({column_list(table.key)})")
    if refused:
        raise InvalidSpec(
            f"the spec of {dataset!r} changes table {name!r} by more than new nullable columns; "
            f"that takes a migration of yours ({'; '.join(refused)}), or a new table name"
        )
    return statements


def _snapshots_view(dataset: str, name: str, table: Table) -> str:
    key, columns = column_list(table.key, "h"), column_list(table.columns, "h")
    return f"""
        CREATE VIEW {quoted(dataset, name + "_snapshots")} AS
        SELECT {column_list(table.columns, "row")}, s.as_of, s.known_at
        FROM (
            SELECT DISTINCT ON (as_of) as_of, known_at
            FROM headrace.snapshots
            WHERE dataset = '{dataset}'
            ORDER BY as_of, known_at DESC
        ) AS s
        CROSS JOIN LATERAL (
            SELECT DISTINCT ON ({key}) {columns}, h.operation
            FROM {quoted(dataset, name + "_history")} AS h
            WHERE h.as_of <= s.as_of AND h.recorded_at <= s.known_at
            ORDER BY {key}, h.as_of DESC, h.recorded_at DESC, h.history_id DESC
        ) AS row
        WHERE row.operation <> 'delete'
    """


@dataclass(frozen=True)
class _Found:
    sql_type: str
    is_nullable: bool
    key_position: int


def _existing_columns(connection: Connection, dataset: str, name: str) -> dict[str, _Found]:
    query = text("""
        SELECT a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
               coalesce(array_position(i.indkey::int2[], a.attnum), -1) + 1
        FROM pg_attribute AS a
        JOIN pg_class AS c ON c.oid = a.attrelid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        LEFT JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisprimary
        WHERE n.nspname = :dataset AND c.relname = :name AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum
    """)
    rows = connection.execute(query, {"dataset": dataset, "name": name})
    return {row[0]: _Found(row[1], row[2], row[3]) for row in rows}
