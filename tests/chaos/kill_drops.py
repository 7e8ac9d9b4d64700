"""The files of the kill matrix: slices with something at fault, and a file to be taken by share."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PEOPLE = 80
MENDED: Final[Mapping[str, tuple[str | None, ...]]] = {
    "people.csv": (None, "2023-05-15", None),
    "labels.csv": (None, None, "5"),
}
"""What the bad row of each file should have been; None is a field that stays."""


@dataclass(frozen=True)
class Drops:
    """The slices' folders, the same for every dataset."""

    root: Path

    @classmethod
    def write(cls, root: Path) -> "Drops":
        """Write them."""
        _write_slice(root / "first" / "day_00", first_watched=7)
        _write_slice(root / "first" / "day_01", first_watched=-5)
        _write_slice(root / "first" / "day_03", first_watched=7)
        (root / "first" / "day_03" / "labels.csv").unlink()
        _write_slice(root / "second" / "day_00", first_watched=30, more=2)
        shares = root / "shares"
        shares.mkdir()
        rows = "".join(f"{number},thing {number}\n" for number in range(40))
        (shares / "events.csv").write_text(f"id,what\n{rows}")
        return cls(root)

    def requests(self) -> list[dict[str, str]]:
        """What is asked for, in order."""
        asked = [("day_00", "first"), ("day_01", "first"), ("day_02", "first"), ("day_03", "first")]
        asked.append(("day_00", "second"))
        return [
            {"slice_key": slice_key, "source_uri": str(self.root / folder / slice_key)}
            for slice_key, folder in asked
        ]


def _write_slice(folder: Path, *, first_watched: int, more: int = 0) -> None:
    (folder / "faces").mkdir(parents=True)
    people = [f"p{n:03d},2023-{1 + n % 12:02d}-15,{'abc'[n % 3]}" for n in range(PEOPLE + more)]
    people += [people[3].replace(",a", ",b"), "p900,never,a"]  # a key twice, and no date
    (folder / "people.csv").write_text("id,joined,plan\n" + "\n".join(people) + "\n")
    labels = [
        f"p{n:03d},{'true' if n % 5 < 2 else 'false'},{first_watched if n == 0 else n % 11}"
        for n in range(PEOPLE + more)
    ]
    labels.append("p900,true,many")  # no number
    (folder / "labels.csv").write_text("id,churned,watched\n" + "\n".join(labels) + "\n")
    for number in range(3):
        (folder / "faces" / f"p{number:03d}.jpg").write_bytes(b"\xff\xd8" + bytes([number]) * 64)
