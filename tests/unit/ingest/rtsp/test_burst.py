"""A burst of lost packets of any length is counted: a jump of sequence numbers is a loss, not a new numbering."""

import struct
from typing import TYPE_CHECKING

import pytest

from districam_devkit.simcam import rtp
from districam_ingest.recording.epoch_splitter import Append, Decision, End, EpochSplitter
from unit.ingest.rtsp.test_session import PPS, SPS, over_udp, session

if TYPE_CHECKING:
    from districam_ingest.units import Picture

FPS, PACKETS = 25, 100
"""Pictures per second, and packets per picture, of a camera of 28 Mbit/s: 2,500 packets per second."""
SLICE_BYTES = 6 * PACKETS
"""Fragments have six bytes."""

Sent = list[tuple[int, bytes]]
"""Picture number and RTP packet."""


def film(pictures: int) -> Sent:
    """A keyframe every two seconds; the marker on each picture's last packet."""
    out: Sent = []
    for number in range(pictures):
        key = number % (2 * FPS) == 0
        sets = [SPS, PPS] if key else []
        head = b"\x65\x88" if key else b"\x41\x9a"
        payloads = rtp.payloads("h264", [*sets, head + bytes(SLICE_BYTES - 1)], 8)
        for index, payload in enumerate(payloads):
            kind = 96 | (index == len(payloads) - 1) << 7
            header = struct.pack(">BBHII", 0x80, kind, len(out) & 0xFFFF, number * 90_000 // FPS, 5)
            out.append((number, header + payload))
    return out


def steps(sent: Sent, *, udp: bool) -> list[Decision]:
    """Decisions of `EpochSplitter` about the pictures."""
    one, splitter = over_udp() if udp else session(), EpochSplitter("h264", (SPS, PPS))
    pictures: list[Picture] = []
    for number, body in sent:
        at_us = number * 1_000_000 // FPS
        if udp:
            one.feed_datagram(body, at_us, track_index=0, is_rtcp=False)
            one.keep_alive(at_us)
        else:
            one.feed(bytes((0x24, 0)) + len(body).to_bytes(2, "big") + body, at_us)
        pictures += one.drain_video()
    return [step for picture in [*pictures, *one.close()] for step in splitter.decide(picture)]


@pytest.mark.correctness
@pytest.mark.parametrize("udp", [True, False], ids=["udp", "tcp"])
@pytest.mark.parametrize(
    "within", [0, PACKETS // 2], ids=["whole pictures", "from the middle of one to that of another"]
)
@pytest.mark.parametrize("lost", [10, 29, 31, 40, 48])
def test_a_burst_of_lost_packets_is_counted_at_the_next_picture_and_ends_no_epoch(lost: int, within: int, *, udp: bool):
    """Up to 4,800 packets; an epoch survives gaps of up to 2 s."""
    sent = film(110)
    begin = next(n for n, (number, _) in enumerate(sent) if number == 52) + within
    end = begin + lost * PACKETS
    out = steps(sent[:begin] + sent[end:], udp=udp)
    assert not any(isinstance(step, End) for step in out)
    appended = [step.picture for step in out if isinstance(step, Append)]
    after_loss = [picture.lost_packets for picture in appended if picture.pts >= (52 + lost) * 90_000 // FPS]
    assert max(after_loss[:1]) > 0, "the next picture counts the lost packets"
    assert sum(picture.lost_packets for picture in appended) == lost * PACKETS
    assert {len(picture.nals[-1]) for picture in appended} == {SLICE_BYTES + 1}, "an incomplete slice is stored"
