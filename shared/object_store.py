"""Objects in the S3 store. The only importer of boto3."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)

from shared.errors import PermanentError, ServerUnavailable, SourceNotFound
from shared.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_PART_BYTES = 8 << 20
_KEY_BYTES = 1024
_NOT_FOUND = {"NoSuchKey", "NoSuchBucket", "404", "NotFound"}


class Bucket(StrEnum):
    """The buckets, before the environment's prefix."""

    LANDING = "landing"
    """The slices' files as they came, by content hash."""
    REPORTS = "reports"
    """Validation reports."""
    SNAPSHOTS = "snapshots"
    """Frozen tables as Parquet, with manifests."""
    DATASETS = "datasets"
    """Training datasets."""
    IMAGES = "images"
    """The pictures of datasets' rows, by content hash."""
    MLFLOW = "mlflow"
    """MLflow's artifacts."""


@dataclass(frozen=True)
class ObjectUri:
    """`s3://bucket/key`; the key may be a prefix."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read an `s3://` address. Raises `PermanentError` where it is none."""
        scheme, _, rest = uri.partition("://")
        bucket, _, key = rest.partition("/")
        if scheme != "s3" or not bucket:
            raise PermanentError(f"{uri!r} is no address like s3://bucket/key")
        return cls(bucket, key)

    def child(self, name: str) -> "ObjectUri":
        """The object `name` below this prefix."""
        return ObjectUri(self.bucket, f"{self.key.rstrip('/')}/{name}" if self.key else name)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True)
class StoredObject:
    """An object in a listing. `size` is in bytes."""

    uri: ObjectUri
    size: int
    etag: str


