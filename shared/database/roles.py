"""The database's roles: an owner for each database that Headrace uses, and one that reads.

Made by an administrator's connection, which nothing else uses. Where somebody else makes them (a
managed Postgres, say) Headrace needs no administrator at all.
"""

from collections.abc import Iterable

from psycopg2.extensions import encrypt_password
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.engine import URL

from shared.database.sql_names import quoted
from shared.database.tables.base import SCHEMA
from shared.errors import InconsistentState, PermanentError

READER = "headrace_reader"
"""The role without a login that may read what datasets publish; grant it to people."""
WATCHER = "headrace_watcher"
"""The role without a login that may read everything, Headrace's own tables too: the console's,
whose user is a member of it."""


def ensure_roles(administrator: str, owners: Iterable[str], watchers: Iterable[str] = ()) -> None:
    """Make the user and the database of each URL in `owners`, and the roles `READER` and `WATCHER`.

    A user is given the URL's password, and owns its database, which nobody else but an
    administrator can connect to. The users of the URLs in `watchers` are made, too, and members of
    `WATCHER`; they own nothing. What is there is kept; doing it again changes nothing but
    passwords that differ. `administrator` is the URL of a superuser, or of a role with CREATEDB and
    CREATEROLE. Raises `InconsistentState` where a database belongs to somebody else, and
    `PermanentError` for a URL without a user, a password or a database, or for a watcher that is an
    owner.
    """
    engine = _engine(administrator)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(hashtext('headrace roles'))"))
            for role in (READER, WATCHER):
                if not _role_exists(connection, role):
                    connection.execute(text(f"CREATE ROLE {role} NOLOGIN"))
            owning = [_complete(owner) for owner in owners]
            for url in owning:
                _ensure_user(connection, url)
                _ensure_database(connection, url)
            for watcher in map(_complete, watchers):
                if watcher.username in {url.username for url in owning}:
                    raise PermanentError(
                        f"{watcher.username!r} owns a database, so it can't be the user who only "
                        "reads: name another one in CONSOLE_DATABASE_URL"
                    )
                _ensure_user(connection, watcher)
                connection.execute(text(f"GRANT {WATCHER} TO {quoted(str(watcher.username))}"))
    finally:
        engine.dispose()


def let_readers_connect(connection: Connection) -> None:
    """Let `READER` and `WATCHER`, if there are such roles, connect to this database. For its owner.

    `WATCHER` may also read the control tables, those that are there and those that come to be.
    """
    for role in (READER, WATCHER):
        if _role_exists(connection, role):
            database = connection.execute(text("SELECT current_database()")).scalar_one()
            connection.execute(text(f"GRANT CONNECT ON DATABASE {quoted(database)} TO {role}"))
    _let_read(connection, WATCHER, SCHEMA)


def let_readers_read(connection: Connection, schema: str) -> None:
    """Let `READER` and `WATCHER`, if there are such roles, read what is in `schema` and comes to be
    there.
    """
    for role in (READER, WATCHER):
        _let_read(connection, role, schema)


def _let_read(connection: Connection, role: str, schema: str) -> None:
    if not _role_exists(connection, role):
        return
    name = quoted(schema)
    connection.execute(text(f"GRANT USAGE ON SCHEMA {name} TO {role}"))
    default = f"ALTER DEFAULT PRIVILEGES IN SCHEMA {name} GRANT SELECT ON TABLES TO {role}"
    connection.execute(text(default))
    # A grant rewrites its table's entry in the catalogue, whether it changes anything or not.
    hidden = text("""
        SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = :schema AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
            AND NOT has_table_privilege(:role, c.oid, 'SELECT')
    """)
    parameters = {"schema": schema, "role": role}
    for table in connection.execute(hidden, parameters).scalars().all():
        connection.execute(text(f"GRANT SELECT ON {quoted(schema, table)} TO {role}"))


def _ensure_user(connection: Connection, url: URL) -> None:
    user = quoted(str(url.username))
    if url.username == connection.execute(text("SELECT current_user")).scalar_one():
        return  # an administrator's own rights aren't ours to take
    if not _role_exists(connection, str(url.username)):
        connection.execute(text(f"CREATE ROLE {user} LOGIN"))
    # As a verifier, so that the password itself stands in no log of the server.
    raw = connection.connection.driver_connection
    verifier = encrypt_password(str(url.password), str(url.username), raw, "scram-sha-256")
    connection.exec_driver_sql(f"ALTER ROLE {user} LOGIN PASSWORD %s", (verifier,))
    # Only a member may make a database for the role, unless a superuser does.
    connection.execute(text(f"GRANT {user} TO CURRENT_USER"))


def _ensure_database(connection: Connection, url: URL) -> None:
    query = text("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = :name")
    owner = connection.execute(query, {"name": url.database}).scalar_one_or_none()
    database, user = quoted(str(url.database)), quoted(str(url.username))
    if owner is None:
        connection.execute(text(f"CREATE DATABASE {database} OWNER {user}"))
    elif owner != url.username:
        raise InconsistentState(
            f"the database {url.database!r} belongs to {owner!r} and not to {url.username!r}: "
            f"ALTER DATABASE {database} OWNER TO {user}, or name another one"
        )
    connection.execute(text(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC"))


def _role_exists(connection: Connection, role: str) -> bool:
    query = text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role)")
    return bool(connection.execute(query, {"role": role}).scalar_one())


def _complete(owner: str) -> URL:
    url = make_url(owner)
    for part in ("username", "password", "database"):
        if not getattr(url, part):
            shown = url.render_as_string(hide_password=True)
            raise PermanentError(f"the address {shown} names no {part}, so no role can be made")
    return url


def _engine(administrator: str) -> Engine:
    url = make_url(administrator).set(drivername="postgresql+psycopg2")
    return create_engine(
        url, isolation_level="AUTOCOMMIT", connect_args={"application_name": "headrace-migrate"}
    )
