"""`headrace token`: the bearer token for endpoints that change something."""

import typer

from cli.session import ROOT, Root, fail, find_settings

app = typer.Typer()


@app.command()
def token(root: Root = ROOT) -> None:
    """Print the API token, as for curl -H "Authorization: Bearer $(headrace token)"."""
    settings, _ = find_settings(root)
    if settings.api_token is None:
        fail("no API_TOKEN is set here")
        return
    typer.echo(settings.api_token.get_secret_value())
