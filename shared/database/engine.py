"""The SQLAlchemy engine, and what a database error means for a retry."""

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import make_url

from shared.database.connections import server_options, with_clocks
from shared.settings import Settings


def make_engine(settings: Settings, *, application: str, options: str = "") -> Engine:
    """An engine on `settings.database_url`; connections carry `application` as their name.

    `options` are further ones of the server's, as `-c jit=off`.

    A pooled connection is tested before its use, so a server that was restarted costs no event.
    One whose other end is gone is noticed within `silence_seconds`, by us and by the server.
    """
    url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql+psycopg2")
    url = with_clocks(url, settings)
    ours = f"-c timezone=UTC -c search_path=public {server_options(settings)}"
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_size=settings.handler_threads + 4,
        connect_args={
            "application_name": f"headrace-{application}",
            # A schema named like the user would come before `public`, and ours may well be.
            "options": f"{ours} {options}",
        },
    )


def libpq_uri(settings: Settings) -> str:
    """The database's address for clients other than SQLAlchemy, as ADBC."""
    url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql")
    return with_clocks(url, settings).render_as_string(hide_password=False)
