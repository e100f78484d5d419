"""The metadata of a commit: how far the truth has got, and what a replay may skip."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

METADATA_MAX_BYTES = 4096
"""Kafka's default `offset.metadata.max.bytes`."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`log_us`: the log is stored up to this broker time. `seqs`: the last announced `seq` of each epoch."""

    log_us: int = 0
    seqs: Mapping[str, int] = field(default_factory=dict[str, int])


def dump(checkpoint: Checkpoint, *, limit: int = METADATA_MAX_BYTES) -> str:
    """JSON `{"log_us", "seq"}`. Too long: the epochs that come last in `seqs` are kept, which costs a replay some repeats."""
    kept = list(checkpoint.seqs.items())
    while len(text := _text(checkpoint.log_us, kept)) > limit:
        kept = kept[max(1, (len(text) - limit) // 64) :]
    return text


def _text(log_us: int, seqs: list[tuple[str, int]]) -> str:
    return json.dumps({"log_us": log_us, "seq": dict(seqs)}, separators=(",", ":"))


def parse(metadata: str) -> Checkpoint:
    """The inverse of `dump`. What cannot be read counts as lost, which is harmless: nothing is skipped, nothing moves on."""
    try:
        found: object = json.loads(metadata)
    except ValueError:
        return Checkpoint()
    if not isinstance(found, dict):
        return Checkpoint()
    fields = cast("dict[str, object]", found)
    log_us, seqs = fields.get("log_us"), fields.get("seq")
    return Checkpoint(log_us if type(log_us) is int else 0, _seqs(seqs))


def _seqs(found: object) -> dict[str, int]:
    if not isinstance(found, dict):
        return {}
    pairs = cast("dict[str, object]", found)
    return {epoch: seq for epoch, seq in pairs.items() if type(seq) is int}
