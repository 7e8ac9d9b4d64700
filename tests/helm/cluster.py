"""A real Kubernetes API server over etcd, without nodes: it takes objects, and nothing runs them.

It admits, defaults and refuses as any cluster does, and helm installs into it as into any. What
controllers and kubelets would do, a test does by writing an object's status.
"""

import csv
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from infra.embedded.ports import claim
from tests.waiting import wait_until

TOKEN = "the-tests-own"
START_SECONDS = 120


class Cluster:
    """An API server for the time of a `with` block."""

    def __init__(self, folder: Path, etcd: Path, apiserver: Path) -> None:
        self._folder = folder
        self._programs = etcd, apiserver
        self._processes: list[subprocess.Popen[bytes]] = []
        self._client: httpx.Client | None = None
        self.kubeconfig = folder / "kubeconfig.yaml"

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self) -> None:
        ports = claim(("etcd", "etcd-peer", "apiserver"), {}, set())
        store, peer = (f"http://127.0.0.1:{ports[name]}" for name in ("etcd", "etcd-peer"))
        etcd, apiserver = self._programs
        self._run(
            [
                etcd,
                f"--data-dir={self._folder / 'etcd'}",
                f"--listen-client-urls={store}",
                f"--advertise-client-urls={store}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
                "--unsafe-no-fsync",
            ]
        )
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        signing = self._folder / "account.key"
        signing.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        tokens = self._folder / "tokens.csv"
        with tokens.open("w", newline="") as file:
            csv.writer(file).writerow([TOKEN, "test", "test", "system:masters"])
        address = f"https://127.0.0.1:{ports['apiserver']}"
        self._run(
            [
                apiserver,
                f"--etcd-servers={store}",
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                f"--secure-port={ports['apiserver']}",
                f"--cert-dir={self._folder / 'certificates'}",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={signing}",
                f"--service-account-signing-key-file={signing}",
                f"--token-auth-file={tokens}",
                "--authorization-mode=RBAC",
                "--service-cluster-ip-range=10.0.0.0/24",
                "--endpoint-reconciler-type=none",
            ]
        )
        self.kubeconfig.write_text(json.dumps(_kubeconfig(address)), encoding="utf-8")
        self._client = httpx.Client(
            base_url=address,
            verify=False,  # noqa: S501 - it has just made its certificate itself
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=30,
        )
        wait_until(self._is_ready, seconds=START_SECONDS, what="an API server")

    @property
    def api(self) -> httpx.Client:
        """A client with all rights."""
        assert self._client, "it has not been started"
        return self._client

    def _run(self, command: list[Any]) -> None:
        with (self._folder / f"{Path(command[0]).name}.log").open("wb") as log:
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log))

    def _is_ready(self) -> bool:
        for process in self._processes:
            if process.poll() is not None:
                name = Path(process.args[0]).name
                raise AssertionError((self._folder / f"{name}.log").read_text()[-3000:])
        try:
            return self.api.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def create(self, path: str, document: Any, **options: str) -> httpx.Response:
        """Post an object."""
        return self.api.post(path, json=document, params={"fieldManager": "test", **options})

    def names(self, path: str) -> set[str]:
        """The names of the objects at a path."""
        response = self.api.get(path)
        response.raise_for_status()
        return {item["metadata"]["name"] for item in response.json()["items"]}

    def define(self, definitions: Iterable[Any]) -> None:
        """Have it know the custom objects, and wait until it does."""
        at = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        for definition in definitions:
            self.create(at, definition).raise_for_status()
            name, spec = definition["metadata"]["name"], definition["spec"]
            path = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{spec['names']['plural']}"
            wait_until(lambda path=path: self.api.get(path).status_code == 200, what=name)


def _kubeconfig(address: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [
            {"name": "test", "cluster": {"server": address, "insecure-skip-tls-verify": True}}
        ],
        "users": [{"name": "test", "user": {"token": TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
