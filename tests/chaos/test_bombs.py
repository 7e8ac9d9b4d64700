"""Files that would take all memory: told at once, in memory that doesn't grow with them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.embedded.environment import given_variables
from shared.object_store import ObjectStore
from shared.settings import Settings
from tests.chaos.auditing import assert_well
from tests.chaos.bombs import BOMBS, MB, write_parquet_bomb
from tests.chaos.size import size
from tests.conftest import REPOSITORY

UNPACKED = 2000 * MB if size().is_full else 200 * MB
MORE_BYTES = 180 * MB
"""What a bomb may take beyond what a file of two rows takes."""
SELECTED = (
    *("zeros", "a line without an end, zstd", "a quote that is not closed"),
    *("a record of many quoted lines", "carriage returns", "a million columns"),
    "a million values at fault",
)
"""Of every run: one of each way to be large."""
SECONDS = 300
SPEC = {
    "dataset": "bombs",
    "slices": {"naming": {"pattern": "{date:%Y-%m-%d}"}},
    "tables": {"t": {"key": ["id"], "columns": {"id": "integer", "name": "string"}}},
}


class Staging:
    """The process that stages slices."""

    def __init__(self, settings: Settings) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.staging_process"],
            env={**os.environ, **given_variables(settings)},
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def stage(self, folder: Path) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"folder": str(folder), "dataset": "bombs"}) + "\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        assert said, f"the process ended: {self._process.wait()}"
        return json.loads(said)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def own(settings: Settings, store: ObjectStore, tmp_path: Path) -> Settings:
    """The settings with a folder of specs, and the buckets."""
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "bombs.yaml").write_text(json.dumps(SPEC))
    changed = settings.model_copy(update={"datasets_dir": tmp_path / "specs"})
    return Settings.model_validate(changed.model_dump())


@pytest.fixture
def staging(own: Settings) -> Iterator[Staging]:
    process = Staging(own)
    yield process
    process.end()


@pytest.mark.timeout(2400)
def test_a_bomb_is_told_in_memory_that_does_not_grow_with_it(
    staging: Staging, own: Settings, tmp_path: Path, figures: Callable[..., None]
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    (small / "t.csv").write_text("id,name\n1,a\n2,b\n")
    assert staging.stage(small)["status"] == "loaded"
    base = staging.stage(small)["peak"]
    most, slowest = {}, {}
    kinds = BOMBS if size().is_full else SELECTED
    for number, kind in enumerate(kinds):
        bomb = BOMBS[kind]
        folder = bomb.write(tmp_path / f"{number}", UNPACKED)
        found = staging.stage(folder)
        print(kind, found)
        if bomb.codes:
            assert found["status"] == "rejected", (kind, found)
            assert found["codes"], kind
            assert set(found["codes"]) <= bomb.codes, (kind, found)
        else:
            assert found["status"] == "loaded", (kind, found)
        if bomb.rows is not None:
            assert found["rows_in"] == bomb.rows, kind
            assert found["rows_in"] == found["rows_loaded"] + found["rows_quarantined"]
        most[kind], slowest[kind] = found["peak"] - base, found["seconds"]
        next(folder.iterdir()).unlink()
    assert_well(own)
    largest, longest = max(most, key=most.__getitem__), max(slowest, key=slowest.__getitem__)
    assert most[largest] < MORE_BYTES, (largest, most)
    assert slowest[longest] < SECONDS, (longest, slowest)
    figures(
        "inputs: bombs",
        tried=len(kinds),
        unpacked_mb=UNPACKED // MB,
        most_memory_mb=f"{most[largest] / MB:.0f} ({largest}) beyond {base / MB:.0f}",
        longest_seconds=f"{slowest[longest]:.0f} ({longest})",
    )


def test_a_parquet_file_of_one_text_a_thousand_times_takes_no_more_memory(
    staging: Staging, own: Settings, tmp_path: Path
) -> None:
    (tmp_path / "small").mkdir()
    write_parquet_bomb(tmp_path / "one", 1)
    base = staging.stage(tmp_path / "one")["peak"]
    found = staging.stage(write_parquet_bomb(tmp_path / "bomb", 1500))
    print(found, base)
    assert found["peak"] - base < MORE_BYTES
    assert_well(own)
