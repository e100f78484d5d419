"""The audio codecs that are recorded. A new one is an entry here, a depacketizer in `rtsp`, and its `AudioParameters`."""

from dataclasses import dataclass
from typing import Final

G711_RATE_HZ: Final = 8_000


@dataclass(frozen=True, slots=True)
class AudioCodec:
    """An audio codec as RTP names it.

    Attributes:
        name: libavcodec's name, which both readers use.
        encoding: the RTP payload format's name (IANA), in capitals.
        clock_rate: the only RTP clock rate; None: the SDP says which.
        static_payload_type: the one that needs no rtpmap (RFC 3551 section 6); None: there is none.
        is_transcoded: MP4 has no sample entry for it: it is stored as AAC.
    """

    name: str
    encoding: str
    clock_rate: int | None = None
    static_payload_type: int | None = None
    is_transcoded: bool = False


AUDIO_CODECS: Final = (
    AudioCodec("aac", "MPEG4-GENERIC"),  # RFC 3640 section 4.1
    AudioCodec("pcm_mulaw", "PCMU", G711_RATE_HZ, static_payload_type=0, is_transcoded=True),
    AudioCodec("pcm_alaw", "PCMA", G711_RATE_HZ, static_payload_type=8, is_transcoded=True),
)
BY_ENCODING: Final = {codec.encoding: codec for codec in AUDIO_CODECS}
BY_STATIC_PAYLOAD_TYPE: Final = {
    str(c.static_payload_type): c for c in AUDIO_CODECS if c.static_payload_type is not None
}
STORED: Final = frozenset(codec.name for codec in AUDIO_CODECS if not codec.is_transcoded)
"""Names of the codecs that are stored as the camera sends them."""
TRANSCODED: Final = frozenset(codec.name for codec in AUDIO_CODECS if codec.is_transcoded)
