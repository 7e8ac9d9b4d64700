"""Reading a spec from YAML, with every fault explained by its line."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from shared.contracts.dataset_spec import DatasetSpec
from shared.errors import InvalidSpec, UnknownDataset

Location: TypeAlias = tuple[Any, ...]
MOST_BYTES = 1 << 19
"""What a spec's file may have: more than a thousand columns with all that can be said of them."""
_REMEMBERED = 2_048
"""Specs: with more datasets than that, those that come in turn are parsed each time."""
_MOST_NODES = 50_000
_SHOWN_CHARACTERS = 200
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class SpecFault:
    """One thing wrong with a spec. `line` counts from 1; `path` is like `tables.users.key`."""

    line: int
    path: str
    message: str

    def __str__(self) -> str:
        path = self.path if self.path.isprintable() else repr(self.path)[1:-1]
        where = f"line {self.line}: {path}" if path else f"line {self.line}"
        return f"{where}: {self.message}"


class FaultySpec(InvalidSpec):
    """A spec file has faults; `faults` holds all of them in the order of their lines."""

    def __init__(self, path: Path, faults: Sequence[SpecFault]) -> None:
        self.path = path
        self.faults = tuple(sorted(faults, key=lambda fault: fault.line))
        super().__init__("\n".join(f"{path}: {fault}" for fault in self.faults))


def read_spec(path: Path) -> DatasetSpec:
    """Read and check the spec at `path`.

    The file is read each time, and parsed only where its content is new: that takes some ten
    milliseconds, for each event in every service. Raises `FaultySpec` with every fault found, also
    where the file can't be read.
    """
    found = _checked(path, _text(path))
    if isinstance(found, DatasetSpec):
        return found
    raise FaultySpec(path, found)


@lru_cache(maxsize=_REMEMBERED)
def _checked(path: Path, text: str) -> DatasetSpec | tuple[SpecFault, ...]:
    """The spec, or its faults."""
    try:
        return _parsed(path, text)
    except FaultySpec as error:
        return error.faults


def _parsed(path: Path, text: str) -> DatasetSpec:
    tree = _tree(path, text)
    try:
        plain = _plain(tree)
    except _Unusable as error:
        fault = SpecFault(_line(tree, error.location), _dotted(error.location), str(error))
        raise FaultySpec(path, [fault]) from error
    try:
        spec = DatasetSpec.model_validate(plain)
    except ValidationError as error:
        raise FaultySpec(path, [_fault(tree, found) for found in error.errors()]) from error
    if spec.dataset != path.stem:
        line = _line(tree, ("dataset",))
        message = f"is {spec.dataset!r}, but the file is named {path.name}; the two must agree"
        raise FaultySpec(path, [SpecFault(line, "dataset", message)])
    return spec


def locate(path: Path, faults: Iterable[tuple[str, str]]) -> list[SpecFault]:
    """Faults found elsewhere, as (path within the spec, message), with the lines of the file."""
    tree = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    return [
        SpecFault(
            _line(tree, [int(part) if part.isdigit() else part for part in where.split(".")]),
            where,
            message,
        )
        for where, message in faults
    ]


def find_spec(directory: Path, dataset: str) -> DatasetSpec:
    """The spec of `dataset` in `directory`.

    Raises `UnknownDataset` where there is no such file and `FaultySpec` where it has faults.
    """
    path = directory / f"{dataset}.yaml"
    if not _NAME.fullmatch(dataset) or not path.is_file():
        raise UnknownDataset(dataset, directory)
    return read_spec(path)


def spec_names(directory: Path) -> list[str]:
    """The datasets that have a spec in `directory`, sorted."""
    return sorted(path.stem for path in directory.glob("*.yaml"))


def _text(path: Path) -> str:
    """What stands in the file. Raises `FaultySpec`."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise _faulty(path, f"can't be read: {error}") from error
    if len(content) > MOST_BYTES:
        raise _faulty(path, f"has more than {MOST_BYTES} bytes")
    return text


def _tree(path: Path, text: str) -> CommentedMap:
    """The text as YAML, with the lines of its parts. Raises `FaultySpec`."""
    try:
        tree = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _faulty(path, f"is no YAML: {error.problem or error.context}", line) from error
    except RecursionError as error:
        raise _faulty(path, "is nested too deeply") from error
    except Exception as error:  # ruamel's own, and Python's of numbers and dates that are none
        raise _faulty(path, f"is no YAML: {error}") from error
    if not isinstance(tree, CommentedMap):
        raise _faulty(path, "is no mapping of fields")
    return tree


def _faulty(path: Path, message: str, line: int = 1) -> FaultySpec:
    return FaultySpec(path, [SpecFault(line, "", message)])


class _Unusable(Exception):
    """A part of a spec that is YAML, but that no field can have."""

    def __init__(self, location: Location, message: str) -> None:
        super().__init__(message)
        self.location = location


def _plain(tree: Any) -> Any:
    """The tree as Python's own types, aliases written out. Raises `_Unusable`."""
    nodes = 0

    def plain(node: Any, location: Location) -> Any:
        nonlocal nodes
        nodes += 1
        if nodes > _MOST_NODES:
            raise _Unusable(location, f"with its aliases the spec has over {_MOST_NODES} parts")
        if isinstance(node, Mapping):
            fields: dict[str, Any] = {}
            for key, value in node.items():
                name = plain(str(key), (*location, key))
                if name in fields:
                    raise _Unusable((*location, key), "is there twice")
                fields[name] = plain(value, (*location, key))
            return fields
        if isinstance(node, list):
            return [plain(value, (*location, number)) for number, value in enumerate(node)]
        return _scalar(node, location)

    return plain(tree, ())


def _scalar(node: Any, location: Location) -> Any:
    if node is None or isinstance(node, date):
        return node
    for base in (bool, int, float, str):
        if isinstance(node, base):
            value = base(node)
            break
    else:
        raise _Unusable(location, "is neither text nor a number, a date, true, false or nothing")
    if isinstance(value, float) and not math.isfinite(value):
        raise _Unusable(location, f"is {value}, which is no finite number")
    if isinstance(value, str) and ("\0" in value or not _is_unicode(value)):
        raise _Unusable(location, "has a character that can't be stored")
    return value


def _is_unicode(text: str) -> bool:
    """Whether `text` has no half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _fault(tree: CommentedMap, found: Any) -> SpecFault:
    location = tuple(part for part in found["loc"] if part != "[key]")
    message = str(found["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if found["type"] == "missing":
        message = "is missing"
    elif found["type"] == "extra_forbidden":
        message = "is no field of a spec"
    elif not isinstance(found["input"], Mapping | list):
        shown = repr(found["input"])
        more = "…" if len(shown) > _SHOWN_CHARACTERS else ""
        message = f"{message} (found {shown[:_SHOWN_CHARACTERS]}{more})"
    return SpecFault(_line(tree, location), _dotted(location), message)


def _dotted(location: Sequence[Any]) -> str:
    return ".".join(str(part)[:_SHOWN_CHARACTERS] for part in location)


def _line(tree: Any, location: Sequence[Any]) -> int:
    """The line of the deepest node on `location` that the file has."""
    node, line = tree, 1
    for part in location:
        if isinstance(node, CommentedMap) and part in node:
            line = node.lc.key(part)[0] + 1
        elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
            line = node.lc.item(part)[0] + 1
        else:
            break
        node = node[part]
    return line
