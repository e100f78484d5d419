"""Parser of the AAC AudioSpecificConfig (ISO/IEC 14496-3 section 1.6.2.1), and silent AAC access units."""

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
"""By samplingFrequencyIndex (table 1.18)."""
MIN_RATE_HZ, MAX_RATE_HZ = 4_000, 192_000
_CHANNELS = (0, 1, 2, 3, 4, 5, 6)
_ELEMENTS = ("", "S", "P", "SP", "SPS", "SPP", "SPPL")
"""Syntactic elements of each channelConfiguration (table 1.19): S single_channel_element, P
channel_pair_element, L lfe."""
# individual_channel_stream: global_gain; ics_info with max_sfb = 0; no pulse_data, tns_data or
# gain_control_data.
_SILENT_CHANNEL_STREAM = "0" * 8 + "0" * 11 + "0" * 3
_ELEMENT_IDS = {"S": "000", "P": "001", "L": "011"}  # id_syn_ele: ID_SCE, ID_CPE, ID_LFE
_END_ELEMENT = "111"  # ID_END
_LC, _SBR, _PS, _ESCAPE = 2, 5, 29, 31  # audioObjectType (table 1.17)


@dataclass(frozen=True, slots=True)
class AudioParameters:
    """Parameters of one AAC track.

    Attributes:
        config: the AudioSpecificConfig as announced.
        clock_rate: timestamp ticks per second.
        codecs: the RFC 6381 codec string.
        unit_ticks: duration of an access unit, in ticks of `clock_rate`.
        silent_unit: a silent access unit without spectral data; shorter than any that an encoder writes.
    """

    config: bytes
    clock_rate: int
    channels: int
    codecs: str
    unit_ticks: int
    silent_unit: bytes


def parse_audio_specific_config(config: bytes, clock_rate: int) -> AudioParameters:
    """Parses the AudioSpecificConfig of a track whose timestamps have `clock_rate` ticks per second.

    Raises:
        BitstreamError: malformed, or not AAC-LC, alone or with SBR or PS: no other type is stored.
    """
    bits = BitReader(config)
    object_type, core_rate = _parse_object_type(bits), _parse_sampling_rate(bits)
    channels = bits.u(4)  # channelConfiguration
    core_type = object_type
    if object_type in {_SBR, _PS}:
        _parse_sampling_rate(bits)  # extensionSamplingFrequency, of the output: unused
        core_type = _parse_object_type(bits)
    if core_type != _LC or not 0 < channels < len(_CHANNELS):
        raise BitstreamError(f"unsupported AAC: audioObjectType {core_type}, channelConfiguration {channels}")
    if not all(MIN_RATE_HZ <= rate <= MAX_RATE_HZ for rate in (clock_rate, core_rate)):
        raise BitstreamError(f"unsupported AAC: {core_rate} Hz, RTP clock rate {clock_rate} Hz")
    samples = 960 if bits.u(1) else 1024  # frameLengthFlag (GASpecificConfig, section 4.4.1)
    return AudioParameters(
        config=config,
        clock_rate=clock_rate,
        channels=_CHANNELS[channels],
        codecs=f"mp4a.40.{object_type}",
        unit_ticks=round(samples * clock_rate / core_rate),
        silent_unit=_encode_silent_unit(channels),
    )


def _encode_silent_unit(channels: int) -> bytes:
    """A silent `raw_data_block` of a channelConfiguration (section 4.4.2.1)."""
    elements = _ELEMENTS[channels]
    bits = ""
    for n, kind in enumerate(elements):
        bits += f"{_ELEMENT_IDS[kind]}{elements[:n].count(kind):04b}"  # id_syn_ele, element_instance_tag
        # A pair begins with common_window, here 0.
        bits += f"0{_SILENT_CHANNEL_STREAM * 2}" if kind == "P" else _SILENT_CHANNEL_STREAM
    bits += _END_ELEMENT
    bits += "0" * (-len(bits) % 8)  # byte_alignment()
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _parse_object_type(bits: BitReader) -> int:
    object_type = bits.u(5)  # audioObjectType
    return 32 + bits.u(6) if object_type == _ESCAPE else object_type  # audioObjectTypeExt


def _parse_sampling_rate(bits: BitReader) -> int:
    index = bits.u(4)  # samplingFrequencyIndex
    rate = bits.u(24) if index == 15 else (*SAMPLING_RATES_HZ, 0, 0)[index]  # samplingFrequency
    if not rate:
        raise BitstreamError("AAC with a reserved sampling frequency index, or a sampling frequency of 0")
    return rate
