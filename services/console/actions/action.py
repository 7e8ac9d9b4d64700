"""What an action is: a proposal that a person confirms, and its carrying out in one transaction."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from services.console.session import Actor
from services.console.site import Site
from shared.contracts.envelope import Event
from shared.contracts.events import Payload
from shared.database.statuses import AuditOutcome
from shared.messaging import outbox

SOURCE = "console"
"""Of the events that ask for what a person wants: the console's relay sends them."""
Values = Mapping[str, str]


@dataclass(frozen=True)
class Field:
    """Something that a person may add on the confirming page."""

    name: str
    label: str
    is_needed: bool = False
    hint: str = ""


@dataclass(frozen=True)
class Proposal:
    """What the confirming page says. `values` are sent back as they are when it is confirmed."""

    title: str
    verb: str
    """On the button."""
    says: tuple[str, ...]
    """What will happen, a paragraph each."""
    values: Values
    facts: tuple[tuple[str, str], ...] = ()
    lines: tuple[str, ...] = ()
    """A list that may be long: what is changed, say."""
    fields: tuple[Field, ...] = ()
    is_grave: bool = False
    """Whether it takes something away."""
    back: str = "/"


@dataclass(frozen=True)
class Done:
    """What was done, for the audit table and for who did it."""

    subject: str
    message: str
    dataset: str | None = None
    event_id: str | None = None
    """The event that asks for it, where a service does it."""
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def outcome(self) -> AuditOutcome:
        """As the audit table has it."""
        return AuditOutcome.ASKED if self.event_id else AuditOutcome.DONE


Propose = Callable[[Site, Connection, Values], Proposal]
"""What would be done. Changes nothing. Raises `HeadraceError` where it can't be done."""
Perform = Callable[[Site, Connection, Actor, Values], Done]
"""Does it, within the transaction of the connection. Raises as `Propose` does."""


@dataclass(frozen=True)
class Action:
    """One thing that a person can do. `name` is in its address, `audited` in the audit table."""

    name: str
    audited: str
    propose: Propose
    perform: Perform


def ask(site: Site, connection: Connection, payload: Payload) -> Event[Payload]:
    """Have an event published that asks a service for something, once this commits."""
    event = Event(payload=payload, source=SOURCE, time=site.clock())
    outbox.put(connection, event)
    return event
