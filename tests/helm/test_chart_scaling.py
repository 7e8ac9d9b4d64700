"""What the chart says of topics, groups and servers is what the services do."""

import importlib

import pytest
import yaml

from shared.clock import utc_now
from shared.database.engine import make_engine
from shared.messaging.kafka import RecordSource
from shared.object_store import ObjectStore
from shared.service import Resources
from shared.settings import Settings
from tests.helm.chart import CHART, SERVICES, by_component, of_kind, render

LIVE = Settings(topic_prefix="live.")
IN_GROUPS = tuple(name for name in SERVICES if name != "console")
"""The services that KEDA scales by what waits for their groups."""


@pytest.fixture(scope="module")
def services():
    """Every service as its composition root builds it; that connects to nothing."""
    engine = make_engine(LIVE, application="test")
    resources = Resources(LIVE, engine, ObjectStore(LIVE), utc_now, lambda: None)
    yield {
        name: importlib.import_module(f"services.{name}.app").build(resources) for name in SERVICES
    }
    engine.dispose()


@pytest.fixture(scope="module")
def facts():
    return yaml.safe_load((CHART / "files" / "services.yaml").read_text(encoding="utf-8"))


@pytest.mark.usefixtures("helm")
@pytest.mark.parametrize("name", IN_GROUPS)
def test_lag_is_looked_at_in_the_group_and_the_topics_that_the_service_consumes(
    name, services, topics
):
    service = services[name]
    source = RecordSource(topics, service.name, [payload.topic for payload in service.handlers])
    try:
        group = source._consumer.config["group_id"]
        consumed = source._consumer.subscription()
    finally:
        source.close()
    documents = render("everything", "--set", f"env.TOPIC_PREFIX={topics.topic_prefix}")
    triggers = by_component(documents, "ScaledObject")[name]["spec"]["triggers"]
    looked_at = [(t["metadata"]["consumerGroup"], t["metadata"]["topic"]) for t in triggers]
    assert sorted(looked_at) == sorted((group, topic) for topic in consumed)


@pytest.mark.parametrize("name", SERVICES)
def test_the_facts_of_a_service_are_the_code_s(name, services, facts):
    service = services[name]
    consumed = dict.fromkeys(payload.topic.value for payload in service.handlers)
    assert facts[name]["topics"] == list(consumed)
    assert facts[name].get("watches", False) == (service.follower is not None)
    if service.follower is None:  # else it shows what MLflow has, and does without where it is away
        assert ("mlflow" in facts[name]["servers"]) == ("mlflow" in service.checks)
    changes = methods(service.router) - {"GET", "HEAD"} if service.router else set()
    assert facts[name].get("api", False) == bool(changes)
    assert facts.keys() == set(SERVICES)


def methods(router):
    """All that a router answers to, and those that are included in it."""
    found = set()
    for route in router.routes:
        inner = getattr(route, "original_router", None)
        found |= methods(inner) if inner else route.methods
    return found


@pytest.mark.usefixtures("helm")
def test_a_deployment_has_no_number_of_replicas_where_keda_has():
    scaled = by_component(render("everything"), "ScaledObject")
    for name, deployment in by_component(render("everything"), "Deployment").items():
        if name not in IN_GROUPS:
            assert deployment["spec"]["replicas"] == 1
            assert name not in scaled
            continue
        assert "replicas" not in deployment["spec"]
        assert scaled[name]["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
        assert scaled[name]["spec"]["minReplicaCount"] >= 1
    assert of_kind(render("minimal"), "ScaledObject") == []
    assert all(d["spec"]["replicas"] == 1 for d in of_kind(render("minimal"), "Deployment"))
    (validator,) = of_kind(render("identity"), "Deployment")
    assert validator["spec"]["replicas"] == 3
    assert validator["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.usefixtures("helm")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), {"sasl": "scram_sha256", "tls": "enable"}),
        (("--set", "kafka.saslMechanism=SCRAM-SHA-512"), {"sasl": "scram_sha512", "tls": "enable"}),
        (("--set", "kafka.saslMechanism=PLAIN"), {"sasl": "plaintext", "tls": "enable"}),
        (
            ("--set", "kafka.securityProtocol=SASL_PLAINTEXT,kafka.tls.existingSecret="),
            {"sasl": "scram_sha256", "tls": "disable"},
        ),
        (("--set", "kafka.securityProtocol=SSL"), {"sasl": "none", "tls": "enable"}),
        (
            ("--set", "kafka.securityProtocol=PLAINTEXT,kafka.tls.existingSecret="),
            {"sasl": "none", "tls": "disable"},
        ),
    ],
)
def test_keda_logs_in_to_kafka_as_the_services_do(options, expected):
    documents = render("everything", *options)
    given = {
        reference["parameter"]
        for authentication in of_kind(documents, "TriggerAuthentication")
        for reference in authentication["spec"]["secretTargetRef"]
    }
    wanted = {"username", "password"} if expected["sasl"] != "none" else set()
    certificates = "kafka.tls.existingSecret=" not in " ".join(options)
    assert given == wanted | ({"ca", "cert", "key"} if certificates else set())
    for scaled in of_kind(documents, "ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            assert trigger["metadata"].items() >= expected.items()
            assert trigger["metadata"]["offsetResetPolicy"] == "earliest"
            named = trigger.get("authenticationRef", {}).get("name")
            assert named == ("live-headrace-kafka" if given else None)


@pytest.mark.usefixtures("helm")
def test_a_prefix_of_one_service_moves_its_topics_and_its_group():
    documents = render("everything", "--set", "services.notifier.env.TOPIC_PREFIX=b.")
    triggers = by_component(documents, "ScaledObject")["notifier"]["spec"]["triggers"]
    assert {t["metadata"]["consumerGroup"] for t in triggers} == {"b.notifier"}
