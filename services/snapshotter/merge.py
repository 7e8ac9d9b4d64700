"""Merging a staged table into the current rows and their history.

The difference between the slice and what is known is found first, into a temporary table; history
and the current rows are written from it. So an unchanged row costs a read and no write.

What is known is, for a slice with no later one, the current rows. A late slice is compared with the
state at its own date, and only what no later slice contradicts goes through to the current rows;
see `services.snapshotter.history`, and `services.snapshotter.restating` where a later one was
withdrawn.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, text

from services.snapshotter import history
from services.snapshotter.coverage import Counts, record_coverage
from services.snapshotter.publication import Publication
from services.snapshotter.relations import DIFFERENCE, KNOWN, OPEN_KEYS, Relations
from services.snapshotter.restating import AFFECTED, restate
from shared.contracts.events import TableChanges
from shared.errors import InconsistentState


@dataclass(frozen=True)
class _Merge:
    """The steps of merging one table; each is one statement or a few."""

    connection: Connection
    publication: Publication
    relations: Relations

    def execute(self, statement: str) -> int:
        """Run a statement with the publication's parameters; the number of rows it touched."""
        return self.connection.execute(text(statement), self.publication.parameters).rowcount

    def is_first(self) -> bool:
        """Whether nothing was ever merged into this table."""
        r = self.relations
        query = (
            f"SELECT NOT EXISTS (SELECT FROM {r.current}) AND NOT EXISTS (SELECT FROM {r.history})"
        )
        return bool(self.connection.execute(text(query)).scalar_one())

    def fill(self) -> int:
        """Copy staging into the empty tables; the number of rows.

        Truncating an empty table gives it new storage, which needs no write-ahead log where the
        server's `wal_level` is minimal; an index built at the end costs a third of one that grows.
        """
        r = self.relations
        self.execute(f"TRUNCATE {r.current}, {r.history}")
        self.execute(f"ALTER TABLE {r.current} DROP CONSTRAINT {r.primary_key}")
        rows = self.execute(f"""
            INSERT INTO {r.current} ({r.columns()}, as_of, load_id)
            SELECT {r.columns()}, :as_of, :load_id FROM {r.staging}
        """)
        self.execute(
            f"ALTER TABLE {r.current} ADD CONSTRAINT {r.primary_key} PRIMARY KEY ({r.keys()})"
        )
        self.execute(f"""
            INSERT INTO {r.history} ({r.columns()}, as_of, recorded_at, load_id, operation)
            SELECT {r.columns()}, :as_of, :known_at, :load_id, 'insert' FROM {r.staging}
        """)
        return rows

    def find_difference(self, known: str) -> None:
        """Put what the slice says otherwise than `known` into a temporary table."""
        r = self.relations
        self.execute(f"""
            CREATE TEMPORARY TABLE {DIFFERENCE} ON COMMIT DROP AS
            SELECT {r.columns("s")},
                   CASE WHEN k.{r.key[0]} IS NULL THEN 'insert' ELSE 'update' END AS operation
            FROM {r.staging} AS s
            LEFT JOIN {known} AS k ON {r.same_key("k", "s")}
            WHERE k.{r.key[0]} IS NULL OR {r.differs("k", "s")}
        """)
        if r.deletes_absent:
            self.execute(f"""
                INSERT INTO {DIFFERENCE} ({r.keys()}, operation)
                SELECT {r.keys("k")}, 'delete'
                FROM {known} AS k
                WHERE NOT EXISTS (SELECT FROM {r.staging} AS s WHERE {r.same_key("s", "k")})
            """)
        self.execute(f"ANALYZE {DIFFERENCE}")

    def count(self, known: str) -> Counts:
        """How the slice and `known` compare."""
        query = f"""
            SELECT count(*) FILTER (WHERE operation = 'insert') AS inserted,
                   count(*) FILTER (WHERE operation = 'update') AS updated,
                   count(*) FILTER (WHERE operation = 'delete') AS deleted,
                   (SELECT count(*) FROM {self.relations.staging}) AS staged,
                   (SELECT count(*) FROM {known}) AS known
            FROM {DIFFERENCE}
        """
        return Counts(**self.connection.execute(text(query)).one()._mapping)

    def write_history(self) -> None:
        """Append the difference to the history."""
        r = self.relations
        self.execute(f"""
            INSERT INTO {r.history} ({r.columns()}, as_of, recorded_at, load_id, operation)
            SELECT {r.columns()}, :as_of, :known_at, :load_id, operation FROM {DIFFERENCE}
        """)

    def list_affected(self) -> None:
        """List the keys of the difference, to have their later statements restated."""
        self.execute(f"""
            CREATE TEMPORARY TABLE {AFFECTED} ON COMMIT DROP AS
            SELECT {self.relations.keys()} FROM {DIFFERENCE}
        """)

    def write_current(self) -> int:
        """Bring the current rows up to the difference; the number of rows written."""
        r = self.relations
        assignments = "".join(f"{column} = d.{column}, " for column in r.values)
        rows = self.execute(f"""
            UPDATE {r.current} AS c
            SET {assignments}as_of = :as_of, load_id = :load_id
            FROM {DIFFERENCE} AS d
            WHERE d.operation = 'update' AND {r.same_key("d", "c")}
        """)
        if r.deletes_absent:
            rows += self.execute(f"""
                DELETE FROM {r.current} AS c
                USING {DIFFERENCE} AS d
                WHERE d.operation = 'delete' AND {r.same_key("d", "c")}
            """)
        return rows + self.execute(f"""
            INSERT INTO {r.current} ({r.columns()}, as_of, load_id)
            SELECT {r.columns()}, :as_of, :load_id FROM {DIFFERENCE} WHERE operation = 'insert'
        """)


