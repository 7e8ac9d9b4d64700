"""`headrace prune`: what may be removed, when, and in which order."""

from cli.prune.command import app

__all__ = ["app"]
