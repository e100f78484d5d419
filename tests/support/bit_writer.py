"""Writes parameter sets bit by bit with the descriptors of H.264 and H.265 (7.2, 9.1 and 9.2)."""

from typing import Self


class BitWriter:
    """`text` has one character per bit written."""

    def __init__(self, text: str = "") -> None:
        self.text = text

    def u(self, count: int, *values: int) -> Self:
        """Writes each value (`u(count)`) as an unsigned integer of `count` bits."""
        self.text += "".join(f"{value:0{count}b}" for value in values)
        return self

    def ue(self, *values: int) -> Self:
        """Writes each value (`ue(v)`) as unsigned Exp-Golomb code."""
        for value in values:
            self.text += f"{value + 1:b}".zfill(2 * (value + 1).bit_length() - 1)
        return self

    def se(self, *values: int) -> Self:
        """Writes each value (`se(v)`) as signed Exp-Golomb code."""
        return self.ue(*(2 * value - 1 if value > 0 else -2 * value for value in values))

    def rbsp(self) -> bytes:
        """All bits followed by rbsp_trailing_bits, without emulation prevention."""
        text = self.text + "1"
        size = -(-len(text) // 8)
        return int(text.ljust(8 * size, "0"), 2).to_bytes(size, "big")
