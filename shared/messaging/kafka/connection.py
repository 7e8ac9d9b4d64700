"""How every client reaches the brokers: addresses, TLS, login; and why it doesn't."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer
from kafka.errors import KafkaConnectionError, SaslAuthenticationFailedError

from shared.errors import InvalidSettings, ServerUnavailable
from shared.messaging.kafka.errors import REFUSALS, kafka_errors
from shared.settings import Settings


def connection(settings: Settings) -> dict[str, Any]:
    """The options of a client that say where the brokers are and how to get in.

    Raises:
        InvalidSettings: two settings contradict each other, or a file can't be read.

    """
    _check(settings)
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers,
        "security_protocol": settings.kafka_security_protocol,
    }
    if _is_encrypted(settings):
        options["ssl_context"] = _tls(settings)
    if _has_login(settings) and settings.kafka_password is not None:
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_username,
            "sasl_plain_password": settings.kafka_password.get_secret_value(),
        }
    return options


@contextmanager
def connecting(settings: Settings) -> Iterator[dict[str, Any]]:
    """Give the options of a client that is made in the block, with `kafka_errors` around it.

    What a client of kafka-python tells is that time has run out: here the error says why no
    connection came about, and a refused login is told at once. A client that could not be made
    leaves nothing behind; kafka-python's own leaves a thread and open files, at each try.
    """
    made: list[Any] = []
    failures: list[Exception] = []

    def watched(**configuration: Any) -> Any:
        client = KafkaConsumer.DEFAULT_CONFIG["kafka_client"](**configuration)
        made.append(client)
        _watch(client._manager, failures)
        return client

    try:
        with kafka_errors():
            yield {**connection(settings), "kafka_client": watched}
    except Exception as error:
        for client in made:
            client.close()
        if isinstance(error, ServerUnavailable) and failures:
            raise ServerUnavailable("Kafka", _explained(settings, failures[-1])) from error
        raise
    for client in made:
        del client._manager.get_connection


def _watch(manager: Any, failures: list[Exception]) -> None:
    """Note why connections of `manager` fail, and give up where trying again is no use."""
    connect = manager.get_connection

    def get_connection(*arguments: Any, **options: Any) -> Any:
        if failures and isinstance(failures[-1], REFUSALS):
            raise failures[-1]
        link = connect(*arguments, **options)
        link.init_future.add_errback(lambda failure: failures.append(_true_failure(link, failure)))
        return link

    manager.get_connection = get_connection


def _true_failure(link: Any, failure: Any) -> Any:
    """Take a connection that was closed in the middle of a login for a login that was refused.

    So it is told by a broker, but kafka-python drops what comes together with the end of a
    connection.
    """
    is_in_login = link.sasl_enabled and link.broker_version_data is not None
    if is_in_login and isinstance(failure, KafkaConnectionError):
        return SaslAuthenticationFailedError("the connection was closed at the login")
    return failure


def _explained(settings: Settings, failure: Exception) -> str:
    text = str(failure)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            f"its certificate can't be trusted: {text}: set KAFKA_CA_FILE to the CA that signed "
            "it, or KAFKA_BOOTSTRAP_SERVERS to a name that it has"
        )
    if settings.kafka_security_protocol == "PLAINTEXT":
        return text
    hint = " and with a certificate of ours, KAFKA_CERT_FILE" if _is_encrypted(settings) else ""
    return (
        f"{text} (KAFKA_SECURITY_PROTOCOL is {settings.kafka_security_protocol}: does it listen "
        f"so there{hint}?)"
    )


def _is_encrypted(settings: Settings) -> bool:
    return settings.kafka_security_protocol in {"SSL", "SASL_SSL"}


def _has_login(settings: Settings) -> bool:
    return settings.kafka_security_protocol in {"SASL_PLAINTEXT", "SASL_SSL"}


def _check(settings: Settings) -> None:
    protocol = settings.kafka_security_protocol
    login = {
        "KAFKA_USERNAME": settings.kafka_username,
        "KAFKA_PASSWORD": settings.kafka_password,
    }
    files = {
        "KAFKA_CA_FILE": settings.kafka_ca_file,
        "KAFKA_CERT_FILE": settings.kafka_cert_file,
        "KAFKA_KEY_FILE": settings.kafka_key_file,
    }
    for name, value in login.items():
        if value and not _has_login(settings):
            raise InvalidSettings(
                f"{name} is set, and KAFKA_SECURITY_PROTOCOL={protocol} knows no login: set it to "
                f"SASL_SSL (or to SASL_PLAINTEXT on a network that you trust), or unset {name}"
            )
        if not value and _has_login(settings):
            raise InvalidSettings(f"KAFKA_SECURITY_PROTOCOL={protocol} needs {name}: set it")
    for name, path in files.items():
        if path and not _is_encrypted(settings):
            raise InvalidSettings(
                f"{name} is set, and KAFKA_SECURITY_PROTOCOL={protocol} encrypts nothing: set it "
                f"to {'SASL_SSL' if _has_login(settings) else 'SSL'}, or unset {name}"
            )
        if path and not path.is_file():
            raise InvalidSettings(f"{name}: there is no file {path}")
    if settings.kafka_key_file and not settings.kafka_cert_file:
        raise InvalidSettings("KAFKA_KEY_FILE needs its certificate: set KAFKA_CERT_FILE")


def _tls(settings: Settings) -> ssl.SSLContext:
    """TLS 1.2 or later; the broker's certificate must be of a known CA and have its name."""
    ca, certificate = settings.kafka_ca_file, settings.kafka_cert_file
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
    except (ssl.SSLError, OSError) as error:
        said = f"KAFKA_CA_FILE: {ca} holds no certificates in PEM: {error}"
        raise InvalidSettings(said) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate:
        try:
            context.load_cert_chain(certificate, settings.kafka_key_file, _no_password(certificate))
        except (ssl.SSLError, OSError) as error:
            raise InvalidSettings(
                f"KAFKA_CERT_FILE and KAFKA_KEY_FILE: {certificate} and "
                f"{settings.kafka_key_file or 'the key in it'} are no certificate in PEM and its "
                f"key without a password: {error}"
            ) from error
    return context


def _no_password(certificate: Path) -> Any:
    """OpenSSL would ask the terminal for one."""

    def refuse() -> str:
        raise ssl.SSLError(f"the key of {certificate} has a password")

    return refuse
