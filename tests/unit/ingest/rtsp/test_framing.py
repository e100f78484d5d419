import random
import tracemalloc
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_ingest.rtsp import framing
from districam_ingest.rtsp.framing import (
    _HEAD_END,  # pyright: ignore[reportPrivateUsage]
    MAX_STRAY_BYTES,
    Framer,
    Item,
)
from districam_ingest.rtsp.message import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADER_CHARS,
    MAX_HEADER_LINES,
    Message,
    RtspError,
    encode_request,
    encode_response,
    parse_head,
)

RESPONSE = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 5\r\n\r\nabcde"
BARE = b"RTSP/1.0 404 Not Found\nCSeq:2\nA: 1\n 2\n\n"
ASKED = b"OPTIONS * RTSP/1.0\r\nCSeq: 7\r\n\r\n"


def packet(channel: int, data: bytes) -> bytes:
    return bytes((0x24, channel)) + len(data).to_bytes(2, "big") + data


def fed(data: bytes, splits: list[int]) -> tuple[list[Item], bool]:
    """The items of `data` split at `splits`, and whether it ended with RtspError."""
    framer, items, start = Framer(), list[Item](), 0
    try:
        for end in [*sorted(place % (len(data) + 1) for place in splits), len(data)]:
            for item in framer.feed(data[start:end]):
                items.append(item)  # items before an error count
            start = end
    except RtspError:
        return items, True
    return items, False


def test_packets_and_messages_may_be_mixed():
    items, failed = fed(packet(0, b"xy") + RESPONSE + b"\r\n" + packet(1, b"") + BARE + ASKED, [])
    assert not failed
    assert items == [
        (0, b"xy"),
        Message(200, "", (("cseq", "1"), ("content-length", "5")), b"abcde"),
        (1, b""),
        Message(404, "", (("cseq", "2"), ("a", "1 2"))),
        Message(0, "OPTIONS", (("cseq", "7"),)),
    ]


pieces = st.one_of(
    st.tuples(st.integers(0, 255), st.binary(max_size=40)).map(lambda drawn: packet(*drawn)),
    st.sampled_from([RESPONSE, BARE, ASKED, b"\r\n"]),
    st.binary(max_size=3),
    st.binary(max_size=3).map(lambda drawn: drawn * 2000),
)
splits = st.lists(st.integers(0, 1 << 16), max_size=6)


@given(st.lists(pieces, max_size=6).map(b"".join), splits)
def test_splitting_the_stream_differently_changes_nothing(data: bytes, places: list[int]):
    assert fed(data, places) == fed(data, []) == fed(data, list(range(len(data))))


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_raise_rtsp_error(data: bytes):
    fed(data, [])
    fed(b"RTSP/1.0 200 OK\r\n" + data + b"\r\n\r\n", [])


@pytest.mark.parametrize("length", ["-1", "2147483648", str(MAX_BODY_BYTES + 1), "x", "1" * 5000])
def test_an_invalid_or_too_large_content_length_is_an_error_at_once(length: str):
    assert fed(f"RTSP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n".encode(), []) == ([], True)


@pytest.mark.hostile
@pytest.mark.parametrize(
    "head",
    [
        b"WWW-Authenticate: Digest " + b"a" * (MAX_HEADER_CHARS + 1),
        b"X: 1\r\n" * (MAX_HEADER_LINES + 1),
        b"X: 1\r\n" + b" y\r\n" * MAX_HEADER_LINES,
        b"X: 1\r\n " + b"y" * MAX_HEADER_CHARS,
    ],
)
def test_too_many_or_too_long_header_lines_are_rejected(head: bytes):
    assert fed(b"RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\n" + head + b"\r\n\r\n", []) == ([], True)


@pytest.mark.hostile
@pytest.mark.interpreted  # replaces a module global, which compiled code does not look up
@pytest.mark.parametrize(
    "message",
    [
        b"RTSP/1.0 200 OK\r\nX: " + b"y\r\nX:" * 200 + b"z" * 3900,
        b"RTSP/1.0 200 OK\r\nContent-Length: 250000\r\n" + b"X: y\r\n" * 200 + b"\r\n" + b"x" * 100_000,
    ],
    ids=["head", "body"],
)
def test_a_message_received_byte_by_byte_is_scanned_in_linear_time(message: bytes, monkeypatch: pytest.MonkeyPatch):
    looked = [0]

    class Counting:
        def search(self, data: bytes, start: int, end: int) -> object:
            looked[0] += min(end, len(data)) - start
            return _HEAD_END.search(data, start, end)

    monkeypatch.setattr(framing, "_HEAD_END", Counting())
    framer = Framer()
    for n in range(len(message)):
        assert list(framer.feed(message[n : n + 1])) == []
    assert looked[0] < 8 * len(message)


