"""`headrace demo`: drops go in, model versions come out, on a stack of its own."""

from cli.demo.command import app

__all__ = ["app"]
