"""The folder of the specs, as the pages need it."""

import threading
from contextlib import suppress
from pathlib import Path

from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.spec_file import find_spec, spec_names
from shared.errors import HeadraceError


class Specs:
    """The folder of the specs. Thread-safe. A `Companion`, which reads all of them beforehand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin to read what is there, so that no page has to wait for hundreds of files."""
        threading.Thread(target=self._read_all, name="specs", daemon=True).start()

    def stop(self) -> None:
        """Leave the rest to whoever asks."""
        self._stop.set()

    def names(self) -> list[str]:
        """The datasets that have a spec, in the order of their names."""
        return spec_names(self.folder)

    def find(self, name: str) -> DatasetSpec:
        """The dataset's spec. Raises `UnknownDataset`, or `InvalidSpec` with what is wrong."""
        return find_spec(self.folder, name)

    def text(self, name: str) -> str:
        """The file as it stands. Raises as `find` does."""
        if name not in self.names():
            find_spec(self.folder, name)
        return (self.folder / f"{name}.yaml").read_text(encoding="utf-8", errors="replace")

    def _read_all(self) -> None:
        for name in self.names():
            if self._stop.is_set():
                return
            with suppress(HeadraceError):
                self.find(name)
