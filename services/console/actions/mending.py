"""Replay mended rows: a correction of the slice that they were quarantined from."""

from sqlalchemy import Connection

from services.console.actions.action import Action, Done, Proposal, Values, ask
from services.console.forms import BadForm, needed
from services.console.session import Actor
from services.console.site import Site
from services.console.uploads import BadUpload, folder_of
from shared.errors import SourceNotFound
from shared.mending.correction import check_newest
from shared.mending.replaying import Mending, read_mending
from shared.mending.sheet import BadSheet, ReadRow, read_sheet
from shared.reading.sources import StorePrefix

MOST_SHEET_BYTES = 64 << 20


def mend_url(load_id: str) -> str:
    """The address of the page where a load's rows are mended."""
    return f"/mend?load={load_id}"


def _propose(site: Site, connection: Connection, values: Values) -> Proposal:
    mending = _read(site, connection, needed(values, "upload"))
    check_newest(connection, mending.base)
    if not mending.rows:
        raise BadSheet(
            "no row of the sheet differs from what was downloaded: mend some, or write `take` or "
            "`drop` into headrace_action"
        )
    base = mending.base
    what = f"{base['dataset']}/{base['slice_key']}"
    left_out = sum(row.fields is None for row in mending.rows)
    return Proposal(
        title=f"Load {what} again with {len(mending.rows)} mended rows?",
        verb="Load the mended rows",
        says=(
            "The slice is loaded as it came, with these rows in the places of those that were "
            "quarantined. It goes through all four gates like any other.",
        ),
        values={"upload": values["upload"]},
        facts=(
            ("Corrects load", str(base["load_id"])),
            ("Rows mended", str(len(mending.rows) - left_out)),
            ("Rows left out", str(left_out)),
        ),
        lines=tuple(mending.said()),
        back=mend_url(base["load_id"]),
    )


def _perform(site: Site, connection: Connection, actor: Actor, values: Values) -> Done:
    mending = _read(site, connection, needed(values, "upload"))
    if not mending.rows:
        raise BadForm("no row of the sheet differs from what was downloaded")
    payload = mending.request(connection, site.resources.store, requested_by=actor.name)
    event = ask(site, connection, payload)
    return Done(
        subject=event.subject,
        message=f"Asked for {event.subject} with {len(mending.rows)} mended rows.",
        dataset=payload.dataset,
        event_id=event.id,
        detail={
            "slice_key": payload.slice_key,
            "corrects": mending.base["load_id"],
            "rows": len(mending.rows),
        },
    )


def _read(site: Site, connection: Connection, upload_id: str) -> Mending:
    store = site.resources.store
    folder = folder_of(store, upload_id)
    try:
        source = StorePrefix(folder, store)
    except SourceNotFound as error:
        raise BadUpload("this upload has no files, or not any more: send them again") from error
    rows: list[ReadRow] = []
    names = source.names()
    if sum(source.sizes(names).values()) > MOST_SHEET_BYTES:
        raise BadUpload(f"the sheets have more than {MOST_SHEET_BYTES} bytes: mend the files")
    for name in names:
        with source.open(name) as stream:
            rows += read_sheet(name, stream.read())
    if not rows:
        raise BadSheet("there is no row on the sheets")
    return read_mending(connection, site.settings, store, rows)


MEND = Action("mend", "mend rows", _propose, _perform)
