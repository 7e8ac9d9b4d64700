"""What the pages ask Postgres: SQL to frozen dataclasses. Nothing here changes anything."""
