"""Deletes from an environment what no image of ours ever runs: a third of its size.

Only what a package can be without is named here, one by one. What is missing of it (a newer version
may have it elsewhere) is passed over.
"""

import shutil
import sys
from pathlib import Path

TESTED_IN_PLACE = ("matplotlib", "numpy", "pandas", "pyarrow", "scipy", "sklearn")
"""Packages that ship their own tests, in folders called `tests`."""

NEEDLESS = (
    # To compile against; and the RPC server, which has no importer but itself.
    *("pyarrow/include", "pyarrow/src", "pyarrow/includes"),
    *("pyarrow/_flight*.so", "pyarrow/libarrow_flight.so*", "pyarrow/libarrow_python_flight.so*"),
    # What PyPy has in the place of zstandard's other library.
    "zstandard/_cffi*.so",
)

AWS_SERVICES = frozenset({"s3", "sso", "sso-oidc", "signin", "sts"})
"""Those that `shared/object_store.py` calls, and those by which the AWS library finds its keys."""


def main(environment: Path) -> None:
    """Prune the environment and say how much that was."""
    (packages,) = environment.glob("lib/python3*/site-packages")
    before = size(packages)
    for package in TESTED_IN_PLACE:
        for folder in sorted((packages / package).rglob("tests")):
            remove(folder)
    for pattern in NEEDLESS:
        for path in sorted(packages.glob(pattern)):
            remove(path)
    for folder in (packages / "botocore" / "data").glob("*/"):
        if folder.is_dir() and folder.name not in AWS_SERVICES:
            remove(folder)
    print(f"pruned {(before - size(packages)) >> 20} MiB of {before >> 20}")


def remove(path: Path) -> None:
    """Delete a file, or a folder with all that is in it, if it is still there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def size(folder: Path) -> int:
    """The bytes of all files below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
