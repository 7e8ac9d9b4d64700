"""Fitting XGBoost on rows that no machine holds: each rank reads its row groups from the store.

XGBoost's own Dask interface makes a rank of each worker, so its model depends on how many workers
there are and which rows each happens to have, and it hangs when one dies. Here the ranks, and the
rows of each, follow from the dataset: any number of workers gives the same trees. Source of the
protocol: xgboost.collective and xgboost.tracker.
"""

import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import xgboost
from distributed import get_worker
from distributed.comm import get_address_host
from xgboost.tracker import RabitTracker

from services.trainer.cluster.ranks import RanksWork, read_result
from services.trainer.cluster.tasks import store
from services.trainer.modelling.categories import added, count_categories, most_frequent
from services.trainer.modelling.frame import model_inputs
from services.trainer.training_dataset.ranged import read_groups
from shared.contracts.manifest import FeatureField

_BOOTSTRAP_SECONDS = 300
"""For all ranks to find one another."""

_at_work: dict[str, subprocess.Popen[bytes]] = {}
"""The ranks' processes of this worker, by fit."""


def count_group(
    uri: str, group: int, features: Sequence[FeatureField], names: Sequence[str]
) -> dict[str, dict[str, int]]:
    """How often each category stands in a row group."""
    wanted = [field for field in features if field.name in set(names)]
    rows = read_groups(store(), uri, [group], list(names))
    return count_categories(model_inputs(rows, wanted), names)


def add_counts(*counts: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    """The counts of several row groups."""
    return added(counts)


def known_categories(counts: dict[str, dict[str, int]]) -> dict[str, list[str]]:
    """Those that the model is to know, of the counts of all rows."""
    return most_frequent(counts)


def start_tracker(ranks: int) -> dict[str, Any]:
    """Let ranks find one another at this worker; what they need to know for it."""
    tracker = RabitTracker(
        n_workers=ranks,
        host_ip=get_address_host(get_worker().address),
        sortby="task",
        timeout=_BOOTSTRAP_SECONDS,
    )
    tracker.start()

    def wait() -> None:
        try:
            tracker.wait_for()
        except xgboost.core.XGBoostError:
            return  # a rank was lost; who fits hears of it by the ranks

    threading.Thread(target=wait, name="xgboost-tracker", daemon=True).start()
    return dict(tracker.worker_args())


def fit_ranks(fit: str, work: RanksWork) -> bytes | None:
    """Fit some of the ranks of a fit, beside one another, while other workers fit the others.

    Gives the trees where rank 0 is among them. They have a process of their own, for a rank whose
    partner is lost may wait for long, and only a process can be ended: by `stop_ranks`, and by
    itself where this worker dies. Raises `XGBoostError` where a rank fails.
    """
    with TemporaryDirectory(prefix="headrace-ranks-") as folder:
        result = Path(folder) / "result"
        command = [sys.executable, "-m", "services.trainer.cluster.ranks", str(result)]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            _at_work[fit] = process
            try:
                if process.stdin is not None:
                    # It stays open: its end is the sign that this worker is gone.
                    process.stdin.write(pickle.dumps(work))
                    process.stdin.flush()
                process.wait()
            except BrokenPipeError:
                process.wait()
            finally:
                _at_work.pop(fit, None)
                process.kill()
        return read_result(result)


def stop_ranks(fit: str) -> None:
    """End what this worker has of a fit; nothing where it has nothing."""
    if process := _at_work.get(fit):
        process.kill()
