"""Where slices may come from, where `SOURCE_ROOTS` says so; without it, from anywhere.

Whoever may ask for a load names its source, and the ingestor reads it with rights of its own: all
that its user and its keys reach.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from shared.errors import SourceNotAllowed
from shared.object_store import Bucket, ObjectUri
from shared.settings import Settings
from shared.upload_area import AREA

_S3 = "s3://"


@dataclass(frozen=True)
class SourceRoots:
    """Folders of this machine and prefixes of the store; of neither any, and all is allowed."""

    folders: tuple[Path, ...] = ()
    prefixes: tuple[ObjectUri, ...] = ()
    uploads: ObjectUri | None = None
    """What came through the browser may be loaded in any case: it lies where Headrace put it."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of the settings."""
        named = settings.source_roots.split()
        return cls(
            tuple(Path(root) for root in named if not root.startswith(_S3)),
            tuple(ObjectUri.parse(root) for root in named if root.startswith(_S3)),
            ObjectUri(settings.bucket(Bucket.LANDING), AREA),
        )

    def require(self, source: str) -> None:
        """Return if `source`, a path or `s3://…`, is one of them or within one, links followed.

        Raises `SourceNotAllowed` where it isn't, before anything of it is read.
        """
        if not (self.folders or self.prefixes):
            return
        is_allowed = (
            self._has_prefix(ObjectUri.parse(source))
            if source.startswith(_S3)
            else self._has_folder(Path(source))
        )
        if not is_allowed:
            raise SourceNotAllowed(source, [*map(str, self.folders), *map(str, self.prefixes)])

    def _has_folder(self, folder: Path) -> bool:
        try:
            resolved = folder.resolve()
            return any(resolved.is_relative_to(root.resolve()) for root in self.folders)
        except (OSError, RuntimeError, ValueError):  # no path: too long, links in a circle
            return False

    def _has_prefix(self, prefix: ObjectUri) -> bool:
        steps = prefix.key.rstrip("/").split("/")
        if {".", ".."} & set(steps):  # a store on a file system may take them for a way out
            return False
        roots = [*self.prefixes, *([self.uploads] if self.uploads else [])]
        return any(prefix.bucket == root.bucket and _begins(steps, root.key) for root in roots)


def _begins(steps: list[str], root: str) -> bool:
    above = root.strip("/").split("/") if root.strip("/") else []
    return steps[: len(above)] == above
