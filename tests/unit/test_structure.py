"""The structure that design and style promise."""

import ast
import re
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

CODE = sorted(
    path
    for folder in ("shared", "services", "cli", "infra", "benchmarks")
    for path in (REPOSITORY / folder).rglob("*.py")
)
ONLY_IMPORTER = {
    "apprise": "services/notifier/targets.py",
    "kafka": "shared/messaging/kafka/",
    "boto3": "shared/object_store",
    "great_expectations": "services/validator/gx.py",
    "mlflow": "services/trainer/registry/",
}
READS_THE_ENVIRONMENT = re.compile(r"os\.environ(?!\.setdefault)|getenv")
COMPOSITION_ROOTS = {
    "cli/stack.py",
    "cli/session.py",
    "cli/psql.py",
    "cli/demo/command.py",
    "infra/docker/compose.py",
    "infra/docker/healthcheck.py",
    "infra/docker/serve_mlflow.py",
    "shared/settings.py",
}
LONGEST_MODULE_LINES = 300


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("library", ONLY_IMPORTER)
def test_a_library_behind_a_boundary_is_imported_there_only(library: str) -> None:
    importers = {
        str(path.relative_to(REPOSITORY))
        for path in CODE
        if library in imports(path) and "benchmarks" not in path.parts
    }
    assert importers, f"nothing imports {library}: take it out of this list"
    assert {name for name in importers if not name.startswith(ONLY_IMPORTER[library])} == set()


def test_only_composition_roots_read_the_environment() -> None:
    readers = {
        str(path.relative_to(REPOSITORY))
        for path in CODE
        if READS_THE_ENVIRONMENT.search(path.read_text()) and "benchmarks" not in path.parts
    }
    assert readers == COMPOSITION_ROOTS, "what comes from outside is a field of Settings"


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_module_says_one_thing_in_300_lines_at_most_and_says_which(path: Path) -> None:
    said = path.read_text()
    assert path.stem not in {"utils", "helpers", "common", "manager"}
    if "migrations/versions" in str(path):
        return
    assert len(said.splitlines()) <= LONGEST_MODULE_LINES
    assert ast.get_docstring(ast.parse(said)), "a module's docstring says what it is for"
