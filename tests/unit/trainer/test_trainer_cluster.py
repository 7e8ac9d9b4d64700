"""What the work on a cluster rests on, without one: ranges of entities, versions, error classes."""

import pickle

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.cluster.ranges import entity_ranges, row_groups_of, stride
from services.trainer.cluster.tasks import EntityRange, Survey, extremes
from services.trainer.cluster.versions import OtherVersion, Running, require_same
from shared.contracts.manifest import FilePart
from shared.errors import LoginRefused, ServerUnavailable

KEYS = {
    "string": (st.text(max_size=4), pa.string()),
    "integer": (st.integers(-(2**63), 2**63 - 1), pa.int64()),
    "number": (st.floats(), pa.float64()),
    "boolean": (st.booleans(), pa.bool_()),
}


@st.composite
def keys(draw):
    values, kind = KEYS[draw(st.sampled_from(sorted(KEYS)))]
    return pa.array(draw(st.lists(st.none() | values, max_size=40)), kind)


def surveyed(values: pa.Array, group_rows: int, rows: int) -> list[tuple[FilePart, Survey]]:
    """The survey of a part of these keys, as a worker makes it."""
    groups = [values.slice(at, group_rows) for at in range(0, len(values), group_rows)]
    ends = [extremes(pa.chunked_array([group])) for group in groups]
    least, greatest = (pa.array([end[place] for end in ends], values.type) for place in (0, 1))
    sample = values.take(pa.compute.sort_indices(values))[:: stride(rows)]
    part = FilePart(uri="s3://b/part", rows=len(values), bytes=1, sha256="")
    return [(part, Survey(len(values), least, greatest, sample))]


@given(keys(), st.integers(1, 9), st.integers(1, 50))
def test_every_key_is_in_one_range_whose_row_groups_have_it(values, group_rows, rows):
    surveys = {"t": surveyed(values, group_rows, rows)}
    found = []
    for entities in entity_ranges(surveys, rows):
        [groups] = [of for _, of in row_groups_of(surveys, entities)["t"]] or [()]
        for group in groups:
            of_group = pa.chunked_array([values.slice(group * group_rows, group_rows)])
            found += of_group.filter(entities.rows(of_group)).to_pylist()
    assert sorted(map(repr, found)) == sorted(map(repr, values.to_pylist()))


def test_ranges_are_of_the_size_asked_for():
    values = pa.array(np.random.default_rng(1).permutation(10_000))
    ranges = entity_ranges({"t": surveyed(values, 1_000, 500)}, 500)
    whole = pa.chunked_array([values])
    sizes = [pa.compute.sum(of.rows(whole)).as_py() for of in ranges]
    assert len(ranges) == 20
    assert sum(sizes) == 10_000
    assert max(sizes) < 600


def test_entities_are_not_printed():
    """Dask prints the arguments of a task that fails."""
    assert "secret" not in repr(EntityRange("secret", "secret"))
    survey = Survey(1, pa.array(["secret"]), pa.array(["secret"]), pa.array(["secret"]))
    assert "secret" not in repr(survey)


def test_another_version_is_named_and_an_unknown_commit_is_none():
    ours = Running({"Python": "3.13", "commit": "aa", "numpy": "2.4.0"})
    require_same(ours, Running({**ours.versions, "commit": "unknown"}), "worker w")
    with pytest.raises(
        OtherVersion, match=r"the Dask worker w runs Python 3\.12 in place of 3\.13"
    ):
        require_same(ours, Running({**ours.versions, "Python": "3.12"}), "worker w")
    with pytest.raises(OtherVersion, match=r"numpy unknown in place of 2\.4\.0"):
        require_same(ours, Running({"Python": "3.13"}), "worker w")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ServerUnavailable("the S3 store", OSError("no route")), "does not answer: no route"),
        (LoginRefused("the S3 store", "AccessDenied"), "refuses the login: AccessDenied"),
    ],
)
def test_a_server_that_is_away_from_a_worker_is_one_for_the_trainer(error, said):
    sent = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert type(sent) is type(error)
    assert (sent.server, str(sent)) == ("the S3 store", f"the S3 store {said}")
