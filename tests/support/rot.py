"""Bits that rot on a broker's disk."""

import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path


def flip(home: Path, topic: str, partition: int, offset: int, *, bit: int = 0) -> "Spoilt":
    """Flips a bit near the end of the batch that holds `offset`, in the log that lies somewhere below `home`.

    Raises:
        LookupError: no batch there holds it.
    """
    for path in sorted(home.rglob(f"{topic}-{partition}/*.log")):
        for at, length, first, last in _batches(path.read_bytes()):
            if first <= offset <= last:
                spoilt = Spoilt(path, at + length - 20, bit)
                spoilt.turn()
                return spoilt
    raise LookupError(f"no batch of {topic}-{partition} holds {offset}")


def flip_every(home: Path, topic: str, partition: int) -> "list[Spoilt]":
    """Flips a bit near the end of each batch of the partition. Raises LookupError: it has none."""
    out: list[Spoilt] = []
    for path in sorted(home.rglob(f"{topic}-{partition}/*.log")):
        out += [Spoilt(path, at + length - 20, 0) for at, length, _, _ in _batches(path.read_bytes())]
    if not out:
        raise LookupError(f"{topic}-{partition} holds no batch")
    for spoilt in out:
        spoilt.turn()
    return out


@contextmanager
def flipped(home: Path, topic: str, partition: int, offset: int) -> Generator[None]:
    """The same, mended at the end: brokers are shared between tests."""
    spoilt = flip(home, topic, partition, offset)
    try:
        yield
    finally:
        spoilt.turn()


class Spoilt:
    """A bit of a file."""

    def __init__(self, path: Path, at: int, bit: int) -> None:
        self._path, self._at, self._bit = path, at, bit

    def turn(self) -> None:
        """Makes it the other of the two."""
        with self._path.open("r+b") as file:
            file.seek(self._at)
            (value,) = file.read(1)
            file.seek(self._at)
            file.write(bytes([value ^ 1 << self._bit]))


def _batches(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Where each begins, its length, its first and last offset (Kafka documentation, Message Format)."""
    at = 0
    while at + 61 <= len(data):
        first, length = struct.unpack_from(">qi", data, at)
        (delta,) = struct.unpack_from(">i", data, at + 23)
        yield at, 12 + length, first, first + delta
        at += 12 + length
