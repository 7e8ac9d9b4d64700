"""Specs of every kind: each is good, or each of its faults is told with file, line and place."""

import copy
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from sqlalchemy import Engine
from typer.testing import CliRunner

from cli.main import app
from shared.contracts.dataset_spec import DatasetSpec
from shared.contracts.spec_file import MOST_BYTES, FaultySpec, find_spec, read_spec
from shared.database.dataset_tables import ensure_dataset
from shared.errors import InvalidSpec, UnknownDataset
from tests.chaos.size import size
from tests.conftest import REPOSITORY

CHANGED = 20_000 if size().is_full else 300
CHECKED = 400 if size().is_full else 20
TEXTS = 20_000 if size().is_full else 200
SPECS = [
    *sorted((REPOSITORY / "datasets").glob("*.yaml")),
    REPOSITORY / "tests" / "datasets" / "bakery.yaml",
]
FAULT = re.compile(r"line \d+(: .+)?: .+")

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}, *{before}, *{before}, *{before}, *{before}]\n"
    for before, name in itertools.pairwise("abcdefghij")
)
GOOD = """dataset: d
slices: {naming: {pattern: "{date:%Y-%m-%d}"}}
tables: {t: {key: [id], columns: {id: integer}}}
"""


def told(path: Path) -> FaultySpec | DatasetSpec:
    """The spec, or its faults, each with a line and in words of one line."""
    try:
        return read_spec(path)
    except FaultySpec as error:
        assert error.faults
        lines = len(path.read_bytes().splitlines()) + 1
        for fault in error.faults:
            assert 1 <= fault.line <= lines, fault
            assert FAULT.fullmatch(str(fault).replace("\n", " ")), fault
            assert len(str(fault)) < 2_000, len(str(fault))
        str(error).encode()  # a terminal can show it
        return error


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no mapping"),
        (b"\xff\xfe\x00", "can't be read"),
        (b"a: \x00", "is no YAML"),
        (b"[1, 2]", "is no mapping"),
        (b"a: [", "is no YAML"),
        (b"a: 1\na: 2\n", "is no YAML"),
        (b"--- {}\n--- {}\n", "is no YAML"),
        (b"a: !!python/object/apply:os.system [id]\n", "is"),
        (b"description: !secret x\n" + GOOD.encode(), "neither text nor a number"),
        (b"description: !!binary aGVsbG8=\n" + GOOD.encode(), "neither text nor a number"),
        (BOMB.encode(), "has over 50000 parts"),
        (b"a: &a {b: *a}\n" + GOOD.encode(), "is no field of a spec"),
        (b"a: &a [*a]\n" + GOOD.encode(), "is no field of a spec"),
        (b"a: " + b"[" * 5_000 + b"]" * 5_000, "nested too deeply"),
        (b"a: " + b"{b: " * 5_000 + b"}" * 5_000, "nested too deeply"),
        (b"a: " + b"9" * 5_000, "is no YAML"),
        (b"a: 2024-99-99\n", "is"),
        (b"a: .nan\n" + GOOD.encode(), "no finite number"),
        (b"description: .inf\n" + GOOD.encode(), "no finite number"),
        (b'description: "\\0"\n' + GOOD.encode(), "can't be stored"),
        (b'"\\ud800": 1\n' + GOOD.encode(), "can't be stored"),
        (b'"\\e[31m": 1\n' + GOOD.encode(), "is no field of a spec"),
        (b"1: a\n'1': b\n" + GOOD.encode(), "is there twice"),
        (b"#" * (MOST_BYTES + 1), "bytes"),
        (GOOD.replace("%Y-%m-%d", "%Y-%Y").encode(), "slices"),
        (GOOD.replace("{date:%Y-%m-%d}", "{index:0999999999d}").encode(), "slices"),
        (GOOD.replace("{date:%Y-%m-%d}", "{date.__class__}").encode(), "one field"),
        (GOOD.replace("[id]", "[id'; DROP TABLE x; --]").encode(), "should match pattern"),
        (GOOD.replace("dataset: d", "dataset: ../d").encode(), "should match pattern"),
        (
            GOOD.replace("id: integer", ", ".join(f"c{n}: string" for n in range(1501))).encode(),
            "at most 1500 items",
        ),
    ],
)
def test_a_spec_that_is_none_is_told_by_its_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "d.yaml"
    path.write_bytes(content)
    found = told(path)
    assert isinstance(found, FaultySpec)
    assert said in str(found)


@pytest.mark.parametrize("name", ["../d", "d/../d", "", ".", "d.yaml", "/etc/passwd", "D", "d\0",
                                  "x" * 5000, "d\n", "é", "*", "' OR 1=1"])  # fmt: skip
def test_a_dataset_of_no_name_is_unknown(tmp_path: Path, name: str) -> None:
    (tmp_path / "d.yaml").write_text(GOOD)
    with pytest.raises(UnknownDataset):
        find_spec(tmp_path, name)
    assert find_spec(tmp_path, "d").dataset == "d"


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    return [_plain(value) for value in node] if isinstance(node, list) else node


