"""`headrace up --scale`: what was asked for, and what a person should know of it."""

from collections.abc import Iterable, Mapping, Sequence

import typer

from infra.embedded.services import SERVICES

OPTION = "'--scale'"


def counts(asked: Iterable[str]) -> dict[str, int]:
    """How many processes of each service, from texts like `validator=3`.

    Raises `typer.BadParameter`, which ends a command with exit code 2, for anything else.
    """
    known = [spec.name for spec in SERVICES]
    found: dict[str, int] = {}
    for text in asked:
        service, equals, number = (part.strip() for part in text.partition("="))
        if not equals:
            raise typer.BadParameter(f"{text!r} is not like validator=3", param_hint=OPTION)
        if service not in known:
            said = f"there is no service {service!r}; there are: {', '.join(known)}"
            raise typer.BadParameter(said, param_hint=OPTION)
        if not (number.isascii() and number.isdigit()):
            said = f"{number!r} is no number of {service} processes: 0, 1, 2, …"
            raise typer.BadParameter(said, param_hint=OPTION)
        if service in found:
            raise typer.BadParameter(f"{service} is named twice", param_hint=OPTION)
        found[service] = int(number)
    return found


def remarks(scale: Mapping[str, int], partitions: int) -> Sequence[str]:
    """What is odd about `scale` where a topic has `partitions`, a line each."""
    said = []
    for service, count in sorted(scale.items()):
        if count == 0:
            said.append(
                f"{service}: none runs, as was asked for; its events wait until "
                f"`headrace up --scale {service}=1`"
            )
        if count > partitions:
            said.append(
                f"{service}: {count} processes for the {partitions} partitions of a topic: only "
                f"{partitions} at a time have work; docs/scaling.md says how to have more"
            )
    return said
