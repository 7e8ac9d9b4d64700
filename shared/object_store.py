"""Objects in the S3 store. The only importer of boto3."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from shared.errors import InvalidSettings, PermanentError
from shared.object_store_errors import NOT_FOUND, code_of, store_errors
from shared.object_store_writer import ObjectWriter
from shared.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_PART_BYTES = 8 << 20
_KEY_BYTES = 1024
_DELETED_AT_ONCE = 1000


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
    modified_at: datetime


class ObjectStore:
    """The store. Thread-safe.

    Every method raises `ServerUnavailable` where the store doesn't answer, `LoginRefused` where it
    doesn't know our keys or keeps us from our own buckets, and `SourceNotFound` where an object or
    bucket that it needs isn't there.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ours = frozenset(map(settings.bucket, Bucket))
        key, secret = settings.aws_access_key_id, settings.aws_secret_access_key
        self._client: S3Client = boto3.client(
            "s3",
            endpoint_url=settings.s3_endpoint_url,
            region_name=settings.aws_region,
            aws_access_key_id=key.get_secret_value() if key else None,
            aws_secret_access_key=secret.get_secret_value() if secret else None,
            verify=_ca_file(settings),
            config=Config(
                signature_version="s3v4",
                connect_timeout=settings.connect_timeout_seconds,
                read_timeout=settings.silence_seconds,
                tcp_keepalive=True,
                retries={"total_max_attempts": 2, "mode": "standard"},
                s3={"addressing_style": "path"} if settings.s3_endpoint_url else {},
            ),
        )
        self._transfer = TransferConfig(
            multipart_threshold=_PART_BYTES,
            multipart_chunksize=_PART_BYTES,
            max_concurrency=2,
            num_download_attempts=1,  # each takes its silence; whoever asked tries again
        )

    def uri(self, bucket: Bucket, key: str) -> ObjectUri:
        """The address of `key` in one of our buckets."""
        return ObjectUri(self._settings.bucket(bucket), key)

    def create_buckets(self) -> None:
        """Create those of our buckets that aren't there."""
        for bucket in Bucket:
            name = self._settings.bucket(bucket)
            with store_errors(name):
                try:
                    self._client.head_bucket(Bucket=name)
                except ClientError as error:
                    if code_of(error) not in NOT_FOUND:
                        raise
                    self._client.create_bucket(Bucket=name)

    def check(self) -> None:
        """Return if the store answers."""
        with store_errors("the store"):
            self._client.head_bucket(Bucket=self._settings.bucket(Bucket.LANDING))

    def put_bytes(self, uri: ObjectUri, data: bytes, *, content_type: str) -> None:
        """Write an object whole."""
        with self._errors(uri):
            self._client.put_object(
                Bucket=uri.bucket, Key=uri.key, Body=data, ContentType=content_type
            )

    def writer(self, uri: ObjectUri, *, content_type: str) -> ObjectWriter:
        """Write an object piece by piece: there when `close` returns, and not before."""
        return ObjectWriter(self._client, uri.bucket, uri.key, content_type)

    def put_file(
        self, uri: ObjectUri, path: Path, *, content_type: str = "application/octet-stream"
    ) -> None:
        """Upload a file, in parts where it is large."""
        with self._errors(uri):
            self._client.upload_file(
                str(path),
                uri.bucket,
                uri.key,
                Config=self._transfer,
                ExtraArgs={"ContentType": content_type},
            )

    def get_bytes(self, uri: ObjectUri) -> bytes:
        """An object's content. For small objects."""
        with self._errors(uri):
            return self._client.get_object(Bucket=uri.bucket, Key=uri.key)["Body"].read()

    def get_file(self, uri: ObjectUri, path: Path) -> None:
        """Download an object to `path`."""
        with self._errors(uri):
            self._client.download_file(uri.bucket, uri.key, str(path), Config=self._transfer)

    @contextmanager
    def open(
        self, uri: ObjectUri, *, start: int = 0, stop: int | None = None
    ) -> Iterator[IO[bytes]]:
        """Read an object as a stream; of its bytes [`start`, `stop`) where that is asked."""
        part: dict[str, Any] = {}
        if start or stop is not None:
            part = {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
        with self._errors(uri):
            body = self._client.get_object(Bucket=uri.bucket, Key=uri.key, **part)["Body"]
            try:
                yield body  # type: ignore[misc]  # botocore's StreamingBody is an IOBase
            finally:
                body.close()

    def stat(self, uri: ObjectUri) -> StoredObject:
        """An object's size and ETag."""
        with self._errors(uri):
            found = self._client.head_object(Bucket=uri.bucket, Key=uri.key)
            return StoredObject(uri, found["ContentLength"], found["ETag"], found["LastModified"])

    def exists(self, uri: ObjectUri) -> bool:
        """Whether the object is there."""
        with self._errors(uri):
            try:
                self._client.head_object(Bucket=uri.bucket, Key=uri.key)
            except ClientError as error:
                if code_of(error) in NOT_FOUND:
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
        with self._errors(folder):
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

    def delete(self, objects: Iterable[ObjectUri]) -> None:
        """Delete objects; one that isn't there is no fault."""
        by_bucket: dict[str, list[str]] = {}
        for uri in objects:
            by_bucket.setdefault(uri.bucket, []).append(uri.key)
        for bucket, keys in by_bucket.items():
            for begin in range(0, len(keys), _DELETED_AT_ONCE):
                part = keys[begin : begin + _DELETED_AT_ONCE]
                with store_errors(f"s3://{bucket}"):
                    answer = self._client.delete_objects(
                        Bucket=bucket,
                        Delete={"Objects": [{"Key": key} for key in part], "Quiet": True},
                    )
                if refused := answer.get("Errors"):
                    said = f"{refused[0].get('Key')}: {refused[0].get('Message')}"
                    raise PermanentError(f"the S3 store deletes not all of s3://{bucket}: {said}")

    def list(self, prefix: ObjectUri, *, deep: bool = True) -> list[StoredObject]:
        """All objects whose key begins with `prefix.key`, by key.

        Without `deep` only those whose key has no further slash.
        """
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=prefix.bucket, Prefix=prefix.key, Delimiter="" if deep else "/"
            )
            return [
                StoredObject(
                    ObjectUri(prefix.bucket, item["Key"]),
                    item["Size"],
                    item["ETag"],
                    item["LastModified"],
                )
                for page in pages
                for item in page.get("Contents", [])
            ]

    def _errors(self, uri: ObjectUri) -> AbstractContextManager[None]:
        return store_errors(str(uri), is_ours=uri.bucket in self._ours)


def _ca_file(settings: Settings) -> str | None:
    """The file of the CAs that the store's certificate may be of; None for those of the system."""
    path = settings.s3_ca_file
    if path is None:
        return None
    if not path.is_file():
        raise InvalidSettings(f"S3_CA_FILE: there is no file {path}")
    if not (settings.s3_endpoint_url or "https:").startswith("https:"):
        raise InvalidSettings(
            f"S3_CA_FILE is set, and S3_ENDPOINT_URL={settings.s3_endpoint_url} encrypts nothing: "
            "set it to an https address, or unset S3_CA_FILE"
        )
    return str(path)


def _is_key(key: str) -> bool:
    return len(key.encode()) <= _KEY_BYTES
