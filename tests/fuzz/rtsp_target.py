"""RTSP: a camera's side of a connection, as a byte stream that arrives in pieces.

An input is two bytes, the client's options and the length of the pieces, and then the camera's bytes.
"""

from districam_common.runtime.credentials import Credential
from districam_ingest.rtsp.client import Client
from districam_ingest.rtsp.framing import Framer, Item
from districam_ingest.rtsp.message import RtspError
from districam_ingest.rtsp.session import Session
from districam_ingest.units import Picture
from fuzz.target import Target, require

SETS = "Z0LAHtoCgL/lhAAAAwAEAAADAMg8WLqA,aM4PyA=="
CHUNK_SIZES = (1, 2, 3, 7, 16, 61, 250, 1000)
SINGLE_CHUNK = 1 << 20
HAS_CREDENTIAL, KNOWS_DIGEST, HAS_AUDIO, HAS_PORTS, IS_UDP, IS_SECURE = (1 << n for n in range(6))
PASSWORD, BASIC = "f00tage", b"dXNlcjpmMDB0YWdl"


def run(data: bytes) -> None:
    """The result must not depend on how the stream is split; everything sent to the camera must be valid requests."""
    if len(data) < 2:
        return
    flags, piece, sent = data[0], CHUNK_SIZES[data[1] & 7], data[2:]
    require(_framed(sent, piece) == _framed(sent, SINGLE_CHUNK), "the result depends on how bytes are split")
    in_pieces, at_once = _conversed(sent, flags, piece), _conversed(sent, flags, SINGLE_CHUNK)
    require(
        in_pieces is None or at_once is None or in_pieces == at_once,
        f"how bytes are split changes what comes of them: {in_pieces} {at_once}",
    )


def _framed(sent: bytes, piece: int) -> tuple[list[Item], str]:
    framer, items = Framer(), list[Item]()
    try:
        for at in range(0, len(sent), piece):
            items += framer.feed(sent[at : at + piece])
    except RtspError as error:
        return items, str(error)
    return items, ""


def _conversed(sent: bytes, flags: int, piece: int) -> tuple[list[tuple[object, ...]], int, str] | None:
    """Returns pictures, audio and the error; None after a redirect, which ends the connection."""
    client = Client(
        "rtsps://camera/live?channel=1" if flags & IS_SECURE else "rtsp://camera/live?channel=1",
        Credential("user", PASSWORD) if flags & HAS_CREDENTIAL else None,
        cnonce=lambda: "0a4f113b",
        needs_digest=bool(flags & KNOWS_DIGEST),
        audio_codecs={"aac", "pcm_mulaw"} if flags & HAS_AUDIO else (),
        open_ports=(lambda: (40_000, 40_001)) if flags & HAS_PORTS else None,
        over_udp=bool(flags & IS_UDP),
    )
    session, pictures, audio_units, error_text = Session(client, our_ssrc=7), list[Picture](), 0, ""
    try:
        for at in range(0, len(sent), piece):
            session.feed(sent[at : at + piece], 1_000_000)
            session.keep_alive(1_000_000)
            if client.redirect is not None:
                break
    except RtspError as error:
        error_text = str(error)
    pictures += session.drain_video() + session.close()
    audio_units += len(session.drain_audio())
    _check_requests(
        bytes(client.send_buffer), knows_digest=client.needs_digest, began_with_digest=bool(flags & KNOWS_DIGEST)
    )
    return (
        None
        if client.redirect is not None
        else ([_comparable(picture) for picture in pictures], audio_units, error_text)
    )


def _check_requests(sent: bytes, *, knows_digest: bool, began_with_digest: bool) -> None:
    """Our requests must contain no line injected by the camera and no password in clear text."""
    require(PASSWORD.encode() not in sent, "the password is sent in clear text")
    require(not began_with_digest or BASIC not in sent, "the password is sent by Basic after a Digest challenge")
    for line in sent.split(b"\r\n"):
        is_text = line[:1].isalpha()  # receiver reports are sent between the requests
        require(not is_text or (b"\n" not in line and b"\r" not in line), f"a request line contains another: {line!r}")


def _comparable(picture: Picture) -> tuple[object, ...]:
    return picture.nals, picture.pts, picture.camera_us, picture.lost_packets, picture.is_damaged


def make_sdp(codec: str = "H264", more: str = "") -> bytes:
    """A session description that the client accepts."""
    sets = f";sprop-parameter-sets={SETS}" if codec == "H264" else ""
    return (
        "v=0\r\no=- 0 0 IN IP4 10.0.0.9\r\ns=x\r\nt=0 0\r\na=control:*\r\n"
        f"m=video 0 RTP/AVP 96\r\na=rtpmap:96 {codec}/90000\r\na=fmtp:96 packetization-mode=1{sets}\r\na=control:trackID=0\r\n{more}"
    ).encode()


AUDIO = (
    "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/16000/1\r\n"
    "a=fmtp:97 streamtype=5;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1408\r\na=control:trackID=1\r\n"
)


def _answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"RTSP/1.0 {status}", *headers, *([f"Content-Length: {len(body)}"] if body else [])]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _packet(channel: int, payload: bytes) -> bytes:
    return b"$" + bytes((channel,)) + len(payload).to_bytes(2, "big") + payload


