"""The bitemporal rules: what a table said at a date, and what a late slice may change of it.

The state of a key at (`as_of`, `known_at`) is the latest of its history rows with no later `as_of`
and `recorded_at`, in the order of (`as_of`, `recorded_at`); where that is a `delete` or there is
none, the key is not there. History rows are only ever added, so a state once read never changes.

A late slice changes the state at its own date. From the next date on at which a later slice spoke
of a key, that slice's word must keep holding. If it changed the key, its history row sees to that.
If it had the key unchanged, it left no row: then one is added at its date, which restates what held
there before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, select, text

from services.snapshotter.publication import Publication
from services.snapshotter.relations import DIFFERENCE, KNOWN, OPEN_KEYS, Relations
from shared.contracts.dataset_spec import DatasetSpec
from shared.database.dataset_tables import column_list, quoted
from shared.database.statuses import CoverageKind
from shared.database.tables import coverage


@dataclass(frozen=True)
class LaterLoad:
    """A published load of a later date, and which keys it had without changing them."""

    load_id: str
    as_of: date
    recorded_at: datetime
    kind: CoverageKind

    @property
    def parameters(self) -> dict[str, Any]:
        """What statements about it take."""
        return {
            "later_load_id": self.load_id,
            "later_as_of": self.as_of,
            "later_recorded_at": self.recorded_at,
        }


def later_loads(connection: Connection, dataset: str, table: str, as_of: date) -> list[LaterLoad]:
    """The loads with a later `as_of` that had the table, in the order of their dates.

    Without those that were withdrawn, as everywhere here.
    """
    return _loads(connection, dataset, table, coverage.c.as_of > as_of)


def loads_since(connection: Connection, dataset: str, table: str, since: date) -> list[LaterLoad]:
    """The loads of `since` or later that had the table, in the order of their dates."""
    return _loads(connection, dataset, table, coverage.c.as_of >= since)


def _loads(
    connection: Connection, dataset: str, table: str, when: ColumnElement[bool]
) -> list[LaterLoad]:
    query = (
        select(coverage.c.load_id, coverage.c.as_of, coverage.c.recorded_at, coverage.c.kind)
        .where(
            coverage.c.dataset == dataset,
            coverage.c.table_name == table,
            when,
            coverage.c.withdrawn_at.is_(None),
        )
        .order_by(coverage.c.as_of, coverage.c.recorded_at)
    )
    rows = connection.execute(query)
    return [LaterLoad(r.load_id, r.as_of, r.recorded_at, CoverageKind(r.kind)) for r in rows]


def has_withdrawn_later(connection: Connection, dataset: str, table: str, as_of: date) -> bool:
    """Whether a load of a later date was withdrawn, so that not every later row is a word."""
    query = (
        select(coverage.c.load_id)
        .where(
            coverage.c.dataset == dataset,
            coverage.c.table_name == table,
            coverage.c.as_of > as_of,
            coverage.c.withdrawn_at.is_not(None),
        )
        .limit(1)
    )
    return connection.execute(query).first() is not None


def state_query(spec: DatasetSpec, table: str) -> str:
    """SQL for the rows of `table` at (`:as_of`, `:known_at`), the columns in the spec's order."""
    columns, keys = column_list(spec.tables[table].columns), column_list(spec.tables[table].key)
    return f"""
        SELECT {columns}
        FROM (
            SELECT DISTINCT ON ({keys}) {columns}, operation
            FROM {quoted(spec.dataset, f"{table}_history")}
            WHERE as_of <= :as_of AND recorded_at <= :known_at
            ORDER BY {keys}, as_of DESC, recorded_at DESC, history_id DESC
        ) AS latest
        WHERE operation <> 'delete'
    """


