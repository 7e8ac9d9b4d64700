"""Settings of the way to Kafka that contradict each other."""

import pytest

from shared.errors import InvalidSettings
from shared.messaging.kafka.connection import connection
from shared.settings import Settings


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kafka_username": "me"}, "KAFKA_USERNAME is set, and KAFKA_SECURITY_PROTOCOL=PLAINTEXT"),
        (
            {"kafka_password": "p"},
            "KAFKA_PASSWORD is set, and .* knows no login: set it to SASL_SSL",
        ),
        (
            {"kafka_security_protocol": "SSL", "kafka_username": "me", "kafka_password": "p"},
            "KAFKA_USERNAME is set, and KAFKA_SECURITY_PROTOCOL=SSL knows no login",
        ),
        ({"kafka_security_protocol": "SASL_SSL"}, "needs KAFKA_USERNAME"),
        (
            {"kafka_security_protocol": "SASL_SSL", "kafka_username": "me"},
            "SASL_SSL needs KAFKA_PASSWORD",
        ),
        ({"kafka_ca_file": "/etc/hosts"}, "KAFKA_CA_FILE is set, and .* encrypts nothing: set it"),
        (
            {
                "kafka_security_protocol": "SASL_PLAINTEXT",
                "kafka_username": "me",
                "kafka_password": "p",
                "kafka_cert_file": "/etc/hosts",
            },
            "KAFKA_CERT_FILE is set, .* to SASL_SSL, or unset",
        ),
        (
            {"kafka_security_protocol": "SSL", "kafka_ca_file": "/not/there"},
            "KAFKA_CA_FILE: there is no file /not/there",
        ),
        (
            {"kafka_security_protocol": "SSL", "kafka_ca_file": "/etc/hosts"},
            "KAFKA_CA_FILE: /etc/hosts holds no certificates in PEM",
        ),
        (
            {"kafka_security_protocol": "SSL", "kafka_key_file": "/etc/hosts"},
            "KAFKA_KEY_FILE needs its certificate",
        ),
        (
            {"kafka_security_protocol": "SSL", "kafka_cert_file": "/etc/hosts"},
            "KAFKA_CERT_FILE and KAFKA_KEY_FILE: /etc/hosts and the key in it are no certificate",
        ),
    ],
)
def test_a_contradiction_is_told_with_both_its_sides(given: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        connection(Settings.model_validate(given))


def test_without_any_of_them_nothing_is_encrypted_and_nobody_logs_in() -> None:
    options = connection(Settings(kafka_bootstrap_servers="a:1,b:2"))
    assert options == {"bootstrap_servers": "a:1,b:2", "security_protocol": "PLAINTEXT"}


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECURITY_PROTOCOL", "SASL_MECHANISM", "USERNAME", "PASSWORD", "CA_FILE"):
        monkeypatch.setenv(f"KAFKA_{name}", "")
    monkeypatch.setenv("S3_CA_FILE", "")
    settings = Settings()
    assert settings.kafka_sasl_mechanism == "SCRAM-SHA-512"
    assert settings.s3_ca_file is settings.kafka_password is None
    assert connection(settings)["security_protocol"] == "PLAINTEXT"


def test_a_password_is_shown_nowhere() -> None:
    settings = Settings(kafka_password="very secret")
    assert "very secret" not in repr(settings)
