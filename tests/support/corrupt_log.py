"""Flips bits in a broker's log files."""

import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path


def flip_bit(home: Path, topic: str, partition: int, offset: int, *, bit: int = 0) -> "FlippedBit":
    """Flips a bit near the end of the batch with `offset`, in the log somewhere below `home`.

    Raises:
        LookupError: no batch has it.
    """
    for path in sorted(home.rglob(f"{topic}-{partition}/*.log")):
        for at, length, first, last in _batches(path.read_bytes()):
            if first <= offset <= last:
                flipped_bit = FlippedBit(path, at + length - 20, bit)
                flipped_bit.toggle()
                return flipped_bit
    raise LookupError(f"no batch of {topic}-{partition} holds {offset}")


def flip_bit_in_every_batch(home: Path, topic: str, partition: int) -> "list[FlippedBit]":
    """Flips a bit near the end of each batch of the partition. Raises LookupError if it has none."""
    out: list[FlippedBit] = []
    for path in sorted(home.rglob(f"{topic}-{partition}/*.log")):
        out += [FlippedBit(path, at + length - 20, 0) for at, length, _, _ in _batches(path.read_bytes())]
    if not out:
        raise LookupError(f"{topic}-{partition} holds no batch")
    for flipped in out:
        flipped.toggle()
    return out


@contextmanager
def flipped_during_block(home: Path, topic: str, partition: int, offset: int) -> Generator[None]:
    """Flips a bit during the block and restores it, as brokers are shared between tests."""
    flipped_bit = flip_bit(home, topic, partition, offset)
    try:
        yield
    finally:
        flipped_bit.toggle()


class FlippedBit:
    """Position of a bit in a file."""

    def __init__(self, path: Path, at: int, bit: int) -> None:
        self._path, self._at, self._bit = path, at, bit

    def toggle(self) -> None:
        """Inverts the bit."""
        with self._path.open("r+b") as file:
            file.seek(self._at)
            (value,) = file.read(1)
            file.seek(self._at)
            file.write(bytes([value ^ 1 << self._bit]))


def _batches(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Position, length, first and last offset of each batch (Kafka documentation, Message Format)."""
    at = 0
    while at + 61 <= len(data):
        first, length = struct.unpack_from(">qi", data, at)
        (delta,) = struct.unpack_from(">i", data, at + 23)
        yield at, 12 + length, first, first + delta
        at += 12 + length
