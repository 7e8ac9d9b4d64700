"""A training dataset's rows as the model takes them.

These types are the model's signature, so who asks it for a prediction sends the same: numbers,
integers and ages as doubles, texts as strings, booleans as the strings `true` and `false`; what
is missing as null.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shared.contracts.manifest import FeatureField
from shared.contracts.table_spec import ColumnType

CATEGORICAL = frozenset({ColumnType.STRING, ColumnType.BOOLEAN})


def model_inputs(table: pa.Table, features: Sequence[FeatureField]) -> pd.DataFrame:
    """The features' columns of `table`, in the features' order."""
    return pd.DataFrame(
        {field.name: _column(table[field.name], field.kind) for field in features}, copy=False
    )


def model_target(target: pa.ChunkedArray) -> NDArray[Any]:
    """The target's classes in their own type: booleans, integers or texts."""
    if pa.types.is_string(target.type):
        # One object for each class, not for each row.
        classes = target.combine_chunks().dictionary_encode()
        names = np.array(classes.dictionary.to_pylist(), dtype=object)
        return np.asarray(names[classes.indices.to_numpy()])
    return np.asarray(target.to_numpy())


def _column(values: pa.ChunkedArray, kind: ColumnType) -> pd.Series:
    if kind is ColumnType.BOOLEAN:
        values = pc.if_else(values, "true", "false")
    if kind in CATEGORICAL:
        return pd.Series(values.to_pylist(), dtype="str")
    return pd.Series(values.cast(pa.float64()).to_numpy())
