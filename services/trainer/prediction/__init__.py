"""Predictions: the champion, verified, asked about rows or a text."""
