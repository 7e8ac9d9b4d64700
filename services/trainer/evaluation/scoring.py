"""A model's scores of the test rows, some at a time: the same numbers, however many there are."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from services.trainer.evaluation.measures import scores_by_class
from services.trainer.training_dataset.side_file import ROW_GROUP_ROWS


def scores_of(model: Pipeline, inputs: pd.DataFrame) -> NDArray[np.float64]:
    """The scores of all rows, asked for by row group, as they come where rows are read from the
    file: linear algebra may give a row another last digit in other company.

    A column of `inputs` that the model doesn't know is left out.
    """
    known = list(model.feature_names_in_)
    return np.concatenate(
        [
            scores_by_class(model, inputs.iloc[start : start + ROW_GROUP_ROWS][known])
            for start in range(0, max(len(inputs), 1), ROW_GROUP_ROWS)
        ]
    )
