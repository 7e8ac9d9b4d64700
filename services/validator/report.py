"""The report of a validation, as JSON for programs and as one HTML page for people."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from services.validator.profiles import Profile
from services.validator.results import ValidationResult
from shared.contracts.table_spec import Severity

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Report:
    """What was found on one slice. Says the same whenever it is made again for the same load."""

    dataset: str
    slice_key: str
    as_of: date
    load_id: str
    revision: int
    keys: Mapping[str, Sequence[str]]
    """Each table's key."""
    profiles: Mapping[str, Profile]
    results: Sequence[ValidationResult]

    @property
    def failed(self) -> list[ValidationResult]:
        """The results without success that reject the slice."""
        return [result for result in self._unmet if result.severity is Severity.CRITICAL]

    @property
    def flagged(self) -> list[ValidationResult]:
        """The results without success that only warn."""
        return [result for result in self._unmet if result.severity is Severity.WARNING]

    @property
    def is_met(self) -> bool:
        """Whether every expectation is met that a slice is rejected for."""
        return not self.failed

    def as_json(self) -> bytes:
        """The report for programs."""
        content = {
            "dataset": self.dataset,
            "slice_key": self.slice_key,
            "as_of": self.as_of.isoformat(),
            "load_id": self.load_id,
            "revision": self.revision,
            "success": self.is_met,
            "evaluated": len(self.results),
            "failed": len(self.failed),
            "flagged": len(self.flagged),
            "tables": {
                table: {
                    "rows": profile.rows,
                    "null_shares": dict(profile.null_shares),
                    "value_shares": {c: dict(of) for c, of in profile.value_shares.items()},
                    "results": [asdict(result) for result in self._of(table)],
                }
                for table, profile in self.profiles.items()
            },
        }
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False).encode()

    def as_html(self) -> bytes:
        """The report for people: one file that loads nothing else. Everything in it is escaped."""
        tables = [
            {
                "name": table,
                "rows": profile.rows,
                "results": self._of(table),
                "failed": sum(result.table == table for result in self.failed),
                "flagged": sum(result.table == table for result in self.flagged),
            }
            for table, profile in self.profiles.items()
        ]
        page = _TEMPLATES.get_template("report.html.j2").render(
            report=self, tables=tables, shown=_shown, counted=_counted
        )
        return page.encode()

    @property
    def _unmet(self) -> list[ValidationResult]:
        return [result for result in self.results if not result.success]

    def _of(self, table: str) -> list[ValidationResult]:
        return [result for result in self.results if result.table == table]


def _shown(value: Any) -> str:
    """A JSON-safe value as text for people."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_shown(part)}" for name, part in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return str(value)


def _counted(count: int | None) -> str:
    return "" if count is None else f"{count:,}"
