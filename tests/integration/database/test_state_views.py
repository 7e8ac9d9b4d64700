"""The views that say where a dataset stands, before, between and after loads."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import Engine, insert, text

from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.spec_file import read_spec
from shared.database.dataset_tables import ensure_dataset
from shared.database.tables import loads, slices
from tests.conftest import REPOSITORY

AT = datetime(2024, 3, 4, tzinfo=UTC)


def spec_of(**changed: Any) -> DatasetSpec:
    declared = read_spec(REPOSITORY / "datasets" / "rakuten.yaml").model_dump(mode="json")
    return DatasetSpec.model_validate({**declared, **changed})


def apply(engine: Engine, spec: DatasetSpec) -> None:
    with engine.begin() as connection:
        ensure_dataset(connection, spec)


def rows(engine: Engine, query: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(query)).mappings()]


def run(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def loaded(engine: Engine, number: int, slice_key: str, **more: Any) -> None:
    """A load of the dataset; a published one is what is published of its slice."""
    values: dict[str, Any] = {
        "load_id": f"load-{number}",
        "dataset": "rakuten",
        "slice_key": slice_key,
        "as_of": date(2024, 3, number),
        "revision": 1,
        "status": "published",
        "source_uri": "/drops",
        "requested_by": "test",
        "requested_at": AT,
        "started_at": AT.replace(hour=number),
        "finished_at": AT.replace(hour=number, minute=1),
        **more,
    }
    with engine.begin() as connection:
        connection.execute(insert(loads).values(values))
        if values["status"] == "published":
            kept = {k: values[k] for k in ("dataset", "slice_key", "as_of", "revision", "load_id")}
            moment = values["finished_at"]
            connection.execute(
                insert(slices).values(content_sha256="", published_at=moment, **kept)
            )


def products(engine: Engine, codes: Mapping[int, int]) -> None:
    """So many products of each class, among the current rows."""
    for code, count in codes.items():
        ids = f"SELECT {code} * 1000 + n FROM generate_series(1, {count}) AS n"
        run(
            engine,
            f"""
            INSERT INTO rakuten.products (productid, imageid, designation, as_of, load_id)
            SELECT id, id, 'x', '2024-03-01', 'l' FROM ({ids}) AS i (id);
            INSERT INTO rakuten.labels (productid, prdtypecode, as_of, load_id)
            SELECT id, {code}, '2024-03-01', 'l' FROM ({ids}) AS i (id)""",
        )


def test_before_any_load_the_state_is_one_row_of_zeros(engine: Engine) -> None:
    apply(engine, spec_of())
    assert rows(engine, "SELECT * FROM rakuten.current_data_state") == [
        {
            "dataset": "rakuten",
            "slice_key": None,
            "percentage": 0.0,
            "as_of": None,
            "last_load_id": None,
            "last_completed_at": None,
            "total_products": 0,
            "total_labels": 0,
            "total_classes": 0,
        }
    ]
    assert rows(engine, "SELECT * FROM rakuten.data_loads") == []
    assert rows(engine, "SELECT * FROM rakuten.class_distribution") == []


def test_the_state_names_the_largest_share_published_and_counts_the_current_rows(
    engine: Engine,
) -> None:
    apply(engine, spec_of())
    loaded(engine, 1, "40%", percentage=40.0)
    loaded(engine, 2, "43%", percentage=43.0)
    loaded(engine, 3, "46%", percentage=46.0, status="rejected")
    loaded(engine, 4, "9%", percentage=9.0)  # on somebody's word, later than the others
    products(engine, {10: 3, 2583: 5, 40: 2})
    [state] = rows(engine, "SELECT * FROM rakuten.current_data_state")
    assert state == {
        "dataset": "rakuten",
        "slice_key": "43%",
        "percentage": 43.0,
        "as_of": date(2024, 3, 4),
        "last_load_id": "load-4",
        "last_completed_at": AT.replace(hour=4, minute=1),
        "total_products": 10,
        "total_labels": 10,
        "total_classes": 3,
    }


def test_without_increments_the_percentage_is_null_and_the_last_date_is_reached(
    engine: Engine,
) -> None:
    tables = {"goods": {"key": ["sku"], "columns": {"sku": "string"}}}
    naming = {"pattern": "{date:%Y-%m-%d}"}
    spec = DatasetSpec.model_validate(
        {"dataset": "rakuten", "slices": {"naming": naming}, "tables": tables}
    )
    apply(engine, spec)
    [before] = rows(engine, "SELECT * FROM rakuten.current_data_state")
    assert before["percentage"] is None
    loaded(engine, 2, "2024-03-02")
    loaded(engine, 3, "2024-03-01", as_of=date(2024, 3, 1))
    [state] = rows(engine, "SELECT * FROM rakuten.current_data_state")
    assert (state["slice_key"], state["as_of"]) == ("2024-03-02", date(2024, 3, 2))
    assert (state["percentage"], state["last_load_id"]) == (None, "load-3")
    assert "total_classes" not in state
    views = "SELECT viewname FROM pg_views WHERE schemaname = 'rakuten' ORDER BY 1"
    assert [row["viewname"] for row in rows(engine, views)] == [
        "current_data_state",
        "data_loads",
        "goods_snapshots",
    ]


def test_a_load_is_shown_with_its_rows_its_changes_and_its_reasons(engine: Engine) -> None:
    apply(engine, spec_of())
    tables = [{"table": "products", "rows_loaded": 20}, {"table": "labels", "rows_loaded": 21}]
    counts = {"inserted": 1, "updated": 2, "unchanged": 3, "deleted": 4}
    changes = {"products": counts, "labels": counts}
    loaded(engine, 1, "40%", percentage=40.0, tables=tables, changes=changes, end_row=33_966)
    reasons = [{"code": "missing_file", "message": "labels.csv is not in the slice"}]
    loaded(engine, 2, "43%", status="rejected", reasons=reasons, tables=tables, rows_in=41)
    loaded(engine, 3, "46%", status="loading", finished_at=None)
    loaded(engine, 4, "day", dataset="another")
    said = rows(engine, "SELECT * FROM rakuten.data_loads ORDER BY completed_at DESC NULLS LAST")
    assert [row["load_id"] for row in said] == ["load-2", "load-1", "load-3"]
    rejected, published, loading = said
    assert list(published) == [
        "load_id", "slice_key", "percentage", "as_of", "revision", "status", "rows_in",
        "rows_loaded", "rows_quarantined", "total_rows", "inserted", "updated", "unchanged",
        "deleted", "requested_by", "started_at", "completed_at", "reasons",
    ]  # fmt: skip
    assert (published["total_rows"], published["percentage"]) == (33_966, 40.0)
    assert [published[name] for name in counts] == [2, 4, 6, 8]
    assert published["completed_at"] == AT.replace(hour=1, minute=1)
    assert (rejected["status"], rejected["reasons"]) == ("rejected", reasons)
    assert (rejected["total_rows"], rejected["inserted"], rejected["rows_in"]) == (21, None, 41)
    assert (loading["total_rows"], loading["completed_at"]) == (None, None)


def test_classes_are_shown_under_the_targets_name_the_most_frequent_first(engine: Engine) -> None:
    apply(engine, spec_of())
    products(engine, {10: 3, 2583: 5, 40: 3, 50: 1})
    found = rows(engine, "SELECT * FROM rakuten.class_distribution")
    assert [(row["prdtypecode"], row["rows"]) for row in found] == [
        (2583, 5),
        (10, 3),
        (40, 3),
        (50, 1),
    ]
    assert list(found[0]) == ["prdtypecode", "rows", "percentage"]
    assert [float(row["percentage"]) for row in found] == [41.67, 25.0, 25.0, 8.33]


def test_names_of_the_spec_that_are_the_views_own_are_kept_apart(engine: Engine) -> None:
    declared: dict[str, Any] = {
        "dataset": "rakuten",
        "slices": {"increment": {"initial": 40, "step": 3}},
        "tables": {
            "classes": {"key": ["id"], "columns": {"id": "integer", "rows": "string"}},
            "texts": {"key": ["id"], "columns": {"id": "integer", "text": "string"}},
        },
        "training": {
            "entity": "id",
            "target": {"table": "classes", "column": "rows"},
            "features": {"texts": ["text"]},
            "model": {"name": "m", "kind": "logistic_regression"},
        },
    }
    apply(engine, DatasetSpec.model_validate(declared))
    run(engine, "INSERT INTO rakuten.classes VALUES (1, 'a', '2024-03-01', 'l')")
    run(engine, "INSERT INTO rakuten.classes VALUES (2, NULL, '2024-03-01', 'l')")
    [state] = rows(engine, "SELECT * FROM rakuten.current_data_state")
    assert (state["total_classes"], state["all_total_classes"]) == (2, 1)
    [row] = rows(engine, "SELECT * FROM rakuten.class_distribution")
    assert (row["rows"], row["all_rows"], row["percentage"]) == ("a", 1, 100)


def test_a_spec_that_gains_a_column_or_a_table_has_its_views_anew(engine: Engine) -> None:
    apply(engine, spec_of())
    declared = json.loads(spec_of().model_dump_json())
    declared["tables"]["products"]["columns"]["brand"] = {"type": "string"}
    declared["tables"]["prices"] = {"key": ["productid"], "columns": {"productid": "integer"}}
    declared["training"] = declared["drift"] = None
    apply(engine, DatasetSpec.model_validate(declared))
    [state] = rows(engine, "SELECT * FROM rakuten.current_data_state")
    assert [name for name in state if name.startswith("total_")] == [
        "total_products",
        "total_labels",
        "total_prices",
    ]
    gone = "SELECT to_regclass('rakuten.class_distribution') AS view"
    assert rows(engine, gone) == [{"view": None}]


def test_a_dataset_made_by_an_older_version_gains_the_views_though_its_spec_is_the_same(
    engine: Engine,
) -> None:
    apply(engine, spec_of())
    for view in ("data_loads", "current_data_state", "class_distribution"):
        run(engine, f"DROP VIEW rakuten.{view}")
    apply(engine, spec_of())
    gone = "SELECT to_regclass('rakuten.data_loads') AS view"
    assert rows(engine, gone) == [{"view": None}], "the same version looks at nothing again"
    run(engine, "UPDATE headrace.datasets SET layout = DEFAULT")  # as the migration leaves it
    apply(engine, spec_of())
    for view in ("data_loads", "class_distribution"):
        assert rows(engine, f"SELECT * FROM rakuten.{view}") == []
    assert len(rows(engine, "SELECT * FROM rakuten.current_data_state")) == 1
