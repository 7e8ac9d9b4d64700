"""Asking a service how it does: `/healthz` (does its consumer loop turn?) and `/readyz` (does
everything behind it answer?), and what it says of itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssl import SSLContext

    import httpx

ANSWER_SECONDS = 10.0
"""A service asks its servers first and allows them a few seconds."""


@dataclass(frozen=True)
class Health:
    """How a server or service does. `faults` says by part what is wrong; empty is well."""

    name: str
    address: str
    faults: Mapping[str, str]


@dataclass(frozen=True)
class ServiceState:
    """A service's health, and what its `/info` says: its version, and by topic what waits."""

    health: Health
    version: str = ""
    is_standby: bool = False
    """Whether its topics have fewer partitions than it has replicas."""
    lag: Mapping[str, int] = field(default_factory=dict)


def ask_service(name: str, address: str) -> Health:
    """Ask a service's two endpoints. Raises nothing."""
    import httpx  # not part of every service

    with _client(address, ANSWER_SECONDS) as client:
        try:
            return Health(name, address, _faults(client))
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return Health(name, address, {"service": f"doesn't answer: {error or repr(error)}"})


def ask_state(name: str, address: str, timeout_seconds: float) -> ServiceState:
    """Ask a service for all that it says of itself. Raises nothing."""
    import httpx

    with _client(address, timeout_seconds) as client:
        try:
            faults = _faults(client)
            info = _answer(client, "/info")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            fault = {"service": f"doesn't answer: {error or repr(error)}"}
            return ServiceState(Health(name, address, fault))
    lag = info.get("lag")
    return ServiceState(
        Health(name, address, faults),
        version=str(info.get("version", "")),
        is_standby=info.get("partitions") == 0 and bool(info.get("is_connected")),
        lag={str(k): int(v) for k, v in lag.items()} if isinstance(lag, dict) else {},
    )


def _client(address: str, timeout_seconds: float) -> "httpx.Client":
    import httpx

    return httpx.Client(
        base_url=address, timeout=timeout_seconds, trust_env=False, verify=_trusted()
    )


@cache
def _trusted() -> "SSLContext":
    """Whom to trust: reading all authorities takes 50 ms of CPU, and the console asks for ever."""
    import httpx

    return httpx.create_ssl_context(trust_env=False)


def _faults(client: "httpx.Client") -> dict[str, str]:
    faults: dict[str, str] = {}
    alive = _answer(client, "/healthz")
    if alive.get("status") != "ok":
        said = f"{alive.get('status')}: no turn for {alive.get('seconds_since_turn')} s"
        faults["consumer loop"] = said
    ready = _answer(client, "/readyz")
    if ready.get("status") != "ready":
        faults |= ready.get("down") or {"readyz": "not ready"}
    return faults


def _answer(client: "httpx.Client", path: str) -> dict[str, Any]:
    response = client.get(path)
    body = response.json()
    if response.status_code not in (200, 503) or not isinstance(body, dict):
        raise ValueError(f"{path} answers {response.status_code}")
    return body
