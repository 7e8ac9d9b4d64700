"""Every page is there at once, with 10,000 slices and 200 datasets in the database."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page
from sqlalchemy import Engine, make_url, text

from benchmarks.control_tables import SPEC, fill
from shared.contracts.spec_file import find_spec
from shared.database.dataset_tables import ensure_dataset
from shared.database.engine import make_engine
from shared.settings import Settings
from tests.browser.conftest import chromium
from tests.conftest import cloned
from tests.integration.console.conftest import Pages

SLICES, DATASETS = 10_000, 200
SECONDS, BUSY_SECONDS = 0.3, 2.0
"""Until a page is there; of several tries the best: the first ones read from the disk."""
TRIES = 5
BACKENDS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'headrace-console'"
DATASET = "d00199"
PLACES = {
    "home": "/",
    "the last page of home": "/?page=8",
    "home with a search": "/?q=19",
    "dataset": f"/datasets/{DATASET}",
    "the stopped ones": f"/datasets/{DATASET}?only=stopped",
    "spec": f"/datasets/{DATASET}/spec",
    "slice": f"/datasets/{DATASET}/slices/2000-02-19",
    "snapshots": f"/datasets/{DATASET}/snapshots",
    "models": f"/datasets/{DATASET}/models",
    "model": f"/datasets/{DATASET}/models/50",
    "drift": f"/datasets/{DATASET}/drift",
    "slice that was rejected": f"/datasets/{DATASET}/slices/2000-01-01",
    "mend": "/mend?load=again-199",
    "trouble": "/trouble",
    "trouble, also what is settled": "/trouble?every=true&page=2&letter_page=2",
    "a dead letter": "/trouble/dead/1",
    "audit": "/audit",
    "audit of a dataset": f"/audit?dataset={DATASET}",
    "load": f"/load?dataset={DATASET}",
    "login": "/login",
}
SEEN = ("home", "dataset", "slice")
LOADS = 5
PAINTED = """
    new Promise((tell) => new PerformanceObserver((list) => {
        for (const paint of list.getEntriesByName("first-contentful-paint")) tell(paint.startTime);
    }).observe({ type: "paint", buffered: true }))
"""
DRIFT = """
    INSERT INTO headrace.drift (dataset, snapshot_id, baseline_version, feature, measure, is_target,
        value, threshold, is_drifted, bins, load_id, as_of, dataset_version, rows, model_name,
        champion_version, baseline_snapshot_id, baseline_as_of, baseline_rows, event_id)
    SELECT dataset, 'snapshot-' || load_id, 'baseline', 't.f' || f, m, false, 0.1, 0.2, false,
        '[{"label": "a", "baseline": 10, "current": 12}]', load_id, as_of, 'v', 100, 'm', '1',
        'snapshot-load-0', DATE '2000-01-01', 100, 'e'
    FROM headrace.loads, generate_series(1, 5) AS f, unnest(ARRAY['psi']) AS m
    WHERE dataset = :dataset
