"""Translates errors of the store and of minio-py. Only rejected credentials are Fatal; malformed responses are retried."""

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError

from districam_common.errors import DistricamError, Fatal, Rejected, Retriable
from districam_common.runtime import tls

MALFORMED_RESPONSE_ERRORS = (ValueError, SyntaxError, TypeError, AttributeError, LookupError, ArithmeticError)
"""Errors that minio-py raises for unexpected responses: malformed dates, numbers or elements; truncated XML (SyntaxError);
HTML."""
CLIENT_ERRORS = (MinioException, HTTPError, OSError, *MALFORMED_RESPONSE_ERRORS)
"""All errors of a call; OSError includes TimeoutError."""
_MAX_MESSAGE_CHARS = 300
"""Longer messages are truncated: minio-py quotes whole response bodies."""
_BUCKET_MISSING = "the bucket is missing: run districam-bucket apply"
_FATAL_CODES = frozenset({"AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidBucketName"})
_UNSUPPORTED_CODES = frozenset({"NotImplemented", "MethodNotAllowed"})
_REJECTED_CODES = frozenset(
    {"EntityTooLarge", "KeyTooLongError", "MetadataTooLarge", "InvalidRange", "InvalidArgument"}
)
_LOCK_CODES = frozenset(
    {
        *("AccessDenied", "InvalidRequest", "InvalidArgument", "NotImplemented", "MethodNotAllowed"),
        *("InvalidRetentionPeriod", "ObjectLockConfigurationNotFoundError", "InvalidBucketState"),
    }
)


class ObjectExists(Rejected):
    """An object with this key exists."""


class ObjectNotFound(Rejected):
    """The object does not exist."""


class UnsupportedRequest(Rejected):
    """The store does not support this kind of request."""


class LockRefused(Rejected):
    """The store rejected an object, perhaps because of its lock; it may accept it without."""


def is_object_locked(code: str | None, message: str | None) -> bool:
    """Whether a store refuses to delete a version because it is locked: under legal hold, or retained.

    S3, SeaweedFS and VersityGW return `AccessDenied` or `ObjectLocked`; MinIO and Silo `InvalidRequest` with a message.
    """
    return code in {"AccessDenied", "ObjectLocked"} or (code == "InvalidRequest" and "WORM" in (message or ""))


def may_be_lock_refusal(error: BaseException | None) -> bool:
    """Whether the store's error for a PUT with a lock may be due to the lock.

    Stores use any of these codes for a bucket without object lock, a date in the past, or a missing permission.
    """
    return isinstance(error, S3Error) and error.code in _LOCK_CODES


def translate_error(error: Exception, what: str, server: str = "the store") -> DistricamError:
    """Maps an error of minio-py, urllib3 or a socket, or of a malformed response; `what` was being done."""
    if why := tls.certificate_error(error):
        return Fatal(f"{what}: {server}: {why}")
    if isinstance(error, S3Error):
        where = f" ({server})" if error.code in _FATAL_CODES else ""
        return _error_of_code(error.code or "", f"{what}: {error.code}: {_short(error.message)}{where}")
    if isinstance(error, ServerError) and error.status_code == 412:  # Precondition Failed without a body
        return ObjectExists(what)
    if isinstance(error, (ServerError, InvalidResponseError, HTTPError, OSError)):
        return Retriable(f"{what}: {type(error).__name__}: {_short(error) or 'no answer in time'}")
    if isinstance(error, MALFORMED_RESPONSE_ERRORS):
        return Retriable(f"{what}: malformed response from {server}: {type(error).__name__}: {_short(error)}")
    return Rejected(f"{what}: {_short(error)}")


def _short(message: object) -> str:
    text = str(message or "")
    return text if len(text) <= _MAX_MESSAGE_CHARS else f"{text[:_MAX_MESSAGE_CHARS]}…"


def _error_of_code(code: str, message: str) -> DistricamError:
    if code == "PreconditionFailed":
        return ObjectExists(message)
    if code == "NoSuchKey":
        return ObjectNotFound(message)
    if code == "NoSuchBucket":
        return Retriable(f"{message}; {_BUCKET_MISSING}")
    if code in _FATAL_CODES:
        return Fatal(message)
    if code in _UNSUPPORTED_CODES:
        return UnsupportedRequest(message)
    if code in _REJECTED_CODES:
        return Rejected(message)
    return Retriable(message)
