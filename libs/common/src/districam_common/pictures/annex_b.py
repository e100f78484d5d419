"""Converts a keyframe of an MP4 to the byte stream format with parameter sets (H.264 and H.265 Annex B). Pure."""

from collections.abc import Iterator

_START = b"\0\0\0\1"


def to_annex_b(codec: str, config: bytes, sample: bytes) -> bytes:
    """The parameter sets of an avcC or hvcC record, then the NAL units of a sample (four-byte lengths), as Annex B.

    Raises:
        ValueError: either violates ISO/IEC 14496-15.
    """
    try:
        sets = list(_avc_sets(config) if codec == "h264" else _hevc_sets(config))
        units = list(_units(sample))
    except IndexError as error:
        raise ValueError("the decoder configuration record is truncated") from error
    return b"".join(_START + unit for unit in (*sets, *units))


def _avc_sets(config: bytes) -> Iterator[bytes]:
    """Parameter sets of an AVCDecoderConfigurationRecord (ISO/IEC 14496-15 section 5.3.3.1.2)."""
    count, at = config[5] & 31, 6  # numOfSequenceParameterSets, 5 bits
    for n in range(2):
        for _ in range(count):
            unit, at = _read_parameter_set(config, at)
            yield unit
        if n == 0:
            count, at = config[at], at + 1  # numOfPictureParameterSets


def _hevc_sets(config: bytes) -> Iterator[bytes]:
    """Parameter sets of an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 section 8.3.3.1.2)."""
    arrays, at = config[22], 23  # numOfArrays
    for _ in range(arrays):
        count, at = config[at + 1] << 8 | config[at + 2], at + 3  # numNalus, after the byte with NAL_unit_type
        for _ in range(count):
            unit, at = _read_parameter_set(config, at)
            yield unit


def _read_parameter_set(data: bytes, at: int) -> tuple[bytes, int]:
    end = (
        at + 2 + (data[at] << 8 | data[at + 1])
    )  # sequenceParameterSetLength, pictureParameterSetLength, nalUnitLength
    if end > len(data):
        raise ValueError("a parameter set is truncated")
    return data[at + 2 : end], end


def _units(sample: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(sample):
        end = at + 4 + int.from_bytes(sample[at : at + 4], "big")  # NALUnitLength
        if end > len(sample) or end == at + 4:
            raise ValueError("a NAL unit is truncated or empty")
        yield sample[at + 4 : end]
        at = end