def test_a_message_head_without_end_is_bounded():
    framer = Framer()
    for _ in range(MAX_HEAD_BYTES // 1000):
        assert list(framer.feed(b"RTSP/1.0 200 OK\r\nX: " + b"y" * 979)) == []
    with pytest.raises(RtspError, match="head exceeds"):
        list(framer.feed(b"y" * 1000))


@pytest.mark.parametrize("data", [b"\x80\x01", b"HTTP/1.0 200 OK\r\n\r\n", b"Rxyz\r\n\r\n", b"\0"])
def test_bytes_that_are_neither_packet_nor_message_are_an_error(data: bytes):
    assert fed(RESPONSE + data, [])[1]


STRAY = bytes(range(0x80, 0x100)) + b"$\x30\0\1 RTSP Rxyz\r\n\0"


@pytest.mark.parametrize("noise", [STRAY, b"\0", b"Rx", STRAY * (MAX_STRAY_BYTES // len(STRAY))])
def test_stray_bytes_between_packets_are_skipped(noise: bytes):
    """docs/cameras.md: stray-bytes."""
    rtp = b"\x80\x60" + bytes(10)
    data = packet(0, rtp) + noise + packet(1, rtp) + noise + RESPONSE + packet(0, b"x")
    items, failed = fed(data, [])
    assert not failed
    assert [item[0] for item in items if isinstance(item, tuple)] == [0, 1, 0]
    assert len(items) == 4
    assert fed(data, list(range(len(data)))) == (items, False)


@pytest.mark.hostile
def test_too_many_stray_bytes_are_an_error():
    noise = bytes([0x80]) * (MAX_STRAY_BYTES + 5)
    assert fed(packet(0, b"x") + noise, []) == ([(0, b"x")], True)
    assert fed(packet(0, b"x") + noise, list(range(0, len(noise), 7))) == ([(0, b"x")], True)
    assert fed(packet(0, b"x") + noise[:-1], []) == ([(0, b"x")], False)


PIECE = 4096
LARGEST = b"RTSP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % MAX_BODY_BYTES + bytes(MAX_BODY_BYTES)


@pytest.mark.hostile
@pytest.mark.parametrize(
    "data",
    [
        b"$" + random.Random(1).randbytes(1 << 20),
        LARGEST * 3,
        LARGEST.replace(b"262144", b"2621440") * 3,
        b"RTSP/1.0 200 OK\r\n" + b"X: y\r\n" * 200_000,
        b"A" * (1 << 20),
        packet(0, bytes(0xFFFF)) * 16,
    ],
    ids=["noise", "largest bodies", "bodies too large", "a head without end", "letters", "largest packets"],
)
def test_buffered_memory_is_bounded_for_any_input(data: bytes):
    framer, most = Framer(), 0
    tracemalloc.start()
    try:
        for at in range(0, len(data), PIECE):
            deque(framer.feed(data[at : at + PIECE]), maxlen=0)  # keeps none of them
            most = max(most, tracemalloc.get_traced_memory()[0])
    except RtspError:
        pass
    finally:
        tracemalloc.stop()
    assert most < MAX_HEAD_BYTES + MAX_BODY_BYTES + 4 * PIECE, most


def test_requests_and_replies_to_the_server_are_encoded():
    assert encode_request("PLAY", "rtsp://x", [("CSeq", "3")]) == b"PLAY rtsp://x RTSP/1.0\r\nCSeq: 3\r\n\r\n"
    assert encode_response(parse_head(ASKED[:-4])) == b"RTSP/1.0 200 OK\r\nCSeq: 7\r\n\r\n"
    assert b"501" in encode_response(parse_head(b"ANNOUNCE * RTSP/1.0"))


def test_repeated_headers_are_kept_and_lines_without_a_colon_ignored():
    head = parse_head(b"RTSP/1.0 401 Unauthorized\r\n folded\r\nWWW-Authenticate: a\r\nnonsense\r\nwww-authenticate: b")
    assert head.header_values("www-authenticate") == ["a", "b"]
    assert head.header("www-authenticate") == "a"
    assert head.header("x") is None
    assert len(head.headers) == 2
