"""Opaque cursors of paged lists: where the last page ended, in a form that nobody is tempted to build."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from zlib import crc32

from districam_api.core.invalid_parameter import InvalidParameter

SortKey = Sequence[int | str]
"""The last item's place in its list's order."""

_LARGEST = 2**63 - 1
"""What the index and numpy can compare."""


def encode(at: SortKey) -> str:
    """The cursor that goes on after `at`."""
    body = json.dumps(list(at), separators=(",", ":")).encode()
    return urlsafe_b64encode(_check(body) + body).rstrip(b"=").decode()


def decode(cursor: str, form: tuple[type, ...]) -> tuple[int | str, ...]:
    """The inverse of `encode`; `form` is the types that such a list's positions have.

    Raises:
        Unacceptable: not a cursor that such a list gave out.
    """
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError as error:
        raise _invalid_cursor() from error
    if raw[:4] != _check(raw[4:]):
        raise _invalid_cursor()
    try:
        at = tuple(json.loads(raw[4:]))
    except (ValueError, TypeError, RecursionError) as error:  # anybody can compute the checksum
        raise _invalid_cursor() from error
    if tuple(map(type, at)) != form or any(isinstance(one, int) and abs(one) > _LARGEST for one in at):
        raise _invalid_cursor()
    return at


def _invalid_cursor() -> InvalidParameter:
    return InvalidParameter("cursor", "is not one that a page of this list gave as next")


def _check(body: bytes) -> bytes:
    return crc32(b"districam" + body).to_bytes(4, "big")
