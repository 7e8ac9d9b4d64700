"""The good specs of a folder, looked at again and again; a changed one counts at once."""

import logging
from collections.abc import Callable
from pathlib import Path

from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.spec_file import find_spec, spec_names
from shared.errors import PermanentError

logger = logging.getLogger(__name__)

_Version = tuple[int, int, int]


class SpecFolder:
    """Reads a spec again where its file has changed. A bad one is told once for each change."""

    def __init__(
        self, directory: Path, faults_of: Callable[[DatasetSpec], list[tuple[str, str]]]
    ) -> None:
        self._directory = directory
        self._faults_of = faults_of
        self._read: dict[str, tuple[_Version, DatasetSpec | None]] = {}

    def specs(self) -> list[DatasetSpec]:
        """The specs that can be read and are without fault, by name."""
        found = {}
        for dataset in spec_names(self._directory):
            try:
                stat = (self._directory / f"{dataset}.yaml").stat()
            except OSError:  # it went, or its link leads nowhere: until it is back
                continue
            version = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            before = self._read.get(dataset)
            is_known = before is not None and before[0] == version
            found[dataset] = before if is_known and before else (version, self._good(dataset))
        self._read = found
        return [spec for _, spec in found.values() if spec is not None]

    def _good(self, dataset: str) -> DatasetSpec | None:
        try:
            spec = find_spec(self._directory, dataset)
        except PermanentError as error:
            faults = str(error)
        else:
            faults = "; ".join(f"{path}: {message}" for path, message in self._faults_of(spec))
            if not faults:
                return spec
        logger.warning("the schedule of %s waits for its spec to be mended: %s", dataset, faults)
        return None
