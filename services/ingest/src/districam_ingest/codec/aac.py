"""What an AAC stream is, by its AudioSpecificConfig (ISO/IEC 14496-3 section 1.6.2.1)."""

from dataclasses import dataclass

from districam_ingest.codec.nal import BitReader, BitstreamError

SAMPLING_RATES_HZ = (
    96_000,
    88_200,
    64_000,
    48_000,
    44_100,
    32_000,
    24_000,
    22_050,
    16_000,
    12_000,
    11_025,
    8_000,
    7_350,
)
MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 192_000
_CHANNELS = (0, 1, 2, 3, 4, 5, 6)
_ELEMENTS = ("", "S", "P", "SP", "SPS", "SPP", "SPPL")
"""Of each channel configuration (table 1.19): a single channel, a pair, low frequencies."""
_SILENT_CHANNEL_STREAM = (
    "0" * 8 + "0" * 11 + "0" * 3
)  # gain; ics_info without a scale factor band; no pulse, TNS, gain control
_ELEMENT_IDS = {"S": "000", "P": "001", "L": "011"}
_END_ELEMENT = "111"
_LC, _SBR, _PS, _ESCAPE = 2, 5, 29, 31


@dataclass(frozen=True, slots=True)
class AudioParameters:
    """One AAC track.

    Attributes:
        config: the AudioSpecificConfig as announced.
        clock_rate: ticks a second of its timestamps.
        codecs: RFC 6381.
        unit_ticks: how long an access unit lasts.
        silent_unit: the least access unit that there is: no spectrum at all, as no encoder writes it.
    """

    config: bytes
    clock_rate: int
    channels: int
    codecs: str
    unit_ticks: int
    silent_unit: bytes


def parse_audio_specific_config(config: bytes, clock_rate: int) -> AudioParameters:
    """The stream of that configuration, whose timestamps have `clock_rate` ticks a second.

    Raises:
        BitstreamError: no AAC that goes into an MP4 as it is: LC, or LC with SBR or PS.
    """
    bits = BitReader(config)
    kind, core_rate, channels = _parse_object_type(bits), _parse_sampling_rate(bits), bits.u(4)
    core = kind
    if kind in {_SBR, _PS}:
        _parse_sampling_rate(bits)  # what comes out; the access units count the core's samples
        core = _parse_object_type(bits)
    if core != _LC or not 0 < channels < len(_CHANNELS):
        raise BitstreamError(f"AAC of type {core} with {channels} channels")
    if not all(MIN_RATE_HZ <= one <= MAX_RATE_HZ for one in (clock_rate, core_rate)):
        raise BitstreamError(f"AAC of {core_rate} Hz, timed in {clock_rate} Hz")
    samples = 960 if bits.u(1) else 1024
    return AudioParameters(
        config=config,
        clock_rate=clock_rate,
        channels=_CHANNELS[channels],
        codecs=f"mp4a.40.{kind}",
        unit_ticks=round(samples * clock_rate / core_rate),
        silent_unit=_encode_silent_unit(channels),
    )


def _encode_silent_unit(channels: int) -> bytes:
    """A `raw_data_block` of that channel configuration (section 4.4.2.1)."""
    elements = _ELEMENTS[channels]
    bits = ""
    for n, kind in enumerate(elements):
        bits += f"{_ELEMENT_IDS[kind]}{elements[:n].count(kind):04b}"
        bits += (
            f"0{_SILENT_CHANNEL_STREAM * 2}" if kind == "P" else _SILENT_CHANNEL_STREAM
        )  # of a pair: no common window
    bits += _END_ELEMENT
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _parse_object_type(bits: BitReader) -> int:
    kind = bits.u(5)
    return 32 + bits.u(6) if kind == _ESCAPE else kind


def _parse_sampling_rate(bits: BitReader) -> int:
    index = bits.u(4)
    rate = bits.u(24) if index == 15 else (*SAMPLING_RATES_HZ, 0, 0)[index]
    if not rate:
        raise BitstreamError("AAC without a sampling rate")
    return rate
