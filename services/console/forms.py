"""What a form or a script sends to an action: a few short texts by name."""

import json
from collections.abc import Mapping
from urllib.parse import parse_qsl

from fastapi import HTTPException, Request

from services.console.session import FORM_TOKEN
from shared.errors import PermanentError

MOST_BYTES = 1 << 16
MOST_FIELDS = 100


class BadForm(PermanentError):
    """A field is missing, or holds what it can't."""


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form that isn't a file's, or of a JSON object.

    Raises 413 for one that is larger than forms are, and 400 for what is neither.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"A form has {MOST_BYTES} bytes at most.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            values = _fields_of_json(bytes(body))
        elif kind in ("application/x-www-form-urlencoded", ""):
            pairs = parse_qsl(
                body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict"
            )
            values = dict(pairs)
        else:
            raise ValueError(f"{kind[:80]} is neither a form nor JSON")
    except ValueError as error:
        raise HTTPException(400, f"This can't be read as a form: {error}") from error
    return values


def _fields_of_json(body: bytes) -> dict[str, str]:
    """Raises `ValueError` for what is no object, or holds text that nothing can keep."""
    try:
        found = json.loads(body or b"{}")
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("it is no object")
    values = {str(k): str(v) for k, v in found.items() if v is not None}
    for said in (*values, *values.values()):
        said.encode()  # JSON can name half of a surrogate pair, which is no character
    return values


def token_of(values: Mapping[str, str]) -> str:
    """The form's token."""
    return values.get(FORM_TOKEN, "")


def needed(values: Mapping[str, str], name: str) -> str:
    """The field `name`, without blanks around it. Raises `BadForm` where it is missing."""
    if not (found := given(values, name)):
        raise BadForm(f"{name.replace('_', ' ')} is missing")
    return found


def given(values: Mapping[str, str], name: str) -> str:
    """The field `name`, without blanks around it; empty where it is missing."""
    found = values.get(name, "").strip()
    if "\0" in found:
        raise BadForm(f"{name.replace('_', ' ')} has the character U+0000")
    return found


def number(values: Mapping[str, str], name: str) -> int:
    """The field `name` as a whole number. Raises `BadForm` where it is none."""
    found = needed(values, name)
    if not found.isascii() or not found.isdecimal() or len(found) > 18:
        raise BadForm(f"{name.replace('_', ' ')} is {found[:40]!r}, and no number")
    return int(found)
