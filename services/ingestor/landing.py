"""The landing bucket: the slice's files as they came, under the digest of their content."""

from shared.fail_points import FailPoint, reached
from shared.object_store import Bucket, ObjectStore, ObjectUri
from shared.reading.spool import SpooledSlice


def land(store: ObjectStore, dataset: str, slice_key: str, spooled: SpooledSlice) -> ObjectUri:
    """Copy the slice to the landing bucket and return its prefix there.

    The prefix follows from the content, so doing it again changes nothing.
    """
    prefix = store.uri(Bucket.LANDING, f"{dataset}/{slice_key}/{spooled.content_sha256}")
    files = [file for files in spooled.files.values() for file in files]
    parts = [part for file in files for part in (file, *file.joined)]
    for file in {part.name: part for part in parts}.values():
        uri = prefix.child(file.name)
        if not store.exists(uri):
            reached(FailPoint.LANDING_STORING)
            store.put_file(uri, file.path)
            reached(FailPoint.LANDING_STORED)
    return prefix
