"""`make setup`'s part for containers: an `.env` with passwords of its own, from `.env.example`."""

import re
import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.embedded.private_file import write_private

_VARIABLE = re.compile(r"(?P<off>#?)(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)")
ADDED = "# --- Added by `make setup`: new since this file was written ---"


@dataclass(frozen=True)
class Variable:
    """A variable of the example. One that is on and has no value is a secret to be made."""

    name: str
    value: str
    is_on: bool
    comment: tuple[str, ...] = ()
    """The lines of explanation above it."""

    @property
    def is_secret(self) -> bool:
        """Whether everybody needs a value of their own."""
        return self.is_on and not self.value


def variables(text: str) -> list[Variable]:
    """The variables of an `.env` file, on or commented out, in their order."""
    found = []
    comment: list[str] = []
    for line in text.splitlines():
        if match := _VARIABLE.fullmatch(line.strip()):
            is_on = not match["off"]
            found.append(Variable(match["name"], match["value"], is_on, tuple(comment)))
            comment = []
        elif line.startswith("# ") and not line.startswith("# ---"):
            comment.append(line)
        else:
            comment = []
    return found


def secret() -> str:
    """A password: letters and digits, so that it needs quoting nowhere."""
    return secrets.token_hex(24)


def first(example: str, make: Callable[[], str] = secret) -> str:
    """The example with a value for every secret."""
    wanted = {variable.name for variable in variables(example) if variable.is_secret}
    lines = [
        line + make() if line.removesuffix("=") in wanted and line.endswith("=") else line
        for line in example.splitlines()
    ]
    return "\n".join(lines) + "\n"


def completed(present: str, example: str, make: Callable[[], str] = secret) -> str:
    """`present` with what only the example has at its end, and with a value for empty secrets.

    Nothing that has a value is changed, nor is anything taken out.
    """
    there = {variable.name: variable for variable in variables(present)}
    ours = variables(example)
    empty = {
        variable.name
        for variable in ours
        if variable.is_secret and (known := there.get(variable.name)) and known.is_secret
    }
    lines = [
        line.strip() + make() if line.strip().removesuffix("=") in empty else line
        for line in present.splitlines()
    ]
    # A secret that is only commented out would leave compose without one.
    missing = [
        variable
        for variable in ours
        if variable.name not in there or (variable.is_secret and not there[variable.name].is_on)
    ]
    if missing:
        lines += ["", ADDED]
    for variable in missing:
        value = make() if variable.is_secret else variable.value
        lines += [*variable.comment, f"{'' if variable.is_on else '#'}{variable.name}={value}"]
    return "\n".join(lines) + "\n"


def bring_up_to_date(path: Path, example: Path) -> str:
    """Write `path`, or add to it what it lacks; mode 0600. Returns what was done, for people."""
    wanted = example.read_text(encoding="utf-8")
    path = path.resolve()  # where it is a link, what it leads to is replaced
    if not path.exists():
        write_private(path, first(wanted).encode())
        return f"wrote {path.name} with new passwords; only you can read it"
    present = path.read_text(encoding="utf-8")
    text = completed(present, wanted)
    if variables(text) == variables(present):
        return f"{path.name} is there already and has every variable"
    write_private(path, text.encode())
    before = {variable.name for variable in variables(present) if not variable.is_secret}
    names = [variable.name for variable in variables(text) if variable.name not in before]
    return f"added to {path.name}: {', '.join(names) or 'passwords'}"


def main() -> int:
    """`python -m infra.docker.env_file`, in the folder of the checkout."""
    print(bring_up_to_date(Path(".env"), Path(".env.example")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
