"""Reading Postgres, and nothing else: every transaction of this engine is read-only."""

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr
from sqlalchemy import Connection, Engine, text

from shared.database.engine import make_engine
from shared.settings import Settings


def reading_engine(settings: Settings) -> Engine:
    """An engine with the login `console_database_url`, else with that of the services.

    The server itself refuses every change, and gives up a question after `console_query_seconds`.
    """
    url: SecretStr = settings.console_database_url or settings.database_url
    own = settings.model_copy(update={"database_url": url})
    milliseconds = round(settings.console_query_seconds * 1000)
    options = f"-c default_transaction_read_only=on -c statement_timeout={milliseconds} -c jit=off"
    return make_engine(own, application="console", options=options)


class Reader:
    """Gives connections on which all questions see one moment."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def __call__(self) -> Iterator[Connection]:
        """A connection for the time of a block, in one read-only transaction."""
        with self._engine.connect() as connection:
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
            yield connection

    def close(self) -> None:
        """Close the pool."""
        self._engine.dispose()
