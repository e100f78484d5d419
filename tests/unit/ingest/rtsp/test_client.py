import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from districam_common.runtime.credentials import Credential
from districam_ingest.rtsp.client import MAX_AUTH_RETRIES, MAX_PENDING_REPLY_BYTES, Client, may_send_credential
from districam_ingest.rtsp.message import BadStatusError, Message, RtspError, TransportRefusedError
from districam_ingest.rtsp.transport_header import InterleavedChannels, ServerPorts, parse_transport

URL = "rtsp://u:p@camera/live"
SDP = b"v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=1\r\n"
DIGEST = ("www-authenticate", 'Digest realm="r", nonce="n1"')
STALE = ("www-authenticate", 'Digest realm="r", nonce="n2", stale=true')
NEW = ("www-authenticate", 'Digest realm="r", nonce="n3"')
BASIC = ("www-authenticate", 'Basic realm="r"')
CREDENTIAL = Credential("u", "secret")
S = 1_000_000


def client(credential: Credential | None = CREDENTIAL, *, needs_digest: bool = False) -> Client:
    return Client(URL, credential, cnonce=lambda: "c", needs_digest=needs_digest)


def sent(one: Client) -> str:
    """Removes and returns what the client sends: one request at most."""
    text = one.send_buffer.decode()
    one.send_buffer.clear()
    assert text.count(" RTSP/1.0\r\n") <= 1
    return text


def answer(one: Client, status: int, *headers: tuple[str, str], body: bytes = b"") -> str:
    """Answers the pending request; returns the next one."""
    one.send_buffer.clear()
    one.feed(Message(status, "", headers, body))
    return sent(one)


def playing(*, public: str = "GET_PARAMETER", session: str = "s1;timeout=30") -> Client:
    one = client()
    sent(one)
    answer(one, 200, ("public", public))
    answer(one, 200, ("content-base", "rtsp://camera/live/"), body=SDP)
    answer(one, 200, ("session", session), ("transport", "RTP/AVP/TCP;interleaved=4-5"))
    answer(one, 200)
    return one


def test_requests_from_options_to_play():
    one = client()
    assert sent(one).startswith("OPTIONS rtsp://camera/live RTSP/1.0\r\nCSeq: 1\r\n")
    assert "Accept: application/sdp" in answer(one, 200, ("server", "x"))
    request = answer(one, 200, ("content-base", "rtsp://camera/live/"), body=SDP)
    assert request.startswith("SETUP rtsp://camera/live/trackID=1 RTSP/1.0")
    assert "Transport: RTP/AVP/TCP;unicast;interleaved=0-1" in request
    request = answer(one, 200, ("session", "s1;timeout=30"), ("transport", "RTP/AVP/TCP;interleaved=2-3"))
    assert request.startswith("PLAY rtsp://camera/live/ RTSP/1.0")
    assert "Session: s1\r\n" in request
    assert not one.is_playing
    assert answer(one, 200) == ""
    assert one.is_playing
    assert (one.transports, one.server) == ([InterleavedChannels(2, 3)], "x")


@pytest.mark.parametrize(
    ("transport", "channels"),
    [("", (0, 1)), ("RTP/AVP/TCP", (0, 1)), ("RTP/AVP/TCP;Interleaved = 6", (6, 7)), ("x;interleaved=0-4", (0, 4))],
)
def test_interleaved_channels_are_those_of_the_response(transport: str, channels: tuple[int, int]):
    one = client()
    answer(one, 500)  # OPTIONS: some cameras refuse it
    answer(one, 200, body=SDP)
    request = answer(one, 200, ("transport", transport))
    assert "Session" not in request
    assert one.transports == [InterleavedChannels(*channels)]


@pytest.mark.parametrize(("status", "transport"), [(461, ""), (200, "RTP/AVP;unicast;client_port=1-2")])
def test_a_camera_that_refuses_tcp_raises_transport_refused(status: int, transport: str):
    one = client()
    answer(one, 200)
    answer(one, 200, body=SDP)
    with pytest.raises(TransportRefusedError):
        answer(one, status, ("transport", transport))


