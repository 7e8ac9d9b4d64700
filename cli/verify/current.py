"""Each current table, recomputed from its history."""

from cli.verify.comparing import compare, history_of, numbered
from cli.verify.findings import Finding
from cli.verify.ground import Ground
from shared.database.sql_names import column_list, quoted


def check_current(ground: Ground, finding: Finding) -> None:
    """What a table says now is, row for row, what its history says last of each key.

    A row's `as_of` and `load_id` are those of a history row that says the same of its key.
    """
    for dataset, spec in ground.specs.items():
        for name, table in spec.tables.items():
            current, history = quoted(dataset, name), history_of(dataset, name)
            columns = tuple(table.columns)
            listed = column_list(columns)
            with ground.view() as connection:
                rows = ground.rows(connection, f"SELECT count(*) AS rows FROM {current}")
                finding.saw("tables")
                finding.saw("rows", rows[0].rows)
                compare(
                    connection,
                    finding,
                    where=f"{dataset}.{name}",
                    what="current row",
                    expected=numbered(history, table.key, listed),
                    found=f"SELECT {listed} FROM {current}",
                    columns=columns,
                    key=table.key,
                    parameters={},
                )
                compare(
                    connection,
                    finding,
                    where=f"{dataset}.{name}",
                    what="the history row that a current row names",
                    expected=f"""
                        SELECT DISTINCT c.*
                        FROM (SELECT {listed}, as_of, load_id FROM {current}) AS c
                        JOIN (
                            SELECT {listed}, as_of, load_id FROM {history}
                            WHERE operation <> 'delete'
                        ) AS h ON {_same((*columns, "as_of", "load_id"), table.key)}
                    """,
                    found=f"SELECT {listed}, as_of, load_id FROM {current}",
                    columns=(*columns, "as_of", "load_id"),
                    key=table.key,
                    parameters={},
                )


def _same(columns: tuple[str, ...], key: tuple[str, ...]) -> str:
    return " AND ".join(
        f"c.{quoted(name)} = h.{quoted(name)}"
        if name in (*key, "as_of", "load_id")
        else f"c.{quoted(name)} IS NOT DISTINCT FROM h.{quoted(name)}"
        for name in columns
    )
