"""Which side an entity is on. Its key alone decides, so it keeps its side for ever."""

from collections.abc import Iterable
from datetime import datetime
from hashlib import blake2b
from typing import Any

from shared.contracts.training_spec import Split

_DIGEST_BYTES = 8
_HASHES = 1 << (8 * _DIGEST_BYTES)


def key_text(key: Any) -> str:
    """The one text of an entity's key, whatever its type; a timestamp's is in ISO 8601."""
    return key.isoformat() if isinstance(key, datetime) else str(key)


def is_test(key: Any, split: Split) -> bool:
    """Whether the entity `key` tests. Depends on nothing but the key, the salt and the share.

    A larger share keeps every entity that tested before and adds others.
    """
    text = f"{split.salt}\0{key_text(key)}".encode()
    hashed = int.from_bytes(blake2b(text, digest_size=_DIGEST_BYTES).digest(), "big")
    return hashed < split.test_share * _HASHES


def sides(keys: Iterable[Any], split: Split) -> list[bool]:
    """Whether each of the keys tests, in their order."""
    return [is_test(key, split) for key in keys]
