"""Identifiers in SQL, quoted."""

from collections.abc import Iterable


def quoted(*names: str) -> str:
    """SQL for a qualified identifier, each part quoted."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def column_list(columns: Iterable[str], alias: str = "") -> str:
    """SQL for a list of columns, each quoted and with `alias.` before it if given."""
    prefix = f"{alias}." if alias else ""
    return ", ".join(prefix + quoted(column) for column in columns)
