"""Operations on Redis as plain values. Each is idempotent, and any two commute."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AddScored:
    """ZADD; the score is a function of the member."""

    key: str
    member: bytes
    score: int


@dataclass(frozen=True, slots=True)
class RaiseScore:
    """ZADD GT: keeps the largest score ever given."""

    key: str
    member: str
    score: int


@dataclass(frozen=True, slots=True)
class SetField:
    """HSET; the value is a function of key and field."""

    key: str
    field: str
    value: bytes


@dataclass(frozen=True, slots=True)
class SetBits:
    """SETBIT 1 for each offset."""

    key: str
    offsets: range


@dataclass(frozen=True, slots=True)
class AddMember:
    """SADD."""

    key: str
    member: str


@dataclass(frozen=True, slots=True)
class ReplaceStill:
    """HSET and EXPIRE, unless the present still is as new or newer."""

    key: str
    at_us: int
    width: int
    height: int
    jpeg: bytes


Operation = AddScored | RaiseScore | SetField | SetBits | AddMember | ReplaceStill


@dataclass(slots=True)
class Batch:
    """Operations grouped by key, so that a replay takes one command for each key, not for each segment."""

    scored: dict[str, dict[bytes, int]] = field(default_factory=dict[str, dict[bytes, int]])
    max_scores: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    fields: dict[str, dict[str, bytes]] = field(default_factory=dict[str, dict[str, bytes]])
    bits: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    bitmaps: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """ORed with the present bitmap: bits are only ever set."""
    members: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    stills: dict[str, ReplaceStill] = field(default_factory=dict[str, ReplaceStill])

    def add(self, operation: Operation) -> None:
        """Adds an operation; their order does not matter."""
        match operation:
            case AddScored(key, member, score):
                self.scored.setdefault(key, {})[member] = score
            case RaiseScore(key, name, score):
                best = self.max_scores.setdefault(key, {})
                best[name] = max(score, best.get(name, score))
            case SetField(key, name, value):
                self.fields.setdefault(key, {})[name] = value
            case SetBits(key, offsets):
                self.bits.setdefault(key, set()).update(offsets)
            case AddMember(key, name):
                self.members.setdefault(key, set()).add(name)
            case _:
                known = self.stills.get(operation.key, operation)
                self.stills[operation.key] = max(known, operation, key=lambda still: still.at_us)


def to_batch(operations: Iterable[Operation]) -> Batch:
    """Groups operations into a batch."""
    batch = Batch()
    for operation in operations:
        batch.add(operation)
    return batch
