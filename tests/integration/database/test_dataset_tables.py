"""Tables follow from the spec; a spec may only gain columns that may be NULL."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from shared.contracts.dataset_spec import DatasetSpec
from shared.database.dataset_tables import POSTGRES_TYPES, create_staging, ensure_dataset
from shared.database.roles import ensure_roles
from shared.errors import InvalidSpec

COLUMNS: Mapping[str, Any] = {
    "id": "string",
    "shop": "integer",
    "price": "number",
    "sold": {"type": "boolean", "nullable": False},
    "day": "date",
    "moment": "timestamp",
}


def spec_of(
    columns: Mapping[str, Any] = COLUMNS, *, key: tuple[str, ...] = ("id", "shop"), **more: Any
) -> DatasetSpec:
    return DatasetSpec.model_validate(
        {
            "dataset": "sales",
            "slices": {"naming": {"pattern": "{date:%Y-%m-%d}"}},
            "tables": {"items": {"key": key, "columns": columns}, **more},
        }
    )


def apply(engine: Engine, spec: DatasetSpec) -> None:
    with engine.begin() as connection:
        ensure_dataset(connection, spec)


def rows(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def columns_of(engine: Engine, relation: str) -> list[tuple[Any, ...]]:
    return rows(
        engine,
        f"""
        SELECT attname, format_type(atttypid, atttypmod), attnotnull
        FROM pg_attribute
        WHERE attrelid = CAST('{relation}' AS regclass) AND attnum > 0 AND NOT attisdropped
        ORDER BY attnum
        """,
    )


def catalogue(engine: Engine) -> list[tuple[Any, ...]]:
    """Every relation of the dataset, with the transaction that last touched its definition."""
    return rows(
        engine,
        """
        SELECT n.nspname, c.relname, CAST(c.xmin AS text), c.oid
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname LIKE 'sales%' ORDER BY 1, 2
        """,
    )


def test_a_table_has_its_lives_and_its_view(engine: Engine) -> None:
    apply(engine, spec_of())
    declared = [
        ("id", "text", True),
        ("shop", "bigint", True),
        ("price", "double precision", False),
        ("sold", "boolean", True),
        ("day", "date", False),
        ("moment", "timestamp with time zone", False),
    ]
    change = [("as_of", "date", True), ("load_id", "text", True)]
    assert columns_of(engine, "sales.items") == declared + change
    unconstrained = [(name, kind, name in ("id", "shop")) for name, kind, _ in declared]
    assert columns_of(engine, "sales.items_history") == [
        ("history_id", "bigint", True),
        *unconstrained,
        ("as_of", "date", True),
        ("recorded_at", "timestamp with time zone", True),
        ("load_id", "text", True),
        ("operation", "text", True),
    ]
    assert columns_of(engine, "sales.items_coverage") == declared[:2] + change
    assert [name for name, _, _ in columns_of(engine, "sales.items_snapshots")] == [
        *COLUMNS,
        "as_of",
        "known_at",
    ]
    assert rows(engine, "SELECT dataset, spec_digest FROM headrace.datasets") == [
        ("sales", spec_of().digest())
    ]


def test_the_key_is_unique_and_an_operation_is_one_of_three(engine: Engine) -> None:
    apply(engine, spec_of())
    insert = "INSERT INTO sales.items VALUES ('a', 1, NULL, true, NULL, NULL, '2024-01-31', 'l')"
    with engine.begin() as connection:
        connection.execute(text(insert))
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text(insert))
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO sales.items_history "
                "(id, shop, as_of, recorded_at, load_id, operation) "
                "VALUES ('a', 1, '2024-01-31', now(), 'l', 'upsert')"
            )
        )


def test_the_same_spec_again_touches_nothing(engine: Engine) -> None:
    apply(engine, spec_of())
    before = catalogue(engine)
    apply(engine, spec_of())
    assert catalogue(engine) == before


def test_two_processes_at_once_make_the_tables_once(engine: Engine) -> None:
    with ThreadPoolExecutor(4) as pool:
        for outcome in [pool.submit(apply, engine, spec_of()) for _ in range(4)]:
            outcome.result()
    assert len(columns_of(engine, "sales.items")) == len(COLUMNS) + 2


def test_a_nullable_column_more_is_added_everywhere(engine: Engine) -> None:
    apply(engine, spec_of())
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO sales.items (id, shop, sold, as_of, load_id) "
                 "VALUES ('a', 1, true, '2024-01-31', 'l')")
        )  # fmt: skip
    more = spec_of({"note": "string", **COLUMNS})
    apply(engine, more)
    for relation in ("items", "items_history", "items_snapshots"):
        assert ("note", "text", False) in columns_of(engine, f"sales.{relation}")
    assert rows(engine, "SELECT id, note FROM sales.items") == [("a", None)]
    before = catalogue(engine)
    apply(engine, more)
    assert catalogue(engine) == before


def test_a_table_more_is_made(engine: Engine) -> None:
    apply(engine, spec_of())
    apply(engine, spec_of(other={"key": ["k"], "columns": {"k": "date"}}))
    assert columns_of(engine, "sales.other")[0] == ("k", "date", True)


def test_a_change_of_expectations_alone_leaves_the_tables(engine: Engine) -> None:
    ensure_roles(engine.url.render_as_string(hide_password=False), owners=())
    apply(engine, spec_of())
    items = [row for row in catalogue(engine) if row[1] == "items"]
    changed = spec_of().model_dump(mode="json")
    changed["tables"]["items"]["quarantine_budget"] = 5
    spec = DatasetSpec.model_validate(changed)
    apply(engine, spec)
    assert [row for row in catalogue(engine) if row[1] == "items"] == items
    assert rows(engine, "SELECT spec_digest FROM headrace.datasets") == [(spec.digest(),)]


def _without(name: str) -> dict[str, Any]:
    return {column: declared for column, declared in COLUMNS.items() if column != name}


@pytest.mark.parametrize(
    ("changed", "statement"),
    [
        (spec_of(_without("price")), 'ALTER TABLE "sales"."items" DROP COLUMN "price"'),
        (
            spec_of({**COLUMNS, "extra": {"type": "date", "nullable": False}}),
            'ALTER TABLE "sales"."items" ADD COLUMN "extra" date NOT NULL',
        ),
        (
            spec_of({**COLUMNS, "price": "string"}),
            'ALTER TABLE "sales"."items" ALTER COLUMN "price" TYPE text',
        ),
        (
            spec_of({**COLUMNS, "price": {"type": "number", "nullable": False}}),
            'ALTER TABLE "sales"."items" ALTER COLUMN "price" SET NOT NULL',
        ),
        (
            spec_of({**COLUMNS, "sold": "boolean"}),
            'ALTER TABLE "sales"."items" ALTER COLUMN "sold" DROP NOT NULL',
        ),
        (spec_of(key=("id",)), 'ADD PRIMARY KEY ("id")'),
        (spec_of(key=("shop", "id")), 'ADD PRIMARY KEY ("shop", "id")'),
    ],
)
def test_any_other_change_is_refused_with_the_statement_it_takes(
    engine: Engine, changed: DatasetSpec, statement: str
) -> None:
    apply(engine, spec_of())
    before = (
        catalogue(engine),
        rows(engine, "SELECT dataset, spec_digest, applied_at FROM headrace.datasets"),
    )
    with pytest.raises(InvalidSpec) as refusal:
        apply(engine, changed)
    assert statement in str(refusal.value)
    assert (
        catalogue(engine),
        rows(engine, "SELECT dataset, spec_digest, applied_at FROM headrace.datasets"),
    ) == before


def test_every_type_of_a_spec_can_be_a_key(engine: Engine) -> None:
    columns = {f"c_{kind.value}": kind.value for kind in POSTGRES_TYPES}
    apply(engine, spec_of(columns, key=tuple(columns)))
    assert all(not_null for _, _, not_null in columns_of(engine, "sales.items"))


def test_staging_takes_the_place_of_what_an_earlier_try_left(engine: Engine) -> None:
    apply(engine, spec_of())
    load_id = "0d3c2b1a-0000-4000-8000-000000000001"
    for _ in range(2):
        with engine.begin() as connection:
            for statement in create_staging(spec_of(), "items", load_id):
                connection.execute(text(statement))
            connection.execute(
                text(
                    'INSERT INTO sales_staging."items__0d3c2b1a00004000" (record_number) VALUES (1)'
                )
            )
    assert rows(
        engine, 'SELECT id, record_number FROM sales_staging."items__0d3c2b1a00004000"'
    ) == [(None, 1)]