def over_udp() -> Client:
    one = Client("rtsp://camera/live", None, cnonce=str, open_ports=lambda: (6000, 6001), over_udp=True)
    answer(one, 200)
    assert "Transport: RTP/AVP;unicast;client_port=6000-6001\r\n" in answer(one, 200, body=SDP)
    return one


@pytest.mark.parametrize(
    ("transport", "ports"),
    [
        ("", ServerPorts()),
        ("RTP/AVP;unicast;client_port=6000-6001;server_port=7000-7003", ServerPorts(7000, 7003)),
        ("RTP/AVP/UDP;unicast;source=192.0.2.7;server_port=7000", ServerPorts(7000, 7001, "192.0.2.7")),
        ("RTP/AVP;server_port=99999-1", ServerPorts()),
        ("RTP/AVP;server_port=7000-99999", ServerPorts(7000, 7001)),
    ],
)
def test_server_ports_are_those_of_the_response(transport: str, ports: ServerPorts):
    one = over_udp()
    assert answer(one, 200, ("transport", transport)).startswith("PLAY")
    assert one.transports == [ports]


@pytest.mark.parametrize("transport", ["RTP/AVP/TCP;interleaved=0-1", "RTP/AVP;multicast;port=6-7"])
def test_another_transport_than_the_udp_asked_for_is_an_error(transport: str):
    with pytest.raises(RtspError, match="UDP"):
        answer(over_udp(), 200, ("transport", transport))


def test_a_camera_that_refuses_tcp_is_asked_for_udp_on_the_same_connection():
    one = Client("rtsp://camera/live", None, cnonce=str, open_ports=lambda: (6000, 6001))
    answer(one, 200)
    assert "interleaved=0-1" in answer(one, 200, body=SDP)
    assert "client_port=6000-6001" in answer(one, 461)
    assert answer(one, 200, ("transport", "RTP/AVP;server_port=7000-7001")).startswith("PLAY")
    assert one.transports == [ServerPorts(7000, 7001)]


def test_a_refused_udp_transport_is_an_error():
    with pytest.raises(BadStatusError) as raised:
        answer(over_udp(), 461)
    assert raised.value.status == 461


@pytest.mark.parametrize("status", [400, 403, 404, 453, 454, 503])
def test_error_responses_raise_with_their_status(status: int):
    one = client()
    answer(one, 200)
    with pytest.raises(BadStatusError) as raised:
        answer(one, status)
    assert raised.value.status == status


def test_a_challenge_is_answered_once_per_request():
    one = client()
    assert one.scheme is None
    request = answer(one, 401, DIGEST, BASIC)
    assert one.scheme == "digest"
    assert request.startswith("OPTIONS")
    assert 'nonce="n1"' in request
    with pytest.raises(BadStatusError):
        answer(one, 401, DIGEST)


def test_a_new_nonce_is_used_even_without_stale():
    one = client()
    answer(one, 401, DIGEST)
    assert 'nonce="n1"' in answer(one, 200)
    request = answer(one, 401, NEW)
    assert request.startswith("DESCRIBE")
    assert 'nonce="n3"' in request
    for _ in range(MAX_AUTH_RETRIES - 1):
        assert 'nonce="n2"' in answer(one, 401, STALE)
    with pytest.raises(BadStatusError):
        answer(one, 401, STALE)


def test_nonce_counts_increase_per_request_and_restart_with_a_nonce():
    one = client()
    qop = ("www-authenticate", 'Digest realm="r", nonce="n", qop="auth"')
    assert "nc=00000001" in answer(one, 401, qop)
    assert "nc=00000002" in answer(one, 200)
    assert "nc=00000001" in answer(one, 401, qop)


