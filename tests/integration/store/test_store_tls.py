"""The S3 store over TLS, with a CA that the system doesn't know."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.embedded.credentials import Credentials
from infra.embedded.ports import claim
from infra.embedded.seaweedfs import ROLES, SeaweedFS
from shared.errors import HeadraceError, InvalidSettings, ServerUnavailable
from shared.object_store import Bucket, ObjectStore
from shared.settings import Settings
from tests.certificates import Authority
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def address(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[dict[str, Any]]:
    """Where a store is that speaks TLS, with its keys."""
    root = tmp_path_factory.mktemp("store")
    keys = Credentials()
    server = SeaweedFS(root, claim(ROLES, {}, set()), keys, ("b-landing",), os.environ)
    server.prepare()
    signed = authority.sign("store", hosts=("127.0.0.1",))
    command = server.command()
    files = (f"-s3.cert.file={signed.certificate}", f"-s3.key.file={signed.key}")
    log = root / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command.argv, *files],
            env={**command.inherited, **command.environment},
            cwd=command.directory,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    found = {
        "s3_endpoint_url": server.address.replace("http:", "https:"),
        "aws_access_key_id": keys.s3_access_key_id,
        "aws_secret_access_key": keys.s3_secret_access_key,
        "bucket_prefix": "b-",
    }
    store = ObjectStore(Settings.model_validate({**found, "s3_ca_file": authority.file}))

    def is_ready() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            store.create_buckets()
        except HeadraceError:
            return False
        return True

    try:
        wait_until(is_ready, seconds=60)
        yield found
    finally:
        process.kill()
        process.wait()


def test_objects_go_and_come_back_encrypted(
    address: dict[str, Any], authority: Authority, tmp_path: Path
) -> None:
    store = ObjectStore(Settings.model_validate({**address, "s3_ca_file": authority.file}))
    store.create_buckets()
    large = tmp_path / "large"
    large.write_bytes(os.urandom(20 << 20))
    uri = store.uri(Bucket.LANDING, "large")
    store.put_file(uri, large)
    store.get_file(uri, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == large.read_bytes()


@pytest.mark.parametrize("trusted", ["the system's", "a stranger's"])
def test_a_store_of_an_unknown_ca_is_refused_and_waited_for(
    address: dict[str, Any], tmp_path: Path, trusted: str
) -> None:
    ca = Authority(tmp_path).file if trusted == "a stranger's" else None
    store = ObjectStore(Settings.model_validate({**address, "s3_ca_file": ca}))
    with pytest.raises(ServerUnavailable, match="certificate verify failed"):
        store.check()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"s3_ca_file": "/etc/hosts", "s3_endpoint_url": "http://store"},
            "S3_ENDPOINT_URL=http://store encrypts nothing",
        ),
        ({"s3_ca_file": "/not/there"}, "S3_CA_FILE: there is no file /not/there"),
    ],
)
def test_a_contradiction_is_told(settings: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        ObjectStore(Settings.model_validate(settings))
