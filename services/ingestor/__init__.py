"""The ingestor: lands a slice's files and stages their rows, typed, or rejects the slice."""
