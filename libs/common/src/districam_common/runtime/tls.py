"""Detects certificate verification failures, which retrying cannot fix."""

import ssl
from collections.abc import Iterator


def certificate_error(error: BaseException) -> str | None:
    """The verification failure that caused `error`, in words; None if it has another cause. Follows wrapped errors."""
    for one in _error_chain(error, set()):
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {one.verify_message}"
    return None


def _error_chain(error: object, seen: set[int]) -> Iterator[BaseException]:
    if not isinstance(error, BaseException) or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    for inner in (error.__cause__, error.__context__, getattr(error, "reason", None), *error.args):
        yield from _error_chain(inner, seen)
