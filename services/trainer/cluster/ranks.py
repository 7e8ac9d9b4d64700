"""The ranks of a boosted fit that one worker has: a process, each rank a thread of it.

XGBoost's collective belongs to the thread, so there can be more ranks than workers. Ended from
outside, the process takes its sockets along, and the ranks elsewhere hear of it.
"""

import os
import pickle
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xgboost
from sklearn.compose import ColumnTransformer
from xgboost import collective
from xgboost.core import XGBoostError

from services.trainer.cluster.tasks import store
from services.trainer.modelling.frame import model_inputs
from services.trainer.training_dataset.classes import class_places
from services.trainer.training_dataset.ranged import read_groups
from shared.contracts.manifest import FeatureField

_PATIENCE_SECONDS = 1_800
"""Of a rank with the others, whose rows may take longer to read."""


@dataclass(frozen=True)
class BoostedRows:
    """A training side as the ranks read it."""

    uri: str
    features: tuple[FeatureField, ...]
    target: str
    classes: tuple[Any, ...]
    prepare: bytes = field(repr=False)
    """The pickled first step of the pipeline."""


@dataclass(frozen=True)
class Boosting:
    """How it is fitted: XGBoost's own parameters."""

    parameters: dict[str, Any]
    rounds: int
    max_bin: int | None
    feature_types: tuple[str, ...]


@dataclass(frozen=True)
class RanksWork:
    """What a worker has to do: its ranks, each with its number and its row groups."""

    tracker: dict[str, Any]
    ranks: tuple[tuple[int, tuple[int, ...]], ...]
    rows: BoostedRows
    boosting: Boosting


def fit_all(work: RanksWork) -> bytes | None:
    """The trees where rank 0 is among the ranks. Raises the error of the first rank that fails,
    and leaves others to wait for it: end the process then.
    """
    fitted: dict[int, Future[bytes]] = {}
    for number, groups in work.ranks:
        future: Future[bytes] = Future()
        fitted[number] = future

        def run(
            number: int = number, groups: Sequence[int] = groups, future: Future[bytes] = future
        ) -> None:
            try:
                future.set_result(_fit_rank(work, number, groups))
            except Exception as error:
                future.set_exception(error)

        threading.Thread(target=run, name=f"rank {number}", daemon=True).start()
    wait(fitted.values(), return_when=FIRST_EXCEPTION)
    for future in fitted.values():
        if future.done():
            future.result()
    return fitted[0].result() if 0 in fitted else None


def read_result(path: Path) -> bytes | None:
    """What the process came to, or its error. Raises `XGBoostError` where it came to nothing."""
    if not path.exists():
        raise XGBoostError("the process of the ranks has ended in mid-fit")
    found = pickle.loads(path.read_bytes())  # noqa: S301  # this worker's own
    if isinstance(found, Exception):
        raise found
    return found if found is None else bytes(found)


def main() -> None:
    """Fit the ranks that stand in the standard input, and write what came of it to a file."""
    work: RanksWork = pickle.load(sys.stdin.buffer)  # noqa: S301  # the worker's
    threading.Thread(target=_end_with_the_worker, daemon=True).start()
    path, result = Path(sys.argv[1]), None
    try:
        result = pickle.dumps(fit_all(work))
    except Exception as error:
        result = pickle.dumps(error)
    part = path.with_suffix(".part")
    part.write_bytes(result)
    part.replace(path)
    # A rank that still waits must not keep the process.
    os._exit(0)


def _end_with_the_worker() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def _fit_rank(work: RanksWork, number: int, groups: Sequence[int]) -> bytes:
    # Ranks are numbered in the order of these names.
    identity: dict[str, Any] = {
        "dmlc_task_id": f"{number:08d}",
        "dmlc_timeout": _PATIENCE_SECONDS,
    }
    boosting = work.boosting
    with collective.CommunicatorContext(**work.tracker, **identity):
        matrix = xgboost.QuantileDMatrix(
            _Groups(groups, work.rows, boosting.feature_types),
            enable_categorical=True,
            nthread=boosting.parameters.get("n_jobs"),
            max_bin=boosting.max_bin,
        )
        booster = xgboost.train(boosting.parameters, matrix, num_boost_round=boosting.rounds)
        return bytes(booster.save_raw("ubj"))


class _Groups(xgboost.DataIter):
    """The rows of some row groups, one group in memory at a time; they are read more than once."""

    def __init__(
        self, groups: Sequence[int], rows: BoostedRows, feature_types: Sequence[str]
    ) -> None:
        self._groups, self._rows, self._types = groups, rows, list(feature_types)
        self._prepare: ColumnTransformer = pickle.loads(rows.prepare)  # noqa: S301  # the trainer's
        self._next = 0
        super().__init__()

    def next(self, input_data: Any) -> bool:
        """Hand over the next group; False where there is none."""
        if self._next == len(self._groups):
            return False
        of = self._rows
        columns = [*(field.name for field in of.features), of.target]
        table = read_groups(store(), of.uri, [self._groups[self._next]], columns)
        self._next += 1
        input_data(
            data=self._prepare.transform(model_inputs(table, of.features)),
            label=class_places(table[of.target], of.classes),
            feature_types=self._types,
        )
        return True

    def reset(self) -> None:
        """Begin again."""
        self._next = 0


if __name__ == "__main__":
    from services.trainer.cluster import ranks

    # By its own name, so that what comes in and goes out is pickled under it.
    ranks.main()
