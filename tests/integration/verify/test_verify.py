"""`headrace verify` finds what differs, says where, and finds nothing where nothing does."""

import pytest
from sqlalchemy.exc import OperationalError

from cli.verify.audit import CHECKS, audit, examine
from shared.errors import UnknownDataset
from tests.integration.verify.conftest import Stored, World

REJECTED = "(SELECT load_id FROM headrace.loads WHERE status = 'rejected')"
FIRST = "(SELECT load_id FROM headrace.loads WHERE slice_key = 'day_00' AND revision = 1)"
REVISED = "(SELECT load_id FROM headrace.loads WHERE slice_key = 'day_00' AND revision = 2)"
SECOND = "(SELECT load_id FROM headrace.loads WHERE slice_key = 'day_01')"
SPOILED = {
    "a quarantined row is lost": (
        "rows",
        "people",
        f"""DELETE FROM headrace.quarantined_rows WHERE quarantine_id =
        (SELECT min(quarantine_id) FROM headrace.quarantined_rows WHERE load_id = {FIRST})""",
    ),
    "a load has more rows in than its tables": (
        "rows",
        "day_01",
        f"UPDATE headrace.loads SET rows_in = rows_in + 1 WHERE load_id = {SECOND}",
    ),
    "a table has lost a row on its way": (
        "rows",
        "table labels",
        f"""UPDATE headrace.loads SET tables = jsonb_set(tables, '{{1,rows_in}}', '99')
        WHERE load_id = {SECOND}""",
    ),
    "a merge says other numbers than were loaded": (
        "rows",
        "table people",
        f"""UPDATE headrace.loads SET changes = jsonb_set(changes, '{{people,unchanged}}', '3')
        WHERE load_id = {SECOND}""",
    ),
    "a quarantined row is of no load": (
        "rows",
        "quarantined row",
        f"""UPDATE headrace.quarantined_rows SET load_id = 'nobody' WHERE load_id = {SECOND}""",
    ),
    "a slice that failed its audit is published": (
        "rows",
        "table labels",
        f"""UPDATE headrace.validation_results SET success = FALSE
        WHERE load_id = {SECOND} AND table_name = 'labels'""",
    ),
    "a slice stands as an older load left it": (
        "slices",
        "day_00",
        f"UPDATE headrace.slices SET load_id = {FIRST} WHERE slice_key = 'day_00'",
    ),
    "a slice is published and isn't known": (
        "slices",
        "day_01",
        "DELETE FROM headrace.slices WHERE slice_key = 'day_01'",
    ),
    "two loads of a slice are one revision": (
        "slices",
        "day_00",
        f"UPDATE headrace.loads SET revision = 1 WHERE load_id = {REVISED}",
    ),
    "a published load has no snapshot": (
        "slices",
        "day_01",
        f"DELETE FROM headrace.snapshots WHERE load_id = {SECOND}",
    ),
    "a snapshot is of a load that isn't published": (
        "slices",
        "snapshot streams-",
        f"UPDATE headrace.loads SET status = 'loading' WHERE load_id = {SECOND}",
    ),
    "an event is there twice": (
        "events",
        "cause",
        f"""INSERT INTO headrace.outbox (source, event_id, topic, key, headers, value)
        SELECT source, 'twin', topic, key, headers, value FROM headrace.outbox
        WHERE topic = 'snapshotted' AND headers ->> 'ce_correlationid' = {SECOND}""",
    ),
    "an event has an id of its own": (
        "events",
        "caused by",
        f"""UPDATE headrace.outbox SET event_id = 'another'
        WHERE topic = 'snapshotted' AND headers ->> 'ce_correlationid' = {SECOND}""",
    ),
    "a load says that it brought something else": (
        "landing",
        "/day_01/",
        f"UPDATE headrace.loads SET content_sha256 = 'f00d' WHERE load_id = {SECOND}",
    ),
    "a landing copy is somewhere else": (
        "landing",
        "/day_01/",
        f"UPDATE headrace.loads SET landing_uri = landing_uri || '0' WHERE load_id = {SECOND}",
    ),
    "a picture is somewhere else": (
        "landing",
        "images/nowhere",
        """UPDATE headrace.images SET uri = replace(uri, 'images/', 'images/nowhere/')
        WHERE row_key = 'p010'""",
    ),
    "an event is lost": (
        "events",
        "day_01",
        f"""DELETE FROM headrace.outbox
        WHERE topic = 'validated' AND headers ->> 'ce_correlationid' = {SECOND}""",
    ),
    "an effect has no inbox mark": (
        "events",
        "event",
        "DELETE FROM headrace.inbox WHERE consumer = 'trainer'",
    ),
    "an event is done and has no effect": (
        "events",
        "on snapshotted",
        f"""DELETE FROM headrace.outbox
        WHERE topic = 'dataset-ready' AND headers ->> 'ce_correlationid' = {SECOND}""",
    ),
    "a decision is lost": (
        "events",
        "on dataset-ready",
        f"DELETE FROM headrace.promotions WHERE load_id = {SECOND}",
    ),
    "the drift that was told of is lost": (
        "events",
        "on drift-detected",
        "DELETE FROM headrace.drift",
    ),
    "a training dataset is lost": (
        "events",
        "on dataset-ready",
        "DELETE FROM headrace.training_datasets",
    ),
    "an event speaks of another manifest": (
        "events",
        "on snapshotted",
        f"""UPDATE headrace.outbox SET value = convert_to(
            replace(convert_from(value, 'UTF8'), '"manifest_sha256":"', '"manifest_sha256":"0'),
            'UTF8')
        WHERE topic = 'snapshotted' AND headers ->> 'ce_correlationid' = {SECOND}""",
    ),
    "a load has failed and nobody knows why": (
        "events",
        "day_03",
        "DELETE FROM headrace.dead_letters",
    ),
    "rows are staged for no load": (
        "staging",
        "people__0123456789abcdef",
        "CREATE TABLE streams_staging.people__0123456789abcdef (id text)",
    ),
    "rows are staged for a load that is over": (
        "staging",
        "of load",
        f"UPDATE headrace.loads SET status = 'unchanged' WHERE load_id = {REJECTED}",
    ),
    "what a load needs isn't staged": (
        "staging",
        "streams_staging.people__",
        f"UPDATE headrace.loads SET status = 'validated' WHERE load_id = {SECOND}",
    ),
    "a history row stands there twice": (
        "history",
        "streams.people_history",
        """INSERT INTO streams.people_history
            (id, joined, plan, seen, as_of, recorded_at, load_id, operation)
        SELECT id, joined, plan, seen, as_of, recorded_at, load_id, operation
        FROM streams.people_history LIMIT 1""",
    ),
    "a history row is of no load": (
        "history",
        "load nobody",
        """UPDATE streams.people_history SET load_id = 'nobody'
        WHERE history_id = (SELECT max(history_id) FROM streams.people_history)""",
    ),
    "a history row was recorded at another moment": (
        "history",
        "streams.labels_history",
        """UPDATE streams.labels_history SET recorded_at = recorded_at - INTERVAL '1 second'
        WHERE history_id = (SELECT max(history_id) FROM streams.labels_history)""",
    ),
    "a history row is lost": (
        "history",
        "streams.labels_history",
        """DELETE FROM streams.labels_history
        WHERE history_id = (SELECT max(history_id) FROM streams.labels_history)""",
    ),
    "a current row has another value": (
        "current",
        "streams.people, id 'p010'",
        "UPDATE streams.people SET plan = 'z' WHERE id = 'p010'",
    ),
    "a current row is lost": (
        "current",
        "streams.labels, id 'p010'",
        "DELETE FROM streams.labels WHERE id = 'p010'",
    ),
    "a current row is nobody's": (
        "current",
        "streams.labels, id 'x'",
        "INSERT INTO streams.labels (id, as_of, load_id) VALUES ('x', '2024-03-01', 'nobody')",
    ),
    "a current row names a load that it isn't of": (
        "current",
        "streams.people, id 'p010'",
        f"UPDATE streams.people SET load_id = {REJECTED} WHERE id = 'p010'",
    ),
    "a history row has another value": (
        "snapshots",
        "table labels, id",
        """UPDATE streams.labels_history SET watched = -1
        WHERE history_id = (SELECT min(history_id) FROM streams.labels_history)""",
    ),
    "a label has changed since it was learned from": (
        "datasets",
        "streams, dataset",
        """UPDATE streams.labels_history SET churned = NOT churned
        WHERE history_id = (SELECT min(history_id) FROM streams.labels_history)""",
    ),
    "the database has another digest of a manifest": (
        "snapshots",
        "manifest.json",
        f"UPDATE headrace.snapshots SET manifest_sha256 = 'abc' WHERE load_id = {SECOND}",
    ),
    "the database has other numbers of a snapshot": (
        "snapshots",
        "manifest.json",
        f"""UPDATE headrace.snapshots SET tables = jsonb_set(tables, '{{people,rows}}', '1')
        WHERE load_id = {SECOND}""",
    ),
    "the database has other numbers of a training dataset": (
        "datasets",
        "manifest.json",
        "UPDATE headrace.training_datasets SET test_rows = test_rows + 1",
    ),
    "the newest decision made another champion": (
        "models",
        "alias champion",
        "UPDATE headrace.promotions SET promoted = (model_version = '2')",
    ),
    "a version has another digest than was kept": (
        "models",
        "streams_model version 1",
        "UPDATE headrace.promotions SET model_sha256 = 'abc' WHERE model_version = '1'",
    ),
    "a version was never decided about": (
        "models",
        "streams_model version 2",
        "DELETE FROM headrace.promotions WHERE model_version = '2'",
    ),
    "a decision is about no version": (
        "models",
        "streams_model version 77",
        """UPDATE headrace.promotions SET model_version = '77' WHERE model_version = '2'""",
    ),
    "a run is not there": (
        "models",
        "run gone",
        "UPDATE headrace.training_datasets SET run_id = 'gone'",
    ),
}