class ObjectStore:
    """The store. Thread-safe.

    Every method raises `ServerUnavailable` where the store doesn't answer, and `SourceNotFound`
    where an object or bucket that it needs isn't there.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        key, secret = settings.aws_access_key_id, settings.aws_secret_access_key
        self._client: S3Client = boto3.client(
            "s3",
            endpoint_url=settings.s3_endpoint_url,
            region_name=settings.aws_region,
            aws_access_key_id=key.get_secret_value() if key else None,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            config=Config(
                signature_version="s3v4",
                connect_timeout=5,
                read_timeout=60,
                retries={"max_attempts": 2, "mode": "standard"},
                s3={"addressing_style": "path"} if settings.s3_endpoint_url else {},
            ),
        )
        self._transfer = TransferConfig(
            multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, max_concurrency=2
        )

    def uri(self, bucket: Bucket, key: str) -> ObjectUri:
        """The address of `key` in one of our buckets."""
        return ObjectUri(self._settings.bucket(bucket), key)

    def create_buckets(self) -> None:
        """Create those of our buckets that aren't there."""
        for bucket in Bucket:
            name = self._settings.bucket(bucket)
            with _errors(name):
                try:
                    self._client.head_bucket(Bucket=name)
                except ClientError as error:
                    if _code(error) not in _NOT_FOUND:
                        raise
                    self._client.create_bucket(Bucket=name)

    def check(self) -> None:
        """Return if the store answers."""
        with _errors("the store"):
            self._client.head_bucket(Bucket=self._settings.bucket(Bucket.LANDING))

    def put_bytes(self, uri: ObjectUri, data: bytes, *, content_type: str) -> None:
        """Write an object whole."""
        with _errors(str(uri)):
            self._client.put_object(
                Bucket=uri.bucket, Key=uri.key, Body=data, ContentType=content_type
            )

    def put_file(
        self, uri: ObjectUri, path: Path, *, content_type: str = "application/octet-stream"
    ) -> None:
        """Upload a file, in parts where it is large."""
        with _errors(str(uri)):
            self._client.upload_file(
                str(path),
                uri.bucket,
                uri.key,
                Config=self._transfer,
                ExtraArgs={"ContentType": content_type},
            )

    def get_bytes(self, uri: ObjectUri) -> bytes:
        """An object's content. For small objects."""
        with _errors(str(uri)):
            return self._client.get_object(Bucket=uri.bucket, Key=uri.key)["Body"].read()

    def get_file(self, uri: ObjectUri, path: Path) -> None:
        """Download an object to `path`."""
        with _errors(str(uri)):
            self._client.download_file(uri.bucket, uri.key, str(path), Config=self._transfer)

    @contextmanager
    def open(
        self, uri: ObjectUri, *, start: int = 0, stop: int | None = None
    ) -> Iterator[IO[bytes]]:
        """Read an object as a stream; of its bytes [`start`, `stop`) where that is asked."""
        part: dict[str, Any] = {}
        if start or stop is not None:
            part = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
        with _errors(str(uri)):
            body = self._client.get_object(Bucket=uri.bucket, Key=uri.key, **part)["Body"]
            try:
                yield body  # type: ignore[misc]  # botocore's StreamingBody is an IOBase
            finally:
                body.close()

    def stat(self, uri: ObjectUri) -> StoredObject:
        """An object's size and ETag."""
        with _errors(str(uri)):
            found = self._client.head_object(Bucket=uri.bucket, Key=uri.key)
            return StoredObject(uri, found["ContentLength"], found["ETag"])

    def exists(self, uri: ObjectUri) -> bool:
        """Whether the object is there."""
        with _errors(str(uri)):
            try:
                self._client.head_object(Bucket=uri.bucket, Key=uri.key)
            except ClientError as error:
                if _code(error) in _NOT_FOUND:
                    return False
                raise
            return True

    def sizes(self, folder: ObjectUri, names: Collection[str]) -> dict[str, int]:
        """The sizes, in bytes, of those of `names` that are objects directly below `folder`.

        Each request brings a page of the folder that begins at the next name sought: for a few
        names that is one for each, for many one for each page of the folder.
        """
        prefix = folder.child("").key
        wanted = sorted({n for n in names if _is_key(prefix + n)}, reverse=True)
        found: dict[str, int] = {}
        token: str | None = None
        with _errors(str(folder)):
            while wanted:
                sought = len(wanted)
                start: dict[str, Any] = {"StartAfter": (prefix + wanted[-1])[:-1]}
                if token:
                    start = {"ContinuationToken": token}
                page = self._client.list_objects_v2(
                    Bucket=folder.bucket,
                    Prefix=prefix,
                    Delimiter="/",
                    **start,
                )
                there = {
                    item["Key"].removeprefix(prefix): item["Size"]
                    for item in page.get("Contents", [])
                }
                token = page.get("NextContinuationToken")
                last = max(there, default="")
                while wanted and (token is None or wanted[-1] <= last):
                    name = wanted.pop()
                    if name in there:
                        found[name] = there[name]
                if len(wanted) < sought:  # the next one may be far from this page
                    token = None
        return found

    def list(self, prefix: ObjectUri, *, deep: bool = True) -> list[StoredObject]:
        """All objects whose key begins with `prefix.key`, by key.

        Without `deep` only those whose key has no further slash.
        """
        with _errors(str(prefix)):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=prefix.bucket, Prefix=prefix.key, Delimiter="" if deep else "/"
            )
            return [
                StoredObject(ObjectUri(prefix.bucket, item["Key"]), item["Size"], item["ETag"])
                for page in pages
                for item in page.get("Contents", [])
            ]


def _is_key(key: str) -> bool:
    return len(key.encode()) <= _KEY_BYTES


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def _errors(what: str) -> Iterator[None]:
    """Give boto's errors our classes."""
    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if _code(error) in _NOT_FOUND:
            raise SourceNotFound(f"{what} is not there") from error
        if status >= 500 or _code(error) in {"SlowDown", "RequestTimeout"}:
            raise ServerUnavailable("the S3 store", error) from error
        raise PermanentError(f"the S3 store refuses {what}: {error}") from error
    except (BotoConnectionError, HTTPClientError) as error:
        raise ServerUnavailable("the S3 store", error) from error
    except BotoCoreError as error:
        raise PermanentError(f"{what}: {error}") from error
