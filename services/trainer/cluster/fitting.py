"""Fitting a model with the cluster: XGBoost on all workers, a forest's trees on any."""

import logging
import math
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import uuid4

import joblib
import numpy as np
import pandas as pd
import xgboost
from distributed import Future
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from services.trainer.cluster.boosting import (
    add_counts,
    count_group,
    fit_ranks,
    known_categories,
    start_tracker,
    stop_ranks,
)
from services.trainer.cluster.ranks import BoostedRows, Boosting, RanksWork
from services.trainer.cluster.session import Cluster, Session, WorkerLost, cluster_errors
from services.trainer.cluster.sides import StoredSide
from services.trainer.modelling.fit import UnfitModel, fit
from services.trainer.modelling.frame import model_target
from services.trainer.modelling.models import categorical_names, make_pipeline
from shared.contracts.manifest import DatasetManifest
from shared.contracts.training_spec import Training
from shared.errors import HeadraceError

logger = logging.getLogger(__name__)

PARALLEL_KINDS = frozenset({"random_forest"})
"""The scikit-learn estimators that can be fitted in parts."""
ATTEMPTS = 3
"""At a fit whose workers are lost, before the event waits as for any server that is away."""
_POLL_SECONDS = 0.5
_TRIED_ROWS = 1_000
_ADDED_AT_ONCE = 8

Result = TypeVar("Result")


class Unfinished(HeadraceError):
    """The ranks of a fit failed while all workers were there. Tried a few times."""


def attempts(cluster: Cluster, work: Callable[[Session], Result]) -> Result:
    """What `work` gives, begun again on those workers that are there where one is lost in it."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with cluster.session() as session:
                return work(session)
        except WorkerLost as error:
            if attempt == ATTEMPTS:
                raise
            logger.warning("the fit begins again: %s", error)
    raise AssertionError("unreachable")


def fit_in_parts(
    session: Session,
    training: Training,
    manifest: DatasetManifest,
    inputs: pd.DataFrame,
    target: NDArray[Any],
    copies: NDArray[np.int64],
) -> Pipeline:
    """The model of rows in memory, its parts fitted by the workers where it has any.

    The same model as in process, which has each part's seed from the model's.
    """

    def fitted() -> Pipeline:
        return fit(
            training.model,
            manifest.features,
            inputs,
            target,
            text=training.text,
            copies=copies,
        )

    if training.model.kind not in PARALLEL_KINDS:
        return fitted()
    workers = session.workers()
    try:
        with (
            cluster_errors(),
            joblib.parallel_config(backend="dask", client=session.client, n_jobs=-1),
        ):
            return fitted()
    except Exception as error:
        if lost := _lost(session, workers):
            raise WorkerLost("the Dask worker", f"{lost} is gone in mid-fit") from error
        raise


def number_of_ranks(side: StoredSide, rank_rows: int) -> int:
    """Of a boosted fit: as many as the side has `rank_rows`, and row groups at the most."""
    return max(1, min(side.groups, math.ceil(side.part.rows / rank_rows)))


def fit_boosted(session: Session, side: StoredSide, training: Training, ranks: int) -> Pipeline:
    """The boosted model of a training side that stays in the store.

    The same number of ranks gives the same trees, whatever workers they are on; with one rank,
    they are those of a fit in process.
    """
    choice, manifest = training.model, side.manifest
    names = categorical_names(manifest.features)
    known = known_categories_of(session, side, names) if names else {}
    model = make_pipeline(choice, manifest.features, None, known)
    prepare, estimator = model["prepare"], model["estimate"]
    head = side.head(_TRIED_ROWS)
    classes = side.classes()
    _try(model, side.inputs(head), model_target(head[manifest.target]))
    rows = BoostedRows(
        manifest.train.uri,
        manifest.features,
        manifest.target,
        tuple(classes.tolist()),
        pickle.dumps(prepare),
    )
    boosting = Boosting(
        estimator.native_parameters(len(classes)),
        estimator.get_num_boosting_rounds(),
        estimator.max_bin,
        tuple(estimator.feature_types),
    )
    estimator.take(_fit_together(session, ranks, side.groups, rows, boosting), classes)
    estimator.set_params(n_jobs=None)
    return model


def known_categories_of(
    session: Session, side: StoredSide, names: list[str]
) -> dict[str, list[str]]:
    """The categories that the model is to know, counted and added up on the workers."""
    counts: list[Future] = [
        session.submit(count_group, side.part.uri, group, side.features, names)
        for group in range(side.groups)
    ]
    while len(counts) > 1:
        counts = [
            session.submit(add_counts, *counts[start : start + _ADDED_AT_ONCE])
            for start in range(0, len(counts), _ADDED_AT_ONCE)
        ]
    [known] = session.results([session.submit(known_categories, counts[0])])
    return dict(known)


def _try(model: Pipeline, inputs: pd.DataFrame, target: NDArray[Any]) -> None:
    """Fit a tree on a few rows here. Raises `UnfitModel` for values that XGBoost refuses, so that
    an error of the ranks is none of the spec's.
    """
    try:
        prepared = model["prepare"].fit_transform(inputs)
        clone(model["estimate"]).set_params(n_estimators=1).fit(prepared, target)
    except (ValueError, TypeError) as error:
        raise UnfitModel(f"BoostedTrees can't be fitted: {error}") from error


def _fit_together(
    session: Session, ranks: int, groups: int, rows: BoostedRows, boosting: Boosting
) -> bytes:
    workers = session.workers()[:ranks]
    cuts = [groups * rank // ranks for rank in range(ranks + 1)]
    shares = [(rank, tuple(range(cuts[rank], cuts[rank + 1]))) for rank in range(ranks)]
    fit = uuid4().hex
    tracker = session.submit_to(workers[0], start_tracker, ranks)
    _await([tracker], session, workers)
    [place] = session.results([tracker])
    asked = [
        session.submit_to(
            worker,
            fit_ranks,
            fit,
            RanksWork(place, tuple(shares[number :: len(workers)]), rows, boosting),
        )
        for number, worker in enumerate(workers)
    ]
    try:
        _await(asked, session, workers)
        [trees] = [raw for raw in session.results(asked) if raw is not None]
    except HeadraceError:
        # Whoever is left may wait for one who is gone, and holds its rows meanwhile.
        session.tell_all(stop_ranks, fit)
        raise
    return bytes(trees)


def _await(futures: list[Future], session: Session, workers: list[str]) -> None:
    """Return when all are done. Raises `WorkerLost` as soon as one of `workers` is gone: work that
    is bound to it would wait for ever.
    """
    changed = threading.Event()
    for future in futures:
        future.add_done_callback(lambda _: changed.set())
    while True:
        changed.wait(_POLL_SECONDS)
        changed.clear()
        if lost := _lost(session, workers):
            raise WorkerLost("the Dask worker", f"{lost} is gone in mid-fit")
        failed = [future for future in futures if future.status == "error"]
        if any(isinstance(future.exception(), xgboost.core.XGBoostError) for future in failed):
            # A rank hears of another's end at once, the scheduler perhaps a little later.
            time.sleep(_POLL_SECONDS)
            if not _lost(session, workers):
                raise Unfinished(f"a rank of the fit failed: {failed[0].exception()}")
        elif failed or all(future.done() for future in futures):
            return


def _lost(session: Session, workers: list[str]) -> str:
    with cluster_errors():
        there = set(session.client.nthreads())
    return ", ".join(sorted(set(workers) - there))