def merge(
    connection: Connection, publication: Publication, relations: Relations, *, rows_loaded: int
) -> TableChanges:
    """Merge the staged rows of one table; what became of them.

    Staging must be free of duplicate keys and analysed, and the dataset's lock held.

    Raises `InconsistentState` where staging hasn't `rows_loaded` rows, or a key twice.
    """
    step = _Merge(connection, publication, relations)
    # Against writers that know nothing of the dataset's lock.
    step.execute(f"LOCK TABLE {relations.current} IN SHARE ROW EXCLUSIVE MODE")
    place = (publication.spec.dataset, relations.name, publication.as_of)
    later = history.later_loads(connection, *place)
    has_withdrawn = history.has_withdrawn_later(connection, *place)
    if not later and step.is_first():
        inserted = step.fill()
        counts = Counts(inserted=inserted, updated=0, deleted=0, staged=inserted, known=0)
        _require(counts, relations, rows_loaded)
        record_coverage(connection, publication, relations, counts, known=relations.current)
        return counts.changes()

    known = relations.current
    if later or has_withdrawn:
        known = KNOWN
        query = history.state_query(publication.spec, relations.name)
        step.execute(f"CREATE TEMPORARY TABLE {KNOWN} ON COMMIT DROP AS {query}")
        step.execute(f"ANALYZE {KNOWN}")
    step.find_difference(known)
    counts = step.count(known)
    _require(counts, relations, rows_loaded)
    record_coverage(connection, publication, relations, counts, known=known)
    expected = counts.inserted + counts.updated + counts.deleted
    if expected:
        step.write_history()
        if has_withdrawn:
            step.list_affected()
            restate(connection, publication, relations, publication.as_of)
        else:
            if later:
                expected = history.keep_later_statements(connection, publication, relations, later)
            written = step.write_current()
            if written != expected:
                raise InconsistentState(
                    f"{relations.current}: {expected} rows were to change, {written} did; "
                    f"is a key twice in {relations.staging}?"
                )
    step.execute(f"DROP TABLE IF EXISTS {DIFFERENCE}, {KNOWN}, {OPEN_KEYS}")
    return counts.changes()


def _require(counts: Counts, relations: Relations, rows_loaded: int) -> None:
    changes = counts.changes()
    accounted = changes.inserted + changes.updated + changes.unchanged
    if accounted != rows_loaded:
        raise InconsistentState(
            f"{relations.staging} has {accounted} rows, its event says {rows_loaded}"
        )