TREES = {path.stem: _plain(YAML(typ="safe").load(path.read_text())) for path in SPECS}
_VALUES: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.dates().map(str),
    st.sampled_from(
        [
            *([], {}, [[]], [None], {"": {}}, {"a": 1}, "x" * 1000, 10**400, -1, 1e308, "100%"),
            *("'; DROP SCHEMA headrace CASCADE; --", "../..", "\u202e", "headrace", "pg_x"),
            *("a*" * 40, "{index}", "{date:%Y}", "{index:03d}", "{0}", "{", "* * * * *", "utf-7"),
            *("idna", "undefined", "\n", "\0", "a__b", "as_of", "Europe/Nowhere", "0.5%", "(a+)+$"),
        ]
    ),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda parts: (
            st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=5), parts, max_size=3)
        ),
        max_leaves=6,
    ),
)


def _places(node: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children: list[tuple[Any, Any]] = []
    if isinstance(node, dict):
        children = list(node.items())
    elif isinstance(node, list):
        children = list(enumerate(node))
    return [place, *(each for key, value in children for each in _places(value, (*place, key)))]


@st.composite
def changed_specs(draw: st.DrawFn) -> tuple[str, Any]:
    """A spec of ours with one to three parts replaced, taken out, put in or renamed."""
    name = draw(st.sampled_from(sorted(TREES)))
    tree = copy.deepcopy(TREES[name])
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from([each for each in _places(tree) if each] or [()]))
        if not place:
            return name, tree
        parent = tree
        for part in place[:-1]:
            parent = parent[part]
        kind = draw(st.sampled_from(["replace", "replace", "remove", "rename", "more"]))
        if kind == "replace" or isinstance(parent, list):
            parent[place[-1]] = draw(_VALUES)
        elif kind == "remove":
            del parent[place[-1]]
        elif kind == "rename":
            parent[draw(st.text(max_size=12) | st.sampled_from(["Id", "ID", "x"]))] = parent.pop(
                place[-1]
            )
        else:
            parent[draw(st.text(max_size=8))] = draw(_VALUES)
    return name, tree


def test_a_spec_with_accidents_is_good_for_the_database_or_its_faults_are_told(
    engine: Engine, tmp_path: Path, figures: Callable[..., None]
) -> None:
    count = {"tried": 0, "good": 0, "refused_by_the_database_tables": 0}

    @hypothesis_settings(max_examples=CHANGED)
    @given(changed_specs())
    def check(changed: tuple[str, Any]) -> None:
        name, tree = changed
        path = tmp_path / f"{name}.yaml"
        path.write_text(json.dumps(tree, default=str))
        found = told(path)
        count["tried"] += 1
        if isinstance(found, FaultySpec):
            return
        count["good"] += 1
        found.digest()
        with engine.connect() as connection:  # rolled back: each begins without tables
            try:
                ensure_dataset(connection, found)
            except InvalidSpec:
                count["refused_by_the_database_tables"] += 1

    check()
    figures("inputs: specs with accidents", **count)


def test_headrace_check_tells_the_faults_and_never_shows_a_traceback(
    tmp_path: Path, figures: Callable[..., None]
) -> None:
    runner, tried = CliRunner(), []

    @hypothesis_settings(max_examples=CHECKED)
    @given(changed_specs())
    def check(changed: tuple[str, Any]) -> None:
        name, tree = changed
        path = tmp_path / f"{name}.yaml"
        path.write_text(json.dumps(tree, default=str))
        done = runner.invoke(app, ["check", str(path)])
        tried.append(done.exit_code)
        assert done.exit_code in (0, 1), (done.exit_code, done.exception)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert str(path) in done.output

    check()
    figures("inputs: specs for `headrace check`", tried=len(tried), with_faults=sum(tried))


def test_any_text_at_all_is_a_spec_or_its_faults_are_told(
    tmp_path: Path, figures: Callable[..., None]
) -> None:
    pieces = st.sampled_from(
        [
            *(
                "a",
                "dataset",
                ": ",
                "- ",
                "[",
                "]",
                "{",
                "}",
                "&a ",
                "*a ",
                "!!int ",
                "!x ",
                "<<: ",
            ),
            *("\n", "  ", '"', "'", "|\n", ">\n", "# ", "? ", "---\n", "...\n", "%YAML 9.9\n", "~"),
            *("1", ".inf", "2024-13-01", "0x", "\t", ",", "@", "`", "\\", "\u2028", "é", "\x85"),
        ]
    )
    tried = []

    @hypothesis_settings(max_examples=TEXTS)
    @given(st.lists(pieces, max_size=25).map("".join) | st.text(max_size=60))
    def check(text: str) -> None:
        path = tmp_path / "d.yaml"
        path.write_bytes(text.encode())
        tried.append(isinstance(told(path), FaultySpec))

    check()
    figures("inputs: texts as specs", tried=len(tried), faulty=sum(tried))
