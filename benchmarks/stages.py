"""The stages of the pipeline one after the other, each let go when all its replicas stand ready.

A relay publishes only while it holds an advisory lock of the database. Here that lock is held until
a stage's turn has come, so the stage finds every dataset's event at once and nothing else is at
work. What was done is read from `headrace.stage_runs`; nothing of the services is changed.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Connection, Engine, text

from benchmarks.cpu import Cores, Meter
from infra.embedded.services import service_of
from infra.embedded.stack import Stack
from shared.clock import utc_now
from shared.contracts.envelope import Event
from shared.contracts.events import (
    DatasetReady,
    LoadRequested,
    Payload,
    SliceLoaded,
    Snapshotted,
    Validated,
)
from shared.load_requests import load_request
from shared.messaging.kafka import Producer

POLL_SECONDS = 0.05
PATIENCE_SECONDS = 300.0
STAGES: Mapping[str, tuple[str, str | None, type[Payload]]] = {
    "ingest": ("ingestor", None, LoadRequested),
    "validate": ("validator", "ingestor", SliceLoaded),
    "snapshot": ("snapshotter", "validator", Validated),
    "dataset": ("trainer", "snapshotter", Snapshotted),
    "train": ("trainer", "trainer", DatasetReady),
}
"""The service of each stage, the one whose relay lets it go, and the event that it is done for; the
first one's is the request."""
SERVICES = ("ingestor", "validator", "snapshotter", "trainer")


class StageStuck(Exception):
    """A stage did not finish in `PATIENCE_SECONDS`, or gave something up."""


@dataclass(frozen=True)
class StageRun:
    """A stage's work on a slice of every dataset, with `replicas` of its service."""

    stage: str
    service: str
    replicas: int
    seconds: float
    """From the start of the first event's work to the end of the last one's."""
    slices: int
    rows: int
    shares: Sequence[int]
    """How many of the events each replica did, in the order of their names."""
    cores: Cores
    connections: int
    """To Postgres, that the service kept, all replicas together."""

    @property
    def slices_per_minute(self) -> float:
        """All datasets together."""
        return 60 * self.slices / self.seconds

    @property
    def rows_per_second(self) -> float:
        """Of all tables of all datasets."""
        return self.rows / self.seconds

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        rates = {
            "slices_per_minute": self.slices_per_minute,
            "rows_per_second": self.rows_per_second,
        }
        return asdict(self) | rates


def run_slice(
    stack: Stack, engine: Engine, datasets: Sequence[str], slice_key: str, drops: Path, rows: int
) -> list[StageRun]:
    """Take the slice of every dataset through every stage; `rows` are those of one slice."""
    found = []
    with ExitStack() as gates:
        held = {source: gates.enter_context(_relay_held(engine, source)) for source in SERVICES}
        for stage, (service, let_go_by, event) in STAGES.items():
            before, meter = _done_by_replica(stack, service, event), Meter(stack)
            if let_go_by is None:
                _request(stack, engine, datasets, slice_key, drops)
            else:
                held[let_go_by].close()
            begun, ended = _await(engine, stage, datasets, slice_key)
            cores = meter.read(service)
            after = _done_by_replica(stack, service, event)
            if service == let_go_by:  # it comes round again: what follows must wait
                held[service] = gates.enter_context(_relay_held(engine, service))
            found.append(
                StageRun(
                    stage=stage,
                    service=service,
                    replicas=len(after),
                    seconds=ended - begun,
                    slices=len(datasets),
                    rows=rows * len(datasets),
                    shares=[after[name] - before[name] for name in sorted(after)],
                    cores=cores,
                    connections=_connections(engine, service),
                )
            )
    return found


@contextmanager
def _relay_held(engine: Engine, source: str) -> Iterator[ExitStack]:
    """Keep every relay of `source` from publishing, until what is given is closed."""
    with ExitStack() as held:
        connection = held.enter_context(engine.connect())
        key = {"source": source}
        _lock(connection, "pg_advisory_lock", key)
        held.callback(_lock, connection, "pg_advisory_unlock", key)
        yield held


def _lock(connection: Connection, function: str, key: dict[str, str]) -> None:
    connection.execute(
        text(f"SELECT {function}(hashtext('headrace relay'), hashtext(:source))"), key
    )
    connection.commit()


def _request(
    stack: Stack, engine: Engine, datasets: Sequence[str], slice_key: str, drops: Path
) -> None:
    """Publish the load requests, past the outbox."""
    settings = stack.settings()
    producer = Producer(settings)
    with engine.connect() as connection:
        payloads = [
            load_request(
                connection,
                settings,
                dataset=dataset,
                slice_key=slice_key,
                source=str(drops),
                requested_by="benchmark",
            )
            for dataset in datasets
        ]
    events = [Event(payload=each, source="benchmark", time=utc_now()) for each in payloads]
    sent = [
        producer.send(each.payload.topic, each.key.encode(), each.headers(), each.value())
        for each in events
    ]
    for each in sent:
        producer.wait(each)
    producer.close()


def _await(
    engine: Engine, stage: str, datasets: Sequence[str], slice_key: str
) -> tuple[float, float]:
    """When the stage began and ended its work on the slice of every dataset, in epoch seconds."""
    query = text("""
        SELECT count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE state = 'failed'),
               extract(epoch FROM min(started_at))::float,
               extract(epoch FROM max(finished_at))::float
        FROM headrace.stage_runs
        WHERE stage = :stage AND slice_key = :slice_key
    """)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with engine.connect() as connection:
            done, failed, begun, ended = connection.execute(
                query, {"stage": stage, "slice_key": slice_key}
            ).one()
        if failed:
            raise StageStuck(f"{stage} gave {failed} of {slice_key} up: see headrace.dead_letters")
        if done == len(datasets):
            return begun, ended
        time.sleep(POLL_SECONDS)
    raise StageStuck(f"{stage} did {done} of {len(datasets)} in {PATIENCE_SECONDS:g} s")


def _connections(engine: Engine, service: str) -> int:
    query = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :name")
    with engine.connect() as connection:
        return int(connection.execute(query, {"name": f"headrace-{service}"}).scalar_one())


def _done_by_replica(stack: Stack, service: str, event: type[Payload]) -> dict[str, int]:
    """How many such events each replica of the service has done since it started."""
    counted = ('outcome="done"', f'type="{event.type}"')
    found = {}
    for process in stack.status():
        if service_of(process.name) == service:
            metrics = httpx.get(f"{process.address}/metrics", timeout=10, trust_env=False).text
            found[process.name] = sum(
                int(float(line.rpartition(" ")[2]))
                for line in metrics.splitlines()
                if line.startswith("headrace_events_total{")
                and all(each in line for each in counted)
            )
    return found
