"""Responses and media of a malicious camera. Pure; `Fault` describes each kind."""

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np

from districam_devkit.bitstream import escape
from districam_devkit.simcam import rtp

if TYPE_CHECKING:
    from numpy.typing import NDArray

ResponseAttack = Literal["banner", "headers", "endless", "length", "astray", "downgrade"]
MediaAttack = Literal["epochs", "late", "exploding", "vast", "units", "crumbs", "confetti", "unending", "reports"]
Attack = Literal[ResponseAttack, MediaAttack]
RESPONSE_ATTACKS: Final[frozenset[str]] = frozenset(get_args(ResponseAttack))
MEDIA_ATTACKS: Final[tuple[MediaAttack, ...]] = get_args(MediaAttack)

CHUNK: Final = b"X-Header: " + b"x" * 65_526 + b"\r\n"
"""Repeated without end by endless responses."""
OTHER_HOST_URL: Final = "rtsp://localhost:1/elsewhere"
"""A redirect to another host by name, where nothing listens."""
LATE_S, LATE_INTERVAL_S, LATE_BYTES = 1.5, 14.0, 200_000
TINY_FRAGMENTS, TINY_PICTURES, NAL_UNITS, FRAGMENTS, SENDER_REPORTS = 16_000, 12_000, 250_000, 250, 500
"""Units sent within the time of one picture, about 300 kB."""
_UNITS_A_PACKET: Final = 4_000
_PACKET: Final = np.dtype([("head", "V6"), ("seq", ">u2"), ("timestamp", ">u4"), ("ssrc", ">u4"), ("payload", "V2")])
"""An interleaved RTP packet with a payload of two bytes."""
_BANNER: Final = "Cam\u202e" + "B" * 3_900


def attack_response(kind: str | None, method: str, cseq: str, *, authorization: str) -> bytes | None:
    """Returns the response that replaces the honest one, or None. `CHUNK` follows an endless one (see `is_endless`)."""
    first = f"RTSP/1.0 %s\r\nCSeq: {cseq}\r\n"
    wanted_scheme = {"DESCRIBE": "Digest", "SETUP": "Basic"}.get(method)
    if kind == "downgrade" and wanted_scheme is not None and not authorization.startswith(wanted_scheme):
        challenge = f'WWW-Authenticate: {wanted_scheme} realm="r", nonce="n"\r\n\r\n'
        return (first % "401 Unauthorized" + challenge).encode()
    answers: dict[str | None, str] = {
        "headers": first % "401 Unauthorized" + f"WWW-Authenticate: Digest {'a' * 60_000}\r\n\r\n",
        "endless": first % "200 OK",
        "length": first % "200 OK" + "Content-Length: 2147483648\r\n\r\n",
        "astray": first % "302 Found" + f"Location: {OTHER_HOST_URL}\r\n\r\n",
    }
    return answers[kind].encode() if kind in answers and method == "DESCRIBE" else None


def with_long_banner(response: bytes) -> bytes:
    """Returns the same response with a very long `Server` header."""
    return response.replace(b"Server: simcam", b"Server: " + _BANNER.encode())


def is_endless(kind: str | None, method: str) -> bool:
    """Whether the response continues with `CHUNK` for ever."""
    return kind in {"endless", "length"} and method == "DESCRIBE"


