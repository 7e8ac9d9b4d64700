"""Who may talk to whom: exactly the flows that are needed."""

import pytest
import yaml

from services.console.others import addresses
from tests.helm.chart import SERVICES, by_component, environment, of_kind, pod_templates, render

pytestmark = pytest.mark.usefixtures("helm")

DNS = ("UDP", 53), ("TCP", 53)
WITHOUT_CONSOLE = "--set", "services.console.enabled=false"


def flows(policy):
    """The (protocol, port, targets) that a policy lets out."""
    return {
        (port["protocol"], port["port"], yaml.safe_dump(rule.get("to")))
        for rule in policy["spec"]["egress"]
        for port in rule["ports"]
    }


def ports(policy):
    return {(protocol, port) for protocol, port, _ in flows(policy)} - set(DNS)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (
            "minimal",
            {
                "ingestor": {9092, 5432, 443},
                "validator": {9092, 5432, 443},
                "snapshotter": {9092, 5432, 443},
                "trainer": {9092, 5432, 443, 5000},
                "notifier": {9092, 5432, 443},
                "console": {9092, 5432, 443, 5000, 8000},
                "migrate": {9092, 5432, 443},
            },
        ),
        (
            "everything",
            {
                "ingestor": {9093, 9094, 5432, 9000, 3128},
                "validator": {9093, 9094, 5432, 9000, 3128},
                "snapshotter": {9093, 9094, 5432, 9000, 3128},
                "trainer": {9093, 9094, 5432, 9000, 443, 8786, 3128},
                "notifier": {9093, 9094, 5432, 9000, 443, 587, 3128},
                "console": {9093, 9094, 5432, 9000, 443, 8000, 3128},
                "migrate": {9093, 9094, 5432, 9000, 3128},
            },
        ),
    ],
)
def test_each_pod_reaches_the_ports_that_its_addresses_name_and_no_others(case, expected):
    policies = by_component(render(case), "NetworkPolicy")
    found = {name: {port for _, port in ports(policy)} for name, policy in policies.items()}
    assert found == expected
    for policy in policies.values():
        assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        assert {(protocol, port) for protocol, port, _ in flows(policy)} >= set(DNS)


def test_ports_that_are_told_count_more_than_those_of_the_address():
    options = "--set", "networkPolicy.servers.kafka.ports={19092,19093}"
    policies = by_component(render("minimal", *options), "NetworkPolicy")
    assert ports(policies["validator"]) == {("TCP", port) for port in (19092, 19093, 5432, 443)}


@pytest.mark.parametrize(
    ("uri", "port"),
    [("http://mlflow", 80), ("https://mlflow/a/b", 443), ("http://mlflow:81/x", 81)],
)
def test_an_address_without_a_port_has_that_of_its_scheme(uri, port):
    policies = by_component(
        render("minimal", "--set", f"mlflow.trackingUri={uri}"), "NetworkPolicy"
    )
    assert ("TCP", port) in ports(policies["trainer"])


def test_a_server_that_is_placed_is_reached_there_only():
    for policy in of_kind(render("everything"), "NetworkPolicy"):
        assert [to for _, port, to in flows(policy) if port == 5432] == [
            yaml.safe_dump([{"ipBlock": {"cidr": "10.1.0.0/24"}}])
        ]


def test_the_port_is_open_to_those_who_are_named_and_to_who_asks_for_health():
    policies = by_component(render("everything"), "NetworkPolicy")
    pods = pod_templates(render("everything"))
    for name, policy in policies.items():
        if name == "migrate":
            assert "ingress" not in policy["spec"]
            continue
        (rule,) = policy["spec"]["ingress"]
        (port,) = pods[name]["spec"]["containers"][0]["ports"]
        assert [p["port"] for p in rule["ports"]] == [port["name"]]
        callers = [
            peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
            for peer in rule["from"]
            if "namespaceSelector" in peer
        ]
        from_outside = ["ingress-nginx"] if name in ("ingestor", "console") else []
        assert callers == [*from_outside, "monitoring"]
        askers = ["health-check"] if name == "console" else ["health-check", "console"]
        selectors = [peer["podSelector"] for peer in rule["from"] if "podSelector" in peer]
        for selector, asker in zip(selectors, askers, strict=True):
            labels = pods[asker]["metadata"]["labels"]
            assert selector["matchLabels"].items() <= labels.items()


