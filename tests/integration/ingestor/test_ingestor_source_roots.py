"""A load from outside of `SOURCE_ROOTS` ends before anything of its source is read."""

from dataclasses import replace

import pytest

from shared.errors import SourceNotAllowed
from shared.object_store import Bucket, ObjectStore, ObjectUri
from tests.integration.ingestor.conftest import DROP, Shop


@pytest.fixture
def bounded(shop: Shop) -> Shop:
    """A shop whose slices come from a folder and a prefix."""
    (shop.folder / "drops").mkdir()
    landing = shop.settings.bucket(Bucket.LANDING)
    roots = f"{shop.folder}/drops s3://{landing}/drops"
    return replace(shop, settings=shop.settings.model_copy(update={"source_roots": roots}))


def put(store: ObjectStore, prefix: ObjectUri) -> str:
    for name, content in DROP.items():
        store.put_bytes(prefix.child(name), content, content_type="text/csv")
    return str(prefix)


def test_slices_within_are_loaded(bounded: Shop) -> None:
    inside = bounded.write(DROP, "drops/day_00")
    assert bounded.handle(bounded.event(inside)).status == "loaded"
    prefix = bounded.store.uri(Bucket.LANDING, "drops/day_01")
    outcome = bounded.handle(bounded.event(put(bounded.store, prefix), "day_01"))
    assert outcome.status == "loaded"


def test_folders_links_and_buckets_elsewhere_are_refused(bounded: Shop) -> None:
    outside = bounded.write(DROP, "elsewhere")
    link = bounded.folder / "drops" / "link"
    link.symlink_to(outside)
    bucket = put(bounded.store, bounded.store.uri(Bucket.REPORTS, "drops/day_00"))
    beside = put(bounded.store, bounded.store.uri(Bucket.LANDING, "other"))
    ways_up = (f"{bounded.folder}/drops/../elsewhere", f"{beside}/../drops/../other")
    for source in (outside, link, outside.as_uri(), bucket, beside, *ways_up):
        with pytest.raises(SourceNotAllowed):
            bounded.handle(bounded.event(source))
    landed = bounded.store.list(bounded.store.uri(Bucket.LANDING, "shop/"))
    assert landed == []