@dataclass(slots=True)
class AttackStream:
    """One connection's media under an attack, from its first picture on.

    Args:
        sets: H.264 parameter sets.
        keyframe: NAL units of a keyframe.
    """

    rtp_channel: int
    rtcp_channel: int
    sets: Sequence[bytes]
    keyframe: Sequence[bytes]
    _seq: int = 0
    _ssrc: int = 0x0BAD_CAFE
    _number: int = 0
    _rng: random.Random = field(default_factory=lambda: random.Random(1))

    def next_interval(self, kind: MediaAttack, elapsed_s: float, interval_s: float) -> bytes:
        """Returns what is sent in the time of one picture, `elapsed_s` after the connection began."""
        made: dict[MediaAttack, Callable[[], bytes]] = {
            "epochs": lambda: self._picture(self._changed_parameter_sets(), self.keyframe, elapsed_s),
            "late": lambda: self._late(elapsed_s),
            "exploding": lambda: self._picture((sps(16_000, 16_000), self.sets[1]), self.keyframe, elapsed_s),
            "vast": lambda: self._picture((sps(8_192, 4_320), self.sets[1]), self.keyframe, elapsed_s),
            "units": lambda: self._packets(self._many_units(), _ticks(elapsed_s)),
            "crumbs": lambda: self._open_fragment() + self._alike(b"\x7c\x05", np.zeros(TINY_FRAGMENTS)),
            "confetti": lambda: self._tiny_pictures(elapsed_s, interval_s),
            "unending": lambda: self._open_fragment() + self._packets([b"\x7c\x05" + bytes(1_300)] * FRAGMENTS, 0),
            "reports": lambda: self._reports(elapsed_s),
        }
        data = made[kind]()
        self._number += 1
        return data

    def _picture(self, sets: Sequence[bytes], nals: Sequence[bytes], at_s: float) -> bytes:
        return self._packets(rtp.payloads("h264", [*sets, *nals]), _ticks(at_s))

    def _packets(self, payloads: Sequence[bytes], timestamp: int) -> bytes:
        packets = rtp.interleaved(
            payloads, channel=self.rtp_channel, seq=self._seq & 0xFFFF, timestamp=timestamp, ssrc=self._ssrc
        )
        self._seq += len(packets)
        return b"".join(packets)

    def _changed_parameter_sets(self) -> Sequence[bytes]:
        return self.sets[0], self.sets[1] + struct.pack(">H", self._number & 0xFFFF | 1) + b"\x80"

    def _late(self, elapsed_s: float) -> bytes:
        """After a normal second, an encoder pause that timestamps do not show; later data is late by its length."""
        at_s = elapsed_s % LATE_INTERVAL_S
        if at_s < 1:
            return self._picture(self.sets, self.keyframe, elapsed_s)
        if at_s < 1 + LATE_S:
            return b""
        return self._picture(self.sets, [*self.keyframe, b"\x0c" + bytes(LATE_BYTES)], elapsed_s - LATE_S)

    def _many_units(self) -> list[bytes]:
        return [b"\x18" + b"\0\x01\x09" * _UNITS_A_PACKET] * (NAL_UNITS // _UNITS_A_PACKET)

    def _open_fragment(self) -> bytes:
        """The start of a fragmented NAL unit, once."""
        return b"" if self._number else self._packets([b"\x7c\x85\x88"], 0)

    def _tiny_pictures(self, elapsed_s: float, interval_s: float) -> bytes:
        """A picture in each packet, each a keyframe."""
        first = b"" if self._number else self._picture(self.sets, self.keyframe, elapsed_s)
        at_s = elapsed_s + interval_s * np.arange(1, TINY_PICTURES + 1) / TINY_PICTURES
        return first + self._alike(b"\x65\x88", at_s * rtp.CLOCK_HZ)

    def _alike(self, payload: bytes, timestamps: "NDArray[np.float64]") -> bytes:
        """Builds packets with the same two-byte payload, vectorized because thousands are needed."""
        packets = np.zeros(len(timestamps), _PACKET)
        packets["head"] = b"$%c\0\x0e\x80%c" % (self.rtp_channel, rtp.PAYLOAD_TYPE)
        packets["seq"] = (self._seq + np.arange(len(timestamps))) & 0xFFFF
        packets["timestamp"], packets["ssrc"] = timestamps.round().astype(np.int64) & 0xFFFF_FFFF, self._ssrc
        packets["payload"] = payload
        self._seq += len(timestamps)
        return packets.tobytes()

    def _reports(self, elapsed_s: float) -> bytes:
        """Sender reports with random clocks and a compound packet of thousands of empty reports, besides pictures."""
        reports = b"".join(
            rtp.sender_report(
                channel=self.rtcp_channel,
                ssrc=self._ssrc,
                now_us=self._rng.randrange(1 << 50),
                timestamp=self._rng.getrandbits(32),
                packets=1,
                octets=1,
            )
            for _ in range(SENDER_REPORTS)
        )
        nothing = struct.pack(">BBH", 0x24, self.rtcp_channel, 0xFFFC) + b"\x80\xc9\0\0" * 0x3FFF
        return reports + nothing + self._picture(self.sets, self.keyframe, elapsed_s)


def _ticks(at_s: float) -> int:
    return round(at_s * rtp.CLOCK_HZ) & 0xFFFF_FFFF


def sps(width: int, height: int) -> bytes:
    """Returns a sequence parameter set of H.264's Baseline profile (7.3.2.1.1); sides are multiples of 16."""
    # seq_parameter_set_id, log2_max_frame_num_minus4, pic_order_cnt_type, max_num_ref_frames
    exponential = [0, 0, 2, 1]
    bits = "".join(map(_golomb, exponential)) + "0"  # gaps_in_frame_num_value_allowed_flag
    # pic_width_in_mbs_minus1, pic_height_in_map_units_minus1, frame_mbs_only_flag and direct_8x8_inference_flag,
    # frame_cropping_flag and vui_parameters_present_flag, rbsp_stop_one_bit
    bits += _golomb(width // 16 - 1) + _golomb(height // 16 - 1) + "11" + "00" + "1"
    bits += "0" * (-len(bits) % 8)
    # profile_idc 66 (Baseline), constraint_set0_flag and constraint_set1_flag, level_idc 62 (6.2)
    return b"\x67" + escape(bytes((66, 0xC0, 62)) + int(bits, 2).to_bytes(len(bits) // 8, "big"))


def _golomb(value: int) -> str:
    """ue(v): unsigned Exp-Golomb code (H.264, 9.1)."""
    digits = f"{value + 1:b}"
    return "0" * (len(digits) - 1) + digits
