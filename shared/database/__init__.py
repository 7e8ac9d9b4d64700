"""Postgres: the engine, the control tables, and the tables made from specs."""
