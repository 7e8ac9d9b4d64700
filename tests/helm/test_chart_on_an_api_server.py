"""Installed, upgraded, rolled back and removed, at a real API server."""

import itertools
import os
import subprocess
from datetime import UTC, datetime

import pytest
import yaml

from tests.helm.chart import CHART, VALUES, find_tool, of_kind, render
from tests.helm.cluster import Cluster
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

_numbers = itertools.count(1)
KINDS = {
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "Service": "/api/v1/namespaces/{}/services",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "Ingress": "/apis/networking.k8s.io/v1/namespaces/{}/ingresses",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "ScaledObject": "/apis/keda.sh/v1alpha1/namespaces/{}/scaledobjects",
    "TriggerAuthentication": "/apis/keda.sh/v1alpha1/namespaces/{}/triggerauthentications",
    "ServiceMonitor": "/apis/monitoring.coreos.com/v1/namespaces/{}/servicemonitors",
}
JOBS = KINDS["Job"]


@pytest.fixture(scope="module")
def cluster(helm, definitions, tmp_path_factory):
    etcd, server = find_tool("etcd"), find_tool("kube-apiserver")
    if etcd is None or server is None:
        pytest.skip("there is no API server: `make chart-server` builds one in 15 minutes")
    with Cluster(tmp_path_factory.mktemp("cluster"), etcd, server) as started:
        started.define(yaml.safe_load(path.read_text(encoding="utf-8")) for path in definitions)
        started.create(
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": "batch"},
                "value": 10,
            },
        ).raise_for_status()
        yield started


@pytest.fixture
def namespace(cluster):
    """A namespace that takes only pods of Pod Security's strictest level."""
    name = f"pipelines-{next(_numbers)}"
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    cluster.create(
        "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}}
    ).raise_for_status()
    return name


