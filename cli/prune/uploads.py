"""Files that came through the browser: loads have copied them, and most were only looked at."""

from datetime import datetime
from itertools import groupby

from sqlalchemy import text

from cli.prune.ground import FINAL, IS_FINISHED, Ground, Removed
from shared.object_store import ObjectUri, StoredObject
from shared.upload_area import upload_area

UPLOADS = "uploads"

# Of loads by share the next one comes from where the last one came.
_NEEDED = f"""
    SELECT l.source_uri
    FROM headrace.loads AS l
    WHERE starts_with(l.source_uri, :area) AND NOT ({IS_FINISHED})
    UNION
    SELECT source_uri
    FROM (
        SELECT DISTINCT ON (dataset) source_uri
        FROM headrace.loads
        WHERE status = 'published'
        ORDER BY dataset, started_at DESC
    ) AS newest
    UNION
    SELECT convert_from(o.value, 'UTF8')::jsonb ->> 'source_uri'
    FROM headrace.outbox AS o
    WHERE o.topic = 'load-requested'
        AND NOT EXISTS (SELECT FROM headrace.inbox AS i WHERE i.event_id = o.event_id)
"""


def prune_uploads(ground: Ground) -> Removed:
    """Delete uploads that no load waits for."""
    before = ground.before(ground.settings.prune_uploads_days)
    area = upload_area(ground.store)
    found = ground.store.list(area)
    parameters = {"area": str(area), "before": before, "final": list(FINAL)}
    with ground.engine.connect() as connection:
        needed = set(connection.execute(text(_NEEDED), parameters).scalars())
    items = size = 0
    for folder, objects in groupby(found, key=_folder):
        files = list(objects)
        if str(folder) in needed or not _is_old(files, before):
            continue
        items, size = items + 1, size + sum(file.size for file in files)
        if not ground.is_dry:
            ground.store.delete(file.uri for file in files)
    return Removed(UPLOADS, before, items, size)


def _folder(found: StoredObject) -> ObjectUri:
    return ObjectUri(found.uri.bucket, found.uri.key.rpartition("/")[0])


def _is_old(files: list[StoredObject], before: datetime) -> bool:
    return max(file.modified_at for file in files) < before
