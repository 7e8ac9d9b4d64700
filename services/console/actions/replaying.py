"""Replay a stage: an old event again under a new id, to redo only what follows it."""

from sqlalchemy import Connection

from services.console.actions.action import SOURCE, Action, Done, Proposal, Values
from services.console.forms import needed
from services.console.session import Actor
from services.console.site import Site
from services.console.wording import slice_url
from shared.contracts.events import DatasetReady
from shared.messaging import outbox
from shared.messaging.replaying import replay_of

_REDONE = {
    DatasetReady.type: "A model is trained of the same dataset again, and decided about. The same "
    "dataset, spec and code give the same version: a changed spec gives a new one.",
}
_FROM_SNAPSHOT = (
    "The training dataset is built of the same snapshot again, and a model trained of it. The same "
    "snapshot, spec and code give the same dataset: a changed spec gives a new one."
)


def _propose(site: Site, connection: Connection, values: Values) -> Proposal:
    event = replay_of(connection, needed(values, "event_id"), source=SOURCE, time=site.clock())
    payload = event.payload
    return Proposal(
        title=f"Replay {payload.topic.value} of {event.subject}?",
        verb="Replay it",
        says=(_REDONE.get(payload.type, _FROM_SNAPSHOT),),
        values={"event_id": values["event_id"].strip()},
        facts=(("Event", str(event.causation_id)), ("Load", event.correlation_id)),
        back=slice_url(payload.dataset, payload.slice_key),
    )


def _perform(site: Site, connection: Connection, actor: Actor, values: Values) -> Done:
    event = replay_of(connection, needed(values, "event_id"), source=SOURCE, time=site.clock())
    outbox.put(connection, event)
    return Done(
        subject=event.subject,
        message=f"Replayed {event.payload.topic.value} of {event.subject}.",
        dataset=event.payload.dataset,
        event_id=event.id,
        detail={
            "slice_key": event.payload.slice_key,
            "replayed": event.causation_id,
            "event_type": event.payload.type,
        },
    )


REPLAY = Action("replay", "replay", _propose, _perform)
