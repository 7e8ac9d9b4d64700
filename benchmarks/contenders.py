"""One run: every contender loads the same drop twice, on a new database, one after the other."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import mean

from benchmarks.dataset import FILE
from benchmarks.drops import rows_in
from benchmarks.measure import FIRST, HEADRACE, LIMIT, LOADS, UNCHANGED, WHOLE, Result, Run
from benchmarks.servers import Environment, checkpoint, fresh_database
from benchmarks.worker import Worker

_SLICES = {FIRST: "2024-01-31", UNCHANGED: "2024-02-29"}
# dlt sends statistics about its use unless it is told not to.
_QUIET = {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}


class WrongRows(Exception):
    """A contender did not load what the drop has."""


def run_once(drop: Path, peers: Sequence[str], root: Path, environment: Environment) -> Run:
    """Do the run. The limit is the mean of two COPYs, right before and right after Headrace's."""
    load_average = os.getloadavg()[0]
    with fresh_database(environment, root) as own:
        bench = _Bench(drop, own | _QUIET, root)
        before = bench.raw_copy()
        headrace, whole = bench.headrace()
        after = bench.raw_copy()
        copy = Result(
            LIMIT,
            {FIRST: mean(result.seconds[FIRST] for result in (before, after))},
            peak_bytes=after.peak_bytes,
            import_bytes=after.import_bytes,
            details={"each": [before.seconds[FIRST], after.seconds[FIRST]]},
        )
        return Run([copy, headrace, whole, *map(bench.peer, peers)], load_average)


class _Bench:
    def __init__(self, drop: Path, environment: Environment, root: Path) -> None:
        self._drop, self._environment, self._root = drop, environment, root
        self._rows = rows_in(drop / FILE)

    def raw_copy(self) -> Result:
        return self._file_loads("copy", LIMIT, (FIRST,))

    def peer(self, name: str) -> Result:
        return self._file_loads(name, name, LOADS)

    def headrace(self) -> tuple[Result, Result]:
        """Headrace's loads without and with what goes to the S3 store and back."""
        with ExitStack() as stack:
            ingestor, snapshotter = (
                stack.enter_context(self._worker(name)) for name in ("ingestor", "snapshotter")
            )
            done = {}
            for load, slice_key in _SLICES.items():
                checkpoint(self._environment)
                ingested = ingestor.do(slice_key=slice_key, source=str(self._drop))
                published = snapshotter.do(loaded=ingested["loaded"])
                self._require(published["changes"]["inserted" if load == FIRST else "unchanged"])
                done[load] = (ingested, published)
            result = Result(
                HEADRACE,
                {load: sum(part["seconds"] for part in parts) for load, parts in done.items()},
                peak_bytes={
                    "ingestor": max(parts[0]["peak_bytes"] for parts in done.values()),
                    "snapshotter": max(parts[1]["peak_bytes"] for parts in done.values()),
                },
                import_bytes={
                    "ingestor": ingestor.import_bytes,
                    "snapshotter": snapshotter.import_bytes,
                },
                details={
                    load: {
                        "steps": parts[0]["steps"] | parts[1]["steps"],
                        "apart": parts[0]["apart"] | parts[1]["apart"],
                        "ingestor_seconds": parts[0]["seconds"],
                        "snapshotter_seconds": parts[1]["seconds"],
                        "changes": parts[1]["changes"],
                    }
                    for load, parts in done.items()
                },
            )
        whole = {
            load: seconds + sum(result.details[load]["apart"].values())
            for load, seconds in result.seconds.items()
        }
        return result, Result(WHOLE, whole, result.peak_bytes, result.import_bytes)

    def _file_loads(self, role: str, contender: str, loads: Sequence[str]) -> Result:
        seconds, details, peak = {}, {}, 0
        with self._worker(role) as worker:
            for load in loads:
                checkpoint(self._environment)
                answer = worker.do(file=str(self._drop / FILE))
                self._require(answer["rows"])
                seconds[load], peak = answer["seconds"], answer["peak_bytes"]
                details[load] = answer.get("steps", {})
            imports = worker.import_bytes
        return Result(contender, seconds, {role: peak}, {role: imports}, details)

    def _worker(self, role: str) -> Worker:
        return Worker(role, self._environment, self._root / f"{role}.log")

    def _require(self, rows: int) -> None:
        if rows != self._rows:
            raise WrongRows(f"{rows} rows were loaded, the drop has {self._rows}")
