"""The console's pages, in the order of the bar. A new one is a line here."""

from services.console.pages import (
    acting,
    audit,
    dataset,
    drift,
    home,
    load,
    login,
    mending,
    models,
    slices,
    snapshots,
    spec,
    trouble,
)
from services.console.site import Section

SECTIONS = (
    Section(home.router, "Datasets", "/"),
    Section(dataset.router),
    Section(slices.router),
    Section(snapshots.router),
    Section(models.router),
    Section(drift.router),
    Section(spec.router),
    Section(load.router, "Load", "/load"),
    Section(trouble.router, "Trouble", "/trouble"),
    Section(audit.router, "Audit", "/audit"),
    Section(mending.router),
    Section(acting.router),
    Section(login.router),
)