def test_nothing_differs_after_slices_revisions_rejections_and_failures(world: World) -> None:
    found = examine(world.settings, "streams")
    assert found.differences == []
    assert found.is_whole
    looked_at = {finding.check: finding.looked_at for finding in found.findings}
    assert looked_at.keys() == CHECKS.keys()
    assert all(looked_at.values()), "each check had something to look at"
    assert looked_at["slices"] == {"published loads": 3, "slices": 2}
    assert looked_at["landing"]["landing copies"] == 4
    assert looked_at["landing"]["files"] == 8
    assert looked_at["landing"]["pictures"] == 2
    assert looked_at["snapshots"]["snapshots"] == 3
    assert looked_at["snapshots"]["tables"] == 6
    assert looked_at["datasets"]["datasets"] == 3
    assert looked_at["models"]["versions"] == 3
    assert looked_at["models"]["aliases"] == 2
    assert found.under_way == ["1 dead letter for a person to settle"]


@pytest.mark.parametrize("what", SPOILED)
def test_what_is_spoiled_is_found_and_named(stored: Stored, what: str) -> None:
    check, where, statement = SPOILED[what]
    stored.sql(statement)
    found = stored.found(check)
    assert any(where in each for each in found), f"{what}: {found}"


def test_an_audit_runs_every_check(stored: Stored) -> None:
    for statement in (SPOILED["a current row is lost"][2], SPOILED["a decision is lost"][2]):
        stored.sql(statement)
    assert {"events", "current", "models"} <= {each.check for each in audit(stored.settings)}


