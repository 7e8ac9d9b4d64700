"""What a process of the cluster runs: it has to be what the trainer runs."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from shared import __version__
from shared.errors import TransientError
from shared.settings import Settings

_PACKAGES = (
    *("dask", "distributed", "cloudpickle"),
    *("numpy", "pandas", "pyarrow", "scikit-learn", "joblib", "xgboost-cpu"),
)
"""What carries the work and what does it. Of another version, it might do something else."""
_UNKNOWN = "unknown"


class OtherVersion(TransientError):
    """A worker runs another version of something than the trainer. Passes when they are the same:
    in the middle of an upgrade nothing is computed and nothing is lost.
    """


@dataclass(frozen=True)
class Running:
    """What a process runs, by name."""

    versions: Mapping[str, str]

    def difference(self, other: "Running") -> list[str]:
        """What differs between this one, the trainer's, and another process, in words."""
        return [
            f"{name} {other.versions.get(name, _UNKNOWN)} in place of {ours}"
            for name, ours in self.versions.items()
            if other.versions.get(name) != ours
            and not (name == "commit" and _UNKNOWN in (ours, other.versions.get(name)))
        ]


@cache
def running() -> Running:
    """What this process runs. A commit is known where `GIT_COMMIT` is set."""
    versions = {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "headrace": __version__,
        "commit": Settings().git_commit,
    }
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "none"
    return Running(versions)


def require_same(trainer: Running, other: Running, where: str) -> None:
    """Raise `OtherVersion`, naming what differs and `where`, unless both run the same."""
    if difference := trainer.difference(other):
        raise OtherVersion(
            f"the Dask {where} runs {', '.join(difference)}: start it from the trainer's image"
        )