class Helm:
    """Helm commands on one namespace, of the release `live`."""

    def __init__(self, cluster, namespace, home):
        self.cluster, self.namespace = cluster, namespace
        self._environment = os.environ | {
            "KUBECONFIG": str(cluster.kubeconfig),
            "HELM_CACHE_HOME": str(home),
            "HELM_CONFIG_HOME": str(home),
            "HELM_DATA_HOME": str(home),
        }

    def start(self, *arguments):
        return subprocess.Popen(
            [find_tool("helm"), *arguments, "--namespace", self.namespace],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment,
        )

    def run(self, *arguments):
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        return out, err

    def deploy(self, command, *options, case="everything", outcome="Complete", seen=None):
        """Install or upgrade, with the migration ending as `outcome`; (code, out, err)."""
        values = str(VALUES / f"{case}.yaml")
        with self.start(command, "live", str(CHART), "-f", values, *options) as process:
            job = wait_until(lambda: self.job() or process.poll() is not None, seconds=60)
            if job is not True:
                if seen is not None:
                    seen.update({kind: self.names(kind) for kind in KINDS})
                self.end(job, outcome)
            out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def job(self):
        """The migration that waits to be run, if one does."""
        jobs = self.cluster.api.get(JOBS.format(self.namespace)).json()["items"]
        waiting = [job for job in jobs if not job.get("status", {}).get("conditions")]
        return waiting[0] if waiting else None

    def end(self, job, outcome):
        """What the job's controller writes when its pod has ended."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        first = "SuccessCriteriaMet" if outcome == "Complete" else "FailureTarget"
        status = {
            "startTime": now,
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": now, "reason": "Test"}
                for kind in (first, outcome)
            ],
        }
        status |= (
            {"succeeded": 1, "completionTime": now} if outcome == "Complete" else {"failed": 1}
        )
        self.cluster.api.patch(
            f"{JOBS.format(self.namespace)}/{job['metadata']['name']}/status",
            json={"status": status},
            headers={"Content-Type": "application/merge-patch+json"},
        ).raise_for_status()

    def names(self, kind):
        return self.cluster.names(KINDS[kind].format(self.namespace))

    def get(self, kind, name):
        response = self.cluster.api.get(f"{KINDS[kind].format(self.namespace)}/{name}")
        response.raise_for_status()
        return response.json()


@pytest.fixture
def helm_in(cluster, namespace, tmp_path):
    return Helm(cluster, namespace, tmp_path)


def rendered(kind, *, hooks):
    """The names of a kind in the case with everything, of hooks or of the release."""
    return {
        document["metadata"]["name"]
        for document in of_kind(render("everything"), kind)
        if ("helm.sh/hook" in (document["metadata"].get("annotations") or {})) == hooks
    }


def test_an_install_migrates_first_and_then_makes_everything(helm_in):
    seen = {}
    code, out, err = helm_in.deploy("install", seen=seen)
    assert code == 0, err
    assert "arning" not in err
    for kind in KINDS:
        assert seen[kind] == rendered(kind, hooks=True), f"{kind} when the migration began"
        assert helm_in.names(kind) == rendered(kind, hooks=False), f"{kind} at the end"
    assert "helm test" in out
    assert "stand by" not in out


def test_every_pod_is_one_that_the_strictest_pod_security_takes(helm_in):
    code, _, err = helm_in.deploy("install")
    assert code == 0, err
    pods = f"/api/v1/namespaces/{helm_in.namespace}/pods"
    for name in helm_in.names("Deployment"):
        template = helm_in.get("Deployment", name)["spec"]["template"]
        pod = {"metadata": {**template["metadata"], "name": name}, "spec": template["spec"]}
        response = helm_in.cluster.create(pods, pod, dryRun="All", fieldValidation="Strict")
        assert response.status_code == 201, response.text
        assert "warning" not in response.headers
        pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = True
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
        assert helm_in.cluster.create(pods, pod, dryRun="All").status_code == 403


def test_an_upgrade_migrates_again_and_a_rollback_does_not(helm_in):
    assert helm_in.deploy("install", case="minimal")[0] == 0
    seen = {}
    code, _, err = helm_in.deploy(
        "upgrade", "--set", "services.validator.replicas=3", case="minimal", seen=seen
    )
    assert code == 0, err
    assert seen["Job"] == {"live-headrace-migrate"}
    validator = helm_in.get("Deployment", "live-headrace-validator")
    assert validator["spec"]["replicas"] == 3
    helm_in.run("rollback", "live", "1")
    assert helm_in.get("Deployment", "live-headrace-validator")["spec"]["replicas"] == 1
    assert helm_in.names("Job") == set()


def test_keda_s_replicas_outlive_an_upgrade(helm_in):
    assert helm_in.deploy("install")[0] == 0
    at = KINDS["Deployment"].format(helm_in.namespace) + "/live-headrace-validator/scale"
    scale = helm_in.cluster.api.get(at).json()
    scale["spec"]["replicas"] = 4
    helm_in.cluster.api.put(at, json=scale).raise_for_status()
    code, _, err = helm_in.deploy("upgrade", "--set", "env.LOG_LEVEL=WARNING")
    assert code == 0, err
    validator = helm_in.get("Deployment", "live-headrace-validator")["spec"]
    assert validator["replicas"] == 4
    (container,) = validator["template"]["spec"]["containers"]
    assert {"name": "LOG_LEVEL", "value": "WARNING"} in container["env"]


def test_every_option_can_be_turned_on_and_off_in_a_release_that_runs(helm_in):
    assert helm_in.deploy("install", case="minimal")[0] == 0
    for case in ("everything", "minimal"):
        code, _, err = helm_in.deploy("upgrade", "--reset-values", case=case)
        assert code == 0, err
    assert helm_in.names("ScaledObject") == set()
    assert helm_in.get("Deployment", "live-headrace-trainer")["spec"]["replicas"] == 1


def test_a_failed_migration_makes_nothing_and_keeps_its_log(helm_in):
    code, _, err = helm_in.deploy("install", outcome="Failed")
    assert code != 0
    assert "pre-install" in err
    assert helm_in.names("Deployment") == set()
    assert helm_in.names("Job") == {"live-headrace-migrate"}
    code, _, err = helm_in.deploy("upgrade", "--install")
    assert code == 0, err
    assert helm_in.names("Deployment") == rendered("Deployment", hooks=False)


def test_nothing_stays_behind_when_it_is_removed(helm_in):
    assert helm_in.deploy("install")[0] == 0
    helm_in.run("uninstall", "live")
    for kind in KINDS:
        assert helm_in.names(kind) == set(), kind
