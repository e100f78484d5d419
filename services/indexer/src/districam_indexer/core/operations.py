"""What is done to Redis, as plain values. Each is safe to repeat, and any two may be swapped."""

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AddScored:
    """ZADD: a member stands in a sorted set; its score is a function of it."""

    key: str
    member: bytes
    score: int


@dataclass(frozen=True, slots=True)
class RaiseScore:
    """ZADD GT: the member's score is the largest ever given."""

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
    """SETBIT 1, of each offset."""

    key: str
    offsets: range


@dataclass(frozen=True, slots=True)
class AddMember:
    """SADD."""

    key: str
    member: str


@dataclass(frozen=True, slots=True)
class ReplaceStill:
    """HSET and EXPIRE, unless what stands there is newer."""

    key: str
    at_us: int
    width: int
    height: int
    jpeg: bytes


Operation = AddScored | RaiseScore | SetField | SetBits | AddMember | ReplaceStill


@dataclass(slots=True)
class Batch:
    """Operations gathered by key, so that a replay of a whole hour is one command a key instead of one a segment."""

    scored: dict[str, dict[bytes, int]] = field(default_factory=dict[str, dict[bytes, int]])
    max_scores: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    fields: dict[str, dict[str, bytes]] = field(default_factory=dict[str, dict[str, bytes]])
    bits: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    bitmaps: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """To be laid over what stands there: bits are only ever set."""
    members: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    stills: dict[str, ReplaceStill] = field(default_factory=dict[str, ReplaceStill])

    def add(self, operation: Operation) -> None:
        """One more; the order of adding does not matter."""
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
    """All of `operations` by key."""
    batch = Batch()
    for operation in operations:
        batch.add(operation)
    return batch
