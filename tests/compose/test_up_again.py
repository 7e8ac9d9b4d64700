"""Stopping, taking down and bringing up again: in order, and with all the data."""

import hashlib
from typing import Any

from shared.object_store import Bucket
from tests.compose.accounts import TABLES, check_dataset, registered_versions
from tests.compose.system import SERVERS, SERVICES, System

DATASET = "stormy"
KILLED_CODE = 137


def test_what_was_stopped_and_taken_down_has_all_its_data_when_it_is_up_again_and_goes_on(
    system: System,
) -> None:
    drops = sorted((system.drops / DATASET).iterdir())
    if not system.query("SELECT FROM headrace.loads WHERE dataset = :name", name=DATASET):
        system.await_model(system.request(DATASET, drops[0].name, drops[0]))
    done = system.query(
        """
        SELECT load_id, slice_key FROM headrace.loads
        WHERE dataset = :dataset ORDER BY requested_at
        """,
        dataset=DATASET,
    )
    loads = {load_id: system.drops / DATASET / slice_key for load_id, slice_key in done}
    next_drop = drops[len(loads)]
    before = state(system)
    system.receiver.remove()

    with system.step("stop"):
        system.project.compose("stop")
    ended = {
        service: system.project.inspect(service)["State"]["ExitCode"]
        for service in (*SERVERS, *SERVICES)
    }
    with system.step("down"):
        system.project.compose("down")
    assert not system.project.containers(also_stopped=True)
    system.engine.dispose()
    with system.step("up again, to healthy containers"):
        system.project.compose("up", "--detach")
        system.await_ready()
    system.receiver.start()

    assert KILLED_CODE not in ended.values(), f"each ends by itself within its grace: {ended}"
    assert state(system) == before
    with system.step(f"{DATASET}/{next_drop.name} from event to model"):
        load_id = system.request(DATASET, next_drop.name, next_drop)
        system.await_model(load_id)
    check_dataset(system, DATASET, {**loads, load_id: next_drop})


def state(system: System) -> dict[str, Any]:
    """All that lasts: rows, objects, model versions and the records of the topics."""
    store = system.store()
    rows = {
        table: hashlib.sha256(
            repr(
                system.query(f"SELECT * FROM {DATASET}.{table}_history ORDER BY history_id")
            ).encode()
        ).hexdigest()
        for table in TABLES
    }
    return {
        "rows": rows,
        "objects": {
            bucket.value: sorted(
                (str(each.uri), each.etag) for each in store.list(store.uri(bucket, ""))
            )
            for bucket in Bucket
        },
        "versions": registered_versions(system, f"{DATASET}_churn"),
        "records": sorted((topic, headers["ce_id"]) for topic, headers in system.events()),
    }
