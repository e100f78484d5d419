"""Messages between a service and its child processes: the lengths of head and body, a JSON head, a binary body."""

import json
import struct
from typing import Any, cast

MAX_HEAD_BYTES = 4 << 10
MAX_BODY_BYTES = 128 << 20
_LENGTHS = struct.Struct(">II")
LENGTHS_BYTES = _LENGTHS.size

MessageHead = dict[str, Any]


class BadMessageError(ValueError):
    """The bytes are not a valid message."""


def encode_message(head: MessageHead, *body: bytes) -> list[bytes]:
    """The message in pieces to be written one after another; `body` may be in several pieces."""
    text = json.dumps(head, separators=(",", ":")).encode()
    return [_LENGTHS.pack(len(text), sum(map(len, body))), text, *body]


def decode_lengths(data: bytes) -> tuple[int, int]:
    """Lengths of head and body, from the first `LENGTHS_BYTES` of a message.

    Raises:
        BadMessageError: a length exceeds its maximum.
    """
    head, body = _LENGTHS.unpack(data)
    if head > MAX_HEAD_BYTES or body > MAX_BODY_BYTES:
        raise BadMessageError(f"the message is too long: head {head}, body {body} bytes")
    return head, body


def decode_head(data: bytes) -> MessageHead:
    """The head of a message. Raises BadMessageError if it is not a JSON object."""
    try:
        found: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadMessageError("the message's head is not JSON") from error
    if not isinstance(found, dict):
        raise BadMessageError("the message's head is not an object")
    return cast("MessageHead", found)
