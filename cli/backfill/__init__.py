"""`headrace backfill`: past slices in order, and one training at the end."""

from cli.backfill.command import app

__all__ = ["app"]
