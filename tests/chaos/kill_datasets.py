"""The datasets of the kill matrix: small, and with everything that a slice can have.

One kind is loaded over HTTP: a slice with two tables, pictures, a duplicate and bad rows; one that
the validator rejects; one whose folder isn't there; one that lacks a file; the first again with
other content; a correction of that, its bad rows mended; and its withdrawal. Of three models that
come of it, the last one is promoted by hand and rolled back. The other kind grows by share, its
first slice asked for by its schedule.
"""

import json
import uuid
from dataclasses import dataclass

import httpx
from sqlalchemy import text

from shared.clock import utc_now
from shared.contracts.envelope import Event
from shared.contracts.events import Payload, PromotionRequested, WithdrawRequested
from shared.contracts.topics import CONSUMERS, Topic
from shared.database.tables import schedules
from shared.mending.correction import correction_request, keep_mended
from shared.mending.landed import find_load
from shared.mending.sheet import MendedRow
from shared.messaging import outbox
from shared.messaging.kafka import Producer
from shared.object_store import ObjectStore
from tests.chaos.kill_drops import MENDED, Drops
from tests.chaos.kill_points import Kind
from tests.chaos.kill_services import POLL_SECONDS, Services
from tests.waiting import wait_until

POISONED = (
    Topic.LOAD_REQUESTED,
    Topic.SLICE_LOADED,
    Topic.VALIDATED,
    Topic.SNAPSHOTTED,
    Topic.SLICE_REJECTED,
)
"""A topic of each service: a record that is no event goes to its dead letters."""
PATIENCE_SECONDS = 600.0
"""For anything to come about, on a machine with other things to do."""

_SPEC = """
dataset: {name}
slices: {{naming: {{pattern: "day_{{index:02d}}", first_as_of: 2024-03-01, every: day}}}}
tables:
  people:
    key: [id]
    duplicates: keep_last
    quarantine_budget: 5
    columns: {{id: string, joined: date, plan: string}}
    images: {{mode: copy, file: "faces/{{id}}.jpg"}}
  labels:
    key: [id]
    quarantine_budget: 5
    columns: {{id: string, churned: boolean, watched: number}}
    foreign_keys: [{{columns: [id], table: people}}]
    expectations:
      - {{type: expect_column_values_to_be_between, kwargs: {{column: watched, min_value: 0}}}}
"""
_TRAINING = """
training:
  entity: id
  target: {{table: labels, column: churned}}
  features: {{people: [joined, plan], labels: [watched]}}
  balance: {{strategy: random_oversample, seed: 1}}
  model: {{name: {name}_model, kind: logistic_regression}}
  metric: accuracy
"""
_SHARES = """
dataset: {name}
slices: {{increment: {{initial: 50, step: 50}}, source: "{source}"}}
schedule: {{cron: "0 0 1 1 *", missed: latest}}
tables:
  events: {{key: [id], columns: {{id: integer, what: string}}}}
"""

_END = """
    SELECT (SELECT count(*) FROM headrace.loads
            WHERE dataset = :dataset
                AND status NOT IN ('loading', 'loaded', 'validated')) AS loads,
           (SELECT count(*) FROM headrace.promotions WHERE dataset = :dataset) AS decisions,
           (SELECT count(*) FROM headrace.outbox AS o
            JOIN headrace.inbox AS i ON i.event_id = o.event_id AND i.consumer = 'trainer'
            WHERE o.key = :dataset AND o.topic = 'model-published') AS compared,
           (SELECT count(*) FROM headrace.dead_letters
            WHERE convert_from(key, 'UTF8') = :dataset) AS dead_letters,
           (SELECT count(*) FROM headrace.notifications
            WHERE dataset = :dataset AND state NOT IN ('pending', 'sending')) AS messages,
           (SELECT count(*) FROM headrace.stage_runs
            WHERE dataset = :dataset AND state = 'running') AS running,
           (SELECT count(*) FROM headrace.outbox
            WHERE key = :dataset AND published_at IS NULL) AS unsent,
           (SELECT count(*) FROM headrace.outbox
            JOIN unnest(CAST(:topics AS text[]), CAST(:consumers AS text[])) AS c (topic, consumer)
                USING (topic)
            WHERE key = :dataset
                AND (event_id, c.consumer) NOT IN (SELECT event_id, consumer FROM headrace.inbox)
                AND (event_id, c.consumer) NOT IN (
                    SELECT event_id, service FROM headrace.dead_letters
                    WHERE event_id IS NOT NULL)) AS undone
"""
_PUBLISHED = """
    SELECT load_id FROM headrace.loads WHERE dataset = :name AND status = 'published'
"""
_REVISION = f"{_PUBLISHED} AND slice_key = :slice_key AND revision = :revision"
_BAD = """
    SELECT file, record_number FROM headrace.quarantined_rows
    WHERE load_id = :load_id AND column_name IN ('joined', 'watched')
"""
_COMPARED = """
    SELECT o.event_id FROM headrace.outbox AS o
    JOIN headrace.inbox AS i ON i.event_id = o.event_id AND i.consumer = 'trainer'
    WHERE o.key = :name AND o.topic = 'model-published'
"""
_TO_BE_DONE = [(topic.value, service) for topic, of in CONSUMERS.items() for service in of]
_DEAD = len(POISONED) + 1
_NOTHING_LEFT = {"running": 0, "unsent": 0, "undone": 0}
END = {
    Kind.MODEL: {
        "loads": 7,
        "decisions": 5,
        "compared": 5,
        "dead_letters": _DEAD,
        "messages": 7 + _DEAD,
    },
    Kind.PLAIN: {
        "loads": 7,
        "decisions": 0,
        "compared": 0,
        "dead_letters": _DEAD,
        "messages": 2 + _DEAD,
    },
    Kind.SHARE: {"loads": 2, "decisions": 0, "compared": 0, "dead_letters": 0, "messages": 0},
}
"""How many there are of each in the end. People are told of two rejections, of each decision about
a model version and of each dead letter."""
FIRST_CHAMPION, CHALLENGER = "1", "3"
"""The model versions that a person puts in one another's place."""


