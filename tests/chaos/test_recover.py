"""`headrace recover`: a broker that lost everything, with loads in every stage."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from infra.embedded.environment import Broker
from shared.clock import utc_now
from shared.contracts.envelope import Event
from shared.contracts.events import Payload, SliceRejected, Stage
from shared.contracts.topics import Topic
from shared.object_store import ObjectStore, ObjectUri
from tests.chaos.asking import (
    FIRST,
    assert_done_once,
    how_it_stands,
    is_over,
    load_event,
    new_dataset,
    only_full,
    publish,
    request,
)
from tests.chaos.auditing import assert_well
from tests.chaos.drops import write_drop
from tests.chaos.wired import Wired
from tests.conftest import REPOSITORY
from tests.waiting import wait_until

SECOND = "2024-01-02"
COMMAND = (sys.executable, "-c", "from cli.main import main; main()")


def headrace(wired: Wired, *arguments: str, code: int = 0) -> str:
    """What `headrace arguments…` prints."""
    done = subprocess.run(
        [*COMMAND, *arguments, "--root", str(wired.services.root)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def kill(wired: Wired, *services: str) -> None:
    for status in wired.services.status():
        if status.name in services and status.pid and psutil.pid_exists(status.pid):
            psutil.Process(status.pid).kill()


def wipe(wired: Wired, broker: Broker) -> None:
    """Kill the broker, delete all that it has kept, and start it anew."""
    wired.broker.kill()
    if broker is Broker.KAFKA:
        shutil.rmtree(wired.broker.server.data)  # type: ignore[union-attr]
    else:
        direct = wired.servers.environment()
        store = ObjectStore(wired.settings)
        bucket = f"{direct['BUCKET_PREFIX']}broker"
        for item in store.list(ObjectUri(bucket, "")):
            store._client.delete_object(Bucket=bucket, Key=item.uri.key)
    wired.broker.start()


def state_of(wired: Wired, load_id: str, stage: str) -> Any:
    query = "SELECT state FROM headrace.stage_runs WHERE load_id = :l AND stage = :s"
    return wired.query(query, l=load_id, s=stage)


def until(wired: Wired, load_id: str, topic: str) -> None:
    """Wait until the broker has the load's event of this topic."""
    query = """
        SELECT FROM headrace.outbox WHERE topic = :topic AND published_at IS NOT NULL
            AND headers ->> 'ce_correlationid' = :load
    """
    try:
        wait_until(lambda: wired.query(query, topic=topic, load=load_id), seconds=60)
    except AssertionError as error:
        raise AssertionError(how_it_stands(wired, load_id)) from error


def ask(wired: Wired, dataset: str, slice_key: str = FIRST) -> str:
    """As a person does; the load."""
    folder = str(wired.root / dataset / slice_key)
    said = headrace(wired, "load", dataset, "--slice", slice_key, "--from", folder, "--json")
    return str(json.loads(said)["load_id"])


