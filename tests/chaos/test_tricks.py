"""Names, paths, sources and values that mean something else to somebody on the way."""

import os
import random
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from services.ingestor.handlers import Ingestor
from shared.clock import utc_now
from shared.contracts.envelope import Event, Record
from shared.contracts.events import LoadRequested, Payload, Stage
from shared.messaging.processor import Processor
from shared.object_store import Bucket, ObjectStore
from shared.observability.metrics import Metrics
from shared.settings import Settings
from tests.chaos.asking import publish
from tests.chaos.auditing import assert_well
from tests.chaos.wired import Wired
from tests.integration.ingestor.conftest import Shop
from tests.waiting import wait_until

DAY = "2024-01-31"
CONTENT = b"id,name\n1,a\n"
SPEC: dict[str, Any] = {
    "dataset": "tricks",
    "slices": {"naming": {"pattern": "{date:%Y-%m-%d}"}},
    "tables": {"t": {"key": ["id"], "columns": {"id": "integer", "name": "string"}}},
}


@pytest.fixture
def shop(
    settings: Settings,
    engine: Engine,
    store: ObjectStore,
    tmp_path: Path,
    clock: Callable[[], datetime],
) -> Shop:
    (tmp_path / "datasets").mkdir()
    own = settings.model_copy(update={"datasets_dir": tmp_path / "datasets"})
    return Shop(own, engine, store, tmp_path, clock, spec=SPEC)


def process(shop: Shop, **named: Any) -> Any:
    """Have the ingestor do a load as its consumer would; its row, or its dead letter."""
    shop.write_spec()
    asked = {"dataset": "tricks", "slice_key": DAY, "source_uri": str(shop.folder)} | named
    event: Event[Payload] = Event(payload=LoadRequested(**asked), source="test", time=utc_now())
    processor = Processor(
        service="ingestor",
        handlers={LoadRequested: Ingestor(shop.settings, shop.store).on_load_requested},
        stage_of={LoadRequested: Stage.INGEST},
        engine=shop.engine,
        clock=utc_now,
        settings=shop.settings,
        metrics=Metrics(),
        wake_relay=lambda: None,
    )
    record = Record(
        "load-requested",
        0,
        hash(event.id) % 10**9,
        event.key.encode(),
        event.headers(),
        event.value(),
    )
    processor.process(record, threading.Event())
    with shop.engine.connect() as connection:
        query = text("SELECT * FROM headrace.dead_letters WHERE event_id = :id")
        dead = connection.execute(query, {"id": event.id}).first()
        if dead is not None:
            return dead
        query = text("SELECT * FROM headrace.loads WHERE load_id = :id")
        return connection.execute(query, {"id": event.id}).one()


SOURCES = [
    *("", ".", "..", "../..", "/", "/nowhere", "/etc/passwd", "nowhere\n", "/" + "x" * 300),
    *("/" + "x/" * 2500, "file:", "file://", "file://elsewhere/etc", "file://[", "file:///%00"),
    *("file:///nowhere", "http://x/y", "ftp://x", "~/x", "~nobody-here/x", "s3://", "s3:///x"),
    *("s3://no-such-bucket-here/x", "s3://UPPER_case/x", "s3://a", "s3://x y/z", "s3://../x"),
    *("s3:/x", "\u202e/x", "\u200b", "'; DROP TABLE headrace.loads; --", "$(id)", "{landing}"),
]


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_that_is_none_is_told_at_the_first_try(shop: Shop, source: str) -> None:
    found = process(shop, source_uri=source)
    if hasattr(found, "error_class"):
        assert found.error_class in ("SourceNotFound", "BadRequest", "PermanentError"), found
        assert found.attempts == 1
        assert "Traceback" not in found.reason
    else:  # a folder of this machine without the file
        assert (found.status, found.reasons[0]["code"]) == ("rejected", "missing_file")
    assert landed(shop) == []


