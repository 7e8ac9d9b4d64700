"""Fixtures on real servers: a database, a topic prefix and a bucket prefix for each test alone."""

import gc
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import fastapi.dependencies.models
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from sqlalchemy import Engine, create_engine, make_url, text

from infra.embedded.environment import Broker
from infra.embedded.errors import KafkaMissing
from infra.embedded.kafka_program import KafkaProgram
from infra.embedded.stack import Stack
from shared.contracts.envelope import Event
from shared.contracts.events import Payload
from shared.database.engine import make_engine
from shared.database.migrations import upgrade
from shared.messaging.kafka import Admin
from shared.object_store import ObjectStore
from shared.settings import Settings

REPOSITORY = Path(__file__).resolve().parent.parent
DROPS = REPOSITORY.parent / "shared" / "data" / "streamflow"

hypothesis_settings.register_profile(
    "servers",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
hypothesis_settings.load_profile("servers")
_numbers = itertools.count(1)

REACH_THE_BROKER = {"topics", "headrace", "apache_kafka"}
"""Fixtures through which a test has to do with the broker of the session."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--broker",
        choices=[*Broker],
        default=os.environ.get("BROKER") or Broker.TANSU,
        help="the broker under the tests (BROKER): tansu, or Apache Kafka on a JVM",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if REACH_THE_BROKER & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.broker)


def pytest_collection_finish() -> None:
    """Leave what is imported by now out of every later search for garbage.

    Else each takes a second, in which no thread goes on: a member of a consumer group, say.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def forgetful_fastapi() -> Iterator[None]:
    """Have FastAPI forget the endpoints that it has seen, and with them a test's engine and store.

    It keeps the last few thousand for good.
    """
    yield
    for each in vars(fastapi.dependencies.models).values():
        if clear := getattr(each, "cache_clear", None):
            clear()


@pytest.fixture(scope="session")
def broker(request: pytest.FixtureRequest) -> Broker:
    """The broker that was asked for; if it can't be had, the tests that need it are skipped."""
    broker = Broker(request.config.getoption("--broker"))
    if broker is Broker.KAFKA:
        try:
            KafkaProgram.of(os.environ).ensure(os.environ)
        except KafkaMissing as missing:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(missing))
    return broker


@pytest.fixture(scope="session")
def apache_kafka(broker: Broker) -> None:
    """For tests of what only Apache Kafka does."""
    if broker is not Broker.KAFKA:
        pytest.skip("is about Apache Kafka: make test BROKER=kafka")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[Settings]:
    """Postgres, the S3 store and the broker of the embedded stack, for the session."""
    root = tmp_path_factory.mktemp("servers")
    stack = Stack(root, mlflow=False, inherited=dict(os.environ), broker=broker)
    try:
        environment = stack.start(services=())
        yield Settings.model_validate({name.lower(): value for name, value in environment.items()})
    finally:
        stack.stop()


@pytest.fixture(scope="session")
def template_database(servers: Settings) -> str:
    """The name of a migrated database to clone."""
    engine = _administration(servers)
    with engine.connect() as connection:
        connection.execute(text("CREATE DATABASE headrace_template"))
    engine.dispose()
    migrated = make_engine(_on_database(servers, "headrace_template"), application="test")
    upgrade(migrated)
    migrated.dispose()
    return "headrace_template"


@pytest.fixture
def settings(servers: Settings, template_database: str) -> Iterator[Settings]:
    """Settings of an environment that is this test's alone. Buckets and topics come on request."""
    with cloned(servers, template_database) as settings:
        yield settings


@contextmanager
def cloned(servers: Settings, template: str) -> Iterator[Settings]:
    """Settings of an environment that nobody else has, with a copy of the database `template`."""
    name = f"test_{next(_numbers)}"
    engine = _administration(servers)
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield _on_database(servers, name).model_copy(
        update={"topic_prefix": f"{name}.", "bucket_prefix": f"{name.replace('_', '-')}-"}
    )
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """An engine on the test's migrated database."""
    engine = make_engine(settings, application="test")
    yield engine
    engine.dispose()


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    """The store, with the test's buckets made."""
    store = ObjectStore(settings)
    store.create_buckets()
    return store


@pytest.fixture
def topics(settings: Settings, broker: Broker) -> Iterator[Settings]:
    """The settings, with the test's topics made.

    Apache Kafka would keep some megabytes for those of each test, until its heap is full.
    """
    admin = Admin(settings)
    made = admin.create_topics()
    yield settings
    if broker is Broker.KAFKA:
        admin._client.delete_topics(made)
    admin.close()


@pytest.fixture
def clock() -> Callable[[], datetime]:
    """The time."""
    return lambda: datetime.now(UTC)


@pytest.fixture
def event_of(clock: Callable[[], datetime]) -> Callable[..., Event[Payload]]:
    """Makes an event around a payload, as a service upstream would have published it."""

    def make(payload: Payload, **attributes: str) -> Event[Payload]:
        return Event(payload=payload, source="test", time=clock(), **attributes)

    return make


@pytest.fixture(scope="session")
def drops() -> Path:
    """The two real Streamflow drops, where they lie beside the checkout."""
    if not DROPS.is_dir():
        pytest.skip(f"the real drops are not at {DROPS}")
    return DROPS


def _on_database(settings: Settings, name: str) -> Settings:
    url = make_url(settings.database_url.get_secret_value()).set(database=name)
    value = url.render_as_string(hide_password=False)
    return Settings.model_validate({**settings.model_dump(), "database_url": value})


def _administration(settings: Settings) -> Engine:
    url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql+psycopg2")
    return create_engine(url, isolation_level="AUTOCOMMIT")
