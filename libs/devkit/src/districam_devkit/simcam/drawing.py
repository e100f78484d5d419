"""Draws the pictures of generated clips: camera, frame number and time in large digits over a moving pattern."""

import zlib
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]

# A 5 × 7 dot matrix font: five columns per character, lowest bit on top.
_CHARACTERS = "0123456789-.:ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_COLUMNS = bytes.fromhex(
    "3e5149453e 00427f4000 4261514946 2141454b31 1814127f10 2745454539 3c4a494930 0171090503 3649494936"
    "064949291e 0808080808 0060600000 0036360000 7e1111117e 7f49494936 3e41414122 7f4141221c 7f49494941"
    "7f09090901 3e4149497a 7f0808087f 00417f4100 2040413f01 7f08142241 7f40404040 7f020c027f 7f0408107f"
    "3e4141413e 7f09090906 3e4151215e 7f09192946 4649494931 01017f0101 3f4040403f 1f2040201f 3f4038403f"
    "6314081463 0708700807 6151494543"
)
_FONT = {character: _COLUMNS[index * 5 : index * 5 + 5] for index, character in enumerate(_CHARACTERS)}
_BLANK = bytes(5)


def pictures(label: str, width: int, height: int, fps: Fraction, count: int) -> Iterator[Plane]:
    """Yields `count` pictures as YUV 4:2:0 in one plane of height × 3/2 rows; width and height are even.

    Every picture is the same array, overwritten: copy it to keep it.
    """
    step = max(2, width // 160)
    texture = _texture(width + step * 64, height)
    picture = np.empty((height * 3 // 2, width), np.uint8)
    picture[height:] = _tint(label, width, height // 2)
    for index in range(count):
        shift = step * (index % 64 if index // 64 % 2 == 0 else 63 - index % 64)  # back and forth
        picture[:height] = texture[:, shift : shift + width]
        seconds = float(index / fps)
        _write(picture[:height], (label.upper(), f"{index:05d}", f"{seconds:05.2f}"))
        yield picture


def _texture(width: int, height: int) -> Plane:
    """Grey gradients with noise: enough detail for the encoder to need its bitrate."""
    rng = np.random.default_rng(1)
    slopes = np.add.outer(np.arange(height) * 120 // height, np.arange(width) // 3 % 96)
    grain = rng.integers(-10, 11, (height, width))
    return np.clip(slopes + grain + 24, 16, 235).astype(np.uint8)


def _tint(label: str, width: int, rows: int) -> Plane:
    """Chroma planes of one colour that depends on the camera."""
    code = zlib.crc32(label.encode())
    chroma = np.empty((rows, width), np.uint8)
    chroma[: rows // 2], chroma[rows // 2 :] = 96 + code % 64, 96 + (code >> 8) % 64
    return chroma


def _write(luma: Plane, lines: tuple[str, ...]) -> None:
    height, width = luma.shape
    longest = max(len(line) for line in lines)
    scale = max(1, min(height // (16 * len(lines)), width // (6 * longest + 2)))
    luma[: scale * 9 * len(lines), : scale * (6 * longest + 1)] = 20
    for row, line in enumerate(lines):
        top, left = scale * (9 * row + 1), scale
        drawn = glyphs(line).repeat(scale, 0).repeat(scale, 1)
        luma[top : top + drawn.shape[0], left : left + drawn.shape[1]] = drawn


def glyphs(line: str) -> Plane:
    """Renders the line as dots (bright pixels): seven rows, six columns per character."""
    columns = b"".join(_FONT.get(character, _BLANK) + b"\0" for character in line)
    bits = np.unpackbits(np.frombuffer(columns, np.uint8)[:, None], axis=1, bitorder="little")[:, :7].T
    return np.where(bits, 230, 20).astype(np.uint8)
