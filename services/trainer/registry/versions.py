"""Registered models: their versions, and who has which alias."""

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.entities import LoggedModelOutput
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from sklearn.pipeline import Pipeline

from services.trainer.modelling.stored_model import (
    MODEL_FILE,
    TRUSTED_TYPES,
    UnreadableModel,
    read_model,
    requirements,
)
from services.trainer.registry.connection import (
    ABSENT,
    EXISTS,
    INVALID,
    TIMEOUT_SECONDS,
    connect,
    literal,
    server_errors,
    unless,
)
from services.trainer.registry.tracking import RecordedRun
from services.trainer.runs import (
    MODEL_SHA256_TAG,
    TRAINING_TAG,
    WITHDRAWN_TAG,
    RegisteredVersion,
)
from shared.errors import ServerUnavailable
from shared.fail_points import FailPoint, reached


class Registry:
    """The model registry. Thread-safe.

    Every method raises `ServerUnavailable` where MLflow doesn't answer.
    """

    def __init__(self, tracking_uri: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._tracking_uri = tracking_uri
        self._client = connect(tracking_uri, timeout_seconds)

    def find(self, model: str, training_id: str) -> RegisteredVersion | None:
        """The version that this training gave, if it was registered."""
        with server_errors():
            found = self._client.search_model_versions(
                f"name = {literal(model)} and tags.`{TRAINING_TAG}` = {literal(training_id)}",
                order_by=["version_number ASC"],
                max_results=1,
            )
            return _version(found[0]) if found else None

    def register(
        self,
        model: str,
        pipeline: Pipeline,
        *,
        run: RecordedRun,
        inputs: pd.DataFrame,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
    ) -> RegisteredVersion:
        """Store `pipeline` with its signature and an example of its inputs, as the newest version.

        The version's tags are `tags` and the SHA-256 of the stored model file.
        Not to be called where `find` finds one: it would make a second.
        """
        with server_errors():
            logged = self._client.create_logged_model(
                run.experiment_id,
                name=model.replace(".", "_"),
                source_run_id=run.run_id,
                params={name: str(value) for name, value in params.items()},
                tags=dict(tags),
                model_type="classifier",
            )
            reached(FailPoint.MODEL_MADE)
            with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
                path = Path(folder) / "model"
                _save(pipeline, path, inputs, model_id=logged.model_id, run_id=run.run_id)
                sha256 = _sha256(path / MODEL_FILE)
                self._client.log_model_artifacts(logged.model_id, str(path))
                reached(FailPoint.MODEL_STORED)
            self._client.finalize_logged_model(logged.model_id, "READY")
            reached(FailPoint.MODEL_READY)
            self._client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, 0)])
            reached(FailPoint.MODEL_LINKED)
            with unless(EXISTS):
                self._client.create_registered_model(model)
            reached(FailPoint.VERSION_REGISTERING)
            made = self._client.create_model_version(
                model,
                source=f"models:/{logged.model_id}",
                run_id=run.run_id,
                tags={**tags, MODEL_SHA256_TAG: sha256},
                model_id=logged.model_id,
                await_creation_for=0,
            )
            reached(FailPoint.VERSION_REGISTERED)
            return _version(made)

    def version(self, model: str, version: str) -> RegisteredVersion | None:
        """The version by its number."""
        with server_errors(), unless(ABSENT):
            return _version(self._client.get_model_version(model, version))
        return None

    def holder(self, model: str, alias: str) -> RegisteredVersion | None:
        """The version that has `alias`."""
        # A model or an alias that isn't there is told as an invalid parameter.
        with server_errors(), unless(ABSENT, INVALID):
            return _version(self._client.get_model_version_by_alias(model, alias))
        return None

    def assign(self, model: str, alias: str, version: str) -> None:
        """Give `alias` to `version`, whoever has it now."""
        with server_errors():
            reached(FailPoint.ALIAS_SETTING)
            self._client.set_registered_model_alias(model, alias, version)
            reached(FailPoint.ALIAS_SET)

    def release(self, model: str, alias: str) -> None:
        """Let nobody have `alias`."""
        with server_errors():
            reached(FailPoint.ALIAS_RELEASING)
            with unless(ABSENT):
                self._client.delete_registered_model_alias(model, alias)
            reached(FailPoint.ALIAS_RELEASED)

    def withdraw(self, model: str, version: str, reason: str | None) -> None:
        """Mark the version as rolled back for `reason`; with None, take the mark away."""
        with server_errors():
            reached(FailPoint.VERSION_WITHDRAWING)
            with unless(ABSENT):
                if reason is None:
                    self._client.delete_model_version_tag(model, version, WITHDRAWN_TAG)
                else:
                    self._client.set_model_version_tag(model, version, WITHDRAWN_TAG, reason)
            reached(FailPoint.VERSION_WITHDRAWN)

    def annotate(self, model: str, version: str, tags: Mapping[str, str]) -> None:
        """Set `tags` of the version, over what they were."""
        with server_errors():
            for name, value in tags.items():
                self._client.set_model_version_tag(model, version, name, value)

    def load(self, version: RegisteredVersion, *, sha256: str | None) -> Pipeline:
        """The fitted pipeline of a version whose stored file has the digest `sha256`.

        Reads Headrace's own format only, in which a file can't run code. Raises `UnreadableModel`,
        also where the file has another digest or none is known.
        """
        if sha256 is None:
            raise UnreadableModel(
                "no digest of its file is known, so nobody can tell whether it is the one that was "
                "registered"
            )
        prefix, _, model_id = version.source.partition("models:/")
        if prefix or not model_id.startswith("m-"):
            raise UnreadableModel("it was not registered by Headrace")
        with server_errors():
            try:
                location = self._client.get_logged_model(model_id).artifact_location
                listed = self._client.list_logged_model_artifacts(model_id)
            except MlflowException as error:
                if error.error_code != ABSENT:
                    raise
                raise UnreadableModel("its stored model is deleted") from error
        if MODEL_FILE not in {item.path for item in listed}:
            raise UnreadableModel(f"its stored model has no {MODEL_FILE}")
        with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
            try:
                path = mlflow.artifacts.download_artifacts(
                    artifact_uri=f"{location}/{MODEL_FILE}",
                    dst_path=folder,
                    tracking_uri=self._tracking_uri,
                )
            except MlflowException as error:
                # It is there, and mlflow doesn't let through why it couldn't be had.
                raise ServerUnavailable("MLflow", error) from error
            if (found := _sha256(Path(path))) != sha256:
                raise UnreadableModel(
                    f"its stored file has the SHA-256 {found}, the one that was registered had "
                    f"{sha256}: it was changed or damaged since"
                )
            return read_model(Path(path))


def _save(
    pipeline: Pipeline, path: Path, inputs: pd.DataFrame, *, model_id: str, run_id: str
) -> None:
    example = inputs.head(3).copy()
    # mlflow compares the names with a range, which pandas' own text index warns about.
    example.columns = example.columns.astype(object)
    mlflow.sklearn.save_model(
        pipeline,
        str(path),
        mlflow_model=mlflow.models.Model(run_id=run_id, model_id=model_id),
        serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_SKOPS,
        skops_trusted_types=list(TRUSTED_TYPES),
        signature=mlflow.models.infer_signature(inputs, pipeline.predict(inputs.head(3))),
        input_example=example,
        # Given, because finding them out takes seconds.
        pip_requirements=requirements(pipeline),
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(found: ModelVersion) -> RegisteredVersion:
    return RegisteredVersion(
        found.name, str(found.version), found.run_id or "", found.source or "", dict(found.tags)
    )
