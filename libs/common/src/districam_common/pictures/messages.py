"""What goes through the pipes between a service and its children: a JSON head and a body, each behind its length."""

import json
import struct
from typing import Any, cast

MAX_HEAD_BYTES = 4 << 10
MAX_BODY_BYTES = 128 << 20
_LENGTHS = struct.Struct(">II")
LENGTHS_BYTES = _LENGTHS.size

MessageHead = dict[str, Any]


class BadMessageError(ValueError):
    """The bytes are no message of ours."""


def encode_message(head: MessageHead, *body: bytes) -> list[bytes]:
    """The pieces to be written, one after another."""
    text = json.dumps(head, separators=(",", ":")).encode()
    return [_LENGTHS.pack(len(text), sum(map(len, body))), text, *body]


def decode_lengths(data: bytes) -> tuple[int, int]:
    """Of head and body, from the `LENGTHS_BYTES` in front.

    Raises:
        BadMessageError: longer than any.
    """
    head, body = _LENGTHS.unpack(data)
    if head > MAX_HEAD_BYTES or body > MAX_BODY_BYTES:
        raise BadMessageError(f"a message of {head} and {body} bytes")
    return head, body


def decode_head(data: bytes) -> MessageHead:
    """Raises BadMessageError: not a JSON object."""
    try:
        found: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadMessageError("a head that is not JSON") from error
    if not isinstance(found, dict):
        raise BadMessageError("a head that is no object")
    return cast("MessageHead", found)
