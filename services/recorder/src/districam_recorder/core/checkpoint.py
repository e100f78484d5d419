"""The metadata of a group commit: watermark, last `seq` of each epoch, and marks that identify the log."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast
from uuid import UUID

from districam_common.contract.fields import INT32_MAX
from districam_common.contract.media import EPOCH
from districam_common.kafka import marks
from districam_common.kafka.marks import Mark

MAX_METADATA_BYTES = 4096
"""Kafka's default `offset.metadata.max.bytes`."""
_EPOCH_BYTES, _SEQ_BYTES = 16, 4
_ENTRY_BYTES = _EPOCH_BYTES + _SEQ_BYTES


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State that a recorder passes to the next owner of the partition.

    Attributes:
        log_us: the log is stored up to this broker time.
        seqs: the last announced `seq` of each epoch.
        since_us: records from the commit's offset on are not older than this, before the hold of `contact_s`
            that `log_us` is subject to; None: unknown.
        read: marks of records that were read, the last one first (see `districam_common.kafka.marks`).
    """

    log_us: int = 0
    seqs: Mapping[str, int] = field(default_factory=dict[str, int])
    since_us: int | None = None
    read: tuple[Mark, ...] = ()


def encode_checkpoint(checkpoint: Checkpoint, *, max_bytes: int = MAX_METADATA_BYTES) -> str:
    """JSON `{"log_us", "seq", "since_us", "read"}`, at most `max_bytes` long.

    If too long, `seqs` (packed) replaces `seq`. If still too long, the first epochs of the map are dropped,
    which lets a replay store some fragments again.
    """
    kept = list(checkpoint.seqs.items())
    if len(text := _format_json(checkpoint, {"seq": dict(kept)})) <= max_bytes:
        return text
    while len(text := _format_json(checkpoint, {"seqs": _pack_seqs(kept)})) > max_bytes and kept:
        kept = kept[max(1, (len(text) - max_bytes) // (2 * _ENTRY_BYTES)) :]
    return text


def _format_json(checkpoint: Checkpoint, seqs: Mapping[str, object]) -> str:
    since = {} if checkpoint.since_us is None else {"since_us": checkpoint.since_us}
    read = {"read": marks.encode_marks(checkpoint.read)} if checkpoint.read else {}
    return json.dumps({"log_us": checkpoint.log_us, **seqs, **since, **read}, separators=(",", ":"))


def _pack_seqs(seqs: Sequence[tuple[str, int]]) -> str:
    """Base64 of 20 bytes for each epoch: its UUID (16) and its `seq` (4, big-endian)."""
    entries = (UUID(epoch).bytes + seq.to_bytes(_SEQ_BYTES, "big") for epoch, seq in seqs)
    return base64.b64encode(b"".join(entries)).decode()


def decode_checkpoint(metadata: str) -> Checkpoint:
    """The inverse of `encode_checkpoint`. Unreadable parts take their defaults, so nothing is skipped."""
    try:
        decoded: object = json.loads(metadata)
    except ValueError:
        return Checkpoint()
    if not isinstance(decoded, dict):
        return Checkpoint()
    fields = cast("dict[str, object]", decoded)
    log_us, since_us = fields.get("log_us"), fields.get("since_us")
    return Checkpoint(
        log_us if type(log_us) is int else 0,
        {**_unpack_seqs(fields.get("seqs")), **_parse_seqs(fields.get("seq"))},
        since_us if type(since_us) is int else None,
        marks.decode_marks(fields.get("read")),
    )


def _parse_seqs(value: object) -> dict[str, int]:
    if not isinstance(value, dict):
        return {}
    pairs = cast("dict[str, object]", value)
    return {
        epoch: seq
        for epoch, seq in pairs.items()
        if type(seq) is int and 0 <= seq <= INT32_MAX and EPOCH.fullmatch(epoch)
    }


def _unpack_seqs(packed: object) -> dict[str, int]:
    if not isinstance(packed, str):
        return {}
    try:
        data = base64.b64decode(packed, validate=True)
    except ValueError:
        return {}
    entries = (data[n : n + _ENTRY_BYTES] for n in range(0, len(data) - _ENTRY_BYTES + 1, _ENTRY_BYTES))
    return {str(UUID(bytes=one[:_EPOCH_BYTES])): int.from_bytes(one[_EPOCH_BYTES:], "big") for one in entries}
