"""The errors whose class decides what becomes of an event.

    HeadraceError
    ├── TransientError          tried again with backoff for as long as it lasts
    │   ├── ServerUnavailable
    │   ├── LoginRefused
    │   └── OutOfTurn           tried again when another event is done
    └── PermanentError          to the dead letters at once
        ├── UndecodableEvent
        ├── UnknownDataset
        ├── InvalidSpec
        ├── SourceNotFound
        ├── SourceNotAllowed
        ├── InvalidSettings
        ├── RecordTooLarge
        └── InconsistentState

Any other exception is an unknown error: a bounded number of tries, then the dead letters.
"""

from collections.abc import Sequence


class HeadraceError(Exception):
    """Base of every error that Headrace raises on purpose."""


class TransientError(HeadraceError):
    """What failed may work later, with nothing changed by us: a server away, a lock held."""


class ServerUnavailable(TransientError):
    """A server does not answer."""

    def __init__(self, server: str, reason: object) -> None:
        super().__init__(f"{server} does not answer: {reason}")
        self.server = server
        self.reason = reason


class LoginRefused(TransientError):
    """A server answers and lets us not in.

    Transient, since it can be mended there, as by making the user: the event is not at fault.
    """

    def __init__(self, server: str, reason: object) -> None:
        super().__init__(f"{server} refuses the login: {reason}")
        self.server = server
        self.reason = reason


class OutOfTurn(TransientError):
    """Another event of the dataset has to be done before this one.

    `after` is that one's correlation id. Where both wait in one partition, it is let past.
    """

    def __init__(self, message: str, *, after: str) -> None:
        super().__init__(message)
        self.after = after


class PermanentError(HeadraceError):
    """Trying again can't help: somebody has to change the event, the spec or the data."""


class UndecodableEvent(PermanentError):
    """A record is no event: its headers or its value do not fit the contract."""


class UnknownDataset(PermanentError):
    """An event names a dataset without a spec."""

    def __init__(self, dataset: str, directory: object) -> None:
        super().__init__(
            f"there is no dataset {dataset!r}: put its spec at {directory}/{dataset}.yaml"
        )
        self.dataset = dataset


class InvalidSpec(PermanentError):
    """A spec, or a change of it, can't be accepted."""


class SourceNotFound(PermanentError):
    """A load names a folder, a prefix or an object that isn't there."""


class SourceNotAllowed(PermanentError):
    """A load names a source outside of those that `SOURCE_ROOTS` allows."""

    def __init__(self, source: str, roots: Sequence[str]) -> None:
        super().__init__(
            f"{source[:200]!r} is outside of SOURCE_ROOTS: slices come from {', '.join(roots)}"
        )
        self.source = source
        self.roots = tuple(roots)


class InvalidSettings(PermanentError):
    """Settings contradict each other, or name what is not there. Ends the process that has them."""


class RecordTooLarge(PermanentError):
    """A broker takes no record of that size."""

    def __init__(self, server: str, reason: object) -> None:
        super().__init__(f"{server} refuses a record as too large: {reason}")
        self.server = server
        self.reason = reason


class InconsistentState(PermanentError):
    """What is stored contradicts the event: a missing load, a count that doesn't add up."""
