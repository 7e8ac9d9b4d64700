"""Asking for a load: what `POST /loads` and `headrace load` have in common."""

import re
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sqlalchemy import Connection, select, text

from shared.clock import Clock, utc_now
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.events import LoadRequested
from shared.contracts.increment import WHOLE, slice_name
from shared.contracts.spec_file import find_spec
from shared.database.statuses import LoadStatus
from shared.database.tables import loads, slices
from shared.errors import HeadraceError, PermanentError
from shared.object_store import ObjectStore, ObjectUri
from shared.settings import Settings
from shared.source_roots import SourceRoots

# A slice's name becomes part of object names, so it must be one step of a path and no more.
_SLICE_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._%+=@-]{0,119}")
IN_PROGRESS = (LoadStatus.LOADING, LoadStatus.LOADED, LoadStatus.VALIDATED)
REFUSED = (LoadStatus.REJECTED, LoadStatus.FAILED)
WITHDRAWN_CODE = "withdrawn"
"""Of the reason that a withdrawal was asked for with, among `loads.reasons`."""


class BadRequest(PermanentError):
    """A load can't be asked for like this."""


class NothingToLoad(HeadraceError):
    """The dataset has reached the whole of its source: an answer, and no error.

    `refused` are the slices on the way there that were rejected or failed, and whose rows are
    therefore not in.
    """

    def __init__(self, dataset: str, slice_key: str, refused: Sequence[str] = ()) -> None:
        message = f"nothing to load: {dataset} has reached {slice_key}"
        if refused:
            message += (
                f"; without the rows of {', '.join(refused)}, which "
                f"{'was' if len(refused) == 1 else 'were'} refused: ask for "
                f"{'it' if len(refused) == 1 else 'them'} by name when the cause is mended"
            )
        super().__init__(message)
        self.dataset = dataset
        self.slice_key = slice_key
        self.refused = tuple(refused)


def load_request(
    connection: Connection,
    settings: Settings,
    *,
    dataset: str,
    slice_key: str | None = None,
    source: str | None = None,
    as_of: date | None = None,
    requested_by: str,
    clock: Clock = utc_now,
) -> LoadRequested:
    """The request, complete and checked.

    Without `slice_key` it is for the slice after all that are published or on their way.
    `source` is the slice's own folder or one with a subfolder named like the slice; without it the
    spec's is taken, and for an increment where the spec has none that of its last load. A relative
    path of `source` is taken from the current folder, one of the spec from the spec's folder.
    A share that was loaded before keeps its date.

    Raises `UnknownDataset`, `FaultySpec`, `NothingToLoad` where the whole is reached,
    `SourceNotAllowed`, and `BadRequest` for anything else that is wrong with it.
    """
    spec = find_spec(settings.datasets_dir, dataset)
    if slice_key is None:
        slice_key = next_slice(connection, spec)
    check_slice_key(slice_key)
    share_of(spec, slice_key)
    if as_of is None:
        asked_at = clock()
        derived = date_of_slice(spec, slice_key, asked_at)  # the ingestor would derive a name's own
        if spec.slices.as_of(slice_key) is None:
            as_of = _published_as_of(connection, dataset, slice_key) or derived
    source_uri = _source_uri(connection, settings, spec, slice_key, source)
    SourceRoots.of(settings).require(source_uri)
    return LoadRequested(
        dataset=dataset,
        slice_key=slice_key,
        source_uri=source_uri,
        as_of=as_of,
        requested_by=requested_by,
    )


def check_slice_key(slice_key: str) -> None:
    """Raise `BadRequest` where `slice_key` can't be the name of any slice."""
    if not _SLICE_KEY.fullmatch(slice_key):
        raise BadRequest(
            f"{slice_key[:200]!r} can't name a slice: letters, digits and ._%+=@- only, 120 at most"
        )


def share_of(spec: DatasetSpec, slice_key: str) -> Decimal | None:
    """The per cent that the slice reaches; None where slices are no shares.

    Raises `BadRequest` where they are and the name is none.
    """
    if spec.slices.increment is None:
        return None
    try:
        return spec.slices.increment.share(slice_key)
    except ValueError as error:
        raise BadRequest(str(error)) from error


def date_of_slice(spec: DatasetSpec, slice_key: str, asked_at: datetime) -> date:
    """The `as_of` of the slice by its name, else by when it was asked for.

    Raises `BadRequest` where the name doesn't fit.
    """
    try:
        return spec.as_of(slice_key, asked_at)
    except (ValueError, OverflowError) as error:
        raise BadRequest(f"{error}; such a load needs an as_of date") from error


