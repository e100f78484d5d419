"""A whole RTSP session, from the first response to the last packet."""

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_devkit.bitstream import Codec
from districam_devkit.simcam import rtp
from districam_ingest.rtsp import access_unit_assembler as pictures_module
from districam_ingest.rtsp.access_unit_assembler import MIN_MARKER_AGREEMENTS
from districam_ingest.rtsp.client import Client
from districam_ingest.rtsp.jitter_buffer import MAX_WAIT_US
from districam_ingest.rtsp.message import RtspError
from districam_ingest.rtsp.session import Session
from districam_ingest.units import Picture

SPS, PPS = bytes.fromhex("6742c01eda0280bfe584000003000400000300c83c58ba80"), bytes.fromhex("68ce0fc8")
SETS = "Z0LAHtoCgL/lhAAAAwAEAAADAMg8WLqA,aM4PyA=="
FIRST, SECOND = b"\x41\x9a", b"\x41\x20"
T0, NTP_S = 0xFFFF_F000, 2_208_988_800 + 1_700_000_000


def responses(codec: Codec, sets: str) -> bytes:
    name = "H264" if codec == "h264" else "H265"
    sdp = f"v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 {name}/90000\r\n"
    sdp += f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sets}\r\n" if sets else ""
    body = sdp.encode()
    ok = b"RTSP/1.0 200 OK\r\n"
    return (
        ok
        + b"\r\n"
        + ok
        + f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
        + ok
        + b"Session: s\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n"
        + ok
        + b"\r\n"
    )


def session(codec: Codec = "h264", sets: str = SETS) -> Session:
    one = Session(Client("rtsp://camera/x", None, cnonce=str), our_ssrc=9)
    one.feed(responses(codec, sets), 0)
    assert one.client.is_playing
    one.client.send_buffer.clear()
    return one


def packet(seq: int, timestamp: int, payload: bytes, *, marker: bool = False, kind: int = 96, ssrc: int = 5) -> bytes:
    body = struct.pack(">BBHII", 0x80, kind | marker << 7, seq & 0xFFFF, timestamp & 0xFFFF_FFFF, ssrc) + payload
    return bytes((0x24, 0)) + len(body).to_bytes(2, "big") + body


def report(timestamp: int, seconds: int = NTP_S, ssrc: int = 5) -> bytes:
    body = struct.pack(">BBHIIIIII", 0x80, 200, 6, ssrc, seconds, 0, timestamp & 0xFFFF_FFFF, 1, 1)
    return bytes((0x24, 1)) + len(body).to_bytes(2, "big") + body


def read(one: Session, packets: Sequence[bytes]) -> list[Picture]:
    """The pictures of packets that arrive 1 µs apart, the first at 1."""
    for at_us, data in enumerate(packets, 1):
        one.feed(data, at_us)
    return [*one.drain_video(), *one.close()]


def summary(pictures: Sequence[Picture]) -> list[tuple[int, tuple[bytes, ...], int, int]]:
    return [(p.pts - T0, p.nals, p.arrival_us, p.lost_packets) for p in pictures]


def marked(count: int, *, first: int = 0) -> list[bytes]:
    """Pictures of one packet each, with correct marker bits."""
    return [packet(n, T0 + n * 3600, FIRST, marker=True) for n in range(first, first + count)]


def test_nal_units_of_one_timestamp_are_one_picture():
    packets = [
        packet(0, T0, SPS),
        packet(1, T0, PPS),
        packet(2, T0, b"\x65\x88a"),
        packet(3, T0, b"\x65\x20b", marker=True),
        packet(4, T0 + 3600, FIRST),
    ]
    assert summary(read(session(), packets)) == [
        (0, (SPS, PPS, b"\x65\x88a", b"\x65\x20b"), 1, 0),
        (3600, (FIRST,), 5, 0),
    ]


def test_timestamps_continue_across_the_wrap():
    packets = [packet(n, T0 + n * 3600, FIRST) for n in range(4)]
    assert [p.pts for p in read(session(), packets)] == [T0 + n * 3600 for n in range(4)]


