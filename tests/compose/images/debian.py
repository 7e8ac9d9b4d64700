"""The base of every stand-in: a Debian made by debootstrap and imported into Docker."""

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.compose.images.docker import StandInError, docker, run

SUITE = "bookworm"
DEFAULT_MIRROR = "http://deb.debian.org/debian"
MIRROR = "STANDIN_DEBIAN_MIRROR"
BUNDLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
_LEFT_OUT = ("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*_*", "usr/share/doc/*/*")
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def mirror() -> str:
    """Where Debian's packages come from."""
    return os.environ.get(MIRROR, DEFAULT_MIRROR)


def trusted_by_host() -> str:
    """The certificates of the bundle that the environment tells programs to use; empty if none.

    A host behind a proxy that reads TLS has to name one, and what is built here needs it as well.
    """
    for name in BUNDLES:
        bundle = Path(os.environ.get(name, ""))
        if bundle.is_file():
            return bundle.read_text(encoding="utf-8", errors="replace")
    return ""


def import_debian(tag: str, labels: dict[str, str]) -> None:
    """Make the smallest Debian that has apt and `ca-certificates`, and import it as `tag`.

    Raises:
        StandInError: no debootstrap, not root, or a step failed.

    """
    if shutil.which("debootstrap") is None:
        raise StandInError(
            "debootstrap is missing; on Debian or Ubuntu: apt-get install debootstrap"
        )
    if os.geteuid() != 0:
        raise StandInError("debootstrap makes a root file system, which only root may do: use sudo")
    with TemporaryDirectory(prefix="headrace-standin-") as folder:
        root = Path(folder) / "root"
        run(
            *("debootstrap", "--variant=minbase", "--include=ca-certificates", SUITE),
            *(str(root), mirror()),
        )
        _complete_sources(root)
        _trust(root, trusted_by_host())
        for pattern in _LEFT_OUT:
            for path in root.glob(pattern):
                path.unlink() if not path.is_dir() or path.is_symlink() else shutil.rmtree(path)
        _import(root, tag, labels)


def _complete_sources(root: Path) -> None:
    """Security updates too: what is installed later is then the present state."""
    sources = [f"deb {mirror()} {suite} main" for suite in (SUITE, f"{SUITE}-updates")]
    if mirror() == DEFAULT_MIRROR:
        sources.append(f"deb {DEFAULT_MIRROR}-security {SUITE}-security main")
    (root / "etc/apt/sources.list").write_text("\n".join(sources) + "\n", encoding="utf-8")


def _trust(root: Path, bundle: str) -> None:
    certificates = [part.partition(_END)[0] for part in bundle.split(_BEGIN)[1:]]
    folder = root / "usr/local/share/ca-certificates"
    for number, certificate in enumerate(certificates):
        text = f"{_BEGIN}{certificate}{_END}\n"
        (folder / f"host-{number:03}.crt").write_text(text, encoding="utf-8")
    run("chroot", str(root), "update-ca-certificates")


def _import(root: Path, tag: str, labels: dict[str, str]) -> None:
    changes = [f'LABEL {name}="{value}"' for name, value in labels.items()]
    changes += [
        'CMD ["bash"]',
        "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]
    options = [word for change in changes for word in ("--change", change)]
    with subprocess.Popen(
        ("tar", "--exclude=./dev/*", "--exclude=./proc/*", "-C", str(root), "-c", "."),
        stdout=subprocess.PIPE,
    ) as archive:
        docker("import", *options, "-", tag, stdin=archive.stdout)
    if archive.returncode != 0:
        raise StandInError(f"tar could not read {root} whole")
