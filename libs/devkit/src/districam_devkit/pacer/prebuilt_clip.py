"""A clip as prebuilt RTP packets, and its SDP."""

import base64
import struct
from dataclasses import dataclass

from districam_devkit.simcam import rtp
from districam_devkit.simcam.clips import Clip

_STAMP = struct.Struct(">HI")
_SEQ_OFFSET = 6  # after "$", channel, length (RFC 2326, 10.12), V/P/X/CC and M/PT (RFC 3550, 5.1)
SSRC = 0x6361_6D31


class Picture:
    """One access unit's packets in one buffer; `packets` are views, each with its four-byte interleaved header."""

    def __init__(self, packets: list[bytes], *, is_keyframe: bool) -> None:
        self._data = bytearray().join(packets)
        view = memoryview(self._data)
        self._stamp_offsets: list[int] = []
        self.packets: list[memoryview] = []
        at = 0
        for packet in packets:
            self._stamp_offsets.append(at + _SEQ_OFFSET)
            self.packets.append(view[at : at + len(packet)])
            at += len(packet)
        self.is_keyframe = is_keyframe

    def stamp(self, index: int, seq: int, timestamp: int) -> memoryview:
        """Writes seq and timestamp into a packet and returns it; valid until the next call, which reuses the buffer."""
        _STAMP.pack_into(self._data, self._stamp_offsets[index], seq & 0xFFFF, timestamp & 0xFFFF_FFFF)
        return self.packets[index]


@dataclass(frozen=True, slots=True)
class PrebuiltClip:
    """What every camera of a run plays, in decode order; `ticks` is the distance of two pictures."""

    pictures: tuple[Picture, ...]
    interval_s: float
    ticks: int
    sdp: bytes


def prebuild(clip: Clip) -> PrebuiltClip:
    """Packetizes a clip, with parameter sets before each keyframe.

    Raises:
        ValueError: the clip has reordered pictures, whose timestamps do not rise in decode order.
    """
    if any(unit.pts != unit.dts for unit in clip.access_units):
        raise ValueError("the clip has B-frames")
    pictures: list[Picture] = []
    for unit in clip.access_units:
        sets = clip.parameter_sets if unit.is_keyframe else ()
        payloads = rtp.payloads(clip.codec, [*sets, *unit.nals])
        packets = rtp.interleaved(payloads, channel=0, seq=0, timestamp=0, ssrc=SSRC)
        pictures.append(Picture(packets, is_keyframe=unit.is_keyframe))
    return PrebuiltClip(tuple(pictures), float(1 / clip.fps), round(rtp.CLOCK_HZ / clip.fps), _sdp(clip))


def _sdp(clip: Clip) -> bytes:
    sets = [base64.b64encode(one).decode() for one in clip.parameter_sets]
    names = ["sprop-parameter-sets"] if clip.codec == "h264" else ["sprop-vps", "sprop-sps", "sprop-pps"]
    sprop: dict[str, str] = {names[0]: ",".join(sets)} if clip.codec == "h264" else dict(zip(names, sets, strict=False))
    mode = ["packetization-mode=1"] if clip.codec == "h264" else []
    parameters = ";".join([*mode, *(f"{name}={value}" for name, value in sprop.items())])
    lines = (
        *("v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=pacer", "t=0 0", "a=control:*"),
        f"m=video 0 RTP/AVP {rtp.PAYLOAD_TYPE}",
        f"a=rtpmap:{rtp.PAYLOAD_TYPE} {'H264' if clip.codec == 'h264' else 'H265'}/{rtp.CLOCK_HZ}",
        f"a=fmtp:{rtp.PAYLOAD_TYPE} {parameters}",
        "a=control:video",
    )
    return "".join(f"{line}\r\n" for line in lines).encode()
