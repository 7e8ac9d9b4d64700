"""Generated drops: one CSV file of six columns, the same bytes for the same number of rows."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv

_CHUNK_ROWS = 100_000
_LETTERS, _LETTER_PLACES, _DIGIT_PLACES = 26, 5, 4
_KEYS = 10**_DIGIT_PLACES * _LETTERS**_LETTER_PLACES
# Near _KEYS divided by the golden ratio, and coprime to it: each key once, far from the last.
_STRIDE = 73_431_321_101
_FIRST_DAY = np.datetime64("2020-01-01").astype(int)


def write_drop(path: Path, rows: int) -> None:
    """Write a drop of `rows` rows. One value of `total_paid` in a hundred is absent."""
    options = arrow_csv.WriteOptions(quoting_style="none", quoting_header="none")
    with arrow_csv.CSVWriter(path, _batch(0, 0).schema, write_options=options) as writer:
        for batch in _batches(rows):
            writer.write_batch(batch)


def _batches(rows: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, rows, _CHUNK_ROWS):
        yield _batch(start, min(_CHUNK_ROWS, rows - start))


def _batch(start: int, rows: int) -> pa.RecordBatch:
    random = np.random.default_rng([2024, start])
    months = random.integers(0, 73, rows)
    fee = random.integers(1_800, 11_900, rows) / 100
    paid = np.round(months * fee * random.uniform(0.9, 1.1, rows), 2)
    days = (_FIRST_DAY + random.integers(0, 1_500, rows)).astype("int32")
    columns = {
        "user_id": user_ids(start, rows),
        "signup_date": pa.array(days).cast(pa.date32()),
        "monthly_fee": pa.array(fee),
        "total_paid": pa.array(paid, mask=random.random(rows) < 0.01),
        "months_active": pa.array(months),
        "is_senior": pa.array(random.random(rows) < 0.16),
    }
    return pa.record_batch(columns)


def user_ids(start: int, rows: int) -> pa.Array:
    """The ids of the rows from `start` on, like 7590-VHVEG: each once, in no order."""
    numbers = np.arange(start, start + rows, dtype=np.int64) * _STRIDE % _KEYS
    characters = np.full((rows, _DIGIT_PLACES + 1 + _LETTER_PLACES), ord("-"), dtype=np.uint8)
    width = characters.shape[1]
    for place in range(width - 1, _DIGIT_PLACES, -1):
        numbers, letter = np.divmod(numbers, _LETTERS)
        characters[:, place] = ord("A") + letter
    for place in range(_DIGIT_PLACES - 1, -1, -1):
        numbers, digit = np.divmod(numbers, 10)
        characters[:, place] = ord("0") + digit
    offsets = np.arange(0, (rows + 1) * width, width, dtype=np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(characters.tobytes())]
    return pa.Array.from_buffers(pa.string(), rows, buffers)


def rows_in(path: Path) -> int:
    """How many rows a drop has."""
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) - 1
