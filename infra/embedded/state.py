"""What the stack remembers between commands: `stack.json`, and the lock that guards its change."""

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ValidationError

from infra.embedded.errors import StackBusy
from infra.embedded.plan import Choice
from infra.embedded.private_file import make_private_directory, write_private
from infra.embedded.process import ProcessRecord

LOCK_SECONDS = 90.0


class StackState(BaseModel):
    """The stack as last recorded. While `down` works `stopping` is set, and no death is one."""

    choice: Choice = Choice()
    processes: dict[str, ProcessRecord] = {}
    ports: dict[str, int] = {}
    environment: dict[str, str] = {}
    stopping: bool = False


class StateFile:
    """`stack.json` in the stack's folder. Safe for the threads of one process.

    Between processes only the holder of `lock()` may change it; anyone may read.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / "stack.json"
        self._threads = threading.Lock()

    def read(self) -> StackState:
        """The recorded state; an empty one if there is none or if it can't be read.

        Nothing is lost by that: what runs without a record is found by its mark.
        """
        try:
            return StackState.model_validate_json(self._path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return StackState()

    @contextmanager
    def change(self) -> Iterator[StackState]:
        """Give the state to be changed, and record it when the block ends without an error."""
        with self._threads:
            state = self.read()
            yield state
            write_private(self._path, state.model_dump_json(indent=2).encode())

    @contextmanager
    def lock(self, seconds: float = LOCK_SECONDS) -> Iterator[None]:
        """Hold the stack alone, among all processes. The kernel frees it when the holder dies.

        Raises:
            StackBusy: another process held it for `seconds`.

        """
        make_private_directory(self._root)
        deadline = time.monotonic() + seconds
        with (self._root / "lock").open("w") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StackBusy(self._root, seconds) from None
                    time.sleep(0.1)
            yield
