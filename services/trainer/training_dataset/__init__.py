"""From a snapshot to a training dataset: one labelled row per entity, its side, its files."""
