"""`headrace console`: where the console is, the password of its admin, and a browser on it."""

import json
import webbrowser
from typing import Annotated

import typer

from cli.session import EXIT_USAGE, ROOT, AsJson, Root, fail, find_settings

SERVICE = "console"

app = typer.Typer()


@app.command()
def console(
    in_browser: Annotated[
        bool, typer.Option("--open", help="Open it in this machine's browser.")
    ] = False,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """Print the console's address, and the password with which one may act there."""
    settings, stack = find_settings(root)
    found = [each for each in stack.status() if each.name == SERVICE] if stack else []
    if not found:
        said = "this stack has no console: `headrace up --scale console=1` starts one"
        elsewhere = "the console's address isn't known here: see docs/console.md, Where it is"
        fail(said if stack else elsewhere, EXIT_USAGE)
        return
    address = found[0].address + "/"
    password = settings.console_password.get_secret_value() if settings.console_password else None
    if as_json:
        typer.echo(json.dumps({"address": address, "password": password}))
    else:
        typer.echo(address)
        typer.echo(f"password: {password}" if password else "reading only: no CONSOLE_PASSWORD")
    if found[0].condition != "ready":
        typer.echo(f"the console is {found[0].condition}: `headrace up` starts it", err=True)
    if in_browser and not webbrowser.open(address):
        fail("there is no browser here: open the address in one")
