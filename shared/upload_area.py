"""Where files that came through the browser lie, until `headrace prune` takes them.

Below `_uploads/<id>/` of the landing bucket: no dataset can be called so, and none owns them. A
load copies them aside like those of any other source.
"""

from shared.object_store import Bucket, ObjectStore, ObjectUri

AREA = "_uploads"


def upload_area(store: ObjectStore) -> ObjectUri:
    """The prefix of all uploads, with its slash."""
    return store.uri(Bucket.LANDING, f"{AREA}/")


def upload_folder(store: ObjectStore, upload_id: str) -> ObjectUri:
    """The prefix of one."""
    return store.uri(Bucket.LANDING, f"{AREA}/{upload_id}")