def next_slice(connection: Connection, spec: DatasetSpec) -> str:
    """The slice after all that are published, in progress, or asked for and not yet begun.

    One that was withdrawn counts: it comes again by its name only. Rejected and failed ones don't,
    so they come again. Neither do slices that were loaded under a name of their own with an
    explicit date. Raises `NothingToLoad` where none is left.
    """
    query = text("""
        SELECT slice_key FROM headrace.slices WHERE dataset = :dataset
        UNION
        SELECT slice_key FROM headrace.loads WHERE dataset = :dataset AND status = ANY (:held)
        UNION
        SELECT convert_from(o.value, 'UTF8')::jsonb ->> 'slice_key'
        FROM headrace.outbox AS o
        WHERE o.topic = :topic AND o.key = :dataset
            AND NOT EXISTS (SELECT FROM headrace.loads AS l WHERE l.load_id = o.event_id)
            AND NOT EXISTS (SELECT FROM headrace.dead_letters AS d WHERE d.event_id = o.event_id)
    """)
    parameters = {
        "dataset": spec.dataset,
        "held": [status.value for status in (*IN_PROGRESS, LoadStatus.WITHDRAWN)],
        "topic": LoadRequested.topic.value,
    }
    taken = [key for (key,) in connection.execute(query, parameters) if _fits(spec, key)]
    try:
        following = spec.slices.next_after(taken)
    except ValueError as error:
        raise BadRequest(str(error)) from error
    if following is None:
        refused = [key for key in _refused(connection, spec.dataset) if _fits(spec, key)]
        raise NothingToLoad(spec.dataset, slice_name(WHOLE), refused)
    return following


def _refused(connection: Connection, dataset: str) -> list[str]:
    """The shares that were refused, in order, whose rows no other slice has."""
    query = text("""
        WITH held AS (
            SELECT slice_key, percentage, first_row, end_row
            FROM headrace.loads
            WHERE dataset = :dataset AND status = ANY (:held) AND end_row IS NOT NULL
        ), refused AS (
            SELECT DISTINCT slice_key, percentage
            FROM headrace.loads
            WHERE dataset = :dataset AND status = ANY (:refused) AND percentage IS NOT NULL
        )
        SELECT r.slice_key
        FROM refused AS r
        WHERE r.slice_key NOT IN (SELECT slice_key FROM held)
            AND coalesce((SELECT max(end_row) FROM held WHERE percentage < r.percentage), 0)
                < (SELECT min(first_row) FROM held WHERE percentage > r.percentage)
        ORDER BY r.percentage
    """)
    parameters = {
        "dataset": dataset,
        "held": [status.value for status in (LoadStatus.PUBLISHED, *IN_PROGRESS)],
        "refused": [status.value for status in REFUSED],
    }
    return [key for (key,) in connection.execute(query, parameters)]


def _fits(spec: DatasetSpec, slice_key: str) -> bool:
    try:
        spec.slices.as_of(slice_key)
    except (ValueError, OverflowError):
        return False
    return True


def _published_as_of(connection: Connection, dataset: str, slice_key: str) -> date | None:
    query = select(slices.c.as_of).where(
        slices.c.dataset == dataset, slices.c.slice_key == slice_key
    )
    return connection.execute(query).scalar()


def _source_uri(
    connection: Connection,
    settings: Settings,
    spec: DatasetSpec,
    slice_key: str,
    source: str | None,
) -> str:
    is_increment = spec.slices.increment is not None
    if source is not None:
        folder = _absolute(source, Path.cwd())
        SourceRoots.of(settings).require(folder)  # before anybody looks what is there
        return folder if is_increment else _slice_folder(settings, folder, slice_key)
    if spec.slices.source is not None:
        folder = _absolute(spec.slices.source, settings.datasets_dir.absolute())
        return folder if is_increment else _child(folder, slice_key)
    if is_increment and (before := _last_source(connection, spec.dataset)) is not None:
        return before
    raise BadRequest(
        f"the spec of {spec.dataset!r} names no source for its slices: name the folder"
    )


def _last_source(connection: Connection, dataset: str) -> str | None:
    """Where the dataset's last load came from, whatever became of it since."""
    query = (
        select(loads.c.source_uri)
        .where(loads.c.dataset == dataset, loads.c.status.in_((*IN_PROGRESS, LoadStatus.PUBLISHED)))
        .order_by(loads.c.started_at.desc())
        .limit(1)
    )
    return connection.execute(query).scalar()


def _absolute(source: str, base: Path) -> str:
    if source.startswith("s3://"):
        ObjectUri.parse(source)
        return source.rstrip("/")
    try:
        return str((base / local_path(source).expanduser()).resolve())
    except (OSError, RuntimeError, ValueError) as error:  # no such user, links in a circle
        raise BadRequest(f"{source[:200]!r} is no folder: {error}") from error


def local_path(source: str) -> Path:
    """The path that a source on this machine names, also as `file://…`.

    Raises `BadRequest` where it names none.
    """
    shown, path = repr(source[:200]), source
    if source.startswith("file:"):
        try:
            split = urlsplit(source)
        except ValueError as error:
            raise BadRequest(f"{shown} is no folder: {error}") from error
        if split.netloc not in ("", "localhost"):
            raise BadRequest(f"{shown} names the host {split.netloc}: file:/// is this machine")
        path = unquote(split.path)
    elif "://" in source:
        raise BadRequest(f"{shown} is neither a path nor file:// nor s3://")
    if "\0" in path:
        raise BadRequest(f"{shown} is no folder: it has the character U+0000")
    return Path(path)


def _child(folder: str, slice_key: str) -> str:
    return f"{folder}/{slice_key}"


def _slice_folder(settings: Settings, folder: str, slice_key: str) -> str:
    """The subfolder named like the slice if there is one, else the folder itself."""
    child = _child(folder, slice_key)
    if not folder.startswith("s3://"):
        try:
            return child if Path(child).is_dir() else folder
        except OSError as error:  # longer than a path may be
            raise BadRequest(f"{folder[:200]!r} is no folder: {error}") from error
    found = ObjectStore(settings).list(ObjectUri.parse(f"{child}/"))
    return child if found else folder
