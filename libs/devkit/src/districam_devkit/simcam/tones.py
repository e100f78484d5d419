# The type stubs of av leave the type argument of Packet open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""A simulated camera's audio: a beep at each full second since its start, with a pitch for each of eight seconds.

Faint noise between the beeps makes all access units of a loop different. From decoded audio a test can tell when a
picture's second was.
"""

import functools
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

Encoding = Literal["aac", "pcm_mulaw", "pcm_alaw"]

LOOP_S = 8
BEEP_S = 0.2
MIN_BEEP_HZ, STEP_HZ = 500, 100
AAC_UNIT_SAMPLES = 1024
G711_UNIT_SAMPLES = 160
"""20 ms at 8 kHz, the usual packet length of cameras."""


@dataclass(frozen=True, slots=True)
class Tone:
    """A loop of `LOOP_S` seconds as access units of equal length, in samples.

    Attributes:
        config: the AudioSpecificConfig of AAC (ISO/IEC 14496-3, 1.6.2.1).
    """

    encoding: Encoding
    sample_rate: int
    unit_samples: int
    access_units: tuple[bytes, ...]
    config: bytes = b""


def loop_samples(rate: int) -> NDArray[np.float32]:
    """Returns the loop's samples."""
    at_s = np.arange(LOOP_S * rate) / rate
    pitch = MIN_BEEP_HZ + STEP_HZ * at_s.astype(int)
    beep = 0.5 * np.sin(2 * np.pi * pitch * at_s) * (at_s % 1 < BEEP_S)
    noise = np.random.default_rng(1).normal(0, 0.002, at_s.size)
    return (beep + noise).astype(np.float32)


@functools.cache
def tone(encoding: Encoding, rate: int = 16_000) -> Tone:
    """Returns the encoded loop.

    Raises:
        ValueError: the loop is not a whole number of access units.
    """
    unit = AAC_UNIT_SAMPLES if encoding == "aac" else G711_UNIT_SAMPLES
    if LOOP_S * rate % unit:
        raise ValueError(f"{LOOP_S} s of {rate} Hz are no whole number of units of {unit}")
    context = av.CodecContext.create(encoding, "w")
    assert isinstance(context, AudioCodecContext)
    context.sample_rate, context.layout = rate, "mono"
    context.format = "fltp" if encoding == "aac" else "s16"
    context.time_base = Fraction(1, rate)
    if encoding == "aac":
        context.bit_rate = 32_000
        context.flags |= 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER: puts the configuration into extradata
    units = _encoded(context, np.tile(loop_samples(rate), 3), unit)
    count = LOOP_S * rate // unit
    # the second of three loops, so that the encoder has context on both sides
    found = tuple(units[n * unit] for n in range(count, 2 * count))
    return Tone(encoding, rate, unit, found, bytes(context.extradata or b""))


def _encoded(context: AudioCodecContext, samples: NDArray[np.float32], unit: int) -> dict[int, bytes]:
    """Returns access units by their first sample, corrected for the encoder's delay."""
    packets: list[tuple[int, bytes]] = []
    for start in range(0, samples.size, unit):
        part = samples[None, start : start + unit]
        if context.format.name == "s16":
            part = (part * 32_767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(part, format=context.format.name, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = context.sample_rate, start, context.time_base
        packets += [(packet.pts or 0, bytes(packet)) for packet in context.encode(frame)]
    packets += [(packet.pts or 0, bytes(packet)) for packet in context.encode(None)]
    return dict(packets)
