"""Where a benchmark runs: an embedded store, an embedded or a given Postgres, a database a run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from sqlalchemy import Engine, create_engine, make_url, text

from benchmarks.dataset import DATASET, SPEC
from infra.embedded.stack import Stack
from shared.database.engine import make_engine
from shared.database.migrations import upgrade
from shared.object_store import ObjectStore
from shared.settings import Settings

Environment = dict[str, str]


@contextmanager
def started(root: Path, database_url: str | None) -> Iterator[Environment]:
    """The variables that reach the servers, which run until the end of the block.

    `database_url` names a Postgres to use in place of the embedded one.
    """
    # Nothing here speaks to a broker, so none is started beside what is measured.
    given = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9"}
    if database_url is not None:
        given["DATABASE_URL"] = database_url
    stack = Stack(root / "stack", given=given, inherited=dict(os.environ), mlflow=False)
    try:
        yield stack.start(services=())
    finally:
        stack.stop()


@contextmanager
def fresh_database(environment: Environment, root: Path) -> Iterator[Environment]:
    """`environment` with a database, buckets and a folder of specs that are new.

    The database is dropped at the end of the block.
    """
    name = f"headrace_benchmark_{uuid4().hex[:8]}"
    specs = root / name
    specs.mkdir()
    (specs / f"{DATASET}.yaml").write_text(SPEC)
    url = make_url(environment["DATABASE_URL"])
    own = {
        **environment,
        "DATABASE_URL": url.set(database=name).render_as_string(hide_password=False),
        "BUCKET_PREFIX": f"{name.replace('_', '-')}-",
        "DATASETS_DIR": str(specs),
        "TMPDIR": str(specs),
        "HOME": str(specs),
    }
    administration = _engine(environment)
    with administration.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        _prepare(Settings.model_validate({key.lower(): value for key, value in own.items()}))
        yield own
    finally:
        with administration.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        administration.dispose()


def checkpoint(environment: Environment) -> None:
    """Have the server write out what the contender before has left to be written."""
    engine = _engine(environment)
    with engine.connect() as connection:
        connection.execute(text("CHECKPOINT"))
    engine.dispose()


def server_version(environment: Environment) -> str:
    """The version of Postgres."""
    engine = _engine(environment)
    with engine.connect() as connection:
        version: str = connection.execute(text("SHOW server_version")).scalar_one()
    engine.dispose()
    return version


def _engine(environment: Environment) -> Engine:
    url = make_url(environment["DATABASE_URL"]).set(drivername="postgresql+psycopg2")
    return create_engine(url, isolation_level="AUTOCOMMIT")


def _prepare(settings: Settings) -> None:
    engine = make_engine(settings, application="benchmark")
    upgrade(engine)
    engine.dispose()
    ObjectStore(settings).create_buckets()
