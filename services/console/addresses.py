"""What no page's address may have: a character that no text in Postgres has."""

from fastapi import HTTPException, Request


def check_address(request: Request) -> None:
    """Raise 404 where the path or the query has U+0000: nothing that is stored is called so."""
    values = (request.scope["path"], *request.query_params.values())
    if any("\0" in value for value in values):
        raise HTTPException(404, "Nothing is called so: the address has the character U+0000.")
