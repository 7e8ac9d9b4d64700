"""The log files of the stack: their ends, and what is being written to them."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

KEPT_BYTES = 10 << 20
TAIL_BYTES = 64 << 10


def log_path(root: Path, name: str) -> Path:
    """Where the process `name` of the stack in `root` writes its log."""
    return root / "logs" / f"{name}.log"


def make_room(log: Path) -> int:
    """Set a log of over 10 MB aside as `<name>.log.1`; return the offset at which a run begins."""
    if not log.exists():
        return 0
    size = log.stat().st_size
    if size <= KEPT_BYTES:
        return size
    log.replace(log.with_name(log.name + ".1"))
    return 0


def tail(log: Path, lines: int = 20, offset: int = 0) -> str:
    """The last `lines` lines of `log` that stand behind `offset`; empty if there are none."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(offset, size - TAIL_BYTES) if offset <= size else max(0, size - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:]) if lines > 0 else ""


def follow(logs: Mapping[str, Path], poll_seconds: float = 0.2) -> Iterator[tuple[str, str]]:
    """Yield (name, line) for each line written from now on, for ever.

    A log may be replaced meanwhile, or appear only then.
    """
    offsets = {name: log.stat().st_size if log.exists() else 0 for name, log in logs.items()}
    while True:
        for name, log in logs.items():
            if not log.exists():
                continue
            with log.open("rb") as file:
                if file.seek(0, 2) < offsets[name]:
                    offsets[name] = 0
                file.seek(offsets[name])
                whole, newline, _ = file.read().rpartition(b"\n")
            offsets[name] += len(whole) + len(newline)
            for line in whole.decode(errors="replace").splitlines():
                yield name, line
        time.sleep(poll_seconds)
