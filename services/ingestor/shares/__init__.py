"""Slices by share: the rows that come next, cut out of a source that is there whole."""