def test_every_check_has_something_spoiled_for_it() -> None:
    assert {check for check, _, _ in SPOILED.values()} == CHECKS.keys()


def test_of_many_differences_the_first_are_listed_and_the_others_counted(stored: Stored) -> None:
    stored.sql("UPDATE streams.people SET plan = 'z'")
    found = examine(stored.settings, most=3)
    (current,) = [finding for finding in found.findings if finding.check == "current"]
    assert len(current.differences) == 3
    assert current.count >= stored.scalar("SELECT count(*) FROM streams.people")
    assert "more" in str([d for d in found.differences if d.check == "current"][-1])


def test_what_is_under_way_is_told_and_is_no_difference(stored: Stored) -> None:
    stored.sql("UPDATE headrace.outbox SET published_at = NULL WHERE topic = 'model-published'")
    stored.sql("""
        INSERT INTO headrace.loads (load_id, dataset, slice_key, status, source_uri, requested_by,
                                    requested_at)
        VALUES ('new', 'streams', 'day_09', 'loading', '/nowhere', 'test', now())
    """)
    found = examine(stored.settings)
    assert found.differences == []
    assert {"1 load under way", "3 events to be sent"} <= set(found.under_way)


def test_without_mlflow_its_versions_are_not_seen_and_that_is_said(stored: Stored) -> None:
    settings = stored.settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    found = examine(settings)
    assert found.differences == []
    assert not found.is_whole
    (models,) = [finding for finding in found.findings if finding.unseen]
    assert models.check == "models"
    assert "MLflow does not answer" in models.unseen[0]


def test_where_nothing_was_ever_trained_mlflow_is_not_missed(stored: Stored) -> None:
    stored.sql("UPDATE headrace.datasets SET spec = spec - 'training' - 'drift'")
    for table in ("promotions", "training_datasets"):
        stored.sql(f"DELETE FROM headrace.{table}")
    settings = stored.settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    assert examine(settings).is_whole


def test_a_dataset_of_which_nothing_is_stored_is_told(stored: Stored) -> None:
    with pytest.raises(UnknownDataset):
        audit(stored.settings, "nothing")


def test_an_audit_changes_nothing(stored: Stored) -> None:
    before = stored.sql(
        "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables"
    )
    audit(stored.settings)
    after = stored.sql("SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables")
    assert sorted(before) == sorted(after)
    with pytest.raises(OperationalError):
        audit(stored.settings.model_copy(update={"database_url": _nowhere(stored)}))


def _nowhere(stored: Stored) -> object:
    from pydantic import SecretStr

    return SecretStr("postgresql://nobody@127.0.0.1:9/nothing")
