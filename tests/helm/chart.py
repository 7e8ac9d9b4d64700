"""The chart as helm renders it: what the tests in this folder look at."""

import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import REPOSITORY

CHART = REPOSITORY / "infra" / "helm" / "headrace"
VALUES = Path(__file__).parent / "values"
TOOLS = REPOSITORY / ".tools"
CASES = ("minimal", "everything", "identity")
SERVICES = ("ingestor", "validator", "snapshotter", "trainer", "notifier", "console")
RELEASE, NAMESPACE = "live", "pipelines"

Document = dict[str, Any]


class Refused(Exception):
    """Helm refused the values; the message is what it says."""


def find_tool(name: str) -> Path | None:
    """The program `name`: what `make chart-tools` built, else what is on the path."""
    built = TOOLS / "bin" / name
    if built.exists():
        return built
    found = shutil.which(name)
    return Path(found) if found else None


def run_helm(*arguments: str) -> str:
    """What helm prints. Raises `Refused`."""
    helm = find_tool("helm")
    assert helm, "the fixture `helm` says when it isn't there"
    done = subprocess.run(
        [helm, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HELM_NO_PLUGINS": "1"},
    )
    if done.returncode != 0:
        raise Refused(done.stderr)
    return done.stdout


@functools.cache
def render(case: str, *options: str, release: str = RELEASE) -> tuple[Document, ...]:
    """The documents of a case of `values/`, hooks too, with further options of `helm template`."""
    text = run_helm(
        "template",
        release,
        str(CHART),
        "--namespace",
        NAMESPACE,
        "--values",
        str(VALUES / f"{case}.yaml"),
        *options,
    )
    return tuple(document for document in yaml.safe_load_all(text) if document)


def of_kind(documents: tuple[Document, ...], kind: str) -> list[Document]:
    """Those of a kind."""
    return [document for document in documents if document["kind"] == kind]


def component(document: Document) -> str:
    """The service that a document belongs to."""
    return document["metadata"]["labels"]["app.kubernetes.io/component"]


def by_component(documents: tuple[Document, ...], kind: str) -> dict[str, Document]:
    """Those of a kind, by the service that they belong to."""
    found = of_kind(documents, kind)
    named = {component(document): document for document in found}
    assert len(named) == len(found), f"a service has several of {kind}"
    return named


def pod_templates(documents: tuple[Document, ...]) -> dict[str, Document]:
    """Every pod that is made, as {metadata, spec}, by its component."""
    templates = {
        component(document): document["spec"]["template"]
        for kind in ("Deployment", "Job")
        for document in of_kind(documents, kind)
    }
    return templates | {component(pod): pod for pod in of_kind(documents, "Pod")}


def environment(pod: Document) -> dict[str, Document]:
    """A pod's variables by name, of its one container."""
    (container,) = pod["spec"]["containers"]
    named = {variable["name"]: variable for variable in container["env"]}
    assert len(named) == len(container["env"]), "a variable is there twice"
    return named
