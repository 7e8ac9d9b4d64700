"""The classes of a target: what can be one, how many rows they have, whether that is enough."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.table_spec import ColumnType
from shared.contracts.training_spec import Training
from shared.errors import PermanentError

logger = logging.getLogger(__name__)

TARGET_TYPES = frozenset({ColumnType.BOOLEAN, ColumnType.INTEGER, ColumnType.STRING})
_CLASSES_NEEDED = 2


class NotTrainable(PermanentError):
    """The snapshot has too little to learn from: fewer than two classes with rows on both sides."""


def class_text(value: Any) -> str:
    """A class as text: `true`, `false`, or the value itself."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def require_class(spec: DatasetSpec, training: Training) -> None:
    """Raise `PermanentError` where the target's type is none that a class can have."""
    kind = spec.tables[training.target.table].columns[training.target.column].type
    if kind not in TARGET_TYPES:
        raise PermanentError(
            f"the target {training.target.column} is a {kind}: "
            "a class is a boolean, integer or string"
        )


def settle_classes(
    dataset: str, natural: Mapping[Any, int], test: Mapping[Any, int]
) -> tuple[list[Any], dict[str, dict[str, int]]]:
    """The classes in order, and how many rows each side has of them, the training side unbalanced.

    Raises `NotTrainable` where there is too little to learn from.
    """
    values = sorted({*natural, *test})
    counts = {
        "train_before": counts_by_text(natural, values),
        "test": counts_by_text(test, values),
    }
    _require_trainable(counts)
    _tell_absent(dataset, counts)
    return values, counts


def count_classes(target: pa.ChunkedArray) -> dict[Any, int]:
    """Rows by class."""
    return {item["values"]: item["counts"] for item in pc.value_counts(target).to_pylist()}


def counts_by_text(counts: Mapping[Any, int], values: Sequence[Any]) -> dict[str, int]:
    """The same for the classes' texts, with a 0 for each of `values` that has no row."""
    return {class_text(value): counts.get(value, 0) for value in values}


def class_places(target: pa.ChunkedArray, values: Sequence[Any]) -> NDArray[np.int32]:
    """The place of each row's class among `values`."""
    places = pc.index_in(target, value_set=pa.array(values, target.type))
    return np.asarray(places.to_numpy(zero_copy_only=False))


def _require_trainable(counts: Mapping[str, Mapping[str, int]]) -> None:
    """Raise `NotTrainable` unless two classes are learned that have test rows as well.

    A rare class may be on one side only: it is told, and no reason to do without the others.
    """
    train, test = counts["train_before"], counts["test"]
    if not train:
        raise NotTrainable("the snapshot has no labelled rows")
    if len(train) < _CLASSES_NEEDED:
        raise NotTrainable(f"every labelled row has the class {next(iter(train))!r}")
    for side, of_side in (("training", train), ("test", test)):
        present = [name for name, rows in of_side.items() if rows]
        if len(present) < _CLASSES_NEEDED:
            absent = ", ".join(name for name in of_side if name not in present)
            raise NotTrainable(f"the {side} side has no row of the class {absent}")
    if sum(1 for name, rows in train.items() if rows and test[name]) < _CLASSES_NEEDED:
        raise NotTrainable("fewer than two classes have rows on both sides")


def _tell_absent(dataset: str, counts: Mapping[str, Mapping[str, int]]) -> None:
    for side, name in (("training", "train_before"), ("test", "test")):
        if absent := [value for value, rows in counts[name].items() if not rows]:
            logger.warning(
                "%s: the %s side has no row of the class %s", dataset, side, ", ".join(absent)
            )