KEYS = [
    *("", ".", "..", "../x", "a/b", "/a", "a\\b\n", "\n", " a", "%2e%2e", "x" * 121, "é"),
    *("'; DROP TABLE headrace.slices; --", "$(id)", "a\tb", "*", "CON:", "~", "-rf", "\u202ea"),
]  # fmt: skip


@pytest.mark.parametrize("slice_key", KEYS)
def test_a_slice_of_no_name_is_told_at_the_first_try(shop: Shop, slice_key: str) -> None:
    (shop.folder / "t.csv").write_bytes(CONTENT)
    found = process(shop, slice_key=slice_key, as_of="2024-01-31")
    assert (found.error_class, found.attempts) == ("BadRequest", 1)
    assert landed(shop) == []


def landed(shop: Shop) -> list[str]:
    return [str(found.uri) for found in shop.store.list(shop.store.uri(Bucket.LANDING, ""))]


def test_nothing_outside_of_the_folder_is_read(shop: Shop) -> None:
    outside = shop.folder / "outside"
    outside.mkdir()
    (outside / "t.csv").write_bytes(CONTENT)
    folder = shop.folder / "drop"
    made: dict[str, Callable[[Path], None]] = {
        "a link out": lambda path: path.symlink_to(outside / "t.csv"),
        "a relative link out": lambda path: path.symlink_to("../outside/t.csv"),
        "a link to itself": lambda path: path.symlink_to(path),
        "a link to a device": lambda path: path.symlink_to("/dev/zero"),
        "a link to nothing": lambda path: path.symlink_to("nothing"),
        "a folder": lambda path: path.mkdir(),
        "a pipe": lambda path: os.mkfifo(path),
    }
    for kind, make in made.items():
        folder.mkdir()
        make(folder / "t.csv")
        found = process(shop, source_uri=str(folder))
        assert (found.status, found.reasons[0]["code"]) == ("rejected", "missing_file"), kind
        (folder / "t.csv").rmdir() if kind == "a folder" else (folder / "t.csv").unlink()
        folder.rmdir()
    assert landed(shop) == []
    assert_well(shop.settings)


NAMES = {
    "t-\n.csv": "unreadable_file",
    "t-\x1b[31m.csv": "unreadable_file",
    "t-\u202e.csv": "unreadable_file",
    os.fsdecode(b"t-caf\xe9.csv"): "unreadable_file",
    "t-'; DROP TABLE x; --.csv": None,
    "t-%2e%2e%2fx.csv": None,
    "t-..csv": None,
    "t- .csv": None,
    "t-é.csv": None,
    "t-" + "x" * 240 + ".csv": None,
    "t-$(id)`id`.csv": None,
}


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_file_of_any_name_is_loaded_or_told(shop: Shop, name: str) -> None:
    shop.spec = SPEC | {"tables": {"t": SPEC["tables"]["t"] | {"file": "t-*.csv"}}}
    (shop.folder / name).write_bytes(CONTENT)
    (shop.folder / os.fsdecode(b"\xff\xfe.txt")).write_bytes(b"of nobody")
    found = process(shop)
    if NAMES[name] is None:
        assert (found.status, found.rows_loaded) == ("loaded", 1)
        prefix = shop.store.uri(Bucket.LANDING, f"tricks/{DAY}/")
        assert [uri.startswith(str(prefix)) for uri in landed(shop)] == [True]
    else:
        assert (found.status, found.reasons[0]["code"]) == ("rejected", NAMES[name])
        assert found.reasons[0]["message"].isprintable()
    assert_well(shop.settings)


def test_a_name_that_is_no_text_is_told_where_the_file_is_missing(shop: Shop) -> None:
    (shop.folder / os.fsdecode(b"\xff\xfe.txt")).write_bytes(b"of nobody")
    found = process(shop)
    assert found.reasons[0]["code"] == "missing_file"
    assert r"\udcff\udcfe.txt" in found.reasons[0]["message"]