def keep_later_statements(
    connection: Connection,
    publication: Publication,
    relations: Relations,
    later: Sequence[LaterLoad],
) -> int:
    """Restate what later slices said of the keys that the late slice changes.

    Leaves in the difference what no later slice contradicts, which holds to the present; returns
    how many rows that is. The history must have the late slice's own rows already.
    """

    def execute(statement: str, load: LaterLoad | None = None) -> int:
        parameters = publication.parameters | (load.parameters if load else {})
        return connection.execute(text(statement), parameters).rowcount

    remaining = execute(_open_keys(relations))
    execute(f"ANALYZE {OPEN_KEYS}")
    for load in later:
        if not remaining:
            break
        remaining -= execute(f"DELETE FROM {OPEN_KEYS} WHERE next_as_of <= :later_as_of", load)
        if load.kind is not CoverageKind.NONE:
            remaining -= execute(_restatement(relations, load.kind), load)
    execute(f"""
        DELETE FROM {DIFFERENCE} AS d
        WHERE NOT EXISTS (SELECT FROM {OPEN_KEYS} AS o WHERE {relations.same_key("o", "d")})
    """)
    return remaining


def _open_keys(r: Relations) -> str:
    """The keys of the difference, each with the next date at which the history has a row of it."""
    return f"""
        CREATE TEMPORARY TABLE {OPEN_KEYS} ON COMMIT DROP AS
        SELECT {r.keys("d")}, min(h.as_of) AS next_as_of
        FROM {DIFFERENCE} AS d
        LEFT JOIN {r.history} AS h ON {r.same_key("h", "d")} AND h.as_of > :as_of
        GROUP BY {r.keys("d")}
    """


def _restatement(r: Relations, kind: CoverageKind) -> str:
    """Close the open keys that the later load covered, with a history row of what held there."""
    told = f"{r.history} AS h JOIN {OPEN_KEYS} AS p ON {r.same_key('p', 'h')}"
    return f"""
        WITH closed AS (
            DELETE FROM {OPEN_KEYS} AS o WHERE {is_covered(r, kind, told)} RETURNING {r.keys("o")}
        )
        INSERT INTO {r.history} ({r.columns()}, as_of, recorded_at, load_id, operation)
        SELECT {r.keys("d")}{"".join(f", k.{column}" for column in r.values)},
               :later_as_of, :known_at, :load_id,
               CASE WHEN k.{r.key[0]} IS NULL THEN 'delete'
                    WHEN d.operation = 'delete' THEN 'insert'
                    ELSE 'update' END
        FROM closed AS o
        JOIN {DIFFERENCE} AS d ON {r.same_key("d", "o")}
        LEFT JOIN {KNOWN} AS k ON {r.same_key("k", "o")}
    """


def is_covered(r: Relations, kind: CoverageKind, told: str) -> str:
    """The condition that the load of the parameters had the key `o` without changing it.

    A load that had all keys had those that were known when it was recorded: a key that came in
    afterwards, with a slice of an earlier date, was not among them. `told` has, as `h`, what the
    history has of the keys.
    """
    was_listed = f"""EXISTS (
        SELECT FROM {r.coverage} AS c WHERE c.load_id = :later_load_id AND {r.same_key("c", "o")}
    )"""
    was_known = f"""EXISTS (
        SELECT FROM (
            SELECT DISTINCT ON ({r.keys("h")}) {r.keys("h")}, h.operation
            FROM {told}
            WHERE h.as_of <= :later_as_of AND h.recorded_at < :later_recorded_at
            ORDER BY {r.keys("h")}, h.as_of DESC, h.recorded_at DESC, h.history_id DESC
        ) AS l
        WHERE l.operation <> 'delete' AND {r.same_key("l", "o")}
    )"""
    return {
        CoverageKind.WHOLE: "TRUE",
        CoverageKind.ALL: was_known,
        CoverageKind.NONE: "FALSE",
        CoverageKind.LISTED: was_listed,
        CoverageKind.ALL_BUT_LISTED: f"{was_known} AND NOT {was_listed}",
    }[kind]