"""
TROUBLE = """
    CREATE TEMPORARY TABLE again ON COMMIT DROP AS
    SELECT *, 'again-' || substr(load_id, 6) AS again_id, started_at + INTERVAL '1 hour' AS at
    FROM headrace.loads
    WHERE substr(load_id, 6)::int % 101 = 98;

    INSERT INTO headrace.loads (load_id, dataset, slice_key, as_of, revision, status, source_uri,
        requested_by, content_sha256, rows_in, rows_loaded, rows_quarantined, tables, reasons,
        requested_at, started_at, finished_at)
    SELECT again_id, dataset, slice_key, as_of, 2, 'rejected', '/nowhere', 'schedule',
        md5(again_id), 6000, 5940, 60,
        '[{"table": "t", "rows_in": 6000, "rows_loaded": 5940, "rows_quarantined": 60}]',
        (
            SELECT jsonb_agg(jsonb_build_object('code', 'expectation', 'table', 't', 'column', 'k',
                'message', 'k: ' || n || ' values are not in the set'))
            FROM generate_series(1, 5) AS n
        ),
        at, at, at + INTERVAL '5 seconds'
    FROM again;

    INSERT INTO headrace.stage_runs
    SELECT stage || again_id, stage, again_id, dataset, slice_key, 'done', 1, at, at, at, NULL
    FROM again, unnest(ARRAY['ingest', 'validate']) AS stage;

    INSERT INTO headrace.outbox (source, event_id, topic, key, headers, value, created_at,
        published_at)
    SELECT e.source, CASE e.topic WHEN 'load-requested' THEN again_id ELSE e.topic || again_id END,
        e.topic, dataset, jsonb_build_object('ce_correlationid', again_id,
            'ce_subject', dataset || '/' || slice_key),
        convert_to(jsonb_build_object('dataset', dataset, 'slice_key', slice_key)::text, 'UTF8'),
        at, at
    FROM again, (VALUES ('ingestor', 'load-requested'), ('ingestor', 'slice-loaded'),
        ('validator', 'slice-rejected')) AS e (source, topic);

    INSERT INTO headrace.inbox
    SELECT e.consumer,
        CASE e.topic WHEN 'load-requested' THEN again_id ELSE e.topic || again_id END, at
    FROM again, (VALUES ('ingestor', 'load-requested'), ('validator', 'slice-loaded'))
        AS e (consumer, topic);

    INSERT INTO headrace.quarantined_rows (load_id, dataset, table_name, file, record_number,
        column_name, code, reason, raw)
    SELECT again_id, dataset, 't', 't.csv', n, 'k', 'not_a_number', '"n/a" is not a number',
        repeat('n/a,', 40)
    FROM again, generate_series(1, 60) AS n;

    INSERT INTO headrace.validation_results (load_id, dataset, table_name, expectation, kwargs,
        success, element_count, unexpected_count, failing_keys, message)
    SELECT load_id, dataset, 't', 'expect_column_values_to_be_in_set',
        '{"column": "k", "value_set": ["a", "b"]}', n > 1 OR status = 'published', 6000,
        CASE WHEN n > 1 OR status = 'published' THEN 0 ELSE 20 END,
        CASE WHEN n > 1 OR status = 'published' THEN '[]'
            ELSE (SELECT jsonb_agg(jsonb_build_object('k', k)) FROM generate_series(1, 20) AS k)
        END, NULL
    FROM headrace.loads, generate_series(1, 6) AS n;

    INSERT INTO headrace.dead_letters (service, event_id, event_type, correlation_id, dataset,
        slice_key, topic, partition, "offset", key, headers, value, error_class, reason, attempts,
        failed_at, dropped_at, dropped_by, drop_reason)
    SELECT 'ingestor', 'dead-' || load_id, 'headrace.load-requested.v1', 'dead-' || load_id,
        dataset, 'x' || slice_key, 'load-requested', 0, row_number() OVER (),
        convert_to(dataset, 'UTF8'), '{"ce_type": "headrace.load-requested.v1"}', '{}',
        'SourceNotFound', 'the folder /nowhere is not there', 1, at,
        CASE WHEN substr(load_id, 6)::int % 2 = 0 THEN at END,
        CASE WHEN substr(load_id, 6)::int % 2 = 0 THEN 'admin' END,
        CASE WHEN substr(load_id, 6)::int % 2 = 0 THEN 'a typing error' END
    FROM again, generate_series(1, 2);

    INSERT INTO headrace.schedule_runs
    SELECT dataset, started_at, 'requested', slice_key, load_id, NULL, started_at
    FROM headrace.loads
    WHERE revision = 1;

    INSERT INTO headrace.audit (at, who, action, dataset, subject, detail, outcome, event_id,
        session_id, address)
    SELECT started_at, 'admin', e.action, dataset, dataset || '/' || slice_key,
        '{"source": "/nowhere"}', e.outcome, load_id, 'session-' || dataset, '192.0.2.7'
    FROM headrace.loads, (VALUES ('load', 'asked'), ('log in', 'done')) AS e (action, outcome)
"""
"""Of every hundredth slice a second load that was rejected, each with two dead letters; and what
people and schedules have asked for, and what the validator found, of all. Statements apart by `;`
and a new line."""


@pytest.fixture(scope="module")
def many(
    request: pytest.FixtureRequest, servers: Settings, template_database: str
) -> Iterator[str]:
    """The name of a database to clone: 10,000 slices of as many datasets as the parameter says."""
    with cloned(servers, template_database) as settings:
        engine = make_engine(settings, application="test")
        fill(engine, SLICES, request.param)
        with engine.begin() as connection:
            for statement in TROUBLE.strip().split(";\n"):
                connection.execute(text(statement))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
        engine.dispose()
        yield str(make_url(settings.database_url.get_secret_value()).database)


@pytest.fixture
def settings(servers: Settings, many: str) -> Iterator[Settings]:
    """Settings of a test's own clone of it."""
    with cloned(servers, many) as settings:
        yield settings


