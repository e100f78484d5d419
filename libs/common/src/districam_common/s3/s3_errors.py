"""What a store's answers mean for us. No answer ends a process but a refusal of our keys: what cannot be read is waited out."""

from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError

from districam_common.errors import DistricamError, Fatal, Rejected, Retriable
from districam_common.runtime import tls

MALFORMED_RESPONSE_ERRORS = (ValueError, SyntaxError, TypeError, AttributeError, LookupError, ArithmeticError)
"""What minio-py lets through from an answer that it did not expect: a date, a number or an element of another form; XML that
breaks off (a SyntaxError); HTML."""
CLIENT_ERRORS = (MinioException, HTTPError, OSError, *MALFORMED_RESPONSE_ERRORS)
"""Whatever comes out of a call. OSError: TimeoutError too."""
_MAX_MESSAGE_CHARS = 300
"""Of a message: minio-py quotes whole pages."""
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
    """The key is taken already."""


class ObjectNotFound(Rejected):
    """There is no such object."""


class UnsupportedRequest(Rejected):
    """The store does not know this kind of request."""


class LockRefused(Rejected):
    """The store does not take the lock that was asked for with an object, and perhaps the object without it."""


def is_object_locked(code: str | None, message: str | None) -> bool:
    """Whether a store refuses to delete a version because it is locked: under legal hold, or retained.

    S3, SeaweedFS and VersityGW say `AccessDenied` or `ObjectLocked`; MinIO and Silo `InvalidRequest`, and why in words.
    """
    return code in {"AccessDenied", "ObjectLocked"} or (code == "InvalidRequest" and "WORM" in (message or ""))


def may_be_lock_refusal(error: BaseException | None) -> bool:
    """Whether the store's answer to a put with a lock may be about the lock.

    That the bucket has no object lock, that the time is over, or that our keys may not, stores say with any of these codes.
    """
    return isinstance(error, S3Error) and error.code in _LOCK_CODES


def translate_error(error: Exception, what: str, server: str = "the store") -> DistricamError:
    """The error of ours for one of minio-py's, urllib3's, a socket's, or for an answer that cannot be read."""
    if why := tls.certificate_error(error):
        return Fatal(f"{what}: {server}: {why}")
    if isinstance(error, S3Error):
        where = f" ({server})" if error.code in _FATAL_CODES else ""
        return _error_of_code(error.code or "", f"{what}: {error.code}: {_short(error.message)}{where}")
    if isinstance(error, ServerError) and error.status_code == 412:  # a HEAD or PUT whose answer has no body
        return ObjectExists(what)
    if isinstance(error, (ServerError, InvalidResponseError, HTTPError, OSError)):
        return Retriable(f"{what}: {type(error).__name__}: {_short(error) or 'no answer in time'}")
    if isinstance(error, MALFORMED_RESPONSE_ERRORS):
        return Retriable(f"{what}: {server} answers what cannot be read: {type(error).__name__}: {_short(error)}")
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
