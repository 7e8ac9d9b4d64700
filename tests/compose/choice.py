"""Which images a run takes: those that the environment names, the real ones, or the stand-ins."""

import os
from collections.abc import Callable
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from tests.compose.images.build import STAND_INS, build_all

VARIABLES = tuple(standin.variable for standin in STAND_INS)
REGISTRY = "https://registry-1.docker.io/v2/"
ANSWER_SECONDS = 5.0


def choose_images(report: Callable[[str], None]) -> dict[str, str]:
    """The image variables for the compose file; those that are left out keep its defaults.

    Any that is set decides for all: what isn't set then is the default. Where none is, the
    stand-ins are taken only if the registry of the defaults does not answer.

    Raises:
        StandInError: the stand-ins are needed and can't be built.

    """
    named = {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    if named:
        report(f"images: {named}, from the environment")
        return named
    if _registry_answers():
        report("images: the compose file's own")
        return {}
    report(f"images: stand-ins, because {REGISTRY} does not answer")
    return build_all(report)


def _registry_answers() -> bool:
    try:
        with urlopen(REGISTRY, timeout=ANSWER_SECONDS):
            return True
    except HTTPError as answer:
        # It asks everybody for a token first. A proxy that forbids it answers otherwise.
        return answer.headers.get("Docker-Distribution-Api-Version") is not None
    except (URLError, OSError):
        return False