def test_a_row_wider_than_a_page_is_told(shop: Shop) -> None:
    columns = {f"c{number}": "integer" for number in range(1_400)}
    shop.spec = SPEC | {"dataset": "wide", "tables": {"t": {"key": ["c0"], "columns": columns}}}
    lines = [",".join(columns), ",".join("1" for _ in columns)]
    (shop.folder / "t.csv").write_text("\n".join(lines))
    found = process(shop, dataset="wide")
    assert (found.status, found.reasons[0]["code"]) == ("rejected", "row_too_wide")
    assert_well(shop.settings)


RESERVED = """
dataset: select
slices: {naming: {pattern: "{date:%Y-%m-%d}"}}
tables:
  table:
    key: [user]
    quarantine_budget: 10
    duplicates: keep_last
    columns:
      user: {type: string, header: "'; DROP SCHEMA headrace CASCADE; --"}
      Group: string
      order: {type: number, header: "select * from"}
    expectations:
      - {type: expect_column_values_to_not_be_null, kwargs: {column: order}}
  limit:
    key: [user, offset]
    foreign_keys: [{columns: [user], table: table}]
    columns: {user: string, offset: integer}
"""
HEADER = "'; DROP SCHEMA headrace CASCADE; --,Group,select * from\n"


def test_reserved_words_sql_and_look_alikes_go_through_all_stages_as_they_are(
    wired: Wired, figures: Callable[..., None]
) -> None:
    (wired.specs / "select.yaml").write_text(RESERVED)
    numbers = random.Random(1)  # noqa: S311
    long = "".join(numbers.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=2_000))
    users = {
        "=1+1": "@SUM(A1)",
        "Robert'); DROP TABLE select.table; --": "%s {} $1",
        "\u00e9": "composed",
        "e\u0301": "decomposed",
        "\u2126": "ohm",
        "\u03a9": "omega",
        "a\u200bb": "zero width",
        "ab": "none",
        "\u202eba": "right to left",
        "A": "upper",
        "a": "lower",
        "\\N": "\\.",
        long: "as long as a key may be",
    }
    folder = wired.root / "select" / DAY
    folder.mkdir(parents=True)
    rows = [f'"{user}","{group}",{number}' for number, (user, group) in enumerate(users.items())]
    bad = [f'"{long}x",too long,1', '"n\0l",NUL,1', '"x",words,many']
    (folder / "table.csv").write_text(HEADER + "\n".join([*rows, *bad]) + "\n")
    (folder / "limit.csv").write_text("user,offset\n" + "\n".join(f'"{u}",1' for u in users) + "\n")
    payload = LoadRequested(dataset="select", slice_key=DAY, source_uri=str(folder))
    event: Event[Payload] = Event(payload=payload, source="test", time=utc_now())
    publish(wired, [event])

    def status() -> str | None:
        query = "SELECT status FROM headrace.loads WHERE load_id = :load"
        found = [row.status for row in wired.query(query, load=event.id)]
        return found[0] if found and found[0] not in ("loading", "loaded", "validated") else None

    assert wait_until(status, seconds=120) == "published"
    found = wired.query('SELECT "user", "Group", "order" FROM "select"."table"')
    assert {row.user: (row.Group, row.order) for row in found} == {
        user: (group, number) for number, (user, group) in enumerate(users.items())
    }
    assert wired.scalar('SELECT count(*) FROM "select"."limit"') == len(users)
    codes = wired.query(
        "SELECT code FROM headrace.quarantined_rows WHERE load_id = :load ORDER BY record_number",
        load=event.id,
    )
    assert [row.code for row in codes] == ["key_too_long", "nul_character", "not_a_number"]
    assert_well(wired.settings, "select")
    figures(
        "inputs: names and paths",
        sources=len(SOURCES),
        slice_keys=len(KEYS),
        file_names=len(NAMES),
        rows_through_all_stages=len(users),
    )
