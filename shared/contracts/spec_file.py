"""Reading a spec from YAML, with every fault explained by its line."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from shared.contracts.dataset_spec import DatasetSpec
from shared.errors import InvalidSpec, UnknownDataset


@dataclass(frozen=True)
class SpecFault:
    """One thing wrong with a spec. `line` counts from 1; `path` is like `tables.users.key`."""

    line: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}: {self.path}" if self.path else f"line {self.line}"
        return f"{where}: {self.message}"


class FaultySpec(InvalidSpec):
    """A spec file has faults; `faults` holds all of them in the order of their lines."""

    def __init__(self, path: Path, faults: Sequence[SpecFault]) -> None:
        self.path = path
        self.faults = tuple(sorted(faults, key=lambda fault: fault.line))
        super().__init__("\n".join(f"{path}: {fault}" for fault in self.faults))


def read_spec(path: Path) -> DatasetSpec:
    """Read and check the spec at `path`.

    Raises `FaultySpec` with every fault found, also where the file can't be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FaultySpec(path, [SpecFault(1, "", f"can't be read: {error}")]) from error
    try:
        tree = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        message = f"is no YAML: {error.problem or error.context}"
        raise FaultySpec(path, [SpecFault(line, "", message)]) from error
    except YAMLError as error:
        raise FaultySpec(path, [SpecFault(1, "", f"is no YAML: {error}")]) from error
    if not isinstance(tree, CommentedMap):
        raise FaultySpec(path, [SpecFault(1, "", "is no mapping of fields")])
    try:
        spec = DatasetSpec.model_validate(_plain(tree))
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
    if path.parent != directory or not path.is_file():
        raise UnknownDataset(dataset, directory)
    return read_spec(path)


def spec_names(directory: Path) -> list[str]:
    """The datasets that have a spec in `directory`, sorted."""
    return sorted(path.stem for path in directory.glob("*.yaml"))


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    for base in (bool, int, float, str):
        if isinstance(node, base) and type(node) is not base:
            return base(node)
    return node


def _fault(tree: CommentedMap, found: Any) -> SpecFault:
    location = tuple(part for part in found["loc"] if part != "[key]")
    message = str(found["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if found["type"] == "missing":
        message = "is missing"
    elif found["type"] == "extra_forbidden":
        message = "is no field of a spec"
    elif not isinstance(found["input"], Mapping | list):
        message = f"{message} (found {found['input']!r})"
    return SpecFault(_line(tree, location), ".".join(map(str, location)), message)


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
