"""What the figures of a stage say about its bound, and where datasets are put."""

import pytest
from kafka.partitioner.default import DefaultPartitioner

from benchmarks.cpu import Cores
from benchmarks.replicas import bound, mean_of, names, partition_of, placement, placements, table
from benchmarks.stages import StageRun


def run(replicas=2, shares=(4, 4), seconds=10.0, service=0.5, postgres=0.2, stage="validate"):
    cores = Cores(service, postgres, others=0.1, elsewhere=0.0, all_there_are=2)
    return StageRun(stage, "validator", replicas, seconds, sum(shares), 4800, shares, cores, 5)


def test_busy_cores_are_the_bound_before_anything_else():
    assert bound(run(service=1.6, postgres=0.2, shares=(8, 0))) == "the 2 cores"


def test_a_replica_that_has_its_core_to_itself_is_bound_by_it():
    assert bound(run(replicas=1, shares=(8,), service=0.9, postgres=0.1)) == (
        "a core for each replica"
    )


def test_a_replica_with_most_of_the_work_is_what_the_others_wait_for():
    assert bound(run(shares=(3, 5))) == "waiting: commits, the store, MLflow"
    assert bound(run(shares=(1, 7))) == "shares: one replica had 7 of 8"


def test_work_and_seconds_of_several_slices_are_summed_and_cores_are_means():
    mean = mean_of([run(seconds=10, service=0.4), run(seconds=30, service=0.6, shares=(5, 3))])
    assert (mean.seconds, mean.slices, mean.rows, mean.shares) == (40, 16, 9600, [9, 7])
    assert mean.cores.service == pytest.approx(0.5)
    assert mean.slices_per_minute == 24
    assert mean.rows_per_second == 240


def test_the_table_compares_with_one_replica_of_the_same_stage():
    runs = {
        ("ingest", 1): run(replicas=1, shares=(8,), seconds=10, stage="ingest"),
        ("ingest", 2): run(seconds=5, stage="ingest"),
        ("train", 1): run(replicas=1, shares=(8,), seconds=100, stage="train"),
    }
    lines = [line.split() for line in table(runs).splitlines()[1:4]]
    assert [line[:5] for line in lines] == [
        ["ingest", "1", "48.0", "480", "1.00"],
        ["ingest", "2", "96.0", "960", "2.00"],
        ["train", "1", "4.8", "48", "1.00"],
    ]


class Cluster:
    """As much of the broker's metadata as the partitioner asks for."""

    def topics(self):
        return {"t"}

    def partitions_for_topic(self, topic):
        return set(range(6))

    available_partitions_for_topic = partitions_for_topic


def test_datasets_are_placed_as_the_producer_places_them():
    for dataset in names(20):
        key = dataset.encode()
        wanted = DefaultPartitioner().partition("t", dataset, key, None, None, Cluster())
        assert partition_of(dataset, 6) == wanted


def test_eight_datasets_collide_on_six_partitions_and_no_more_on_twenty_four():
    assert len(set(names(20))) == 20
    on_six, on_more = placement(names(8), 6), placement(names(8), 24)
    assert max(map(len, on_six.values())) == 3
    assert max(map(len, on_more.values())) == 1
    said = placements(names(8), 6)
    assert "8 datasets on 6 partitions:" in said
    assert "with  6: 4 in use, at most 3 behind one another" in said
