"""What validating leaves behind: no connections, no files, no calls home."""

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.validator.suites import Suites
from shared.contracts.events import Validated
from shared.contracts.spec_file import find_spec
from shared.database.engine import make_engine
from shared.errors import ServerUnavailable

_CONNECTIONS = "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = :name"


def test_fifty_runs_leave_no_more_connections_than_one(shop, customers, orders):
    event = shop.staged("day_00", customers=customers, orders=orders)
    spec = find_spec(shop.settings.datasets_dir, "shop")
    staging = event.payload.tables[1].staging_table
    engine = make_engine(shop.settings, application="footprint")
    try:
        for _ in range(50):
            Suites(engine, failing_keys_kept=5).run(spec, "orders", staging, 20)
        assert shop.sql(_CONNECTIONS, name="headrace-footprint") == [{"n": 1}]
        assert engine.pool.checkedout() == 0
    finally:
        engine.dispose()


def test_runs_side_by_side_do_not_disturb_one_another(shop, customers, orders):
    orders[2]["amount"] = -1.0
    event = shop.staged("day_00", customers=customers, orders=orders)
    spec = find_spec(shop.settings.datasets_dir, "shop")
    staging = event.payload.tables[1].staging_table
    suites = Suites(shop.engine, failing_keys_kept=5)
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda _: suites.run(spec, "orders", staging, 20), range(60)))
    assert {results[0].unexpected_count for results in found} == {1}


def test_validating_leaves_the_services_pooled_connections_alone(shop, customers, orders):
    event = shop.staged("day_00", customers=customers, orders=orders)
    with shop.engine.connect() as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    shop.validate(event)
    with shop.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT pg_backend_pid()").scalar() == pid


def test_a_lost_connection_is_transient_and_no_fault_of_the_spec(
    shop, customers, orders, monkeypatch
):
    event = shop.staged("day_00", customers=customers, orders=orders)
    spec = find_spec(shop.settings.datasets_dir, "shop")
    staging = event.payload.tables[1].staging_table
    engine = make_engine(shop.settings, application="doomed")
    suites = Suites(engine, failing_keys_kept=5)
    original = Suites._first_format

    def and_the_server_goes(self, *arguments):
        shop.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name",
            name="headrace-doomed",
        )
        return original(self, *arguments)

    monkeypatch.setattr(Suites, "_first_format", and_the_server_goes)
    with pytest.raises(ServerUnavailable):
        suites.run(spec, "orders", staging, 20)
    monkeypatch.undo()
    assert suites.run(spec, "orders", staging, 20)[0].success
    engine.dispose()


def test_nothing_is_called_but_the_servers(shop, customers, orders, monkeypatch):
    store_port = int(shop.settings.s3_endpoint_url.rsplit(":", 1)[1])
    called = []
    connect = socket.socket.connect

    def noted(self, address):
        called.append(address)
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", noted)
    event = shop.staged("day_00", customers=customers, orders=orders)
    Suites(shop.engine, failing_keys_kept=5)
    shop.validate(event)
    assert isinstance(shop.emitted()[0].payload, Validated)
    assert {address[1] for address in called} <= {store_port}


def test_no_file_is_written(shop, customers, orders, tmp_path):
    event = shop.staged("day_00", customers=customers, orders=orders)
    program = """
import sys
from pathlib import Path
from services.validator.suites import Suites
from shared.contracts.spec_file import find_spec
from shared.database.engine import make_engine
from shared.errors import ServerUnavailable
from shared.settings import Settings
engine = make_engine(Settings(), application="files")
spec = find_spec(Path(sys.argv[1]), "shop")
[result] = Suites(engine, failing_keys_kept=5).run(spec, "orders", sys.argv[2], 20)
assert result.success
"""
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        **os.environ,
        "DATABASE_URL": shop.settings.database_url.get_secret_value(),
        "HOME": str(home),
        "TMPDIR": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    staging = event.payload.tables[1].staging_table
    command = [sys.executable, "-c", program, str(shop.settings.datasets_dir), staging]
    done = subprocess.run(
        command, env=environment, cwd=home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""
    assert list(home.rglob("*")) == []