def test_verified_markers_complete_a_picture_at_once():
    one = session()
    for data in marked(MIN_MARKER_AGREEMENTS):
        one.feed(data, 1)
    assert len(one.drain_video()) == MIN_MARKER_AGREEMENTS - 1
    one.feed(marked(1, first=MIN_MARKER_AGREEMENTS)[0], 1)
    assert len(one.drain_video()) == 2
    one.feed(marked(1, first=MIN_MARKER_AGREEMENTS + 1)[0], 1)
    assert len(one.drain_video()) == 1


def test_markers_on_every_slice_do_not_split_pictures():
    packets = [
        packet(2 * n + half, T0 + n * 3600, (FIRST, SECOND)[half], marker=True)
        for n in range(2 * MIN_MARKER_AGREEMENTS)
        for half in (0, 1)
    ]
    read_pictures = read(session(), packets)
    assert [p.nals for p in read_pictures] == [(FIRST, SECOND)] * 2 * MIN_MARKER_AGREEMENTS


def test_markers_are_ignored_after_a_wrong_one():
    packets = marked(MIN_MARKER_AGREEMENTS + 1)
    at = MIN_MARKER_AGREEMENTS + 1
    for n in range(at, at + 3):
        packets += [
            packet(len(packets), T0 + n * 3600, FIRST, marker=True),
            packet(len(packets) + 1, T0 + n * 3600, SECOND, marker=True),
        ]
    nals = [p.nals for p in read(session(), packets)]
    assert nals[at:] == [(FIRST,), (SECOND,), (FIRST, SECOND), (FIRST, SECOND)]


@pytest.mark.parametrize("trusted", [False, True])
def test_a_picture_sent_twice_is_returned_twice(*, trusted: bool):
    packets = marked(MIN_MARKER_AGREEMENTS + 2) if trusted else []
    n = len(packets)
    sei = b"\x06\x05"
    packets += [packet(n + step, T0 + n * 3600, (sei, FIRST)[step % 2], marker=bool(step % 2)) for step in range(4)]
    found = summary(read(session(), packets))[n:]
    assert found == [(n * 3600, (sei, FIRST), n + 1, 0), (n * 3600, (sei, FIRST), n + 3, 0)]


SEI = b"\x06\xf0\x01\x07\x80"


def test_sei_after_a_marked_picture_belongs_to_the_next_one_without_changing_its_arrival():
    """docs/cameras.md: trailing-sei. Once markers are used, the picture is complete when the SEI arrives."""
    packets = marked(MIN_MARKER_AGREEMENTS + 2)
    n = len(packets)
    packets += [packet(n, T0 + (n - 1) * 3600, SEI, marker=True), packet(n + 1, T0 + n * 3600, FIRST, marker=True)]
    found = summary(read(session(), packets))
    assert found[n - 1 :] == [((n - 1) * 3600, (FIRST,), n, 0), (n * 3600, (SEI, FIRST), n + 2, 0)]
    assert len(read(session(), packets[:-1])) == n  # SEI alone is no picture


def test_parameter_sets_with_the_previous_pictures_timestamp_belong_to_the_keyframe():
    """docs/cameras.md: early-sets. Filler data after a picture stay with it."""
    filler = b"\x0c\xff\x80"
    packets = [
        packet(0, T0, SPS, marker=True),
        packet(1, T0, PPS),
        packet(2, T0 + 3600, b"\x65\x88a", marker=True),
        packet(3, T0 + 3600, filler),
        packet(4, T0 + 3600, SPS, marker=True),
        packet(5, T0 + 3600, PPS),
        packet(6, T0 + 7200, b"\x65\x88b", marker=True),
    ]
    assert [(p.pts - T0, p.nals) for p in read(session(sets=""), packets)] == [
        (3600, (SPS, PPS, b"\x65\x88a", filler)),
        (7200, (SPS, PPS, b"\x65\x88b")),
    ]


@pytest.mark.hostile
def test_nal_units_without_a_slice_are_bounded():
    one = session()
    with pytest.raises(RtspError, match="4096 NAL units"):
        one.feed(b"".join(packet(n, T0 + n * 3600, SEI) for n in range(5000)), 1)


