"""An object written as its content comes, in bounded memory and without a file in between."""

from typing import TYPE_CHECKING

from shared.object_store_errors import store_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 8 << 20
"""S3 takes parts of 5 MiB at least, and 10,000 of them: objects of 78 GiB."""


class ObjectWriter:
    """Collects pieces into parts and uploads those. Holds `PART_BYTES` and a piece at most.

    Every method raises `ServerUnavailable` where the store doesn't answer. For one thread.
    """

    def __init__(self, client: "S3Client", bucket: str, key: str, content_type: str) -> None:
        self._client = client
        self._bucket, self._key, self._content_type = bucket, key, content_type
        self._held = bytearray()
        self._upload_id: str | None = None
        self._parts: list[CompletedPartTypeDef] = []
        self.size = 0
        """How many bytes were written."""

    def write(self, data: bytes) -> None:
        """Take the next piece."""
        self._held += data
        self.size += len(data)
        while len(self._held) >= PART_BYTES:
            self._send(bytes(self._held[:PART_BYTES]))
            del self._held[:PART_BYTES]

    def close(self) -> None:
        """Finish the object; one of a single part is put at one stroke."""
        with store_errors(self._uri):
            if self._upload_id is None:
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=self._key,
                    Body=bytes(self._held),
                    ContentType=self._content_type,
                )
                return
            if self._held:
                self._send(bytes(self._held))
            self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=self._upload_id,
                MultipartUpload={"Parts": self._parts},
            )

    def abort(self) -> None:
        """Leave nothing of an object that isn't finished."""
        self._held.clear()
        if self._upload_id is not None:
            with store_errors(self._uri):
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=self._key, UploadId=self._upload_id
                )

    @property
    def _uri(self) -> str:
        return f"s3://{self._bucket}/{self._key}"

    def _send(self, part: bytes) -> None:
        with store_errors(self._uri):
            if self._upload_id is None:
                begun = self._client.create_multipart_upload(
                    Bucket=self._bucket, Key=self._key, ContentType=self._content_type
                )
                self._upload_id = begun["UploadId"]
            number = len(self._parts) + 1
            answer = self._client.upload_part(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=self._upload_id,
                PartNumber=number,
                Body=part,
            )
            self._parts.append({"ETag": answer["ETag"], "PartNumber": number})
