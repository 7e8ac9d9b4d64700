"""Free loopback ports, remembered from start to start."""

import secrets
import socket
from collections.abc import Iterable, Mapping

from infra.embedded.errors import StackError

# Below the range from which Linux takes the ports of outgoing connections (32768 and up), also
# after GRPC_OFFSET is added: a port from that range could be taken while the stack is down.
FIRST, COUNT = 12_000, 10_000
GRPC_OFFSET = 10_000


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` of the loopback interface now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def claim(roles: Iterable[str], remembered: Mapping[str, int], held: set[str]) -> dict[str, int]:
    """Give each role a port, and return them all.

    A remembered port is kept if it is free or if its role is in `held`, the roles of processes that
    run and so occupy their own ports. The others get new ones, each different from every other.
    """
    ports = dict(remembered)
    for role in roles:
        port = ports.get(role)
        if port is not None and (role in held or is_usable(role, port)):
            continue
        ports[role] = _choose(role, taken=set(ports.values()))
    return ports


def is_usable(role: str, port: int) -> bool:
    """Whether the process of `role` could start on `port` now."""
    # SeaweedFS's admin server takes a second port by itself, at a fixed distance.
    return is_free(port) and (role != "seaweedfs.admin" or is_free(port + GRPC_OFFSET))


def _choose(role: str, taken: set[int]) -> int:
    for _ in range(COUNT):
        port = FIRST + secrets.randbelow(COUNT)
        if port not in taken and is_usable(role, port):
            return port
    raise StackError(
        f"no port from {FIRST} to {FIRST + COUNT - 1} on 127.0.0.1 is free for {role}: "
        "end some servers"
    )
