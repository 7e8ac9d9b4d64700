"""What is known of the pictures of a table's rows: staged with a load, kept once it is audited.

The ingestor finds a slice's pictures, the validator decides whether the slice may go on. Between
the two they lie in a table beside the staged rows, so that a rejected load leaves what
`headrace.images` says as it was.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, text

from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.table_spec import Table
from shared.database.dataset_tables import quoted, staging_schema, staging_table


def staged_images(dataset: str, table: str, load_id: str) -> str:
    """SQL for the name of the table in which a load's pictures are staged."""
    return quoted(staging_schema(dataset), f"{staging_table(table, load_id)}__img")


def create_staged_images(dataset: str, table: str, load_id: str) -> list[str]:
    """Statements that make that table, empty, in place of what an earlier try left."""
    name = staged_images(dataset, table, load_id)
    return [
        f"DROP TABLE IF EXISTS {name}",
        f"""
        CREATE TABLE {name} (
            row_key text NOT NULL,
            file text NOT NULL,
            state text NOT NULL,
            sha256 text,
            uri text,
            bytes bigint
        )""",
    ]


def row_key(table: Table, alias: str = "") -> str:
    """SQL for a row's key as one text, which names the row in `headrace.images`."""
    before = f"{alias}." if alias else ""
    keys = [f"{before}{quoted(column)}::text" for column in table.key]
    # Of several columns no simple join is safe: any text may stand in a value.
    return keys[0] if len(keys) == 1 else f"json_build_array({', '.join(keys)})::text"


def forget_images(
    connection: Connection, spec: DatasetSpec, table: str, loads: Iterable[str]
) -> None:
    """Forget the pictures that `loads` found of rows which are no current ones."""
    key = row_key(spec.tables[table], "c")
    statement = f"""
        DELETE FROM headrace.images AS i
        WHERE i.dataset = :dataset AND i.table_name = :table AND i.load_id = ANY (:loads)
          AND NOT EXISTS (
              SELECT FROM {quoted(spec.dataset, table)} AS c WHERE {key} = i.row_key
          )
    """
    parameters = {"dataset": spec.dataset, "table": table, "loads": list(loads)}
    connection.execute(text(statement), parameters)


def keep_staged_images(
    connection: Connection, dataset: str, tables: Iterable[str], load_id: str
) -> None:
    """Have `headrace.images` say what the load found of its rows' pictures; drop what is staged.

    Does nothing for a table whose pictures were not looked for.
    """
    for table in tables:
        staged = staged_images(dataset, table, load_id)
        if connection.execute(text("SELECT to_regclass(:name)"), {"name": staged}).scalar():
            parameters = {"dataset": dataset, "table": table, "load_id": load_id}
            connection.execute(text(_KEEP.format(staged=staged)), parameters)
            connection.execute(text(f"DROP TABLE {staged}"))


_KEEP = """
    INSERT INTO headrace.images
        (dataset, table_name, row_key, file, state, sha256, uri, bytes, load_id)
    SELECT :dataset, :table, row_key, file, state, sha256, uri, bytes, :load_id
    FROM {staged}
    ON CONFLICT (dataset, table_name, row_key) DO UPDATE SET
        file = excluded.file,
        state = excluded.state,
        sha256 = excluded.sha256,
        uri = excluded.uri,
        bytes = excluded.bytes,
        load_id = excluded.load_id,
        seen_at = excluded.seen_at
"""
