"""What of the caller's environment reaches the stack's processes, and what must not."""

from pathlib import Path

from infra.embedded.credentials import Credentials
from infra.embedded.environment import Broker, embedded_servers, resolve
from infra.embedded.services import Service, ServiceSpec

OF_A_BROKER = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_USERNAME": "me",
    "KAFKA_PASSWORD": "secret",
    "KAFKA_CA_FILE": "certificates/ca.pem",
}
OF_A_STORE = {"S3_CA_FILE": "certificates/ca.pem"}


def resolved(given: dict[str, str]) -> dict[str, str]:
    servers = embedded_servers(given, broker=Broker.KAFKA, mlflow=False)
    ports = {"kafka": 1, "postgres": 2, "seaweedfs.s3": 3}
    return resolve(
        given, servers=servers, ports=ports, credentials=Credentials(), database_url="postgresql:"
    )


def test_logins_and_certificates_of_given_servers_do_not_reach_embedded_ones() -> None:
    environment = resolved({**OF_A_BROKER, **OF_A_STORE})
    assert not environment.keys() & {*OF_A_BROKER, *OF_A_STORE}
    assert environment["KAFKA_BOOTSTRAP_SERVERS"] == "127.0.0.1:1"
    shell = {**OF_A_BROKER, **OF_A_STORE}
    service = Service(ServiceSpec("trainer", "m"), 1, environment, shell, Path(), Path()).command()
    assert not {**service.inherited, **service.environment}.keys() & shell.keys()


def test_those_of_given_servers_are_passed_on_and_found_from_everywhere() -> None:
    given = {
        **OF_A_BROKER,
        **OF_A_STORE,
        "KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9093",
        "S3_ENDPOINT_URL": "https://s3.example",
    }
    environment = resolved(given)
    for name in ("KAFKA_CA_FILE", "S3_CA_FILE"):
        assert environment[name] == str(Path("certificates/ca.pem").resolve())
    assert environment["KAFKA_PASSWORD"] == "secret"


def test_a_service_has_the_variables_that_mlflow_reads_itself() -> None:
    mlflow = {
        "MLFLOW_TRACKING_USERNAME": "me",
        "MLFLOW_TRACKING_PASSWORD": "secret",
        "MLFLOW_TRACKING_SERVER_CERT_PATH": "/ca.pem",
    }
    trainer = Service(ServiceSpec("trainer", "m"), 1, {}, mlflow, Path(), Path())
    command = trainer.command()
    assert {**command.inherited, **command.environment}.items() >= mlflow.items()


def test_each_replica_is_a_static_member_of_its_own() -> None:
    environment = {"CONSUMER_INSTANCE_ID": "here"}
    names = {
        Service(spec, 1, environment, {}, Path(), Path())
        .command()
        .environment["CONSUMER_INSTANCE_ID"]
        for spec in ServiceSpec("validator", "m").replicas(3)
    }
    assert names == {"here-1", "here-2", "here-3"}