@pytest.mark.hostile
def test_basic_is_refused_after_the_camera_has_asked_for_digest():
    one = client(needs_digest=True)
    with pytest.raises(BadStatusError, match="has asked for Digest before"):
        answer(one, 401, BASIC)
    one = client()
    assert "Authorization: Digest" in answer(one, 401, DIGEST)
    with pytest.raises(BadStatusError, match="has asked for Digest before"):
        answer(one, 401, BASIC)
    assert one.needs_digest
    unmet = client()
    with pytest.raises(BadStatusError, match="has asked for Digest before"):
        answer(unmet, 401, ("www-authenticate", 'Digest realm="r", nonce="n", algorithm=SHA-512'), BASIC)


def test_the_credential_is_sent_only_in_answer_to_a_challenge():
    assert "Authorization" not in answer(client(), 200)
    assert "Authorization: Basic dTpzZWNyZXQ=" in answer(client(), 401, BASIC)
    for headers in ((), (DIGEST,)):
        with pytest.raises(BadStatusError):
            answer(client(None), 401, *headers)


def test_a_redirect_needs_an_rtsp_url_and_loses_its_user_info():
    one = client()
    answer(one, 302, ("location", "rtsp://a:b@other/x"))
    assert one.redirect == "rtsp://other/x"
    for location in ("", "http://other/x", "rtsp:///x"):
        with pytest.raises(RtspError):
            answer(client(), 301, ("location", location))


@pytest.mark.hostile
def test_the_credential_is_sent_neither_to_another_host_nor_from_rtsps_to_rtsp():
    assert may_send_credential("rtsps://A:1/x", "rtsp://a/y")
    assert may_send_credential("rtsp://a/x", "rtsp://A:1/y")
    assert not may_send_credential("rtsp://a/x", "rtsp://b/x")
    assert not may_send_credential("rtsp://a/x", "RTSPS://a/x")
    with pytest.raises(RtspError):
        may_send_credential("rtsp://[", "rtsp://b")


def test_keep_alives_are_sent_at_half_the_session_timeout():
    one = playing()
    one.keep_alive(0)
    one.keep_alive(15 * S - 1)
    assert sent(one) == ""
    one.keep_alive(15 * S)
    request = sent(one)
    assert request.startswith("GET_PARAMETER rtsp://camera/live/ RTSP/1.0")
    assert "Session: s1\r\n" in request
    one.keep_alive(30 * S - 1)
    assert sent(one) == ""
    one.keep_alive(30 * S)
    assert sent(one).startswith("GET_PARAMETER")  # also unanswered


def test_keep_alives_use_options_if_get_parameter_is_not_supported():
    for one in (playing(public="OPTIONS"), playing()):
        one.keep_alive(0)
        one.keep_alive(15 * S)
        sent(one)
        assert answer(one, 501) == ""
        one.keep_alive(30 * S)
        assert sent(one).startswith("OPTIONS")
        assert answer(one, 454) == ""
        assert one.is_playing


def test_a_keep_alive_is_authorized_again_and_a_refused_one_does_not_end_the_stream():
    one = playing()
    one.keep_alive(0)
    one.keep_alive(15 * S)
    sent(one)
    assert answer(one, 401, DIGEST).startswith("GET_PARAMETER")
    assert answer(one, 401, DIGEST) == ""
    assert one.is_playing


@pytest.mark.parametrize(("timeout", "half_s"), [("", 30), (";timeout=0", 2), (";timeout=999999", 1800)])
def test_session_timeouts_are_clamped(timeout: str, half_s: int):
    one = playing(session="s" + timeout)
    one.keep_alive(0)
    one.keep_alive(half_s * S - 1)
    assert sent(one) == ""
    one.keep_alive(half_s * S)
    assert sent(one)


def test_no_keep_alive_before_play_and_no_teardown_without_a_session():
    one = client()
    sent(one)
    one.keep_alive(10**12)
    one.teardown()
    assert sent(one) == ""
    other = playing()
    other.teardown()
    assert sent(other).startswith("TEARDOWN rtsp://camera/live/ ")


def test_late_interim_and_unsolicited_responses_are_ignored():
    one = client()
    sent(one)
    assert answer(one, 100) == ""
    assert answer(one, 200, ("cseq", "1")).startswith("DESCRIBE")
    assert answer(one, 200, ("cseq", "1")) == ""
    assert answer(one, 200, ("cseq", "0"), body=SDP).startswith("SETUP")  # a camera with a constant CSeq
    other = playing()
    assert answer(other, 503) == ""


