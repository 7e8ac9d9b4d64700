"""What the run in containers covers, as the compose file has it."""

import re
from typing import Any

from ruamel.yaml import YAML

# First: it has pytest rewrite the assertions of what the others import.
from tests.compose.conftest import STORMY_MONTHS
from tests.compose.environment import PORTS
from tests.compose.system import SERVERS, SERVICES
from tests.compose.test_restarts import KILLED
from tests.conftest import REPOSITORY


def started() -> dict[str, Any]:
    """The compose file's services that start without a profile."""
    text = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
    services = YAML(typ="safe").load(text)["services"]
    return {name: facts for name, facts in services.items() if "profiles" not in facts}


def test_everything_that_starts_is_waited_for() -> None:
    assert {*SERVERS, *SERVICES, "migrate"} == started().keys()


def test_every_port_that_is_published_is_a_free_one() -> None:
    published = str([facts.get("ports") for facts in started().values()])
    assert sorted(re.findall(r"\$\{([A-Z_]+_PORT):-", published)) == sorted(PORTS)


def test_every_container_is_killed_and_a_drop_is_left_for_what_comes_then() -> None:
    assert {service for service, _ in KILLED} == {*SERVERS, *SERVICES}
    assert len(KILLED) < STORMY_MONTHS
