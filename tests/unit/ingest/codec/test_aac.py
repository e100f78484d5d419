# The stubs of av leave the type argument of Packet open.
# pyright: reportUnknownMemberType=false
"""Parsing of AudioSpecificConfig, and silent access units."""

import av
import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext
from hypothesis import given
from hypothesis import strategies as st

from districam_ingest.codec.aac import SAMPLING_RATES_HZ, parse_audio_specific_config
from districam_ingest.codec.nal import BitstreamError


def config(kind: int = 2, index: int = 8, channels: int = 1, rest: int = 0) -> bytes:
    return (kind << 11 | index << 7 | channels << 3 | rest).to_bytes(2, "big")


@pytest.mark.parametrize(
    ("data", "rate", "expected"),
    [
        (config(), 16_000, (1, "mp4a.40.2", 1024)),
        (config(index=4, channels=2), 44_100, (2, "mp4a.40.2", 1024)),
        (config(rest=4), 16_000, (1, "mp4a.40.2", 960)),
        (config() + bytes.fromhex("56e500"), 16_000, (1, "mp4a.40.2", 1024)),  # signals that there is no SBR
        (bytes.fromhex("2b118800"), 48_000, (2, "mp4a.40.5", 2048)),  # SBR: 24 kHz inside, 48 outside
        (bytes.fromhex("17801f4008"), 16_000, (1, "mp4a.40.2", 1024)),  # 16,000 Hz as samplingFrequency
    ],
)
def test_the_audio_specific_config_is_parsed(data: bytes, rate: int, expected: tuple[int, str, int]):
    parameters = parse_audio_specific_config(data, rate)
    assert (parameters.channels, parameters.codecs, parameters.unit_ticks) == expected
    assert (parameters.config, parameters.clock_rate) == (data, rate)


@pytest.mark.parametrize(
    "data", [b"", b"\x14", config(kind=1), config(kind=31), config(channels=0), config(channels=7), config(index=13)]
)
def test_unsupported_configurations_are_rejected(data: bytes):
    with pytest.raises(BitstreamError):
        parse_audio_specific_config(data, 16_000)


@pytest.mark.parametrize("rate", [0, 1, 3_999, 200_000])
def test_clock_rates_out_of_range_are_rejected(rate: int):
    with pytest.raises(BitstreamError):
        parse_audio_specific_config(config(), rate)


@given(st.binary(max_size=8), st.integers(0, 1 << 20))
def test_any_bytes_are_parsed_or_raise_bitstream_error(data: bytes, rate: int):
    try:
        parameters = parse_audio_specific_config(data, rate)
    except BitstreamError:
        return
    assert parameters.unit_ticks > 10  # a duration of 0 would stop the track's timeline


@pytest.mark.parametrize("channels", range(1, 7))
@pytest.mark.parametrize("index", [3, 8, 11])
def test_the_silent_unit_decodes_to_silence(channels: int, index: int):
    data = config(index=index, channels=channels)
    context = av.CodecContext.create("aac", "r")
    assert isinstance(context, AudioCodecContext)
    context.extradata, context.sample_rate = data, SAMPLING_RATES_HZ[index]
    context.options = {"err_detect": "explode"}
    frames = [
        f for _ in range(3) for f in context.decode(av.Packet(parse_audio_specific_config(data, 16_000).silent_unit))
    ]
    assert sum(frame.samples for frame in frames) == 3 * 1024
    assert not any(np.abs(frame.to_ndarray()).max() for frame in frames)
