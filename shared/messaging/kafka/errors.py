"""kafka-python's errors as ours."""

from collections.abc import Iterator
from contextlib import contextmanager

from kafka.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    IllegalArgumentError,
    IllegalGenerationError,
    IllegalStateError,
    InvalidSessionTimeoutError,
    KafkaConfigurationError,
    KafkaError,
    MessageSizeTooLargeError,
    RebalanceInProgressError,
    RecordListTooLargeError,
    SaslAuthenticationFailedError,
    UnknownMemberIdError,
    UnsupportedSaslMechanismError,
)

from shared.errors import (
    InvalidSettings,
    LoginRefused,
    RecordTooLarge,
    ServerUnavailable,
    TransientError,
)

REFUSALS = (SaslAuthenticationFailedError, UnsupportedSaslMechanismError)
"""A login that is refused, and will be at the next try too."""


class Moved(TransientError):
    """The group's generation is not ours any more."""


@contextmanager
def kafka_errors() -> Iterator[None]:
    """Give kafka-python's errors our classes."""
    try:
        yield
    except (
        CommitFailedError,
        RebalanceInProgressError,
        IllegalGenerationError,
        UnknownMemberIdError,
    ) as error:
        raise Moved(str(error)) from error
    except FencedInstanceIdError as error:
        raise InvalidSettings(
            "another process has taken this one's place in its consumer group: give each a "
            "CONSUMER_INSTANCE_ID of its own, or none"
        ) from error
    except InvalidSessionTimeoutError as error:
        raise InvalidSettings(
            "the broker takes no SESSION_TIMEOUT_SECONDS like this one's: it has to be within its "
            "group.min.session.timeout.ms and group.max.session.timeout.ms"
        ) from error
    except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
        raise RecordTooLarge("Kafka", error) from error
    except REFUSALS as error:
        said = f"{error}: check KAFKA_USERNAME, KAFKA_PASSWORD and KAFKA_SASL_MECHANISM"
        raise LoginRefused("Kafka", said) from error
    except (KafkaConfigurationError, IllegalArgumentError, IllegalStateError):
        raise  # a mistake of ours, not of the broker
    except (KafkaError, OSError) as error:
        raise ServerUnavailable("Kafka", f"{type(error).__name__}: {error}") from error