def declare(engine: Engine, specs: Path, datasets: int, of_tables: str) -> None:
    """Specs for all; the tables of one, which a page looks into."""
    for number in range(datasets):
        (specs / f"d{number:05d}.yaml").write_text(SPEC.format(name=f"d{number:05d}"))
    with engine.begin() as connection:
        ensure_dataset(connection, find_spec(specs, of_tables))
        connection.execute(text(DRIFT), {"dataset": of_tables})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE headrace.drift"))


def best(engine: Engine, pages: Pages, path: str) -> float:
    """Seconds of a core until the page is there, Postgres' own included, at the best try.

    By the clock on the wall it is what else runs on this machine that would be measured.
    """
    found = []
    for _ in range(TRIES):
        before = worked(engine)
        pages.text(path)
        found.append(worked(engine) - before)
        if found[-1] < SECONDS / 2:
            break
    return min(found)


def worked(engine: Engine) -> float:
    """Seconds of a core that this process and the console's connections have taken so far."""
    with engine.connect() as connection:
        pids = connection.execute(text(BACKENDS)).scalars().all()
    theirs = 0.0
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            times = psutil.Process(pid).cpu_times()
            theirs += times.user + times.system
    return time.process_time() + theirs


@pytest.mark.parametrize("many", [DATASETS], indirect=True)
def test_every_page_is_there_within_300_ms(
    engine: Engine, specs: Path, pages_of: Callable[..., Pages]
) -> None:
    declare(engine, specs, DATASETS, DATASET)
    # MLflow is away, which costs a page of a model nothing but its pictures.
    pages = pages_of(mlflow_tracking_uri="http://127.0.0.1:9")
    took = {name: best(engine, pages, path) for name, path in PLACES.items()}
    print({name: round(seconds * 1000) for name, seconds in took.items()})
    assert {name: s for name, s in took.items() if s > SECONDS} == {}


def painted(page: Page, address: str) -> float:
    """Seconds from the click until the browser has drawn the first of a page's content.

    Of several loads after a first one the best: here it is the clock on the wall that counts.
    """
    page.goto(address, wait_until="load")
    found = []
    for _ in range(LOADS):
        page.goto(address, wait_until="load")
        found.append(float(page.evaluate(PAINTED)) / 1000)
        if found[-1] < SECONDS:
            break
    print(address, [round(seconds * 1000) for seconds in found])
    return min(found)


@pytest.mark.parametrize("many", [DATASETS], indirect=True)
def test_a_browser_draws_the_first_content_in_a_moment_on_a_busy_machine_too(
    engine: Engine, specs: Path, process: tuple[subprocess.Popen[bytes], str]
) -> None:
    """Browser, console and Postgres share two cores with whatever else runs here, so the clock on
    the wall is held to little; the 300 ms are held of the cores' time, by the test before.
    """
    declare(engine, specs, DATASETS, DATASET)
    with chromium() as browser:
        page = browser.new_page()
        took = {name: painted(page, process[1] + PLACES[name]) for name in SEEN}
    assert {name: seconds for name, seconds in took.items() if seconds > BUSY_SECONDS} == {}


@pytest.mark.parametrize("many", [1], indirect=True)
@pytest.mark.parametrize("dataset", ["d00000"])
def test_a_dataset_of_10_000_slices_of_its_own_is_there_as_soon(
    engine: Engine, specs: Path, pages_of: Callable[..., Pages], dataset: str
) -> None:
    declare(engine, specs, 1, dataset)
    pages = pages_of(mlflow_tracking_uri="http://127.0.0.1:9")
    last = "2027-05-18"
    took = {
        path: best(engine, pages, path)
        for path in (
            "/",
            *(f"/datasets/{dataset}{part}" for part in ("", "?page=200", "/snapshots", "/models")),
            f"/datasets/{dataset}/models/10000",
            f"/datasets/{dataset}/slices/{last}",
            f"/datasets/{dataset}/drift",
            f"/datasets/{dataset}?only=stopped",
            "/trouble",
            f"/audit?dataset={dataset}",
        )
    }
    print({path: round(seconds * 1000) for path, seconds in took.items()})
    assert {path: s for path, s in took.items() if s > SECONDS} == {}
