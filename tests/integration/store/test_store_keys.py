"""A store that refuses our keys is waited for; a bucket of another that does so may mean it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr

from shared.errors import HeadraceError, LoginRefused, PermanentError, ServerUnavailable
from shared.object_store import Bucket, ObjectStore, ObjectUri
from shared.object_store_errors import store_errors
from shared.settings import Settings

ELSEWHERE = ObjectUri("somebody-elses", "drops/")


@pytest.fixture
def keyed(settings: Settings, store: ObjectStore) -> Callable[..., ObjectStore]:
    """The store, asked with other keys."""

    def make(**keys: str) -> ObjectStore:
        update = {name: SecretStr(key) for name, key in keys.items()}
        return ObjectStore(settings.model_copy(update=update))

    return make


def check(store: ObjectStore, uri: ObjectUri, path: Path) -> None:
    store.check()


def read(store: ObjectStore, uri: ObjectUri, path: Path) -> None:
    store.get_bytes(uri)


def look(store: ObjectStore, uri: ObjectUri, path: Path) -> None:
    store.exists(uri)


def search(store: ObjectStore, uri: ObjectUri, path: Path) -> None:
    store.list(uri)


def write(store: ObjectStore, uri: ObjectUri, path: Path) -> None:
    store.put_bytes(uri, b"", content_type="text/plain")


def write_in_parts(store: ObjectStore, uri: ObjectUri, path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(20 << 20)
    store.put_file(uri, path)


def write_as_it_comes(store: ObjectStore, uri: ObjectUri, path: Path) -> None:
    store.writer(uri, content_type="text/plain").close()


@pytest.mark.parametrize("wrong", ["aws_access_key_id", "aws_secret_access_key"])
@pytest.mark.parametrize(
    "work", [check, read, look, search, write, write_in_parts, write_as_it_comes]
)
def test_keys_that_our_buckets_refuse_are_waited_for(
    store: ObjectStore,
    keyed: Callable[..., ObjectStore],
    tmp_path: Path,
    work: Callable[[ObjectStore, ObjectUri, Path], None],
    wrong: str,
) -> None:
    uri = store.uri(Bucket.LANDING, "object")
    with pytest.raises(LoginRefused, match="the S3 store refuses the login"):
        work(keyed(**{wrong: "rotated"}), uri, tmp_path / "file")


@pytest.mark.parametrize("work", [read, look, search])
def test_a_bucket_of_somebody_else_that_refuses_us_is_an_error_of_who_named_it(
    keyed: Callable[..., ObjectStore],
    tmp_path: Path,
    work: Callable[[ObjectStore, ObjectUri, Path], None],
) -> None:
    with pytest.raises(PermanentError, match="refuses s3://somebody-elses/drops/"):
        work(keyed(aws_secret_access_key="another"), ELSEWHERE, tmp_path)


def test_keys_that_the_store_does_not_know_are_no_fault_of_a_bucket(
    keyed: Callable[..., ObjectStore],
) -> None:
    with pytest.raises(LoginRefused, match="InvalidAccessKeyId"):
        keyed(aws_access_key_id="rotated").list(ELSEWHERE)


@pytest.mark.parametrize(
    ("code", "status", "is_ours", "error"),
    [
        ("AccessDenied", 403, True, LoginRefused),
        ("AccessDenied", 403, False, PermanentError),
        ("403", 403, True, LoginRefused),
        ("403", 403, False, PermanentError),
        ("ExpiredToken", 400, True, LoginRefused),
        ("ExpiredToken", 400, False, LoginRefused),
        ("RequestTimeTooSkewed", 403, False, ServerUnavailable),
        ("InvalidArgument", 400, True, PermanentError),
    ],
)
def test_what_a_refusal_means(
    code: str, status: int, is_ours: bool, error: type[HeadraceError]
) -> None:
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    with pytest.raises(error), store_errors("s3://bucket/key", is_ours=is_ours):
        raise ClientError(answer, "GetObject")
