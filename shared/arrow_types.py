"""Which Arrow type stands for each of a spec's types, wherever rows travel as Arrow."""

from collections.abc import Mapping

import pyarrow as pa

from shared.contracts.table_spec import ColumnType, Table

ARROW_TYPES: Mapping[ColumnType, pa.DataType] = {
    ColumnType.STRING: pa.string(),
    ColumnType.INTEGER: pa.int64(),
    ColumnType.NUMBER: pa.float64(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.DATE: pa.date32(),
    ColumnType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
}


def arrow_schema(table: Table) -> pa.Schema:
    """The spec's columns in its order, each with its Arrow type and whether it may be NULL."""
    return pa.schema(
        [
            pa.field(name, ARROW_TYPES[column.type], nullable=table.is_nullable(name))
            for name, column in table.columns.items()
        ]
    )