def test_sender_reports_of_another_ssrc_give_no_camera_time():
    """docs/cameras.md: foreign-report; also before the first packet."""
    packets = [report(T0, ssrc=6), packet(0, T0, FIRST), report(T0, ssrc=5), packet(1, T0 + 3600, FIRST)]
    packets.append(packet(0, 0, FIRST, ssrc=8))
    times = [p.camera_us for p in read(session(), packets)]
    assert times == [None, 1_700_000_000_040_000, None]


def test_two_fields_of_one_timestamp_are_one_picture_if_there_may_be_fields():
    packets = [packet(n, T0 + n // 2 * 3600, FIRST, marker=True) for n in range(4 * MIN_MARKER_AGREEMENTS)]
    assert {p.nals for p in read(session(sets=""), packets)} == {(FIRST, FIRST)}
    assert {p.nals for p in read(session(), packets)} == {(FIRST,)}


def test_camera_time_follows_the_newest_sender_report():
    packets = [
        packet(0, T0, FIRST),
        report(T0 + 9000),
        packet(1, T0 + 18_000, FIRST),
        report(T0, seconds=0),  # a clock that was never set
        report(T0 + 18_000, seconds=NTP_S + 7, ssrc=6),  # another SSRC
        packet(2, T0 + 27_000, FIRST),
        report(T0 + 27_000, seconds=NTP_S + 1),
        packet(3, T0 + 36_000, FIRST),
    ]
    times = [p.camera_us for p in read(session(), packets)]
    base_us = 1_700_000_000_000_000
    assert times == [None, base_us + 100_000, base_us + 200_000, base_us + 1_100_000]


def test_packets_lost_before_a_picture_are_counted_with_it():
    packets = marked(3)
    del packets[1]
    assert [p.lost_packets for p in read(session(), packets)] == [0, 1]


def test_packets_lost_at_a_timestamp_change_are_split_between_both_pictures():
    packets = [packet(0, T0, FIRST), packet(3, T0 + 3600, SECOND, marker=True), packet(4, T0 + 7200, FIRST)]
    assert [p.lost_packets for p in read(session(), packets)] == [1, 1, 0]


def losses(pictures: Sequence[Picture]) -> list[tuple[int, bool, int]]:
    """NAL units, whether damaged, and lost packets of each picture."""
    return [(len(p.nals), p.is_damaged, p.lost_packets) for p in pictures]


LONG = b"\x41\x20" + bytes(range(200))
PIECES = rtp.payloads("h264", [LONG], 60)
TWO_SLICES = [FIRST, *PIECES]


@pytest.mark.parametrize(
    ("missing", "found"),
    [
        ({0}, [(1, True, 1), (1, False, 0)]),  # the second slice alone is left, which starts no picture
        ({1}, [(1, True, 1), (1, False, 0)]),
        ({2}, [(1, True, 1), (1, False, 0)]),
        ({len(PIECES)}, [(1, True, 1), (1, False, 0)]),  # the end, with the marker
        ({len(PIECES) - 1, len(PIECES)}, [(1, True, 1), (1, False, 1)]),  # the other one's picture is unknown
        ({0, 2}, [(1, False, 2)]),  # nothing is left of the picture
        (set(range(len(TWO_SLICES))), [(1, False, len(TWO_SLICES))]),
    ],
)
def test_an_incomplete_slice_is_dropped_and_its_picture_is_damaged(
    missing: set[int], found: list[tuple[int, bool, int]]
):
    last = len(TWO_SLICES) - 1
    packets = [*marked(1), *(packet(1 + n, T0 + 3600, one, marker=n == last) for n, one in enumerate(TWO_SLICES))]
    packets.append(packet(2 + last, T0 + 7200, FIRST))
    left = [one for n, one in enumerate(packets) if n - 1 not in missing]
    assert losses(read(session(), left)) == [(1, False, 0), *found]


def test_losses_of_a_picture_without_slices_are_counted_with_the_next_one():
    packets = [*marked(1), packet(1, T0 + 3600, SPS), packet(2, T0 + 3600, PPS), packet(4, T0 + 7200, FIRST)]
    assert losses(read(session(), packets)) == [(1, False, 0), (1, False, 1)]


def test_a_picture_joined_midway_is_damaged_without_lost_packets():
    packets = [packet(0, T0, PIECES[1]), packet(1, T0, SECOND), packet(2, T0 + 3600, FIRST)]
    assert losses(read(session(), packets)) == [(1, True, 0), (1, False, 0)]


def test_a_nal_unit_truncated_by_the_end_of_the_connection_is_dropped():
    whole = [packet(n, T0, one) for n, one in enumerate(TWO_SLICES)]
    cut = [packet(len(whole) + n, T0 + 3600, one) for n, one in enumerate(TWO_SLICES[:-1])]
    assert losses(read(session(), [*whole, *cut])) == [(2, False, 0), (1, True, 0)]


def test_a_nal_unit_without_end_bit_belongs_to_its_own_picture():
    """For cameras that set no end bits."""
    nal = SECOND + bytes(range(200))
    first, *_ = rtp.payloads("h264", [nal], 60)
    found = read(session(), [packet(0, T0, first), packet(1, T0 + 3600, FIRST), packet(2, T0 + 3600, first)])
    assert [len(p.nals) for p in found] == [1, 2]
    assert found[0].arrival_us == 1


def test_malformed_packets_and_packets_of_others_are_dropped():
    packets = [
        packet(0, T0, FIRST),
        packet(900, 1, b"other", kind=97),
        bytes((0x24, 7, 0, 1)) + b"x",  # an unknown channel
        bytes((0x24, 1, 0, 1)) + b"x",  # not RTCP
        packet(1, T0, b"\x7c"),
        bytes((0x24, 0, 0, 1)) + b"x",
        packet(2, T0 + 3600, FIRST),
    ]
    assert summary(read(session(), packets)) == [(0, (FIRST,), 1, 2), (3600, (FIRST,), 7, 0)]


def test_packets_before_setup_are_ignored():
    one = Session(Client("rtsp://camera/x", None, cnonce=str), our_ssrc=9)
    one.feed(packet(0, T0, FIRST), 0)
    assert not one.has_bye
    assert (one.drain_video(), one.close()) == ([], [])


def test_bye_ends_the_stream():
    one = session()
    one.feed(bytes.fromhex("24010008 81cb0001 00000005"), 1)
    assert one.has_bye


@pytest.mark.parametrize(
    ("leaving", "is_over"),
    [
        ("81cb0001 00000005", True),
        ("80cb0000", True),
        ("82cb0002 00000006 00000005", True),
        ("81cb0001 00000006", False),
    ],
)
def test_bye_of_another_ssrc_does_not_end_the_stream(leaving: str, *, is_over: bool):
    one = session()
    one.feed(packet(0, T0, FIRST), 1)
    compound = bytes.fromhex(leaving)
    one.feed(b"$\1" + len(compound).to_bytes(2, "big") + compound, 2)
    assert one.has_bye == is_over


S = 1_000_000
STALE = 77


def set_up_amid(stale: int) -> Session:
    """A session over a connection that received packets of this SSRC before the SDP."""
    one = Session(Client("rtsp://camera/x", None, cnonce=str), our_ssrc=9)
    one.feed(report(0, ssrc=stale) + packet(3, 50_000, FIRST, ssrc=stale), S)
    one.feed(responses("h264", SETS), S)
    assert one.client.is_playing
    return one


def test_an_ssrc_that_sent_before_setup_is_ignored():
    """docs/cameras.md: stale-session."""
    one = set_up_amid(STALE)
    for n in range(5):
        one.feed(packet(4 + n, 50_000 + n, SECOND, ssrc=STALE), S + n * 40_000)
        one.feed(packet(n, T0 + n * 3600, FIRST, marker=True), S + n * 40_000)
    found = one.close()
    assert summary(found) == [(n * 3600, (FIRST,), S + n * 40_000, 0) for n in range(5)]


def test_an_ssrc_that_sent_before_setup_is_accepted_if_no_other_sends_for_two_seconds():
    one = set_up_amid(STALE)
    for n in range(100):
        one.feed(packet(4 + n, T0 + n * 3600, FIRST, ssrc=STALE), S + n * 40_000)
    assert [p.arrival_us for p in [*one.drain_video(), *one.close()]] == [S + n * 40_000 for n in range(50, 100)]


def test_receiver_reports_are_sent_after_the_first_packet():
    one = session()
    one.keep_alive(0)
    assert not one.client.send_buffer
    one.feed(packet(7, T0, FIRST) + report(T0), 1_000_000)
    one.keep_alive(2_000_000)
    assert not one.client.send_buffer
    one.keep_alive(6_000_000)
    assert one.client.send_buffer.startswith(bytes.fromhex("2401"))
    assert one.client.send_buffer[4 + 28 : 4 + 32] == (5 * 65_536).to_bytes(4, "big")  # since the report, 1/65536 s
    size = len(one.client.send_buffer)
    one.keep_alive(10_999_999)
    assert len(one.client.send_buffer) == size


@pytest.mark.interpreted
def test_an_oversized_picture_is_an_error_after_the_pictures_before_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pictures_module, "MAX_PICTURE_BYTES", 10_000)
    one = session()
    one.feed(packet(0, T0, FIRST), 1)
    one.feed(packet(1, T0 + 3600, FIRST), 1)
    with pytest.raises(RtspError, match="picture exceeds"):
        one.feed(b"".join(packet(2 + n, T0 + 3600, SECOND * 500) for n in range(12)), 2)
    assert [p.nals for p in one.drain_video()] == [(FIRST,)]
    assert len(one.close()) == 1


@pytest.mark.hostile
def test_a_picture_with_too_many_nal_units_is_an_error():
    one, unit = session(), b"\x00\x01\x06"
    aggregate = b"\x18" + unit * 1000
    one.feed(packet(0, T0, FIRST), 1)
    for n in range(1, 5):
        one.feed(packet(n, T0, aggregate), 1 + n)
    with pytest.raises(RtspError, match="4096 NAL units"):
        one.feed(packet(5, T0, aggregate), 6)


units = st.lists(
    st.lists(st.binary(min_size=1, max_size=120).map(lambda body: b"\x41" + body), min_size=1, max_size=3),
    min_size=1,
    max_size=8,
)


@given(units, st.lists(st.integers(0, 1 << 16), max_size=8), st.integers(20, 100))
def test_splitting_the_bytes_differently_changes_nothing(nals: list[list[bytes]], places: list[int], mtu: int):
    data = responses("h264", "") + b"".join(
        frame
        for n, unit in enumerate(nals)
        for frame in rtp.interleaved(
            rtp.payloads("h264", unit, mtu), channel=0, seq=n * 100, timestamp=n * 3600, ssrc=5
        )
    )
    one = Session(Client("rtsp://camera/x", None, cnonce=str), our_ssrc=9)
    start = 0
    for end in [*sorted(place % len(data) for place in places), len(data)]:
        one.feed(data[start:end], 1)
        start = end
    assert [list(p.nals) for p in (*one.drain_video(), *one.close())] == nals


@given(st.lists(st.binary(max_size=60), max_size=10), st.sampled_from(["h264", "hevc"]))
def test_any_packets_are_processed_or_raise_rtsp_error(noise: list[bytes], codec: Codec):
    one = session(codec, "")
    try:
        for n, payload in enumerate(noise):
            one.feed(packet(n * n, n // 2 * 3600, payload), n)
            one.feed(bytes((0x24, n % 2)) + len(payload).to_bytes(2, "big") + payload, n)
        for payload in noise:
            one.feed(payload, 0)
    except RtspError:
        pass
    assert all(all(p.nals) and p.nals for p in (*one.drain_video(), *one.close()))


def over_udp(sets: str = SETS) -> Session:
    client = Client("rtsp://camera/x", None, cnonce=str, open_ports=lambda: (6000, 6001), over_udp=True)
    one = Session(client, our_ssrc=9)
    answers = responses("h264", sets).replace(b"RTP/AVP/TCP;interleaved=0-1", b"RTP/AVP;server_port=7000-7001")
    one.feed(answers, 0)
    assert client.is_playing
    return one


def test_datagrams_are_processed_in_sequence():
    one = over_udp()
    for at_us, n in enumerate([0, 2, 1, 3, 3], 1):
        one.feed_datagram(packet(n, T0 + n * 3600, FIRST, marker=True)[4:], at_us, track_index=0, is_rtcp=False)
    one.feed_datagram(b"no RTP", 9, track_index=0, is_rtcp=False)
    one.feed_datagram(b"of an unknown track", 9, track_index=1, is_rtcp=False)
    assert summary(one.close()) == [(n * 3600, (FIRST,), at_us, 0) for n, at_us in enumerate([1, 3, 2, 4])]


def test_missing_datagrams_are_given_up_after_the_maximum_wait_or_at_the_end():
    one = over_udp()
    for n in (0, 2, 3):
        one.feed_datagram(packet(n, T0 + n * 3600, FIRST, marker=True)[4:], 10 + n, track_index=0, is_rtcp=False)
    one.keep_alive(12 + MAX_WAIT_US - 1)
    assert losses(one.drain_video()) == []
    one.keep_alive(12 + MAX_WAIT_US)
    assert losses(one.drain_video()) == [(1, False, 0), (1, False, 1)]
    one.feed_datagram(packet(5, T0 + 5 * 3600, FIRST, marker=True)[4:], 20, track_index=0, is_rtcp=False)
    assert losses(one.close()) == [(1, False, 0), (1, False, 1)]


def test_drain_remaining_returns_complete_pictures_only():
    one = session()
    for data in marked(MIN_MARKER_AGREEMENTS + 1):
        one.feed(data, 1)
    one.feed(
        packet(MIN_MARKER_AGREEMENTS + 1, T0 + (MIN_MARKER_AGREEMENTS + 1) * 3600, FIRST), 2
    )  # its second slice has not come
    assert [p.pts - T0 for p in one.drain_remaining()] == [n * 3600 for n in range(MIN_MARKER_AGREEMENTS + 1)]
    assert one.drain_remaining() == []


def test_drain_remaining_does_not_wait_for_missing_datagrams():
    one = over_udp()
    for n in (*range(MIN_MARKER_AGREEMENTS + 1), MIN_MARKER_AGREEMENTS + 2, MIN_MARKER_AGREEMENTS + 3):
        one.feed_datagram(packet(n, T0 + n * 3600, FIRST, marker=True)[4:], n, track_index=0, is_rtcp=False)
    assert len(one.drain_video()) == MIN_MARKER_AGREEMENTS + 1
    assert losses(one.drain_remaining()) == [(1, False, 1), (1, False, 0)]


def test_drain_remaining_is_empty_before_the_first_packet():
    assert Session(Client("rtsp://camera/x", None, cnonce=str), our_ssrc=9).drain_remaining() == []


def test_over_udp_receiver_reports_are_queued_and_bye_ends_the_stream():
    one = over_udp()
    one.feed_datagram(packet(0, T0, FIRST)[4:], 1, track_index=0, is_rtcp=False)
    one.feed_datagram(report(T0)[4:], 2, track_index=0, is_rtcp=True)
    one.client.send_buffer.clear()
    one.keep_alive(6_000_000)
    ((track, report_bytes),) = one.pending_rtcp
    assert (track, report_bytes[:2]) == (0, b"\x81\xc9")
    assert b"$" not in one.client.send_buffer
    one.feed_datagram(bytes.fromhex("81cb0001 00000005"), 3, track_index=0, is_rtcp=True)
    assert one.has_bye


@given(st.lists(st.tuples(st.integers(0, 12), st.binary(max_size=40), st.booleans(), st.integers(0, 1)), max_size=30))
def test_any_datagrams_are_processed_or_raise_rtsp_error(noise: list[tuple[int, bytes, bool, int]]):
    one = over_udp("")
    try:
        for at_us, (n, payload, is_control, track) in enumerate(noise):
            one.feed_datagram(payload, at_us, track_index=track, is_rtcp=is_control)
            data = packet(n, n // 3 * 3600, payload, marker=is_control)[4:]
            one.feed_datagram(data, at_us, track_index=track, is_rtcp=False)
            one.keep_alive(at_us * 100_000)
    except RtspError:
        pass
    assert all(all(p.nals) and p.nals for p in (*one.drain_video(), *one.close()))
