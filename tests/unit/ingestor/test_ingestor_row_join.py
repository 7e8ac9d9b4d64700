"""Columns of another file, joined by row number."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.dataset_spec import DatasetSpec
from shared.reading.quarantine import Quarantine
from shared.reading.row_join import JoinedReader
from shared.reading.spool import SpooledFile
from shared.reading.typed_rows import typed_rows

SPEC = DatasetSpec.model_validate(
    {
        "dataset": "goods",
        "slices": {"increment": {"initial": 40, "step": 3}},
        "tables": {
            "labels": {
                "key": ["id"],
                "columns": {
                    "id": "integer",
                    "text": {"type": "string", "file": "x.csv"},
                    "size": {"type": "integer", "file": "z.csv"},
                },
            }
        },
    }
)
NUMBERS = st.sets(st.integers(-50, 3_000), max_size=400)


def write(path: Path, header: str, lines: list[str]) -> SpooledFile:
    path.write_text("".join(f"{line}\n" for line in [header, *lines]))
    return SpooledFile(path.name, path, "")


@given(NUMBERS, NUMBERS, NUMBERS, st.integers(0, 300), st.integers(0, 300))
def test_every_row_has_its_partners_values_or_null(
    tmp_path: Path,
    base: set[int],
    first: set[int],
    second: set[int],
    width: int,
    wide: int,
) -> None:
    own = [f"{n},{n}{' ' * width}" for n in sorted(base)]
    x = write(tmp_path / "x.csv", ",text", [f"{n},text {n}{'x' * wide}" for n in sorted(first)])
    z = write(tmp_path / "z.csv", "size,", [f"{n * 2},{n}" for n in sorted(second)])
    y = write(tmp_path / "y.csv", ",id", own)
    file = SpooledFile(y.name, y.path, "", joined=(x, z))
    reader = JoinedReader(SPEC, "labels", file, Quarantine("labels", 0), 4096)
    table = SPEC.tables["labels"]
    rows = [
        row
        for batch in reader.batches()
        for row in typed_rows(batch, table, Quarantine("labels", 0), 0).to_pylist()
    ]
    assert reader.records == len(base)
    assert rows == [
        {
            "id": n,
            "text": f"text {n}{'x' * wide}" if n in first else None,
            "size": n * 2 if n in second else None,
            "record_number": number,
        }
        for number, n in enumerate(sorted(base), 1)
    ]