def test_an_error_response_is_accepted_whatever_its_cseq():
    """docs/cameras.md: late-cseq."""
    one = playing()
    one.keep_alive(0)
    one.keep_alive(15 * S)
    assert sent(one).startswith("GET_PARAMETER")
    assert answer(one, 400, ("cseq", "4")) == ""
    one.keep_alive(30 * S)
    assert sent(one).startswith("OPTIONS")
    refused = client()
    assert answer(refused, 200, ("cseq", "1")).startswith("DESCRIBE")
    with pytest.raises(BadStatusError, match="404"):
        answer(refused, 404, ("cseq", "1"))


@pytest.mark.parametrize(("first", "second"), [("a;timeout=30", "b"), ("a;timeout=30", ""), ("", "a;timeout=30")])
def test_the_first_session_id_is_used(first: str, second: str):
    """docs/cameras.md: changing-session, late-session."""
    one = Client(URL, None, cnonce=str, audio_codecs={"pcm_mulaw"})
    answer(one, 200)
    answer(one, 200, body=SDP + b"m=audio 0 RTP/AVP 0\r\na=control:trackID=2\r\n")
    named = [("session", first)] if first else []
    request = answer(one, 200, ("transport", "RTP/AVP/TCP;interleaved=0-1"), *named)
    assert request.startswith("SETUP rtsp://camera/live/trackID=2 ")
    named = [("session", second)] if second and first else []
    request = answer(one, 200, ("transport", "RTP/AVP/TCP;interleaved=2-3"), *named)
    assert request.startswith("PLAY")
    assert ("Session: a\r\n" in request) == bool(first)
    answer(one, 200, *([("session", second)] if second else []))
    one.keep_alive(0)
    one.keep_alive(15 * S)
    assert "Session: a\r\n" in sent(one)


def test_a_request_of_the_server_is_answered():
    one = client()
    sent(one)
    one.feed(Message(0, "SET_PARAMETER", (("cseq", "9"),)))
    assert re.match(r"RTSP/1.0 200 OK\r\nCSeq: 9\r\n\r\n$", one.send_buffer.decode())


@given(st.lists(st.tuples(st.integers(100, 599), st.binary(max_size=20), st.text(max_size=20)), max_size=8))
def test_any_responses_are_accepted_or_raise_rtsp_error(answers: list[tuple[int, bytes, str]]):
    one = client()
    names = ("www-authenticate", "transport", "session", "content-base", "location", "cseq")
    try:
        for status, noise, text in answers:
            body = SDP if status % 2 else noise
            one.feed(Message(status if status % 3 else 200, "", tuple((name, text) for name in names), body))
    except RtspError:
        return


def test_too_many_requests_of_the_server_are_an_error():
    one = client()
    request = Message(0, "OPTIONS", (("cseq", "1"),))
    while len(one.send_buffer) < MAX_PENDING_REPLY_BYTES - 100:
        one.feed(request)
    with pytest.raises(RtspError, match="more requests"):
        [one.feed(request) for _ in range(10)]


@given(st.text(max_size=60), st.booleans())
def test_any_transport_header_is_parsed_or_rejected(text: str, over_udp: bool):  # noqa: FBT001  # Hypothesis gives it so
    for header in (text, f"RTP/AVP;server_port={text};source={text}", f"RTP/AVP/TCP;interleaved={text}"):
        found = parse_transport(header, 0, over_udp=over_udp)
        if isinstance(found, ServerPorts):
            assert max(found.rtp, found.rtcp) <= 65_535


@pytest.mark.hostile
def test_the_server_banner_is_cut_to_200_printable_characters():
    one = client()
    sent(one)
    answer(one, 200, ("server", "\u202eCam\u2028\x9b2J" + "x" * 4000))
    assert one.server == "Cam2J" + "x" * 195
    nameless = client()
    sent(nameless)
    answer(nameless, 200, ("server", "\u2028"))
    assert nameless.server is None
