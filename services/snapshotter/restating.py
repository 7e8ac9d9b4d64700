"""What the history says of some keys, put right from a date on, whoever spoke of them.

The word of a load about a key is what the history said of it at the load's own date when the load
had just been recorded. History rows are only ever added, so that word can be read again at any
time, whether the load changed the key or had it as it was. What holds at a date is the word of the
last load up to that date that spoke of the key and isn't withdrawn, in the order of (`as_of`,
`recorded_at`). Where the history says otherwise, a row is added.

`services.snapshotter.history` does the same with less work for a late slice where nothing was
withdrawn: there, each later row of the history is a word that must stand.
"""

from datetime import date

from sqlalchemy import Connection, text

from services.snapshotter.history import LaterLoad, is_covered, loads_since
from services.snapshotter.publication import Publication
from services.snapshotter.relations import Relations
from shared.contracts.events import TableChanges
from shared.database.statuses import CoverageKind

# Temporary tables, dropped when the table is done. Helping columns have names that no column of a
# spec can have.
AFFECTED = "pg_temp.affected"
"""The keys to be put right."""
_TOLD = "pg_temp.told"
"""All that the history has of them."""
_WORDS = "pg_temp.words"
"""What loads said of them, and what held before; `history_id` is the order within a date."""
_DESIRED = "pg_temp.desired"
"""What is to hold from each date on."""
_FINAL = "pg_temp.final"
_ALL = f"{AFFECTED}, {_TOLD}, {_WORDS}, {_DESIRED}, {_FINAL}"


def restate(
    connection: Connection,
    publication: Publication,
    relations: Relations,
    since: date,
    *,
    withdrawn: tuple[str, ...] = (),
) -> TableChanges:
    """Put the history of the keys in `AFFECTED` right from `since` on, and the current rows.

    The loads `withdrawn` count as if they had never been. The rows that are added are of the
    publication, known from its `known_at` on. Returns what became of the keys at its `as_of`.
    """
    step = _Restating(connection, publication, relations, since)
    step.collect()
    for number, load in enumerate(
        loads_since(connection, publication.spec.dataset, relations.name, since), 1
    ):
        if load.load_id not in withdrawn:
            step.hear(load, number)
    step.decide()
    changes = step.changes()
    step.write()
    step.execute(f"DROP TABLE {_ALL}")
    return changes