@pytest.mark.timeout(300)
def test_after_a_wiped_broker_recover_brings_every_load_to_its_end(
    wired: Wired, broker: Broker, figures: Callable[..., None]
) -> None:
    names = ("done", "model", "dataset", "snapshot", "validate", "ingest", "redriven", "unheard")
    sets = {name: new_dataset(wired, f"wiped_{name}") for name in names}
    loads: dict[str, str] = {"done": request(wired, sets["done"])}
    wait_until(lambda: is_over(wired, loads["done"]), seconds=60)

    # One service after the other ends, so that each has an event it never sees.
    kill(wired, "notifier")
    (trainer,) = [each.pid for each in wired.services.status() if each.name == "trainer"]
    died = wired.proxies["mlflow"].when(
        b"/model-versions/create", action=psutil.Process(trainer).kill
    )
    loads["model"] = request(wired, sets["model"])
    assert died.fired.wait(60)
    loads["dataset"] = request(wired, sets["dataset"])
    until(wired, loads["dataset"], "snapshotted")
    kill(wired, "snapshotter")
    loads["snapshot"] = request(wired, sets["snapshot"])
    until(wired, loads["snapshot"], "validated")
    kill(wired, "validator")
    loads["validate"] = request(wired, sets["validate"])
    until(wired, loads["validate"], "slice-loaded")
    # A dead letter that is redriven when nobody is there to see it.
    hidden = wired.root / sets["redriven"] / FIRST
    hidden.rename(hidden.with_name("away"))
    event = load_event(wired, sets["redriven"])
    publish(wired, [event])
    loads["redriven"] = event.id
    dead = "SELECT dead_letter_id FROM headrace.dead_letters WHERE event_id = :id"
    number = wait_until(lambda: wired.query(dead, id=event.id), seconds=60)[0][0]
    # The console asks for topics by name, and Tansu makes those that anybody asks for.
    kill(wired, "ingestor", "console")
    hidden.with_name("away").rename(hidden)
    headrace(wired, "dead", "redrive", str(number))
    loads["ingest"] = ask(wired, sets["ingest"])
    unheard = load_event(wired, sets["unheard"])
    publish(wired, [unheard])

    wipe(wired, broker)
    planned = json.loads(headrace(wired, "recover", "--dry-run", "--json"))
    done = json.loads(headrace(wired, "recover", "--json"))

    assert not planned["is_done"]
    assert planned["topics_made"] == []
    assert done["events"] == planned["events"], "a dry run says what would be done"
    assert {*done["topics_made"]} == {wired.settings.topic(topic) for topic in Topic}
    ours = [row for row in done["events"] if any(name in row["subject"] for name in sets.values())]
    under_way = {(row["subject"].split("/")[0], row["consumer"]) for row in ours}
    assert under_way >= {
        (sets["model"], "trainer"),
        (sets["dataset"], "trainer"),
        (sets["snapshot"], "snapshotter"),
        (sets["validate"], "validator"),
        (sets["ingest"], "ingestor"),
        (sets["redriven"], "ingestor"),
    }
    assert sets["unheard"] not in {dataset for dataset, _ in under_way}
    assert "Request it again" in done["not_known"]
    assert not any(
        row["subject"].startswith(sets["done"]) for row in ours if row["consumer"] != "notifier"
    )

    wired.start()
    begun = time.monotonic()
    headrace(wired, "recover")  # once more, while they are at work
    for load_id in loads.values():
        try:
            wait_until(lambda load_id=load_id: is_over(wired, load_id), seconds=90)
        except AssertionError as error:
            raise AssertionError(how_it_stands(wired, load_id)) from error
    seconds = time.monotonic() - begun
    for name, load_id in loads.items():
        if name != "redriven":
            assert_done_once(wired, load_id)
    assert wired.query("SELECT FROM headrace.loads WHERE load_id = :l", l=unheard.id) == []
    for name in loads:
        assert_well(wired.settings, sets[name], has_model=True)

    wait_until(lambda: nothing_left(wired), seconds=60, what="all is done, the notifier's too")
    figures(
        "recovered after a wiped broker",
        events=len(done["events"]),
        loads=len(loads),
        done_seconds_after=round(seconds, 1),
    )


def nothing_left(wired: Wired) -> bool:
    return not json.loads(headrace(wired, "recover", "--dry-run", "--json"))["events"]


@only_full
@pytest.mark.timeout(300)
def test_services_that_ran_through_it_and_a_slice_requested_since_do_not_wedge(
    wired: Wired, broker: Broker
) -> None:
    """The slice of the time after is in the validator's topic before the one that was lost."""
    dataset = new_dataset(wired, "wiped_through")
    write_drop(wired.root / dataset, SECOND)
    kill(wired, "validator")
    first = request(wired, dataset)
    until(wired, first, "slice-loaded")
    wipe(wired, broker)
    wired.start()
    second = request(wired, dataset, SECOND)
    until(wired, second, "slice-loaded")
    waits = "SELECT attempts FROM headrace.stage_runs WHERE load_id = :l AND stage = 'validate'"
    wait_until(lambda: (wired.query(waits, l=second) or [(0,)])[0][0] > 1, seconds=30)

    headrace(wired, "recover")

    for load_id in (first, second):
        wait_until(lambda load_id=load_id: is_over(wired, load_id), seconds=60)
        assert_done_once(wired, load_id)
    assert_well(wired.settings, dataset, has_model=True)


@only_full
@pytest.mark.timeout(300)
def test_a_service_that_hung_through_it_misses_nothing_of_the_new_topics(
    wired: Wired, broker: Broker
) -> None:
    """The new topic is longer than the old one was when the service looks again."""

    def rejected(number: int) -> Event[Payload]:
        load_id = f"hung-{number}"
        payload = SliceRejected(
            dataset="hung",
            slice_key=str(number),
            load_id=load_id,
            as_of=None,
            stage=Stage.INGEST,
            reasons=(),
        )
        return Event(payload, source="test", time=utc_now(), id=load_id)

    def told() -> int:
        query = "SELECT count(*) FROM headrace.inbox WHERE event_id LIKE 'hung-%'"
        return int(wired.scalar(query))

    publish(wired, [rejected(number) for number in range(20)])
    wait_until(lambda: told() == 20, seconds=60)
    (notifier,) = [each for each in wired.services.status() if each.name == "notifier"]
    process = psutil.Process(notifier.pid)
    process.suspend()
    try:
        wipe(wired, broker)
        headrace(wired, "recover")
        publish(wired, [rejected(number) for number in range(20, 65)])
    finally:
        process.resume()
    wait_until(lambda: told() == 65, seconds=60, what=f"{told()} of 65")
