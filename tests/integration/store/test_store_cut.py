"""What the network does to a request of the store is transient, whichever part of it is hit."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from shared.errors import ServerUnavailable
from shared.object_store import Bucket, ObjectStore, ObjectUri
from shared.settings import Settings
from tests.chaos.proxy import Proxy

MEGABYTES = 20


@pytest.fixture
def proxy(settings: Settings) -> Iterator[Proxy]:
    wire = urlsplit(settings.s3_endpoint_url or "")
    with Proxy((wire.hostname or "", wire.port or 0)) as proxy:
        yield proxy


@pytest.fixture
def through(settings: Settings, store: ObjectStore, proxy: Proxy) -> ObjectStore:
    update = {
        "s3_endpoint_url": f"http://{proxy.address}",
        "silence_seconds": 3.0,
        "connect_timeout_seconds": 1.0,
    }
    return ObjectStore(settings.model_copy(update=update))


@pytest.fixture
def large(store: ObjectStore) -> ObjectUri:
    uri = store.uri(Bucket.LANDING, "large")
    store.put_bytes(uri, bytes(MEGABYTES << 20), content_type="text/plain")
    return uri


def read_whole(store: ObjectStore, uri: ObjectUri, folder: Path) -> None:
    store.get_bytes(uri)


def read_as_stream(store: ObjectStore, uri: ObjectUri, folder: Path) -> None:
    with store.open(uri) as stream:
        while stream.read(1 << 16):
            pass


def download(store: ObjectStore, uri: ObjectUri, folder: Path) -> None:
    store.get_file(uri, folder / "down")


def upload(store: ObjectStore, uri: ObjectUri, folder: Path) -> None:
    with (folder / "up").open("wb") as file:
        file.truncate(MEGABYTES << 20)
    store.put_file(uri, folder / "up")


def write_whole(store: ObjectStore, uri: ObjectUri, folder: Path) -> None:
    store.put_bytes(uri, bytes(MEGABYTES << 20), content_type="text/plain")


@pytest.mark.parametrize("fault", ["refuse", "black_hole", "stall"])
@pytest.mark.parametrize("work", [read_whole, read_as_stream, download, upload, write_whole])
def test_a_request_that_is_hit_in_its_middle_is_tried_again(
    proxy: Proxy,
    through: ObjectStore,
    large: ObjectUri,
    tmp_path: Path,
    work: Callable[[ObjectStore, ObjectUri, Path], None],
    fault: str,
) -> None:
    through.check()
    proxy.slow(bytes_a_second=4 << 20)  # 20 MB take seconds
    begun = threading.Timer(0.7, getattr(proxy, fault))
    begun.start()
    with pytest.raises(ServerUnavailable):
        work(through, large, tmp_path)
    begun.join()

    proxy.heal()
    proxy.cut()
    work(through, large, tmp_path)
