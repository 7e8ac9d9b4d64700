"""Which column of a file is which feature: by the spec's header names, the column's own, or both
with the table before them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.trainer.prediction.answers import Predictor, Unanswerable
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.manifest import FeatureField

_SHOWN = 8


@dataclass(frozen=True)
class Header:
    """Where things stand in each record of a file, counted from 0."""

    names: tuple[str, ...]
    features: Mapping[str, int]
    """By the feature's name. One that is declared optional may be absent."""
    passed_on: tuple[int, ...]
    """What the answer repeats: the row number and the entity, those that the file has."""


def known_names(predictor: Predictor) -> frozenset[str]:
    """Every name that says something of a file's column."""
    names = {_entity_name(predictor), predictor.manifest.entity, _row_number(predictor.spec)}
    for field in predictor.features:
        names.update(_qualified(predictor.spec, field), _bare(predictor.spec, field))
    return frozenset(names)


def read_header(predictor: Predictor, names: Sequence[str], where: str) -> Header:
    """The places of all that is needed among `names`; further columns are passed over.

    Raises `Unanswerable` where a feature's column is missing, there twice, or could be that of
    two tables, and where nothing tells the rows apart.
    """
    spec = predictor.spec
    shared = Counter(name for field in predictor.features for name in _bare(spec, field))
    features: dict[str, int] = {}
    missing: list[str] = []
    for field in predictor.features:
        bare = [name for name in _bare(spec, field) if shared[name] == 1]
        wanted = {*_qualified(spec, field), *bare}
        found = [place for place, name in enumerate(names) if name in wanted]
        if len(found) > 1:
            raise Unanswerable(
                f"{where}: {field.name} is there {len(found)} times, as "
                f"{', '.join(repr(names[place]) for place in found)}: leave one"
            )
        if found:
            features[field.name] = found[0]
        elif not _is_optional(spec, field):
            missing.append(bare[-1] if bare else field.name)
    if missing:
        raise Unanswerable(
            f"{where}: the header lacks {_some(missing)}, which {predictor.model} version "
            f"{predictor.version} needs (it has {_some([repr(name) for name in names])}); "
            "a column may be empty, but it must be there"
        )
    passed_on = tuple(
        names.index(name)
        for name in (_row_number(spec), _entity_name(predictor), predictor.manifest.entity)
        if name in names
    )
    if not passed_on:
        raise Unanswerable(
            f"{where}: nothing tells the rows apart: add the column {_entity_name(predictor)!r}"
        )
    return Header(tuple(names), features, tuple(dict.fromkeys(passed_on)))


def _qualified(spec: DatasetSpec, field: FeatureField) -> list[str]:
    return [f"{field.table}.{name}" for name in _bare(spec, field)]


def _bare(spec: DatasetSpec, field: FeatureField) -> list[str]:
    """The column's own name and, where the spec gives it another one in files, that one."""
    table = spec.tables.get(field.table)
    if table is None or field.column not in table.columns:
        return [field.column]
    return list(dict.fromkeys((field.column, table.header(field.column))))


def _is_optional(spec: DatasetSpec, field: FeatureField) -> bool:
    table = spec.tables.get(field.table)
    column = table.columns.get(field.column) if table else None
    return column is not None and column.optional


def _entity_name(predictor: Predictor) -> str:
    entity, tables = predictor.manifest.entity, predictor.spec.tables
    for field in predictor.features:
        table = tables.get(field.table)
        if table is not None and entity in table.columns:
            return table.header(entity)
    return entity


def _row_number(spec: DatasetSpec) -> str:
    """The header of the rows' numbers: empty, as pandas writes its index, if none is declared."""
    return spec.slices.increment.row_number if spec.slices.increment else ""


def _some(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