@dataclass(frozen=True)
class Scenario:
    """One dataset on its way."""

    name: str
    kind: Kind
    services: Services
    drops: Drops

    def run(self) -> None:
        """Ask for everything, however often the ingestor dies meanwhile."""
        if self.kind is Kind.SHARE:
            self._by_share()
            return
        spec = _SPEC + (_TRAINING if self.kind is Kind.MODEL else "")
        self._declare(spec.format(name=self.name))
        self._poison()
        requests = self.drops.requests()
        for number, asked in enumerate(requests):
            self._ask(number, asked)
        self._correct("day_00", revision=2)
        self._withdraw("day_00", after=len(requests) + 1)
        if self.kind is Kind.MODEL:
            self._promote_and_roll_back(after=3)

    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        topics, consumers = zip(*_TO_BE_DONE, strict=True)
        asked = {"dataset": self.name, "topics": list(topics), "consumers": list(consumers)}
        with self.services.engine.connect() as connection:
            row = connection.execute(text(_END), asked).mappings().one()
        return dict(row) == END[self.kind] | _NOTHING_LEFT

    def _by_share(self) -> None:
        born = {"dataset": self.name, "settled_until": "2025-06-01", "changed_by": "test"}
        with self.services.engine.begin() as connection:
            connection.execute(schedules.insert().values(born))
        self._declare(_SHARES.format(name=self.name, source=self.drops.root / "shares"))
        self._wait_for(_PUBLISHED, 1)
        self._ask(1, {"as_of": "2026-02-01"})

    def _correct(self, slice_key: str, *, revision: int) -> None:
        """Have the bad rows of a revision mended once it is in, as `rejects replay` does."""
        (load_id,) = self._wait_for(_REVISION, 1, slice_key=slice_key, revision=revision)
        with self.services.engine.begin() as connection:
            rows = [
                MendedRow(bad.file, bad.record_number, MENDED[bad.file])
                for bad in connection.execute(text(_BAD), {"load_id": load_id})
            ]
            base = find_load(connection, load_id)
            mended = keep_mended(ObjectStore(self.services.settings), base, rows)
            payload = correction_request(connection, base, [mended], requested_by="test")
        self._publish(payload, source="ingestor")

    def _withdraw(self, slice_key: str, *, after: int) -> None:
        """Ask for a slice to be withdrawn as soon as so many loads have begun."""
        self._wait_for("SELECT load_id FROM headrace.loads WHERE dataset = :name", after)
        payload = WithdrawRequested(
            dataset=self.name, slice_key=slice_key, reason="a test", requested_by="test"
        )
        self._publish(payload, source="ingestor")

    def _promote_and_roll_back(self, *, after: int) -> None:
        """Ask for both, as the console does, once so many models are trained and compared."""
        self._wait_for(_COMPARED, after)
        for action, version, instead_of in (
            ("promote", CHALLENGER, FIRST_CHAMPION),
            ("roll_back", FIRST_CHAMPION, CHALLENGER),
        ):
            payload = PromotionRequested(
                dataset=self.name,
                slice_key="day_00",
                action=action,
                model_name=f"{self.name}_model",
                model_version=version,
                champion_version=instead_of,
                requested_by="test",
            )
            self._publish(payload, source="trainer")

    def _wait_for(self, statement: str, number: int, **parameters: object) -> list[str]:
        """The first column of so many rows, as soon as there are."""

        def found() -> list[str]:
            with self.services.engine.connect() as connection:
                rows = connection.execute(text(statement), {"name": self.name, **parameters})
                ids = list(rows.scalars())
            return ids if len(ids) == number else []

        what = f"{number} of {self.name}: {statement}"
        return wait_until(found, seconds=PATIENCE_SECONDS, what=what, every=POLL_SECONDS)

    def _publish(self, payload: Payload, *, source: str) -> None:
        """By way of the outbox, whose relay is that of the service `source`."""
        with self.services.engine.begin() as connection:
            outbox.put(connection, Event(payload=payload, source=source, time=utc_now()))

    def _declare(self, spec: str) -> None:
        folder = self.services.settings.datasets_dir
        hidden = folder / f".{self.name}"
        hidden.write_text(spec)
        hidden.rename(folder / f"{self.name}.yaml")  # whole or absent

    def _poison(self) -> None:
        producer = Producer(self.services.settings)
        try:
            for topic in POISONED:
                producer.publish(topic, self.name.encode(), {"ce_id": str(uuid.uuid4())}, b"\x00{")
        finally:
            producer.close()

    def _ask(self, number: int, asked: dict[str, str]) -> None:
        """Ask until it is answered, under one key, as a client does whose request was cut off."""
        body = {"dataset": self.name, "requested_by": "test", **asked}
        key = {"Idempotency-Key": f"{self.name}/{number}"}

        def is_accepted() -> bool:
            try:
                answer = httpx.post(
                    self.services.loads_address,
                    content=json.dumps(body),
                    headers={**self.services.token, **key, "Content-Type": "application/json"},
                    timeout=10,
                    trust_env=False,
                )
            except httpx.HTTPError:
                return False
            assert answer.status_code == 202, answer.text
            return True

        wait_until(is_accepted, seconds=PATIENCE_SECONDS, what=f"{self.name} is asked for")