class _Restating:
    """The steps, each a statement or two."""

    def __init__(
        self, connection: Connection, publication: Publication, r: Relations, since: date
    ) -> None:
        self._connection = connection
        self._r = r
        self._parameters = {**publication.parameters, "since": since}

    def execute(self, statement: str, load: LaterLoad | None = None, **more: object) -> int:
        parameters = self._parameters | more
        if load is not None:
            parameters |= load.parameters
        return self._connection.execute(text(statement), parameters).rowcount

    def collect(self) -> None:
        """Gather what the history has of the keys, and what held before `since`."""
        r = self._r
        self.execute(f"ANALYZE {AFFECTED}")
        self.execute(f"""
            CREATE TEMPORARY TABLE {_TOLD} ON COMMIT DROP AS
            SELECT h.* FROM {r.history} AS h JOIN {AFFECTED} AS a ON {r.same_key("a", "h")}
        """)
        self.execute(f"ANALYZE {_TOLD}")
        self.execute(f"""
            CREATE TEMPORARY TABLE {_WORDS} ON COMMIT DROP AS
            SELECT {r.keys("a")}{r.and_values("t")}, CAST(:since AS date) - 1 AS as_of,
                   CAST(0 AS bigint) AS history_id, {_presence("t")} AS operation
            FROM {AFFECTED} AS a
            LEFT JOIN ({self._state("as_of < :since")}) AS t ON {r.same_key("t", "a")}
        """)

    def hear(self, load: LaterLoad, number: int) -> None:
        """Add the word of a load about each key that it spoke of."""
        r = self._r
        spoke = "TRUE"
        if load.kind is not CoverageKind.WHOLE:
            spoke = f"""
                EXISTS (
                    SELECT FROM {_TOLD} AS c
                    WHERE c.load_id = :later_load_id AND c.as_of = :later_as_of
                      AND c.recorded_at = :later_recorded_at AND {r.same_key("c", "o")}
                ) OR ({is_covered(r, load.kind, f"{_TOLD} AS h")})"""
        at = "as_of <= :later_as_of AND recorded_at <= :later_recorded_at"
        self.execute(
            f"""
            INSERT INTO {_WORDS} ({r.columns()}, as_of, history_id, operation)
            SELECT {r.keys("o")}{r.and_values("t")}, :later_as_of, :number, {_presence("t")}
            FROM {AFFECTED} AS o
            LEFT JOIN ({self._state(at)}) AS t ON {r.same_key("t", "o")}
            WHERE {spoke}
            """,
            load,
            number=number,
        )

    def decide(self) -> None:
        """Say for each date at which there is a word or a history row what is to hold from it on.

        Words hold until the next one: the dates are numbered by the words up to them.
        """
        r = self._r
        self.execute(f"ANALYZE {_WORDS}")
        self.execute(f"""
            CREATE TEMPORARY TABLE {_DESIRED} ON COMMIT DROP AS
            WITH said AS (
                SELECT {r.columns()}, as_of, operation,
                       row_number() OVER (PARTITION BY {r.keys()} ORDER BY as_of) AS history_id
                FROM (
                    SELECT DISTINCT ON ({r.keys()}, as_of) {r.columns()}, as_of, operation
                    FROM {_WORDS}
                    ORDER BY {r.keys()}, as_of, history_id DESC
                ) AS last
            ), dates AS (
                SELECT {r.keys()}, as_of,
                       sum(history_id) OVER (PARTITION BY {r.keys()} ORDER BY as_of) AS history_id
                FROM (
                    SELECT {r.keys()}, as_of, max(history_id) AS history_id
                    FROM (
                        SELECT {r.keys()}, as_of, 1 AS history_id FROM said
                        UNION ALL
                        SELECT {r.keys()}, as_of, 0 FROM {_TOLD} WHERE as_of >= :since
                    ) AS either
                    GROUP BY {r.keys()}, as_of
                ) AS of_key
            )
            SELECT {r.keys("d")}{r.and_values("s")}, d.as_of, s.operation
            FROM dates AS d
            JOIN said AS s ON {r.same_key("s", "d")} AND s.history_id = d.history_id
        """)
        self.execute(f"ANALYZE {_DESIRED}")

    def changes(self) -> TableChanges:
        """What becomes of the keys at the publication's date."""
        r = self._r
        until = "as_of <= :as_of"
        query = f"""
            SELECT count(*) FILTER (WHERE NOT was_there AND is_there) AS inserted,
                   count(*) FILTER (WHERE was_there AND NOT is_there) AS deleted,
                   count(*) FILTER (WHERE was_there AND is_there AND differs) AS updated,
                   count(*) FILTER (WHERE was_there AND is_there AND NOT differs) AS unchanged
            FROM (
                SELECT coalesce(b.operation <> 'delete', FALSE) AS was_there,
                       coalesce(d.operation <> 'delete', FALSE) AS is_there,
                       {r.differs("b", "d")} AS differs
                FROM {AFFECTED} AS a
                LEFT JOIN ({self._state(until)}) AS b ON {r.same_key("b", "a")}
                LEFT JOIN (
                    SELECT DISTINCT ON ({r.keys()}) {r.columns()}, operation FROM {_DESIRED}
                    WHERE {until} ORDER BY {r.keys()}, as_of DESC
                ) AS d ON {r.same_key("d", "a")}
            ) AS compared
        """
        found = self._connection.execute(text(query), self._parameters).one()
        return TableChanges(**found._mapping)

    def write(self) -> None:
        """Append what differs to the history, and bring the current rows up to it."""
        r = self._r
        # At a date without a row what holds is what is to hold at the date before.
        self.execute(f"""
            INSERT INTO {r.history} ({r.columns()}, as_of, recorded_at, load_id, operation)
            SELECT {r.columns()}, as_of, :known_at, :load_id,
                   CASE WHEN operation = 'delete' THEN 'delete'
                        WHEN record_number THEN 'insert'
                        ELSE 'update' END
            FROM (
                SELECT d.*,
                       CASE WHEN t.operation IS NULL
                            THEN {_content(r, "d")} IS DISTINCT FROM lag({_content(r, "d")}) OVER w
                            ELSE {_content(r, "d")} IS DISTINCT FROM {_content(r, "t")}
                       END AS known_at,
                       coalesce(t.operation, lag(d.operation) OVER w) = 'delete' AS record_number
                FROM {_DESIRED} AS d
                LEFT JOIN (
                    SELECT DISTINCT ON ({r.keys()}, as_of) {r.columns()}, as_of, operation
                    FROM {_TOLD}
                    WHERE as_of >= :since
                    ORDER BY {r.keys()}, as_of, recorded_at DESC, history_id DESC
                ) AS t ON {r.same_key("t", "d")} AND t.as_of = d.as_of
                WINDOW w AS (PARTITION BY {r.keys("d")} ORDER BY d.as_of)
            ) AS compared
            WHERE known_at AND as_of >= :since
        """)
        self.execute(f"""
            CREATE TEMPORARY TABLE {_FINAL} ON COMMIT DROP AS
            SELECT DISTINCT ON ({r.keys("h")}) {r.columns("h")}, h.as_of, h.load_id, h.operation
            FROM {r.history} AS h JOIN {AFFECTED} AS a ON {r.same_key("a", "h")}
            ORDER BY {r.keys("h")}, h.as_of DESC, h.recorded_at DESC, h.history_id DESC
        """)
        self.execute(f"ANALYZE {_FINAL}")
        assignments = "".join(f"{column} = f.{column}, " for column in r.values)
        self.execute(f"""
            DELETE FROM {r.current} AS c USING {_FINAL} AS f
            WHERE f.operation = 'delete' AND {r.same_key("f", "c")}
        """)
        self.execute(f"""
            UPDATE {r.current} AS c SET {assignments}as_of = f.as_of, load_id = f.load_id
            FROM {_FINAL} AS f
            WHERE f.operation <> 'delete' AND {r.same_key("f", "c")}
              AND ({r.differs("f", "c")})
        """)
        self.execute(f"""
            INSERT INTO {r.current} ({r.columns()}, as_of, load_id)
            SELECT {r.columns("f")}, f.as_of, f.load_id FROM {_FINAL} AS f
            WHERE f.operation <> 'delete'
              AND NOT EXISTS (SELECT FROM {r.current} AS c WHERE {r.same_key("c", "f")})
        """)

    def _state(self, condition: str) -> str:
        """SQL for the latest row of each key in what the history has, of those in `condition`."""
        r = self._r
        return f"""
            SELECT DISTINCT ON ({r.keys()}) {r.columns()}, operation FROM {_TOLD}
            WHERE {condition}
            ORDER BY {r.keys()}, as_of DESC, recorded_at DESC, history_id DESC
        """


def _presence(alias: str) -> str:
    is_gone = f"coalesce({alias}.operation, 'delete') = 'delete'"
    return f"CASE WHEN {is_gone} THEN 'delete' ELSE 'insert' END"


def _content(r: Relations, alias: str) -> str:
    """All of a row beside its key, and whether it is there at all."""
    columns = "".join(f"{alias}.{column}, " for column in r.values)
    return f"ROW({columns}{alias}.operation = 'delete')"
