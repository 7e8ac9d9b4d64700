"""Postgres over TLS, by what stands in DATABASE_URL.

The embedded server is built without TLS, so it stands behind a front that speaks it: what is tried
here is our clients' side.
"""

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from adbc_driver_postgresql import dbapi
from sqlalchemy import make_url, text
from sqlalchemy.exc import OperationalError

from shared.database.engine import libpq_uri, make_engine
from shared.messaging.retry import Route, route_of
from shared.settings import Settings
from tests.certificates import Authority

SSL_REQUEST = struct.pack(">ii", 8, 80877103)
"""The first message of a client that wants TLS; `S` says yes. Source: PostgreSQL 18, 54.2.11."""


class Front:
    """Takes TLS off for the server at `target`, and lets nobody in without."""

    def __init__(self, target: tuple[str, int], context: ssl.SSLContext) -> None:
        self._target = target
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.sessions = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if client.recv(8, socket.MSG_WAITALL) != SSL_REQUEST:
                return
            client.sendall(b"S")
            with (
                self._context.wrap_socket(client, server_side=True) as encrypted,
                socket.create_connection(self._target) as server,
            ):
                self.sessions += 1
                back = threading.Thread(target=_copy, args=(server, encrypted), daemon=True)
                back.start()
                _copy(encrypted, server)
                server.shutdown(socket.SHUT_RDWR)
                back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def front(settings: Settings, authority: Authority) -> Iterator[Front]:
    signed = authority.sign("postgres", hosts=("127.0.0.1",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed.certificate, signed.key)
    url = make_url(settings.database_url.get_secret_value())
    front = Front((url.host or "", url.port or 0), context)
    yield front
    front.close()


def through(
    front: Front, settings: Settings, authority: Authority, host: str = "127.0.0.1"
) -> Settings:
    """The settings with the front in the server's place, its certificate to be checked."""
    url = make_url(settings.database_url.get_secret_value()).set(host=host, port=front.port)
    checked = {"sslmode": "verify-full", "sslrootcert": str(authority.file)}
    value = url.update_query_dict(checked).render_as_string(hide_password=False)
    return Settings.model_validate({**settings.model_dump(), "database_url": value})


def test_the_engine_and_the_bulk_loader_speak_tls(
    front: Front, settings: Settings, authority: Authority
) -> None:
    encrypted = through(front, settings, authority)
    engine = make_engine(encrypted, application="test")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM headrace.loads")).scalar() == 0
    engine.dispose()
    assert front.sessions == 1
    with dbapi.connect(libpq_uri(encrypted)) as bulk, bulk.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM headrace.loads")
        assert cursor.fetchone() == (0,)
    assert front.sessions > 1


def test_a_certificate_of_a_stranger_is_refused_and_waited_for(
    front: Front, settings: Settings, tmp_path: Path
) -> None:
    stranger = through(front, settings, Authority(tmp_path))
    with pytest.raises(OperationalError, match="certificate verify failed") as refused:
        make_engine(stranger, application="test").connect()
    assert route_of(refused.value) is Route.TRANSIENT
    with pytest.raises(dbapi.Error, match="certificate verify failed"):
        dbapi.connect(libpq_uri(stranger))
    assert front.sessions == 0


def test_a_name_that_the_certificate_has_not_is_refused(
    front: Front, settings: Settings, authority: Authority
) -> None:
    elsewhere = through(front, settings, authority, host="localhost")
    with pytest.raises(OperationalError, match="does not match host name"):
        make_engine(elsewhere, application="test").connect()
    with pytest.raises(dbapi.Error, match="does not match host name"):
        dbapi.connect(libpq_uri(elsewhere))
