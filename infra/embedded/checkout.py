"""Which commit the code is of, read from the checkout's `.git` without the git program."""

import re
from pathlib import Path

CODE = Path(__file__).resolve().parents[2]
"""The folder that the packages lie in: the checkout, or site-packages."""
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def head_commit(checkout: Path = CODE) -> str | None:
    """The commit that `checkout` is at; None where it is no checkout or has no commit yet.

    Work that isn't committed doesn't show.
    """
    try:
        folder = _git_folder(checkout)
        head = (folder / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref:"):
            return _commit(head)
        return _resolved(folder, head.removeprefix("ref:").strip())
    except (OSError, UnicodeDecodeError):
        return None


def _git_folder(checkout: Path) -> Path:
    git = checkout / ".git"
    if git.is_dir():
        return git
    # A worktree's or a submodule's: a file that says where the folder is.
    return checkout / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()


def _resolved(folder: Path, ref: str) -> str | None:
    """The commit of `ref`: in a file of its own, else among the packed ones."""
    shared = folder / "commondir"  # branches of a worktree are kept with those of its repository
    places = [folder]
    if shared.is_file():
        places.append(folder / shared.read_text(encoding="utf-8").strip())
    for place in places:
        if (place / ref).is_file():
            return _commit((place / ref).read_text(encoding="utf-8").strip())
    for place in places:
        packed = place / "packed-refs"
        for line in packed.read_text(encoding="utf-8").splitlines() if packed.is_file() else ():
            commit, _, name = line.partition(" ")
            if name == ref:
                return _commit(commit)
    return None


def _commit(text: str) -> str | None:
    return text if _COMMIT.fullmatch(text) else None
