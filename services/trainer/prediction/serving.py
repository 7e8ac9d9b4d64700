"""Taking a model out of the registry: the file that was registered, or none."""

from pathlib import Path

from sklearn.pipeline import Pipeline
from sqlalchemy import Connection, Engine, select

from services.trainer.modelling.stored_model import UnreadableModel
from services.trainer.prediction.answers import Predictor
from services.trainer.records import kept_digest
from services.trainer.registry import Registry
from services.trainer.runs import (
    CHAMPION,
    DATASET_VERSION_TAG,
    MODEL_SHA256_TAG,
    RegisteredVersion,
)
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.manifest import DatasetManifest
from shared.contracts.spec_file import find_spec
from shared.database.tables import training_datasets
from shared.errors import InconsistentState, PermanentError
from shared.object_store import ObjectStore, ObjectUri


class NoChampion(PermanentError):
    """There is nobody to ask: no model is declared, or no version is champion."""


def known_digest(connection: Connection, version: RegisteredVersion) -> str | None:
    """The SHA-256 of the version's file as it was registered: Postgres' word, else its tag's."""
    kept = kept_digest(connection, version.model, version.version)
    return kept or version.tags.get(MODEL_SHA256_TAG)


def load_version(
    connection: Connection, registry: Registry, version: RegisteredVersion
) -> Pipeline:
    """The fitted pipeline of a version.

    Raises `UnreadableModel`, also where the file is not the one that was registered.
    """
    return registry.load(version, sha256=known_digest(connection, version))


def champion(
    engine: Engine, store: ObjectStore, registry: Registry, datasets_dir: Path, dataset: str
) -> Predictor:
    """The dataset's champion, to be asked.

    Raises `NoChampion` where there is none, and `InconsistentState` where its file is not the one
    that was registered or can't be read, or where its dataset isn't known.
    """
    spec = find_spec(datasets_dir, dataset)
    if spec.training is None:
        raise NoChampion(f"the spec of {dataset} declares no training, so it has no model")
    model = spec.training.model.name
    version = registry.holder(model, CHAMPION)
    if version is None:
        raise NoChampion(
            f"{model} has no champion yet: load a slice with `headrace load {dataset} --wait`, "
            f"or look at `headrace models {dataset}` and take one of its versions with "
            f"`headrace models promote {model} VERSION`"
        )
    with engine.connect() as connection:
        manifest = _manifest(connection, store, spec, version)
        try:
            pipeline = load_version(connection, registry, version)
        except UnreadableModel as error:
            raise InconsistentState(
                f"the champion, {model} version {version.version}, is not asked: {error}. "
                f"Take another one with `headrace models rollback {model}`, or load the slice again"
            ) from error
    return Predictor(model, version.version, pipeline, spec, manifest)


def _manifest(
    connection: Connection, store: ObjectStore, spec: DatasetSpec, version: RegisteredVersion
) -> DatasetManifest:
    """The manifest of the dataset that `version` learned from."""
    known = version.tags.get(DATASET_VERSION_TAG)
    query = select(training_datasets.c.manifest_uri).where(
        training_datasets.c.dataset == spec.dataset,
        training_datasets.c.dataset_version == known,
    )
    uri = connection.execute(query).scalar()
    if uri is None:
        raise InconsistentState(
            f"{version.model} version {version.version} was trained on dataset {known}, "
            f"of which {spec.dataset} knows nothing"
        )
    manifest = DatasetManifest.from_bytes(store.get_bytes(ObjectUri.parse(uri)), uri=uri)
    if manifest.dataset_version != known:
        raise InconsistentState(f"{uri} is of {manifest.dataset_version}, not of {known}")
    return manifest
