from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_devkit.simcam.clips import Footage, open_clip
from districam_devkit.simcam.faults import Fault, parse_fault
from districam_devkit.simcam.protocol import ProtocolError, Request, RequestParser, interleaved_channels
from districam_devkit.simcam.sdp import describe

STREAM = (
    b"OPTIONS rtsp://h/cam-001 RTSP/1.0\r\nCSeq: 1\r\n\r\n"
    b"$\x01\x00\x08\r\n\r\n\r\n\r\n"
    b"SET_PARAMETER rtsp://h/cam-001/ RTSP/1.0\r\ncseq: 2\r\nContent-Length: 4\r\nSession: ab;x\r\n\r\nbody"
    b"\r\n$\x01\x00\x00"
    b"TEARDOWN rtsp://h/cam-002/trackID=0?x=/y RTSP/1.0\r\nCSeq: 3\r\n\r\n"
)


@given(st.lists(st.integers(1, 40), min_size=1))
def test_requests_are_parsed_however_the_bytes_are_split(sizes: list[int]):
    reader, data = RequestParser(), STREAM
    requests: list[Request] = []
    while data:
        for size in sizes:
            requests += reader.feed(data[:size])
            data = data[size:]
    assert [(r.method, r.headers["cseq"], r.camera_id, r.session_id, r.body) for r in requests] == [
        ("OPTIONS", "1", "cam-001", "", b""),
        ("SET_PARAMETER", "2", "cam-001", "ab", b"body"),
        ("TEARDOWN", "3", "cam-002", "", b""),
    ]


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 20_000, b"OPTIONS\r\n\r\n"])
def test_bytes_that_are_not_rtsp_are_rejected(data: bytes):
    with pytest.raises(ProtocolError):
        RequestParser().feed(data)


@pytest.mark.parametrize(
    ("transport", "channels"),
    [
        ("RTP/AVP/TCP;unicast;interleaved=2-3", (2, 3)),
        ("RTP/AVP;unicast;client_port=5000-5001, RTP/AVP/TCP;unicast;interleaved=0-1", (0, 1)),
        ("RTP/AVP/TCP;unicast", (0, 1)),
        ("RTP/AVP;unicast;client_port=5000-5001", None),
        ("RTP/AVP/UDP;unicast;client_port=5000-5001", None),
        ("RTP/AVP/TCP;interleaved=300-301", None),
        ("", None),
    ],
)
def test_the_first_transport_over_tcp_is_chosen(transport: str, channels: tuple[int, int] | None):
    assert interleaved_channels(transport) == channels


def test_the_description_names_codec_and_parameter_sets(tmp_path: Path):
    lines = describe(open_clip(Footage("bigbuckbunny"), cache=tmp_path), "rtsp://h/cam").decode().split("\r\n")
    assert "m=video 0 RTP/AVP 96" in lines
    assert "a=rtpmap:96 H264/90000" in lines
    assert "a=framerate:25" in lines
    (parameters,) = [line for line in lines if line.startswith("a=fmtp:96 ")]
    assert "packetization-mode=1" in parameters
    assert "sprop-parameter-sets=Z01AH" in parameters


def test_faults_are_parsed():
    assert parse_fault("drop:cam-001@20") == Fault("drop", "cam-001", 20.0)
    assert parse_fault("silence:cam-002@20+5.5") == Fault("silence", "cam-002", 20.0, 5.5)


@pytest.mark.parametrize("text", ["drop:cam-001", "drop:cam-001@1+2", "silence:cam-001@1", "melt:cam-001@1", "drop:@1"])
def test_invalid_faults_are_rejected(text: str):
    with pytest.raises(ValueError):
        parse_fault(text)
