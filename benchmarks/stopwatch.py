"""Where the time of a load goes: production functions, timed from outside while they run."""

import functools
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event


class Stopwatch:
    """Seconds by step. A step within another one counts in both."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def take(self) -> dict[str, float]:
        """The seconds since the last call, by step, and begin anew."""
        taken = dict(self._seconds)
        self._seconds.clear()
        return taken

    @contextmanager
    def timing(self, step: str) -> Iterator[None]:
        """Count the block's time as `step`."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[step] += time.perf_counter() - begun

    def watch(self, owner: Any, name: str, step: str) -> None:
        """Count all calls of `owner.name` as `step`, `owner` being a module or a class.

        Raises `AttributeError` where there is no such function any more.
        """
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            with self.timing(step):
                return function(*arguments, **options)

        setattr(owner, name, timed)

    def watch_iterator(self, owner: Any, name: str, step: str) -> None:
        """The same for a function that yields: the time that it takes to get to each item."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*arguments: Any, **options: Any) -> Iterator[Any]:
            items = function(*arguments, **options)
            while True:
                with self.timing(step):
                    try:
                        item = next(items)
                    except StopIteration:
                        return
                yield item

        setattr(owner, name, timed)

    def watch_statements(self, engine: Engine) -> None:
        """Count each statement of `engine` as the step `SQL: <its beginning>`, and the commits."""

        @event.listens_for(engine, "before_cursor_execute")
        def begin(connection: Any, *_: Any) -> None:
            connection.info["begun"] = time.perf_counter()

        @event.listens_for(engine, "after_cursor_execute")
        def end(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            taken = time.perf_counter() - connection.info["begun"]
            self._seconds[f"SQL: {' '.join(statement.split())[:70]}"] += taken

        self.watch(engine.dialect, "do_commit", "SQL: COMMIT")
