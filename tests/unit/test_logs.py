"""Log lines: one JSON object each, whatever is in them, with the ids of the event in hand."""

import io
import json
import logging
import os
import pty
import subprocess
import sys
from datetime import date, datetime

import pytest

from shared.clock import utc_now
from shared.contracts.envelope import Event
from shared.contracts.events import (
    LoadRequested,
    ModelPublished,
    Reason,
    SliceLoaded,
    SliceRejected,
    Snapshotted,
    Stage,
    TableChanges,
    TableLoad,
)
from shared.observability.logs import _FIELDS, _Human, _Json, facts, log_context, log_ids
from shared.observability.telling import told
from tests.conftest import REPOSITORY


@pytest.fixture
def lines():
    """What a logger writes: `lines()` are its JSON objects so far."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(_Json("ingestor", "ingestor-2"))
    logger = logging.getLogger("test.logs")
    logger.handlers, logger.propagate, logger.level = [handler], False, logging.DEBUG

    def read():
        said = written.getvalue()
        assert said == "" or said.endswith("\n")
        return [json.loads(line) for line in said.splitlines()]

    yield read
    logger.handlers, logger.propagate = [], True


LOG = logging.getLogger("test.logs")


def request():
    payload = LoadRequested(dataset="streams", slice_key="2024-01", source_uri="/drops")
    return Event(payload, source="cli", time=utc_now())


def test_a_line_has_the_ids_of_the_event_in_hand_and_its_figures(lines):
    event = request()
    with log_context(event):
        LOG.info("staged %d rows", 7, extra=facts(rows_loaded=7))
    LOG.info("afterwards")
    first, second = lines()
    assert list(first) == [*_FIELDS, "rows_loaded"]
    assert first["message"] == "staged 7 rows"
    assert first["rows_loaded"] == 7
    assert (first["service"], first["replica"], first["level"]) == (
        "ingestor",
        "ingestor-2",
        "info",
    )
    assert datetime.fromisoformat(first["time"]).utcoffset().total_seconds() == 0
    assert (first["dataset"], first["slice_key"]) == ("streams", "2024-01")
    assert (first["event_id"], first["event_type"]) == (event.id, event.payload.type)
    assert first["load_id"] == event.correlation_id
    assert first["trace_id"] == event.traceparent.trace_id
    assert "dataset" not in second


def test_a_figure_never_takes_the_place_of_an_id(lines):
    with log_context(request()):
        LOG.info("x", extra=facts(dataset="another", message="y", seconds=0.5))
    [line] = lines()
    assert (line["dataset"], line["message"], line["seconds"]) == ("streams", "x", 0.5)


def test_ids_that_are_known_without_an_event_are_there_too_and_only_those(lines):
    with log_ids(dataset="streams", slice_key=None, event_id="e"):
        with log_ids(load_id="l"):
            LOG.info("inner")
        LOG.info("outer")
    inner, outer = lines()
    assert (inner["dataset"], inner["event_id"], inner["load_id"]) == ("streams", "e", "l")
    assert "slice_key" not in inner
    assert "load_id" not in outer


@pytest.mark.parametrize("text", ["two\nlines", "half \ud83d a pair", '"quoted"', "\x00\x1b[31m"])
def test_whatever_is_in_a_line_it_is_one_line(lines, text):
    try:
        raise ValueError(text)
    except ValueError:
        LOG.exception("failed: %s", text, extra=facts(what=text, when=date(2024, 1, 1)))
    [line] = lines()
    assert "ValueError" in line["exception"]
    assert line["when"] == "2024-01-01"


def test_for_people_a_line_says_when_who_about_what():
    record = LOG.makeRecord("l", logging.WARNING, "f", 1, "late by %d s", (3,), None)
    with log_context(request()):
        assert (
            _Human("ingestor")
            .format(record)
            .endswith(" WARNING ingestor streams/2024-01: late by 3 s")
        )
    with log_ids(dataset="streams"):
        assert " ingestor streams: late" in _Human("ingestor").format(record)
    assert " ingestor: late" in _Human("ingestor").format(record)


PROGRAM = """
import logging, sys, threading, warnings
from shared.observability.logs import configure_logs
from shared.settings import Settings
configure_logs(Settings(), "ingestor")
logging.getLogger("ours").info("up")
warnings.warn("old")
thread = threading.Thread(target=lambda: 1 / 0, name="worker")
thread.start()
thread.join()
raise RuntimeError("the end\\nof it")
"""


def run(program, **given):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), **given}
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_nobody_caught_is_a_line_of_json_as_well():
    done = run(PROGRAM)
    assert done.returncode == 1
    said = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["level"] for line in said] == ["info", "warning", "critical", "critical"]
    assert "UserWarning: old" in said[1]["message"]
    assert "worker" in said[2]["message"]
    assert "ZeroDivisionError" in said[2]["exception"]
    assert said[3]["message"] == "the process ends: the end\nof it"


def test_on_a_terminal_it_is_for_people_unless_json_is_asked_for():
    ours, theirs = pty.openpty()

    def first_line(**given):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), **given}
        program = PROGRAM.split("warnings.warn")[0]
        subprocess.run(
            [sys.executable, "-c", program], cwd=REPOSITORY, env=environment, stderr=theirs,
            timeout=60, check=True,
        )  # fmt: skip
        return os.read(ours, 4096).decode().strip()

    try:
        assert first_line().endswith("INFO    ingestor: up")
        assert json.loads(first_line(LOG_FORMAT="json"))["message"] == "up"
    finally:
        os.close(ours)
        os.close(theirs)
    assert run(PROGRAM, LOG_FORMAT="human").stderr.splitlines()[0].endswith("ingestor: up")


NAMED = {"dataset": "streams", "slice_key": "a", "load_id": "l", "as_of": date(2024, 1, 31)}


def test_of_what_was_committed_a_line_says_the_outcome_and_its_figures():
    loaded = SliceLoaded(
        **NAMED, revision=2, content_sha256="0", landing_uri="s3://b/k",
        tables=tuple(
            TableLoad(table=t, staging_table=t, rows_in=10, rows_loaded=8, rows_quarantined=2)
            for t in "ab"
        ),
    )  # fmt: skip
    assert told(loaded) == (
        "revision 2 is staged: 16 rows, 4 in quarantine",
        {"revision": 2, "rows_loaded": 16, "rows_quarantined": 4},
    )
    reasons = tuple(Reason(code="c", message=m) for m in ("no file", "no column", "no row"))
    rejected = SliceRejected(**NAMED, stage=Stage.VALIDATE, reasons=reasons)
    assert told(rejected) == (
        "rejected: no file; and 2 more reasons",
        {"stage": "validate", "reasons": 3},
    )
    frozen = Snapshotted(
        **NAMED, snapshot_id="s", known_at=utc_now(), manifest_uri="s3://b/k", manifest_sha256="0",
        changes={"a": TableChanges(inserted=5), "b": TableChanges(inserted=1, deleted=2)},
    )  # fmt: skip
    said, figures = told(frozen)
    assert said == "snapshot s: 6 inserted, 0 updated, 0 unchanged, 2 deleted"
    assert figures["inserted"] == 6
    published = ModelPublished(
        **NAMED, snapshot_id="s", dataset_version="v", model_name="churn", model_version="3",
        run_id="r", alias=None, promoted=False, decision="not_better", reason="0.7 against 0.8",
        metrics={},
    )  # fmt: skip
    assert told(published)[0] == "churn version 3 has no alias: 0.7 against 0.8"