def _media(count: int) -> bytes:
    packets = [
        b"\x80"
        + bytes((0xE0, 0, n))
        + (3600 * n).to_bytes(4, "big")
        + b"\0\0\0\5"
        + (b"\x65\x88" if not n else b"\x41\x9a")
        + bytes(9)
        for n in range(count)
    ]
    return b"".join(_packet(0, one) for one in packets)


_OK = _answer("200 OK", "CSeq: 1", "Public: OPTIONS, GET_PARAMETER")
_DESCRIBES = make_sdp()
_SETUP = _answer("200 OK", "CSeq: 3", "Session: 12;timeout=30", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
_SECOND = _answer("200 OK", "CSeq: 4", "Session: 12", "Transport: RTP/AVP/TCP;unicast;interleaved=2-3")
_UDP = _answer("200 OK", "Session: 12", "Transport: RTP/AVP;unicast;client_port=40000-40001;server_port=5000-5001")
_DIGEST = 'WWW-Authenticate: Digest realm="cam", nonce="9f1d", algorithm=SHA-256, qop="auth", opaque="x"'
_REFUSED = _answer("401 Unauthorized", _DIGEST, 'WWW-Authenticate: Basic realm="cam"')
_STALE = _answer("401 Unauthorized", _DIGEST + ", stale=true")
_PLAYS = _answer("200 OK", "CSeq: 5", "RTP-Info: url=rtsp://camera/live/trackID=0;seq=0;rtptime=0")
_BODY = _answer("200 OK", "Content-Base: rtsp://camera/live/", body=_DESCRIBES)
_DESCRIBE_WITH_AUDIO = _answer("200 OK", "Content-Type: application/sdp", body=make_sdp(more=AUDIO))
_HEVC = _answer("200 OK", body=make_sdp("H265"))
_SERVER_REQUEST = b"OPTIONS rtsp://us RTSP/1.0\r\nCSeq: 9\r\n\r\n"
_BYE = _packet(
    1, bytes.fromhex("80c80006000000050102030405060708000000000000000100000001") + bytes.fromhex("81cb000100000005")
)
_ANNEXB = b"\x67\x42\0\x1e\0\0\0\1\x68\xce\0\0\1\x65\x88"


def seeds() -> list[bytes]:
    """Complete dialogues: two option bytes, then the camera's bytes."""
    return [
        b"\0\4" + _OK + _BODY + _SETUP + _PLAYS + _media(12),
        b"\1\3" + _REFUSED + _OK + _REFUSED + _BODY + _SETUP + _PLAYS + _SERVER_REQUEST + _media(3) + _BYE,
        b"\1\5" + _STALE + _STALE + _OK + _STALE + _BODY,
        b"\1\5" + _answer("401 Unauthorized", 'WWW-Authenticate: Basic realm="a\\"b"') + _OK + _BODY,
        b"\4\6"
        + _OK
        + _DESCRIBE_WITH_AUDIO
        + _SETUP
        + _SECOND
        + _PLAYS
        + _media(2)
        + _packet(2, bytes.fromhex("80e10001000000000000000900100040") + bytes(8)),
        b"\x08\2" + _OK + _BODY + _answer("461 Unsupported Transport") + _SETUP,
        b"\x18\4" + _OK + _BODY + _UDP + _PLAYS,
        b"\x20\5" + _OK + _HEVC + _SETUP + _PLAYS + _media(1),
        b"\0\5" + _answer("302 Found", "Location: rtsp://other:8554/live"),
        b"\0\1"
        + _OK
        + _answer("200 OK", "X-Long: a", " folded", "\tmore", body=_DESCRIBES)
        + _answer("454 Session Not Found"),
        b"\0\2"
        + _OK.replace(b"\r\n", b"\n")
        + b"\r\n"
        + _BODY
        + _SETUP
        + _PLAYS
        + _answer("200 OK")
        + _SERVER_REQUEST * 2,
        b"\0\3" + _media(1) + _OK + _BODY + _SETUP + _PLAYS + b"\x80stray" + _media(2) + b"\0\0R" + _media(1) + _BYE,
        b"\0\4" + _OK + _BODY + _SETUP + _PLAYS + _packet(0, b"\x80\xe0\0\0" + bytes(7) + b"\5" + _ANNEXB) + _media(1),
    ]


WORDS = (
    *(
        b"RTSP/1.0 200 OK\r\n",
        b"RTSP/1.0 401 Unauthorized\r\n",
        b"RTSP/1.0 302 Found\r\n",
        b"RTSP/1.0 461 X\r\n",
        b"\r\n\r\n",
    ),
    *(
        b"CSeq: ",
        b"Session: ",
        b";timeout=",
        b"Transport: ",
        b"interleaved=0-1",
        b"server_port=",
        b"Content-Length: ",
        b"Location: rtsp://",
    ),
    *(
        b"WWW-Authenticate: ",
        b"Digest ",
        b"Basic ",
        b'nonce="',
        b'realm="',
        b'qop="auth"',
        b"stale=true",
        b"algorithm=MD5-sess",
        b"opaque=",
    ),
    *(
        b"Content-Base: ",
        b"RTP-Info: ",
        b"Public: GET_PARAMETER",
        b"OPTIONS * RTSP/1.0\r\n",
        b"REDIRECT ",
        b"$\0",
        b"$\1",
        b"Server: ",
    ),
)
RTSP = Target(name="rtsp", run=run, seeds=seeds, max_bytes=3000, dictionary=WORDS)
