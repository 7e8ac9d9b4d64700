"""What an audit finds: differences, each with what was expected and what is there."""

from collections.abc import Sequence
from dataclasses import dataclass, field

CHARACTERS = 300
"""Of an expected or found value that are told."""


@dataclass(frozen=True)
class Difference:
    """One thing that isn't as it must be."""

    check: str
    where: str
    """The table, object, load, event or version."""
    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        return (
            f"{self.check}: {self.where}: {self.what}: expected {self.expected}, found {self.found}"
        )


@dataclass
class Finding:
    """What one check has looked at, and what it found.

    `differences` holds the first `most`; `count` is how many there are.
    """

    check: str
    most: int
    looked_at: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    count: int = 0
    told: list[str] = field(default_factory=list)
    """What is no difference and has to be known, as what is under way."""
    unseen: list[str] = field(default_factory=list)
    """What couldn't be looked at, and why: whether it differs nobody knows."""

    def saw(self, what: str, number: int = 1) -> None:
        """Count `number` more of `what` as looked at."""
        self.looked_at[what] = self.looked_at.get(what, 0) + number

    def differs(self, where: str, what: str, *, expected: object, found: object) -> None:
        """Note a difference."""
        self.count += 1
        if len(self.differences) < self.most:
            said = Difference(self.check, where, what, _short(expected), _short(found))
            self.differences.append(said)

    def require(self, where: str, what: str, *, expected: object, found: object) -> bool:
        """Note a difference unless the two are equal; whether they are."""
        if expected != found:
            self.differs(where, what, expected=expected, found=found)
        return expected == found

    def more(self, number: int) -> None:
        """Count `number` more differences that nobody has listed."""
        self.count += number

    def forget(self, count: int) -> None:
        """Take back the differences after the first `count`."""
        del self.differences[count:]
        self.count = min(self.count, count)

    def tell(self, what: str) -> None:
        """Say something that is no difference."""
        self.told.append(what)

    def miss(self, what: str) -> None:
        """Say what couldn't be looked at, and why."""
        self.unseen.append(what)


@dataclass(frozen=True)
class Audit:
    """The whole of it."""

    findings: Sequence[Finding]
    under_way: Sequence[str]
    """What is still to come, as `3 loads under way`."""

    @property
    def count(self) -> int:
        """How many differences there are."""
        return sum(finding.count for finding in self.findings)

    @property
    def is_whole(self) -> bool:
        """Whether everything could be looked at."""
        return not any(finding.unseen for finding in self.findings)

    @property
    def differences(self) -> list[Difference]:
        """Those that are listed, by check; of a check with more, a last one says how many."""
        listed = []
        for finding in self.findings:
            listed += finding.differences
            if more := finding.count - len(finding.differences):
                listed.append(
                    Difference(finding.check, "elsewhere", f"{more} more", "none", str(more))
                )
        return listed


def _short(value: object) -> str:
    said = "nothing" if value is None else str(value)
    return said if len(said) <= CHARACTERS else f"{said[:CHARACTERS]} …"