def test_nobody_is_let_in_where_nobody_is_named():
    policies = by_component(
        render("minimal", "--set-json", "networkPolicy.apiFrom=[]"), "NetworkPolicy"
    )
    for name in ("ingestor", "validator"):
        (rule,) = policies[name]["spec"]["ingress"]
        assert len(rule["from"]) == 2, "the health check and the console"
    alone = by_component(
        render("minimal", *("--set-json", "networkPolicy.apiFrom=[]"), *WITHOUT_CONSOLE),
        "NetworkPolicy",
    )
    (rule,) = alone["validator"]["spec"]["ingress"]
    assert len(rule["from"]) == 1, "an empty list would let everybody in"


def test_what_is_scraped_is_where_metrics_are():
    (monitor,) = of_kind(render("everything"), "ServiceMonitor")
    services = of_kind(render("everything"), "Service")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    assert all(wanted.items() <= s["metadata"]["labels"].items() for s in services)
    (endpoint,) = monitor["spec"]["endpoints"]
    for service in services:
        assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    for deployment in of_kind(render("everything"), "Deployment"):
        template = deployment["spec"]["template"]
        said = template["metadata"]["annotations"]
        (port,) = template["spec"]["containers"][0]["ports"]
        assert said["prometheus.io/port"] == str(port["containerPort"])
        assert said["prometheus.io/path"] == endpoint["path"] == "/metrics"


def test_only_loads_are_routed_from_outside_and_the_console_under_a_host_of_its_own():
    (ingress,) = of_kind(render("everything"), "Ingress")
    routed = {
        ("headrace.example.org", "/loads"): "ingestor",
        ("console.example.org", "/"): "console",
    }
    found = {
        (rule["host"], path["path"]): path["backend"]["service"]
        for rule in ingress["spec"]["rules"]
        for path in rule["http"]["paths"]
    }
    assert found.keys() == routed.keys()
    for where, name in routed.items():
        service = by_component(render("everything"), "Service")[name]
        assert found[where]["name"] == service["metadata"]["name"]
        assert found[where]["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
    (tls,) = ingress["spec"]["tls"]
    assert set(tls["hosts"]) == {host for host, _ in routed}
    assert of_kind(render("minimal"), "Ingress") == []


def test_a_service_s_port_leads_to_a_port_of_its_pods():
    pods = pod_templates(render("everything"))
    for name, service in by_component(render("everything"), "Service").items():
        (port,) = service["spec"]["ports"]
        (container,) = pods[name]["spec"]["containers"]
        assert port["targetPort"] in {p["name"] for p in container["ports"]}


def test_the_console_asks_every_other_service_that_is_enabled_and_is_let_through():
    documents = render("minimal", "--set", "services.notifier.enabled=false,httpPort=8123")
    services = by_component(documents, "Service")
    others = services.keys() - {"console"}
    assert others == set(SERVICES) - {"console", "notifier"}
    pods = pod_templates(documents)
    assert addresses(environment(pods["console"])["CONSOLE_SERVICES"]["value"]) == {
        name: f"http://{services[name]['metadata']['name']}:{services[name]['spec']['ports'][0]['port']}"
        for name in others
    }
    policy = by_component(documents, "NetworkPolicy")["console"]
    (rule,) = [
        rule
        for rule in policy["spec"]["egress"]
        if any("matchExpressions" in peer.get("podSelector", {}) for peer in rule.get("to", ()))
    ]
    assert [port["port"] for port in rule["ports"]] == [8123], "the pods' port, not the Service's"
    (peer,) = rule["to"]
    (expression,) = peer["podSelector"]["matchExpressions"]
    assert expression["key"] == "app.kubernetes.io/component"
    reached = {
        name
        for name, pod in pods.items()
        if (labels := pod["metadata"]["labels"])[expression["key"]] in expression["values"]
        and peer["podSelector"]["matchLabels"].items() <= labels.items()
    }
    assert reached == others


def test_a_console_without_other_services_asks_none():
    off = [f"services.{name}.enabled=false" for name in SERVICES if name != "console"]
    documents = render("minimal", "--set", ",".join(off))
    assert "CONSOLE_SERVICES" not in environment(pod_templates(documents)["console"])
    policies = by_component(documents, "NetworkPolicy")
    assert ports(policies["console"]) == {("TCP", port) for port in (9092, 5432, 443, 5000)}


def test_the_health_check_asks_every_service_by_its_address():
    documents = render("everything")
    (container,) = pod_templates(documents)["health-check"]["spec"]["containers"]
    asked = {word for word in container["args"] if word.startswith("http")}
    assert asked == {
        f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
        for service in of_kind(documents, "Service")
    }
    assert set(environment(pod_templates(documents)["health-check"])) == {"HOME", "SCRATCH_DIR"}
