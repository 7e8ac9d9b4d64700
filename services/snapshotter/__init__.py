"""The snapshotter: merges a validated slice into the tables and their history, and freezes it."""
