"""The errors whose class decides what becomes of an event.

    HeadraceError
    ├── TransientError          tried again with backoff for as long as it lasts
    │   └── ServerUnavailable
    └── PermanentError          to the dead letters at once
        ├── UndecodableEvent
        ├── UnknownDataset
        ├── InvalidSpec
        ├── SourceNotFound
        └── InconsistentState

Any other exception is an unknown error: a bounded number of tries, then the dead letters.
"""


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


class InconsistentState(PermanentError):
    """What is stored contradicts the event: a missing load, a count that doesn't add up."""
