"""The migration: before everything else, with all it needs, and with an end."""

import pytest

from cli.main import app
from tests.helm.chart import by_component, environment, of_kind, pod_templates, render

pytestmark = pytest.mark.usefixtures("helm")


def hooks(documents):
    """The hooks of an install, in helm's order: (weight, document)."""
    found = [
        (int(annotations["helm.sh/hook-weight"]), document)
        for document in documents
        if "pre-install"
        in (annotations := document["metadata"].get("annotations") or {}).get("helm.sh/hook", "")
    ]
    return sorted(found, key=lambda hook: hook[0])


def test_it_runs_before_an_install_and_before_an_upgrade_and_at_no_rollback():
    (job,) = of_kind(render("minimal"), "Job")
    annotations = job["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade"


def test_all_that_it_names_is_there_before_it():
    ordered = hooks(render("everything"))
    *before, (last, job) = ordered
    assert job["kind"] == "Job"
    assert all(weight < last for weight, _ in before)
    made = {(document["kind"], document["metadata"]["name"]) for _, document in before}
    spec = job["spec"]["template"]["spec"]
    (specs,) = [v["configMap"]["name"] for v in spec["volumes"] if "configMap" in v]
    needed = {("ServiceAccount", spec["serviceAccountName"]), ("ConfigMap", specs)}
    assert needed | {("NetworkPolicy", job["metadata"]["name"])} == made
    for _, document in ordered:
        assert (
            document["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
            == "before-hook-creation,hook-succeeded"
        )


def test_no_object_of_the_release_is_a_hook_s_too():
    documents = render("everything")
    of_hooks = {id(document) for _, document in hooks(documents)}
    for kind in ("Deployment", "Service", "ScaledObject", "PodDisruptionBudget"):
        assert not of_hooks & {id(document) for document in of_kind(documents, kind)}


def test_it_runs_a_command_that_there_is_and_ends():
    (job,) = of_kind(render("minimal"), "Job")
    spec = job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    commands = {
        registered.name or registered.callback.__name__ for registered in app.registered_commands
    }
    (check,) = of_kind(render("minimal"), "Pod")
    for run in (container, check["spec"]["containers"][0]):
        assert "command" not in run, "it would go round the image's entrypoint"
        program, command, *_ = run["args"]
        assert program == "headrace"
        assert command in commands
    assert spec["activeDeadlineSeconds"] < 300, "helm waits so long, unless it is told otherwise"
    assert spec["backoffLimit"] >= 1
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_it_migrates_what_the_services_use():
    pods = pod_templates(render("everything"))
    migrate, validator = environment(pods["migrate"]), environment(pods["validator"])
    assert {name: migrate.get(name) for name in validator} == validator


def test_an_account_of_the_user_s_is_used_by_it_too():
    documents = render("minimal", "--set", "defaults.serviceAccount.name=mine")
    assert of_kind(documents, "ServiceAccount") == []
    pods = pod_templates(documents)
    del pods["health-check"]
    assert {pod["spec"]["serviceAccountName"] for pod in pods.values()} == {"mine"}


def test_it_can_be_left_out():
    assert by_component(render("identity"), "Job") == {}
    assert hooks(render("identity")) == []
