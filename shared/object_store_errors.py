"""The S3 store's errors as ours: by their class it is decided what becomes of an event."""

from collections.abc import Iterator
from contextlib import contextmanager

from boto3.exceptions import Boto3Error, RetriesExceededError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
)
from botocore.exceptions import (
    ConnectionError as BotoConnectionError,
)

from shared.errors import (
    HeadraceError,
    LoginRefused,
    PermanentError,
    ServerUnavailable,
    SourceNotFound,
)

NOT_FOUND = {"NoSuchKey", "NoSuchBucket", "404", "NotFound"}
_FORBIDDEN, _TOO_MANY_REQUESTS, _SERVER_ERROR = 403, 429, 500
# A clock that is wrong, ours or the store's, can be mended like a server that is away.
_PASSING = {"SlowDown", "RequestTimeout", "RequestTimeTooSkewed", "RequestExpired"}
# The store doesn't know our keys, or no longer: whatever bucket was asked for.
_UNKNOWN_KEYS = {"InvalidAccessKeyId", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
# Of an answer that was cut short. botocore has no class of its own for such errors.
_AWAY = (
    BotoConnectionError,
    HTTPClientError,
    IncompleteReadError,
    FlexibleChecksumError,
    CredentialRetrievalError,
    RetriesExceededError,
)


def code_of(error: ClientError) -> str:
    """The store's own word for what is wrong."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def store_errors(what: str, *, is_ours: bool = True) -> Iterator[None]:
    """Give boto's errors our classes.

    A bucket of ours that refuses us is a login that can be mended, so it is waited for; one that
    isn't (`is_ours`) may mean it, and whoever named it has to be told.
    """
    try:
        yield
    except ClientError as error:
        raise _answered(what, error, is_ours=is_ours) from error
    except _AWAY as error:
        raise ServerUnavailable("the S3 store", error) from error
    except Boto3Error as error:
        # Of an upload in parts, the store's answer is behind one that says only that it failed.
        if isinstance(error.__context__, ClientError):
            raise _answered(what, error.__context__, is_ours=is_ours) from error
        raise ServerUnavailable("the S3 store", error) from error
    except BotoCoreError as error:
        raise PermanentError(f"{what}: {error}") from error


def _answered(what: str, error: ClientError, *, is_ours: bool) -> HeadraceError:
    """What an answer of the store that is an error means."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code_of(error) in NOT_FOUND:
        return SourceNotFound(f"{what} is not there")
    if status >= _SERVER_ERROR or status == _TOO_MANY_REQUESTS or code_of(error) in _PASSING:
        return ServerUnavailable("the S3 store", error)
    # An answer to HEAD has the status and no code.
    if code_of(error) in _UNKNOWN_KEYS or (is_ours and status == _FORBIDDEN):
        return LoginRefused("the S3 store", f"{what}: {error}")
    return PermanentError(f"the S3 store refuses {what}: {error}")
