"""How numbers, times and addresses are written on the pages: the templates' filters. Pure."""

import json
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any
from urllib.parse import quote

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_THIN = "\N{NARROW NO-BREAK SPACE}"
NOTHING = "\N{EN DASH}"


def number(value: float | None) -> str:
    """A count with its thousands apart."""
    return NOTHING if value is None else f"{value:,.0f}".replace(",", _THIN)


def score(value: float | None) -> str:
    """A score to four places."""
    return NOTHING if value is None else f"{value:.4f}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share of one as a percentage; a small one that isn't nothing doesn't look like it."""
    if share is None:
        return NOTHING
    least = 10.0**-digits
    if 0 < share * 100 < least / 2:
        return f"<{_THIN}{least:.{digits}f}{_THIN}%"
    return f"{share * 100:.{digits}f}{_THIN}%"


def duration(seconds: float | None) -> str:
    """A time span in its two greatest units."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return f"{seconds * 1000:.0f}{_THIN}ms"
    if seconds < _MINUTE:
        return f"{seconds:.1f}{_THIN}s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f}{_THIN}min {seconds % _MINUTE:.0f}{_THIN}s"
    if seconds < 2 * _DAY:
        return f"{seconds // _HOUR:.0f}{_THIN}h {seconds % _HOUR // _MINUTE:.0f}{_THIN}min"
    return f"{seconds // _DAY:.0f}{_THIN}days"


def moment(value: datetime | None) -> str:
    """A point in time to the second, in its own zone."""
    return NOTHING if value is None else f"{value:%Y-%m-%d %H:%M:%S}"


def ago(value: datetime | None, now: datetime) -> str:
    """How long before `now`, or how long until, in one unit."""
    if value is None:
        return NOTHING
    seconds = (now - value).total_seconds()
    span = abs(seconds)
    for unit, name in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute"), (1, "second")):
        if span >= unit:
            count = int(span // unit)
            said = f"{count} {name}{'' if count == 1 else 's'}"
            return f"{said} ago" if seconds > 0 else f"in {said}"
    return "now"


def short(identifier: str | None, length: int = 8) -> str:
    """The beginning of an id or digest."""
    return NOTHING if not identifier else identifier[:length]


def value(found: Any) -> str:
    """A cell's content as text; NULL is told from an empty text by how the template shows it."""
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, datetime):
        return found.isoformat(sep=" ")
    if isinstance(found, date | str | int):
        return str(found)
    if isinstance(found, float):
        return f"{found:.6g}"
    return json.dumps(found, ensure_ascii=False, default=str)


def pretty(found: Any) -> str:
    """JSON to be read; half of a surrogate pair, which no page can hold, stays an escape."""
    said = json.dumps(found, ensure_ascii=False, indent=2)
    return said.encode(errors="backslashreplace").decode()


def segment(text: str) -> str:
    """`text` as one segment of a URL's path: `40%` is a slice's name, and so is `a/b`."""
    return quote(text, safe="")


def dataset_url(dataset: str, part: str = "") -> str:
    """The address of a dataset's page, or of a part of it."""
    return f"/datasets/{segment(dataset)}{f'/{part}' if part else ''}"


def slice_url(dataset: str, slice_key: str, load_id: str | None = None) -> str:
    """The address of a slice's page, of its newest load or another one."""
    base = f"{dataset_url(dataset, 'slices')}/{segment(slice_key)}"
    return f"{base}?load={segment(load_id)}" if load_id else base


def model_url(dataset: str, version: str) -> str:
    """The address of a model version's page."""
    return f"{dataset_url(dataset, 'models')}/{segment(version)}"


FILTERS: Mapping[str, Any] = {
    "number": number,
    "score": score,
    "percent": percent,
    "duration": duration,
    "moment": moment,
    "ago": ago,
    "short": short,
    "value": value,
    "pretty": pretty,
}
ADDRESSES: Mapping[str, Any] = {
    "dataset_url": dataset_url,
    "slice_url": slice_url,
    "model_url": model_url,
}
