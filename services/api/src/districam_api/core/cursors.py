"""Opaque cursors of paged lists: the sort key of the last item, with a checksum against hand-made ones."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from zlib import crc32

from districam_api.core.invalid_parameter import InvalidParameter

SortKey = Sequence[int | str]
"""An item's position in the order of its list."""

_LARGEST = 2**63 - 1
"""The largest integer that the index and numpy can compare."""


def encode(at: SortKey) -> str:
    """The cursor of the page that follows `at`."""
    body = json.dumps(list(at), separators=(",", ":")).encode()
    return urlsafe_b64encode(_check(body) + body).rstrip(b"=").decode()


def decode(cursor: str, form: tuple[type, ...]) -> tuple[int | str, ...]:
    """Inverse of `encode`; `form` is the types of the list's sort keys.

    Raises:
        InvalidParameter: not a cursor of such a list.
    """
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError as error:
        raise _invalid_cursor() from error
    if raw[:4] != _check(raw[4:]):
        raise _invalid_cursor()
    try:
        at = tuple(json.loads(raw[4:]))
    except (ValueError, TypeError, RecursionError) as error:  # a client can forge the checksum
        raise _invalid_cursor() from error
    if tuple(map(type, at)) != form or any(isinstance(one, int) and abs(one) > _LARGEST for one in at):
        raise _invalid_cursor()
    return at


def _invalid_cursor() -> InvalidParameter:
    return InvalidParameter("cursor", "is not a `next` value of this list")


def _check(body: bytes) -> bytes:
    return crc32(b"districam" + body).to_bytes(4, "big")
