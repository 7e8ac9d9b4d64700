"""The roles that `headrace migrate` makes, and what each of them may."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError, ProgrammingError

from cli.migrate import migrate
from shared.database.roles import READER, ensure_roles
from shared.errors import InconsistentState, PermanentError
from shared.settings import Settings
from tests.conftest import REPOSITORY

Connect = Callable[[URL], Engine]


def address(url: URL) -> str:
    return url.render_as_string(hide_password=False)


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Engines whose statements commit by themselves."""
    engines: list[Engine] = []

    def make(url: URL) -> Engine:
        url = url.set(drivername="postgresql+psycopg2")
        engines.append(create_engine(url, isolation_level="AUTOCOMMIT"))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


@pytest.fixture
def administrator(settings: Settings, connect: Connect) -> Iterator[URL]:
    """A superuser of the server, which is left as it was."""
    url = make_url(settings.database_url.get_secret_value()).set(database="postgres")
    engine = connect(url)

    def roles() -> set[str]:
        with engine.connect() as connection:
            return set(connection.execute(text("SELECT rolname FROM pg_roles")).scalars())

    before = roles()
    yield url
    with engine.connect() as connection:
        for role in sorted(roles() - before):
            owned = text("SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = :role")
            for database in connection.execute(owned, {"role": role}).scalars().all():
                connection.execute(text(f'DROP DATABASE "{database}" WITH (FORCE)'))
            connection.execute(text(f'DROP OWNED BY "{role}"'))
        for role in sorted(roles() - before, reverse=True):
            connection.execute(text(f'DROP ROLE "{role}"'))


def test_each_database_is_its_owners_alone(administrator: URL, connect: Connect) -> None:
    ours = administrator.set(username="race_owner", password="it's %s", database="race")
    theirs = administrator.set(username="race_mlflow", password="other", database="race_mlflow")
    ensure_roles(address(administrator), [address(ours), address(theirs)])
    for url in (ours, theirs):
        with connect(url).connect() as connection:
            connection.execute(text("CREATE SCHEMA mine"))
            row = connection.execute(
                text(
                    "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles "
                    "WHERE rolname = current_user"
                )
            ).one()
            assert tuple(row) == (False, False, False)
    with pytest.raises(OperationalError, match="permission denied for database"):
        connect(theirs.set(database="race")).connect()
    with pytest.raises(OperationalError, match="password authentication failed"):
        connect(ours.set(password="wrong")).connect()

    changed = ours.set(password="a new one")
    ensure_roles(address(administrator), [address(changed)])
    connect(changed).connect().close()
    with pytest.raises(OperationalError, match="password authentication failed"):
        connect(ours).connect()


def test_an_administrator_need_not_be_a_superuser(administrator: URL, connect: Connect) -> None:
    lesser = administrator.set(username="race_lesser", password="p")
    with connect(administrator).connect() as connection:
        connection.execute(text("CREATE ROLE race_lesser LOGIN CREATEDB CREATEROLE PASSWORD 'p'"))
    ours = administrator.set(username="race_owner", password="q", database="race")
    for _ in range(2):
        ensure_roles(address(lesser), [address(ours)])
    with connect(ours).connect() as connection:
        connection.execute(text("CREATE SCHEMA mine"))


def test_a_database_of_somebody_else_is_not_taken(administrator: URL) -> None:
    ours = administrator.set(username="race_owner", password="p", database="race")
    ensure_roles(address(administrator), [address(ours)])
    other = ours.set(username="race_other")
    with pytest.raises(InconsistentState, match="belongs to 'race_owner' and not to 'race_other'"):
        ensure_roles(address(administrator), [address(other)])


@pytest.mark.parametrize("part", ["username", "password", "database"])
def test_an_address_without_all_its_parts_says_so_and_hides_the_password(
    administrator: URL, part: str
) -> None:
    parts = {"username": "race_owner", "password": "hush", "database": "race"} | {part: ""}
    url = URL.create("postgresql", host=administrator.host, port=administrator.port, **parts)
    with pytest.raises(PermanentError, match=f"names no {part}") as told:
        ensure_roles(address(administrator), [address(url)])
    assert "hush" not in str(told.value)


def test_migrate_makes_everything_and_a_reader_reads_only_what_is_published(
    topics: Settings, administrator: URL, connect: Connect, tmp_path: Path
) -> None:
    specs = tmp_path / "datasets"
    specs.mkdir()
    (specs / "bakery.yaml").write_text((REPOSITORY / "tests/datasets/bakery.yaml").read_text())
    ours = administrator.set(username="race_owner", password="p", database="race")
    settings = topics.model_copy(
        update={
            "admin_database_url": SecretStr(address(administrator)),
            "database_url": SecretStr(address(ours)),
            "mlflow_database_url": None,
            "datasets_dir": specs,
        }
    )
    migrate(settings)
    migrate(settings)
    with connect(administrator).connect() as connection:
        connection.execute(text(f"CREATE ROLE race_ada LOGIN PASSWORD 'a' IN ROLE {READER}"))
    with connect(ours).connect() as connection:
        connection.execute(text("CREATE TABLE bakery.later (x integer)"))
    with connect(ours.set(username="race_ada", password="a")).connect() as reader:
        for table in ("shops", "shops_history", "shops_snapshots", "data_loads", "later"):
            assert reader.execute(text(f"SELECT count(*) FROM bakery.{table}")).scalar_one() == 0
        for refused in (
            "SELECT * FROM headrace.quarantined_rows",
            "SELECT * FROM headrace.outbox",
            "CREATE TABLE bakery_staging.x (y integer)",
            "DELETE FROM bakery.shops",
        ):
            with pytest.raises(ProgrammingError, match="permission denied"):
                reader.execute(text(refused))
