"""The Apache Kafka broker's program: a Java that can run it, and its jars, fetched by Maven once.

The jars are kept in `$XDG_CACHE_HOME/headrace` (`~/.cache/headrace`): one copy serves every stack
and every checkout, and deleting a stack's data leaves it. A `KAFKA_HOME` in the caller's
environment names an installed Kafka, whose jars are used instead.
"""

import hashlib
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Self

from infra.embedded.errors import KafkaMissing

POM = Path(__file__).resolve().parents[1] / "kafka" / "pom.xml"
LOG_CONFIGURATION = POM.with_name("log4j2.xml")
OLDEST_JAVA, OLDEST_KAFKA = 17, 4
FETCH_SECONDS = 600.0
_JAR_OF_THE_BROKER = re.compile(r"kafka_2\.\d+-(\d+)\.[\w.-]+\.jar")


@dataclass(frozen=True)
class KafkaProgram:
    """Where a caller with the environment `inherited` has Java and the jars. Looks for neither."""

    java: str
    jars: Path
    is_installed: bool
    """Whether the jars are of an installed Kafka, and so not ours to fetch."""

    @classmethod
    def of(cls, inherited: Mapping[str, str]) -> Self:
        """The program as `inherited` says it: `JAVA_HOME`, `KAFKA_HOME` and `XDG_CACHE_HOME`."""
        home = inherited.get("JAVA_HOME")
        java = str(Path(home) / "bin" / "java") if home else "java"
        if installed := inherited.get("KAFKA_HOME"):
            return cls(java, Path(installed) / "libs", is_installed=True)
        cache = inherited.get("XDG_CACHE_HOME")
        folder = Path(cache) if cache else Path(inherited.get("HOME") or Path.home()) / ".cache"
        digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
        return cls(java, folder / "headrace" / f"kafka-{digest}", is_installed=False)

    @property
    def class_path(self) -> str:
        """What Java is told."""
        return f"{self.jars}/*"

    def ensure(self, inherited: Mapping[str, str]) -> None:
        """Return when the broker can be run; fetch its jars where that was not done yet.

        Raises:
            KafkaMissing: no Java, one that is too old, or no jars and no way to get them.

        """
        self._check_java(inherited)
        if self.is_installed:
            self._check_installed()
        elif not self.jars.is_dir():
            self._fetch(inherited)

    def _check_java(self, inherited: Mapping[str, str]) -> None:
        said = "install Java 17 or later (on Debian the package openjdk-17-jre-headless)"
        try:
            done = subprocess.run(
                (self.java, "-version"),
                env=dict(inherited),
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            raise KafkaMissing(
                f"there is no Java: {self.java!r} can't be run; {said}, or set JAVA_HOME to one"
            ) from error
        told = done.stderr + done.stdout
        version = re.search(r'version "(?:1\.)?(\d+)', told)
        if done.returncode != 0 or version is None:
            raise KafkaMissing(f"{self.java!r} doesn't say its version: {told.strip()}")
        if int(version[1]) < OLDEST_JAVA:
            raise KafkaMissing(
                f"{self.java!r} is Java {version[1]}, which is too old; {said}, or set JAVA_HOME "
                "to one that you have"
            )

    def _check_installed(self) -> None:
        found = [_JAR_OF_THE_BROKER.fullmatch(jar.name) for jar in self.jars.glob("kafka_2*.jar")]
        versions = [int(match[1]) for match in found if match]
        if not versions or max(versions) < OLDEST_KAFKA:
            has = f"Kafka {max(versions)}" if versions else "no jar kafka_2.….jar"
            raise KafkaMissing(
                f"KAFKA_HOME is {self.jars.parent}, whose folder libs has {has}: set it to an "
                f"installed Kafka {OLDEST_KAFKA}, or unset it to have the jars fetched by Maven"
            )

    def _fetch(self, inherited: Mapping[str, str]) -> None:
        """Copy the jars, whole or not at all; another command may be at it too."""
        maven = shutil.which("mvn", path=inherited.get("PATH"))
        if maven is None:
            raise KafkaMissing(
                "its jars aren't there and there is no Maven to fetch them: install it (on Debian "
                f"the package maven), or set KAFKA_HOME to an installed Kafka {OLDEST_KAFKA}"
            )
        self.jars.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(mkdtemp(prefix="kafka-", dir=self.jars.parent))
        try:
            done = subprocess.run(
                (
                    *(maven, "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"),
                    f"-DoutputDirectory={draft}",
                ),
                env=dict(inherited),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=FETCH_SECONDS,
                check=False,
            )
            if done.returncode != 0:
                lines = "\n".join((done.stdout + done.stderr).strip().splitlines()[:10])
                raise KafkaMissing(f"Maven could not fetch its jars:\n{lines}")
            draft.chmod(0o755)
            if not self.jars.is_dir():
                draft.rename(self.jars)
        except subprocess.TimeoutExpired as error:
            raise KafkaMissing(
                f"Maven did not fetch its jars within {FETCH_SECONDS:g} s: try again, or try "
                f"`mvn -f {POM} dependency:copy-dependencies` to see why"
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
