"""What pages say where something is missing, faulty or away, and that they change nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, insert, make_url, text
from sqlalchemy.exc import DBAPIError, InternalError

from cli.migrate import migrate
from services.console.reading import Reader, reading_engine
from shared.clock import utc_now
from shared.database.roles import WATCHER
from shared.database.tables import loads, outbox
from shared.settings import Settings
from tests.conftest import REPOSITORY
from tests.integration.console.conftest import Pages

BAKERY = (REPOSITORY / "tests" / "datasets" / "bakery.yaml").read_text()


@pytest.fixture
def bakery(specs: Path) -> str:
    (specs / "bakery.yaml").write_text(BAKERY)
    return "bakery"


def load(engine: Engine, slice_key: str, **values: object) -> str:
    facts = {
        "load_id": f"load-{slice_key}",
        "dataset": "bakery",
        "slice_key": slice_key,
        "status": "rejected",
        "source_uri": "/nowhere",
        "requested_by": "test",
        "requested_at": utc_now(),
    }
    with engine.begin() as connection:
        connection.execute(insert(loads).values(**(facts | values)))
    return str((facts | values)["load_id"])


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/nowhere", ["There is no page /nowhere.", 'href="/"']),
        ("/datasets/nobody", ["nobody", 'href="/datasets/bakery"']),
        ("/datasets/bakery/slices/2024-03-09", ["no slice 2024-03-09", "2024-03-01"]),
        ("/datasets/bakery/slices/2024-03-01?load=x", ["no load x of bakery", "2024-03-01"]),
        ("/datasets/bakery/snapshots?to=x", ["no snapshot x", "the snapshots of bakery"]),
        ("/datasets/bakery/models/7", ["no version 7", "the models of bakery"]),
        ("/datasets/bakery/drift?snapshot=x", ["No drift was measured", "a champion before"]),
        ("/loads/x", ["no load x"]),
        ("/datasets/..%2f..%2fetc/spec", ["datasets"]),
    ],
)
def test_what_is_not_there_says_what_there_is(
    bakery: str, engine: Engine, pages: Pages, path: str, said: list[str]
) -> None:
    load(engine, "2024-03-01")
    answer = pages.get(path)
    assert answer.status_code == 404
    assert "text/html" in answer.headers["content-type"]
    for each in said:
        assert each in answer.text


def test_a_program_gets_json_where_a_browser_gets_a_page(pages: Pages) -> None:
    answer = pages.get("/loads/x", Accept="application/json")
    assert (answer.status_code, answer.json()) == (404, {"detail": "There is no load x."})


def test_without_any_dataset_it_says_how_one_is_declared(pages: Pages, specs: Path) -> None:
    assert "No dataset is declared yet" in pages.text("/")
    assert str(specs) in pages.text("/")


def test_a_dataset_without_a_load_has_all_its_pages(bakery: str, pages: Pages) -> None:
    for part in ("", "/snapshots", "/models", "/drift", "/spec"):
        assert "bakery" in pages.text(f"/datasets/{bakery}{part}")
    assert "Nothing was loaded yet" in pages.text("/datasets/bakery")
    assert "Town of shop" in pages.text("/datasets/bakery/spec")


def test_a_faulty_spec_is_shown_with_its_faults_and_hides_no_other_dataset(
    bakery: str, specs: Path, pages: Pages
) -> None:
    (specs / "broken.yaml").write_text("dataset: broken\ntables: 3\n")
    home = pages.text("/")
    assert "The spec has faults" in home
    assert 'href="/datasets/bakery"' in home
    page = pages.text("/datasets/broken")
    assert "so nothing can be loaded" in page
    assert "tables: 3" in pages.text("/datasets/broken/spec"), "as it stands"
    (specs / "broken.yaml").write_text(BAKERY.replace("dataset: bakery", "dataset: broken"))
    assert "faults" not in pages.text("/datasets/broken"), "a spec that was mended is read again"


def test_what_people_write_is_escaped(bakery: str, engine: Engine, pages: Pages) -> None:
    evil = "<script>alert(1)</script>"
    reasons = [{"code": "x", "message": evil, "table": None, "column": None}]
    load(engine, "2024-03-01", reasons=reasons, requested_by=evil)
    for path in ("/datasets/bakery", "/datasets/bakery/slices/2024-03-01", f"/?q={evil}"):
        page = pages.text(path)
        assert evil not in page
        assert "&lt;script&gt;" in page


TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("templates", "said"),
    [
        (
            {
                "trace_url_template": "https://traces.example.org/trace/{trace_id}?uiEmbed=v0",
                "console_logs_url_template": "https://logs.example.org/?q={load_id}&from=now-7d",
            },
            [
                f'href="https://traces.example.org/trace/{TRACE}?uiEmbed=v0"',
                'href="https://logs.example.org/?q=load-2024-03-01%2Fa&amp;from=now-7d"',
            ],
        ),
        ({}, [f">{TRACE}<", "headrace logs | grep load-2024-03"]),
    ],
    ids=["with templates", "without"],
)
def test_a_slice_leads_to_its_trace_and_to_its_lines_of_log(
    bakery: str,
    engine: Engine,
    pages_of: Callable[..., Pages],
    templates: dict[str, str],
    said: list[str],
) -> None:
    load_id = load(engine, "2024-03-01", load_id="load-2024-03-01/a")
    event = {
        "source": "ingestor",
        "event_id": load_id,
        "topic": "load-requested",
        "key": bakery,
        "headers": {
            "ce_id": load_id,
            "ce_correlationid": load_id,
            "traceparent": f"00-{TRACE}-{PARENT}-01",
        },
        "value": b"{}",
    }
    with engine.begin() as connection:
        connection.execute(insert(outbox).values(**event))
    page = pages_of(**templates).text("/datasets/bakery/slices/2024-03-01")
    for each in said:
        assert each in page
    assert ("example.org" in page) == bool(templates)


def test_every_answer_forbids_the_browser_what_is_not_ours(bakery: str, pages: Pages) -> None:
    for path in ("/", "/nowhere", "/datasets/bakery"):
        answer = pages.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert " style=" not in answer.text, "the policy would drop it"
        assert "<script>" not in answer.text, "likewise"
        for source in ("http://", "https://"):
            assert f'src="{source}' not in answer.text


def test_static_files_are_kept_by_browsers_and_nothing_else_is_handed_out(pages: Pages) -> None:
    page = pages.text("/")
    address = page.split('rel="stylesheet" href="')[1].split('"')[0]
    answer = pages.get(address)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in answer.headers["cache-control"]
    for path in ("/static/x/../app.py", "/static/x/%2e%2e%2fapp.py", "/static/x/nothing.css"):
        assert pages.get(path).status_code == 404


def test_a_database_that_is_away_is_a_page_that_says_so(
    bakery: str, pages_of: Callable[..., Pages], settings: Settings
) -> None:
    url = make_url(settings.database_url.get_secret_value()).set(port=9)
    away = SecretStr(url.render_as_string(hide_password=False))
    pages = pages_of(console_database_url=away)
    for path in ("/", "/datasets/bakery", "/datasets/bakery/models"):
        answer = pages.get(path)
        assert answer.status_code == 503
        assert "The database is away" in answer.text
        assert "data-again" in answer.text, "it tries again by itself"
        assert "Traceback" not in answer.text
        assert url.password not in answer.text


def test_a_database_without_tables_says_how_they_are_made(
    bakery: str, pages_of: Callable[..., Pages], settings: Settings
) -> None:
    url = make_url(settings.database_url.get_secret_value()).set(database="postgres")
    pages = pages_of(console_database_url=SecretStr(url.render_as_string(hide_password=False)))
    answer = pages.get("/")
    assert answer.status_code == 503
    assert "headrace migrate" in answer.text


def test_a_question_that_takes_too_long_is_given_up(settings: Settings) -> None:
    engine = reading_engine(settings.model_copy(update={"console_query_seconds": 0.2}))
    with pytest.raises(DBAPIError, match="statement timeout"), Reader(engine)() as connection:
        connection.execute(text("SELECT pg_sleep(5)"))
    engine.dispose()


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM headrace.loads", "CREATE TABLE headrace.x (y int)", "SELECT nextval('s')"],
)
def test_the_server_refuses_a_page_every_change(
    engine: Engine, settings: Settings, statement: str
) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE SEQUENCE s"))
    reading = reading_engine(settings)
    with pytest.raises(InternalError, match="read-only"), Reader(reading)() as connection:
        connection.execute(text(statement))
    reading.dispose()


@pytest.fixture
def watcher(settings: Settings, specs: Path, bakery: str) -> Iterator[Settings]:
    """Settings with a login of the console's own, made by `headrace migrate`; then as it was."""
    url = make_url(settings.database_url.get_secret_value())
    own = url.set(username="race_console", password="it's read")
    database = f"{url.database}_watched"
    owner = url.set(username="race_keeper", password="p", database=database)
    changed = settings.model_copy(
        update={
            "admin_database_url": SecretStr(
                url.set(database="postgres").render_as_string(hide_password=False)
            ),
            "database_url": SecretStr(owner.render_as_string(hide_password=False)),
            "mlflow_database_url": None,
            "console_database_url": SecretStr(
                own.set(database=database).render_as_string(hide_password=False)
            ),
            "datasets_dir": specs,
        }
    )
    yield changed
    administration = reading_engine(settings).execution_options(isolation_level="AUTOCOMMIT")
    with administration.connect() as connection:
        connection.execute(text("SET default_transaction_read_only = off"))
        connection.execute(text(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)'))
        for role in ("race_console", "race_keeper"):
            connection.execute(text(f"DROP ROLE IF EXISTS {role}"))
    administration.dispose()


def test_migrate_makes_a_login_that_reads_everything_and_changes_nothing(
    topics: Settings, watcher: Settings, pages_of: Callable[..., Pages]
) -> None:
    for _ in range(2):
        migrate(watcher)
    pages = pages_of(console_database_url=watcher.console_database_url)
    for path in ("/", "/datasets/bakery", "/datasets/bakery/snapshots"):
        pages.text(path)
    engine = reading_engine(watcher)
    with engine.connect() as connection:
        connection.execute(text("SET TRANSACTION READ WRITE"))
        for allowed in ("headrace.quarantined_rows", "headrace.outbox", "bakery.shops_history"):
            connection.execute(text(f"SELECT count(*) FROM {allowed}"))
        with pytest.raises(DBAPIError, match="permission denied"):
            connection.execute(text("DELETE FROM headrace.loads"))
        connection.rollback()
        member = text("SELECT pg_has_role(current_user, :role, 'member')")
        assert connection.execute(member, {"role": WATCHER}).scalar_one()
    engine.dispose()
