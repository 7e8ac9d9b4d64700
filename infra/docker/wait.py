"""`make compose-up`'s last part: waits until every container is healthy, and says which isn't.

`docker compose up --wait` does that as well; docker-compose 1.29 has no such option.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from infra.docker.compose import compose_command

POLL_SECONDS = 1.0
LOG_LINES = "20"
SERVICE = "com.docker.compose.service"
NUMBER = "com.docker.compose.container-number"


@dataclass(frozen=True)
class Container:
    """A container of the project, as Docker has it now."""

    id: str
    name: str
    condition: str
    """`healthy`, `starting`, `unhealthy`; without a check `running`; else how it ended."""
    said: str

    @property
    def is_well(self) -> bool:
        """Whether it is as it should be: in health, or done."""
        return self.condition in ("healthy", "running", "exited with 0")

    @property
    def is_lost(self) -> bool:
        """Whether waiting won't help."""
        return self.condition.startswith("exited") and not self.is_well


def main() -> int:
    """Wait; exit 0 when all are well, 1 with the reasons when one failed or time is up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long at most")
    options = parser.parse_args()
    compose = compose_command()
    if compose is None:
        parser.error("docker compose is missing")
    deadline = time.monotonic() + options.seconds
    begun, told = time.monotonic(), set()
    while True:
        containers = _containers(compose)
        for each in containers:
            if each.is_well and each.name not in told:
                told.add(each.name)
                done = "done" if each.condition == "exited with 0" else "ready"
                print(f"{each.name} {done} after {time.monotonic() - begun:.0f} s", flush=True)
        if containers and all(each.is_well for each in containers):
            return 0
        is_over = time.monotonic() > deadline
        if is_over or not containers or any(each.is_lost for each in containers):
            return _explain(containers)
        time.sleep(POLL_SECONDS)


def _containers(compose: Sequence[str]) -> list[Container]:
    # `--all` is new in version 2, where it has to be asked for what has ended.
    listed = _output(*compose, "ps", "--quiet", *(["--all"] if len(compose) > 1 else []))
    if not listed.split():
        return []
    return sorted(
        (_container(facts) for facts in json.loads(_output("docker", "inspect", *listed.split()))),
        key=lambda container: container.name,
    )


def _container(facts: dict[str, Any]) -> Container:
    state, labels = facts["State"], facts["Config"]["Labels"]
    health = state.get("Health")
    if state["Status"] in ("exited", "dead"):
        condition = f"exited with {state['ExitCode']}"
    else:
        condition = health["Status"] if health else state["Status"]
    checks = (health or {}).get("Log") or [{}]
    number = labels.get(NUMBER, "1")
    name = labels[SERVICE] + (f"-{number}" if number != "1" else "")
    return Container(facts["Id"], name, condition, checks[-1].get("Output", "").strip())


def _explain(containers: Sequence[Container]) -> int:
    if not containers:
        print("no container is there", file=sys.stderr)
    for each in containers:
        if not each.is_well:
            print(f"\n{each.name} is {each.condition}. {each.said}", file=sys.stderr)
            log = ("docker", "logs", "--tail", LOG_LINES, each.id)
            done = subprocess.run(log, capture_output=True, text=True, check=False)
            print(done.stdout + done.stderr, file=sys.stderr)
    return 1


def _output(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr.strip() or f"`{' '.join(argv)}` ended with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
