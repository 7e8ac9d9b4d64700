"""`headrace health`: whether every server and service answers, and what doesn't.

A server is asked as the stack does it; a service for its `/healthz` (does its consumer loop turn?)
and its `/readyz` (does everything behind it answer?).
"""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.session import EXIT_FAILED, ROOT, AsJson, Root, fail, find_settings
from infra.embedded.services import SERVICES, service_of
from infra.embedded.stack import ProcessStatus
from shared.service_health import Health, ask_service

app = typer.Typer()


@app.command()
def health(
    at: Annotated[
        list[str] | None,
        typer.Option("--at", help="A service's URL, where the stack isn't the embedded one."),
    ] = None,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """Ask every server and service whether it is ready; exit 1 and say what isn't."""
    if at:
        found = _in_parallel([(url, url) for url in at])
    else:
        _, stack = find_settings(root)
        if stack is None:
            fail("the services' addresses aren't known here: name them, --at http://host:8001 …")
            return
        found = _of_processes(stack.status())
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(each) for each in found], indent=2))
    else:
        _print(found)
    if any(each.faults for each in found):
        raise typer.Exit(EXIT_FAILED)


def _of_processes(processes: list[ProcessStatus]) -> list[Health]:
    """Servers by their condition; services that run are asked what they miss."""
    modules = {spec.name for spec in SERVICES}
    running = [p for p in processes if p.pid and p.condition != "dead"]
    asked = {p.name for p in running if service_of(p.name) in modules}
    answers = _in_parallel([(p.name, p.address) for p in processes if p.name in asked])
    by_name = {each.name: each for each in answers}
    return [by_name.get(process.name) or _of_process(process) for process in processes]


def _of_process(process: ProcessStatus) -> Health:
    if process.condition == "ready":
        return Health(process.name, process.address, {})
    said = f"{process.condition}; see {process.log}"
    return Health(process.name, process.address, {"process": said})


def _in_parallel(services: list[tuple[str, str]]) -> list[Health]:
    with ThreadPoolExecutor(len(services) or 1) as pool:
        return list(pool.map(lambda service: ask_service(*service), services))


def _print(found: list[Health]) -> None:
    console = Console(highlight=False, emoji=False)
    rows = [
        (each.name, part, said)
        for each in found
        for part, said in (each.faults or {"": ""}).items()
    ]
    if not console.is_terminal:
        for name, part, said in rows:
            typer.echo(f"{name:<14} {f'{part}: {said}' if part else 'ready'}")
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, part, said in rows:
        table.add_row(name, f"[red]{part}[/]: {said}" if part else "[green]ready[/]")
    console.print(table)
