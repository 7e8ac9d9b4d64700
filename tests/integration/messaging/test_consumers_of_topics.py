"""Who has to do the events of a topic, as `headrace recover` knows it, is who does them."""

from importlib import import_module

from sqlalchemy import Engine

from infra.embedded.services import SERVICES
from shared.clock import utc_now
from shared.contracts.topics import CONSUMERS, Topic
from shared.object_store import ObjectStore
from shared.service import Resources
from shared.settings import Settings


def test_every_handler_of_a_service_is_known_to_recover(
    engine: Engine, store: ObjectStore, settings: Settings
) -> None:
    resources = Resources(settings, engine, store, utc_now, lambda: None)
    consumed: dict[Topic, set[str]] = {}
    for spec in SERVICES:
        service = import_module(spec.module).build(resources)
        for payload in service.handlers:
            consumed.setdefault(payload.topic, set()).add(service.name)
    assert {topic: set(names) for topic, names in CONSUMERS.items()} == consumed
