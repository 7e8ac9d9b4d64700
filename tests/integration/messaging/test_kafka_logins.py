"""TLS and logins, on an Apache Kafka with certificates of a CA of the test's own."""

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from secured_kafka import PASSWORD, USER, SecuredKafka, secured_kafka

from shared.contracts.topics import Topic
from shared.errors import InvalidSettings, LoginRefused, ServerUnavailable
from shared.messaging.kafka import Admin, Producer, RecordSource, follow
from shared.settings import Settings
from tests.certificates import Authority
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.usefixtures("apache_kafka", "collected"),
    # Of a handshake that failed kafka-python 3.0 leaves the socket to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

LOGIN = {"kafka_username": USER, "kafka_password": PASSWORD}


@pytest.fixture
def collected() -> Iterator[None]:
    """Has the garbage collected while the test's own warnings filter holds."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def kafka(apache_kafka: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    with secured_kafka(tmp_path_factory.mktemp("secured")) as kafka:
        yield kafka


def settings_of(kafka: SecuredKafka, listener: str, **more: Any) -> Settings:
    prefix = f"{listener.lower()}{time.monotonic_ns()}."
    return Settings.model_validate({**kafka.way_in(listener), "topic_prefix": prefix, **more})


def send_and_receive(settings: Settings) -> None:
    """Have every client of ours do its work."""
    admin = Admin(settings)
    admin.check()
    assert len(admin.create_topics()) == len(Topic)
    admin.close()
    producer = Producer(settings)
    producer.publish(Topic.VALIDATED, b"key", {"name": "value"}, b"said")
    producer.close()
    source = RecordSource(settings, "subject", [Topic.VALIDATED])
    ((record,),) = wait_until(lambda: list(source.poll(0.2).values()))
    source.close()
    (followed,) = follow(
        settings,
        [Topic.VALIDATED],
        from_beginning=True,
        stop=threading.Event(),
        until_idle_seconds=1.5,
    )
    assert record.value == followed.value == b"said"


def test_every_client_speaks_tls(kafka: SecuredKafka) -> None:
    send_and_receive(settings_of(kafka, "TLS"))


def test_every_client_shows_its_certificate(kafka: SecuredKafka) -> None:
    ours = kafka.authority.sign("client")
    apart = {"kafka_cert_file": ours.certificate, "kafka_key_file": ours.key}
    send_and_receive(settings_of(kafka, "MUTUAL", **apart))
    send_and_receive(settings_of(kafka, "MUTUAL", kafka_cert_file=ours.both))


@pytest.mark.parametrize("listener", ["LOGIN", "BARELOGIN"])
def test_every_client_logs_in(kafka: SecuredKafka, listener: str) -> None:
    send_and_receive(settings_of(kafka, listener, **LOGIN))


CLIENTS = {
    "admin": Admin,
    "producer": Producer,
    "source": lambda settings: RecordSource(settings, "subject", [Topic.VALIDATED]),
    "follow": lambda settings: next(
        follow(settings, [Topic.VALIDATED], from_beginning=True, stop=threading.Event())
    ),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_a_wrong_password_is_told_at_once_and_may_be_mended_at_the_broker(
    kafka: SecuredKafka, client: str
) -> None:
    settings = settings_of(kafka, "LOGIN", kafka_username=USER, kafka_password="wrong")
    threads = threading.active_count()
    begun = time.monotonic()
    with pytest.raises(LoginRefused, match="refuses the login") as refused:
        CLIENTS[client](settings)
    assert time.monotonic() - begun < 5
    assert "KAFKA_PASSWORD" in str(refused.value)
    assert "wrong" not in str(refused.value)
    assert threading.active_count() == threads, "nothing of it is left"


def test_an_unknown_ca_is_told_as_what_it_is(kafka: SecuredKafka, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "stranger")
    settings = settings_of(kafka, "TLS", kafka_ca_file=stranger.file)
    with pytest.raises(ServerUnavailable, match=r"can't be trusted.*set KAFKA_CA_FILE"):
        Admin(settings)


def test_the_systems_cas_know_nothing_of_a_private_one(kafka: SecuredKafka) -> None:
    settings = settings_of(kafka, "TLS", kafka_ca_file=None)
    with pytest.raises(ServerUnavailable, match=r"can't be trusted.*set KAFKA_CA_FILE"):
        Producer(settings)


def test_a_broker_under_a_name_that_its_certificate_has_not_is_refused(
    kafka: SecuredKafka,
) -> None:
    servers = f"localhost:{kafka.ports['TLS']}"
    with pytest.raises(ServerUnavailable, match=r"can't be trusted.*'localhost'"):
        Admin(settings_of(kafka, "TLS", kafka_bootstrap_servers=servers))


@pytest.mark.parametrize("signer", ["nobody", "a stranger"])
def test_a_missing_or_foreign_certificate_of_ours_is_told(
    kafka: SecuredKafka, tmp_path: Path, signer: str
) -> None:
    more = {}
    if signer == "a stranger":
        more = {"kafka_cert_file": Authority(tmp_path / "stranger").sign("client").both}
    with pytest.raises(ServerUnavailable, match="KAFKA_CERT_FILE"):
        Admin(settings_of(kafka, "MUTUAL", **more))


@pytest.mark.parametrize(
    ("listener", "spoken"),
    [("TLS", "SASL_PLAINTEXT"), ("BARELOGIN", "SASL_SSL"), ("LOGIN", "SASL_PLAINTEXT")],
)
def test_the_wrong_protocol_is_named(kafka: SecuredKafka, listener: str, spoken: str) -> None:
    settings = settings_of(kafka, listener, **LOGIN)
    changed = {"kafka_security_protocol": spoken, "kafka_ca_file": None}
    if "SSL" in spoken:
        changed["kafka_ca_file"] = kafka.authority.file
    with pytest.raises(ServerUnavailable, match="KAFKA_SECURITY_PROTOCOL is"):
        Admin(settings.model_copy(update=changed))


def test_a_mechanism_that_the_broker_has_not_is_named(kafka: SecuredKafka) -> None:
    settings = settings_of(kafka, "LOGIN", **LOGIN, kafka_sasl_mechanism="SCRAM-SHA-256")
    with pytest.raises(LoginRefused, match=r"KAFKA_SASL_MECHANISM"):
        Admin(settings)


def test_a_certificate_without_its_key_is_told(kafka: SecuredKafka) -> None:
    with pytest.raises(InvalidSettings, match="no certificate in PEM"):
        Admin(settings_of(kafka, "MUTUAL", kafka_cert_file=kafka.authority.file))
