"""Withdraw a slice: take back by history what its loads brought."""

from sqlalchemy import Connection

from services.console.actions.action import Action, Done, Field, Proposal, Values, ask
from services.console.forms import given, needed
from services.console.session import Actor
from services.console.site import Site
from services.console.wording import slice_url
from shared.withdraw_requests import withdraw_request


def _propose(site: Site, connection: Connection, values: Values) -> Proposal:
    dataset, slice_key = needed(values, "dataset"), needed(values, "slice_key")
    withdraw_request(
        connection,
        site.settings,
        dataset=dataset,
        slice_key=slice_key,
        reason="to be said",
        requested_by="nobody",
    )
    return Proposal(
        title=f"Withdraw {dataset}/{slice_key}?",
        verb="Withdraw the slice",
        says=(
            "The tables will say what they would had the slice never been loaded. What was known "
            "before stays known: it is taken back by history, and there is a new snapshot.",
            "A dataset is built of that snapshot and a model trained, where the spec says so. The "
            "slice can be loaded again, by its name.",
        ),
        values={"dataset": dataset, "slice_key": slice_key},
        fields=(Field("reason", "Why", is_needed=True, hint="Kept with the withdrawal."),),
        is_grave=True,
        back=slice_url(dataset, slice_key),
    )


def _perform(site: Site, connection: Connection, actor: Actor, values: Values) -> Done:
    payload = withdraw_request(
        connection,
        site.settings,
        dataset=needed(values, "dataset"),
        slice_key=needed(values, "slice_key"),
        reason=given(values, "reason"),
        requested_by=actor.name,
    )
    event = ask(site, connection, payload)
    return Done(
        subject=event.subject,
        message=f"Asked to withdraw {event.subject}.",
        dataset=payload.dataset,
        event_id=event.id,
        detail={"slice_key": payload.slice_key, "reason": payload.reason},
    )


WITHDRAW = Action("withdraw", "withdraw", _propose, _perform)
