"""What a demo loads: which slices, from where, in what order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from cli.sample import write_rakuten, write_streamflow
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.events import LoadRequested
from shared.errors import HeadraceError

STREAMFLOW_MONTHS, STREAMFLOW_USERS, FEWEST_USERS = 3, 3000, 50
SEED = 7
STEPS = 3
"""How many slices are taken of a dataset that grows by shares."""
REQUESTED_BY = "demo"


@dataclass(frozen=True)
class Plan:
    """The loads of a demo, in order."""

    spec: DatasetSpec
    requests: Sequence[LoadRequested]
    one_by_one: bool
    """Whether each is asked for when the one before is through, as a schedule does; else all are
    asked for at once and queue up."""


Writer = Callable[[Path, float], object]


def sample_writer(dataset: str, *, faults: bool = False) -> Writer:
    """What writes invented data of `dataset` into a folder at a scale.

    With `faults` the last slice is one that is refused. Raises HeadraceError for a dataset of
    which there is no such sample.
    """
    if faults:
        if dataset not in FAULTY_SAMPLES:
            raise HeadraceError(
                f"there is no sample of {dataset!r} with faults, only of "
                f"{' and '.join(FAULTY_SAMPLES)}"
            )
        return FAULTY_SAMPLES[dataset]
    if dataset not in SAMPLES:
        raise HeadraceError(
            f"there is no sample of {dataset!r}, only of {' and '.join(SAMPLES)}: name the folder "
            "of its data with --data"
        )
    return SAMPLES[dataset]


def make_plan(spec: DatasetSpec, data: Path, today: date) -> Plan:
    """The loads of what lies in `data`.

    Slices in folders of their own are taken in the order of their names, dated by their names. Of
    a dataset that grows by shares the first three are taken, dated a week apart up to the last
    Monday.

    Raises HeadraceError where `data` has nothing to load.
    """
    if not data.is_dir():
        raise HeadraceError(f"{data} is no folder: --data names where the dataset's files lie")
    if spec.slices.increment is None:
        folders = sorted(path.resolve() for path in data.iterdir() if path.is_dir())
        if not folders:
            raise HeadraceError(f"{data} has no folder in it: a slice is a folder, as month_000")
        requests = [_request(spec, folder.name, folder, None) for folder in folders]
        return Plan(spec, requests, one_by_one=False)
    names: list[str] = []
    while len(names) < STEPS and (name := spec.slices.next_after(names)) is not None:
        names.append(name)
    last = today - timedelta(days=today.weekday())
    dates = [last - timedelta(weeks=weeks) for weeks in reversed(range(len(names)))]
    requests = [
        _request(spec, name, data.resolve(), as_of)
        for name, as_of in zip(names, dates, strict=True)
    ]
    return Plan(spec, requests, one_by_one=True)


def _request(spec: DatasetSpec, slice_key: str, folder: Path, as_of: date | None) -> LoadRequested:
    return LoadRequested(
        dataset=spec.dataset,
        slice_key=slice_key,
        source_uri=str(folder),
        as_of=as_of,
        requested_by=REQUESTED_BY,
    )


def _streamflow(folder: Path, scale: float, *, faults: bool = False) -> object:
    users = max(FEWEST_USERS, round(STREAMFLOW_USERS * scale))
    return write_streamflow(folder, months=STREAMFLOW_MONTHS, users=users, seed=SEED, faults=faults)


def _rakuten(folder: Path, scale: float) -> object:
    return write_rakuten(folder, scale=scale, seed=SEED)


SAMPLES: dict[str, Writer] = {"streamflow": _streamflow, "rakuten": _rakuten}
FAULTY_SAMPLES: dict[str, Writer] = {"streamflow": partial(_streamflow, faults=True)}
