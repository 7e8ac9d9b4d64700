"""A side's file has the same bytes however its rows come."""

import io
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.training_dataset.side_file import ROW_GROUP_ROWS, write_side


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(3)
    size = 2 * ROW_GROUP_ROWS + 4_321
    return pa.table(
        {
            "id": [f"k{number:07d}" for number in range(size)],
            "n": pa.array(random.integers(0, 9, size), mask=random.random(size) < 0.2),
            "x": random.normal(size=size),
            "town": pa.array(random.choice(["Ulm", "Bonn", "Köln"], size).tolist()),
            "is": pa.array(random.random(size) < 0.5, mask=random.random(size) < 0.1),
            "empty": pa.nulls(size, pa.string()),
        }
    )


def at_once(table):
    """As pyarrow writes the whole table: the format that digests have rested on from the first."""
    sink = io.BytesIO()
    pq.write_table(
        table.combine_chunks(),
        sink,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=3,
        row_group_size=100_000,
    )
    return sink.getvalue()


@settings(max_examples=8)
@given(cuts=st.lists(st.integers(0, 2 * ROW_GROUP_ROWS + 4_321), max_size=6))
def test_rows_in_any_pieces_give_the_bytes_of_the_whole(rows, tmp_path_factory, cuts):
    places = [0, *sorted(cuts), rows.num_rows]
    pieces = (rows.slice(a, b - a) for a, b in pairwise(places))
    path = tmp_path_factory.mktemp("side") / "train.parquet"
    written = write_side(pieces, rows.schema, path)
    assert path.read_bytes() == at_once(rows)
    assert (written.rows, written.bytes) == (rows.num_rows, path.stat().st_size)


def test_a_side_without_rows_is_a_file_too(rows, tmp_path):
    written = write_side([], rows.schema, tmp_path / "test.parquet")
    assert written.rows == 0
    assert pq.read_table(tmp_path / "test.parquet").schema.equals(rows.schema)
