"""Mended rows back into the files that they came in."""
