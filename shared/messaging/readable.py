"""A record's bytes as a person can read them."""

import base64
import json
from typing import Any


def readable(data: bytes | None) -> Any:
    """Bytes as JSON where they are a JSON object, else as text, else as base64."""
    if data is None:
        return None
    try:
        said = bytes(data).decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(bytes(data)).decode()}
    try:
        parsed = json.loads(said)
    except ValueError:
        return said
    return parsed if isinstance(parsed, dict) else said
