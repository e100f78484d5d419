"""A keyframe as MP4 has it into one that carries its own parameter sets (H.264 and H.265 Annex B). Pure."""

from collections.abc import Iterator

_START = b"\0\0\0\1"


def to_annex_b(codec: str, config: bytes, sample: bytes) -> bytes:
    """Parameter sets of an avcC or hvcC box, then the NAL units of a sample whose lengths take four bytes.

    Raises:
        ValueError: either is not what ISO/IEC 14496-15 says.
    """
    try:
        sets = list(_avc_sets(config) if codec == "h264" else _hevc_sets(config))
        units = list(_units(sample))
    except IndexError as error:
        raise ValueError("a decoder configuration that ends early") from error
    return b"".join(_START + unit for unit in (*sets, *units))


def _avc_sets(config: bytes) -> Iterator[bytes]:
    """AVCDecoderConfigurationRecord, section 5.3.3.1.2: the count of SPS in five bits, of PPS in eight."""
    count, at = config[5] & 31, 6
    for n in range(2):
        for _ in range(count):
            unit, at = _read_parameter_set(config, at)
            yield unit
        if n == 0:
            count, at = config[at], at + 1


def _hevc_sets(config: bytes) -> Iterator[bytes]:
    """HEVCDecoderConfigurationRecord, section 8.3.3.1.2: arrays by type, behind 22 bytes."""
    arrays, at = config[22], 23
    for _ in range(arrays):
        count, at = config[at + 1] << 8 | config[at + 2], at + 3
        for _ in range(count):
            unit, at = _read_parameter_set(config, at)
            yield unit


def _read_parameter_set(data: bytes, at: int) -> tuple[bytes, int]:
    end = at + 2 + (data[at] << 8 | data[at + 1])
    if end > len(data):
        raise ValueError("a parameter set that ends early")
    return data[at + 2 : end], end


def _units(sample: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(sample):
        end = at + 4 + int.from_bytes(sample[at : at + 4], "big")
        if end > len(sample) or end == at + 4:
            raise ValueError("a NAL unit that ends early")
        yield sample[at + 4 : end]
        at = end
