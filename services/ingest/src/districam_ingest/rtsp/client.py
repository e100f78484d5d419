"""RTSP client protocol (RFC 2326) without I/O: responses in, requests out.

It sends OPTIONS, DESCRIBE, SETUP of the video and of wanted audio (RTP interleaved or over UDP), PLAY, then a
keep-alive at half the session timeout, and TEARDOWN. One request is pending at a time, so that responses of
cameras with wrong CSeq are matched too. A 401 is answered once per request, more often only if the camera
calls the nonce stale.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from districam_common.contract.fields import MAX_BANNER_CHARS
from districam_common.runtime.credentials import Credential
from districam_ingest.rtsp import auth, sdp, transport_header
from districam_ingest.rtsp.message import (
    BadStatusError,
    Message,
    RtspError,
    TransportRefusedError,
    encode_request,
    encode_response,
)

USER_AGENT = "districam"
DEFAULT_TIMEOUT_S, MIN_TIMEOUT_S, MAX_TIMEOUT_S = 60, 4, 3600
"""Session timeout if the server gives none (RFC 2326 section 12.37), and the bounds of what it gives."""
MAX_AUTH_RETRIES = 3
MAX_PENDING_REPLY_BYTES = 16 << 10
"""Bound on queued replies to the server's own requests; beyond it the connection is closed."""
_RTSP_URL = re.compile(r"rtsps?://[^\s/]", re.IGNORECASE)
_DOWNGRADE = "the camera offers only Basic, which sends the password in clear text, but has asked for Digest before"
_TIMEOUT = re.compile(r"timeout\s*=\s*(\d{1,6})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _PendingRequest:
    """The request that awaits its response.

    Attributes:
        challenge: the challenge that its Authorization header answers, if any.
        auth_retries: how often it was resent after a 401.
    """

    method: str
    uri: str
    headers: tuple[tuple[str, str], ...]
    cseq: int
    challenge: auth.Challenge | None = None
    auth_retries: int = 0


class Client:
    """The RTSP client of one connection.

    Args:
        url: the camera's URL; a user name and password in it are not used.
        cnonce: returns a random client nonce.
        needs_digest: whether the camera has asked for Digest before. Then Basic is refused, since an attacker
            between the two could ask for it to obtain the password.
        audio_codecs: wanted audio, by the codec names of `sdp.AudioMedia`. Without audio, or if the camera
            refuses its SETUP, the video is played alone.
        open_ports: opens a pair of local UDP ports for a track, RTP's and RTCP's; None if UDP is not allowed.
        over_udp: whether to ask for UDP first; otherwise only if the camera refuses interleaved RTP.

    Attributes:
        send_buffer: bytes to send; the sender clears it.
        redirect: URL to which the camera redirects; another client has to continue there.
        video: the video of the DESCRIBE response; None before it.
        audio: the audio of the DESCRIBE response, wanted or not.
        audio_track_index: index of the audio in `transports`; None without audio.
        transports: transport of each track that was set up, in the order of SETUP.
        scheme: authentication scheme that the server asked for, `basic` or `digest`; None if it did not.
        needs_digest: whether the camera has asked for Digest, on this connection or before.
        server: the Server header, up to `MAX_BANNER_CHARS` printable characters.

    Raises:
        RtspError: the URL is malformed.
    """

    def __init__(
        self,
        url: str,
        credential: Credential | None,
        *,
        cnonce: Callable[[], str],
        needs_digest: bool = False,
        audio_codecs: Collection[str] = (),
        open_ports: Callable[[], tuple[int, int]] | None = None,
        over_udp: bool = False,
    ) -> None:
        self.url = sdp.without_userinfo(url)
        self.send_buffer = bytearray()
        self.redirect: str | None = None
        self.video: sdp.VideoMedia | None = None
        self.audio: sdp.AudioMedia | None = None
        self.audio_track_index: int | None = None
        self._audio_codecs = audio_codecs
        self.transports: list[transport_header.InterleavedChannels | transport_header.ServerPorts] = []
        self._open_ports, self._over_udp = open_ports, over_udp
        self.server: str | None = None
        self.is_playing = False
        self._credential, self._cnonce = credential, cnonce
        self.needs_digest = needs_digest
        self._challenge: auth.Challenge | None = None
        self._nonce_count = 0
        self._cseq = 0
        self._pending: _PendingRequest | None = None
        self._session: str | None = None
        self._timeout_s = DEFAULT_TIMEOUT_S
        self._has_get_parameter = False
        self._next_keep_alive_us: int | None = None
        self._start_request("OPTIONS", self.url)

    @property
    def scheme(self) -> str | None:
        return self._challenge.scheme if self._challenge is not None else None

    def feed(self, message: Message) -> None:
        """Takes a message of the server.

        Raises:
            BadStatusError: an error response to a request that the stream needs.
            UnsupportedError: a needed feature is not supported; TransportRefusedError: UDP may work.
            RtspError: the message violates the protocol.
        """
        if message.method:
            self.send_buffer += encode_response(message)
            if len(self.send_buffer) > MAX_PENDING_REPLY_BYTES:
                raise RtspError("the camera sends more requests than can be answered")
            return
        pending = self._pending
        if pending is None or message.status < 200:
            return
        # An error is never a late response: some cameras send errors with the previous request's CSeq
        # (a TP-Link Tapo C220, docs/cameras.md: late-cseq).
        if message.status < 400 and _is_late_response(message, pending.cseq):
            return
        self._pending = None
        self.server = self.server or _sanitize_banner(message.header("server"))
        if pending.method == "SETUP" and self.transports and message.status >= 300:
            self._continue_without_audio(pending, message)
        elif message.status == 401:
            self._retry_with_auth(pending, message)
        elif 300 <= message.status < 400 and not self.is_playing:
            self._follow_redirect(message)
        else:
            self._handle_response(pending, message)

    def keep_alive(self, now_us: int) -> None:
        """Queues a keep-alive request if one is due. Call it well more often than the session's timeout."""
        if not self.is_playing or self.video is None:
            return
        if self._next_keep_alive_us is not None and now_us >= self._next_keep_alive_us:
            method = "GET_PARAMETER" if self._has_get_parameter else "OPTIONS"
            self._start_request(method, self.video.aggregate_url)
            self._next_keep_alive_us = None
        if self._next_keep_alive_us is None:
            self._next_keep_alive_us = now_us + self._timeout_s * 500_000

    def teardown(self) -> None:
        """Queues a TEARDOWN; its response need not be awaited."""
        if self._session is not None and self.video is not None:
            self._start_request("TEARDOWN", self.video.aggregate_url)

    # ---- requests

    def _start_request(self, method: str, uri: str, *headers: tuple[str, str]) -> None:
        self._queue_request(_PendingRequest(method, uri, headers, 0))

    def _queue_request(self, pending: _PendingRequest) -> None:
        self._cseq += 1
        self._pending = replace(pending, cseq=self._cseq)
        headers = [("CSeq", str(self._cseq)), *pending.headers, ("User-Agent", USER_AGENT)]
        if self._session is not None:
            headers.append(("Session", self._session))
        if self._challenge is not None and self._credential is not None:
            headers.append(("Authorization", self._format_authorization(self._challenge, self._credential, pending)))
        self.send_buffer += encode_request(pending.method, pending.uri, headers)

    def _format_authorization(self, challenge: auth.Challenge, credential: Credential, pending: _PendingRequest) -> str:
        if challenge.scheme == "basic":
            return auth.format_basic(credential)
        self._nonce_count += 1
        return auth.format_digest(
            challenge,
            credential,
            method=pending.method,
            uri=pending.uri,
            nonce_count=self._nonce_count,
            cnonce=self._cnonce(),
        )

    def _retry_with_auth(self, pending: _PendingRequest, message: Message) -> None:
        if self._credential is None:
            raise BadStatusError(pending.method, 401)
        offered = message.header_values("www-authenticate")
        self.needs_digest = self.needs_digest or auth.has_digest(offered)
        challenge = auth.select_challenge(offered, digest_only=self.needs_digest)
        if challenge is None:
            raise BadStatusError(pending.method, 401, _DOWNGRADE if auth.select_challenge(offered) else "")
        is_wrong = pending.challenge is not None and not challenge.is_stale
        if is_wrong or pending.auth_retries >= MAX_AUTH_RETRIES:
            if self.is_playing:  # a refused keep-alive: whether the stream ends is up to the camera
                return
            raise BadStatusError(pending.method, 401)
        self._challenge, self._nonce_count = challenge, 0
        self._queue_request(replace(pending, challenge=challenge, auth_retries=pending.auth_retries + 1))

    # ---- responses

    def _follow_redirect(self, message: Message) -> None:
        location = message.header("location") or ""
        if not _RTSP_URL.match(location):
            raise RtspError("redirect without an RTSP URL in its Location header")
        self.redirect = sdp.without_userinfo(location)

    def _handle_response(self, pending: _PendingRequest, message: Message) -> None:
        if pending.method == "OPTIONS" and not self.is_playing:  # some cameras refuse it, which does no harm
            self._has_get_parameter = "GET_PARAMETER" in (message.header("public") or "").upper()
            self._start_request("DESCRIBE", self.url, ("Accept", "application/sdp"))
            return
        if self.is_playing:
            if message.status >= 400:  # some cameras refuse GET_PARAMETER: use OPTIONS from now on
                self._has_get_parameter = False
            return
        if message.status >= 300:
            if message.status == 461 and not self._over_udp:  # Unsupported transport (RFC 2326, 11.3.12)
                self._switch_to_udp()
                return
            raise BadStatusError(pending.method, message.status)
        {"DESCRIBE": self._on_describe, "SETUP": self._on_setup, "PLAY": self._on_play}[pending.method](message)

    def _on_describe(self, message: Message) -> None:
        base = sdp.base_url(self.url, message.header("content-base"), message.header("content-location"))
        self.video = sdp.parse_video(message.body, base)
        self.audio = sdp.parse_audio(message.body, base)
        self._start_setup(self.video.control_url)

    def _switch_to_udp(self) -> None:
        """Repeats SETUP on this connection: the camera may refuse another one until this session expires."""
        if self._open_ports is None or self.video is None:
            raise TransportRefusedError("the camera refuses RTP over TCP")
        self._over_udp = True
        self._start_setup(self.video.control_url)

    def _start_setup(self, url: str) -> None:
        ports = self._open_ports() if self._over_udp and self._open_ports is not None else None
        self._start_request(
            "SETUP", url, ("Transport", transport_header.format_transport(2 * len(self.transports), ports))
        )

    def _on_setup(self, message: Message) -> None:
        assert self.video is not None
        header = message.header("transport") or ""
        is_udp = self._over_udp
        accepted_transport = transport_header.parse_transport(header, 2 * len(self.transports), over_udp=is_udp)
        if self.transports:
            self.audio_track_index = 1 if accepted_transport else None
            self.transports += [accepted_transport] if accepted_transport else []
            self._start_play()
            return
        if accepted_transport is None:
            raise (
                RtspError("SETUP asked for UDP, the camera answered with another transport")
                if is_udp
                else TransportRefusedError("SETUP asked for TCP, the camera answered with UDP")
            )
        self.transports.append(accepted_transport)
        self._parse_session(message)
        if self.audio is not None and self.audio.codec in self._audio_codecs:
            self._start_setup(self.audio.control_url)
        else:
            self._start_play()

    def _parse_session(self, message: Message) -> None:
        """Takes session ID and timeout from a response's Session header (RFC 2326 section 12.37)."""
        session, _, rest = (message.header("session") or "").partition(";")
        self._session = session.strip() or None
        timeout = _TIMEOUT.search(rest)
        if timeout:
            self._timeout_s = min(max(int(timeout[1]), MIN_TIMEOUT_S), MAX_TIMEOUT_S)

    def _continue_without_audio(self, pending: _PendingRequest, message: Message) -> None:
        try:
            if message.status == 401:
                self._retry_with_auth(pending, message)
                return
        except BadStatusError:
            pass
        self._start_play()

    def _start_play(self) -> None:
        assert self.video is not None
        self._start_request("PLAY", self.video.aggregate_url, ("Range", "npt=0.000-"))

    def _on_play(self, message: Message) -> None:
        if self._session is None:  # some cameras send it here first (docs/cameras.md: late-session)
            self._parse_session(message)
        self.is_playing = True


def _sanitize_banner(text: str | None) -> str | None:
    """Printable characters, up to `MAX_BANNER_CHARS`: the banner goes into events, pages and logs."""
    shown = "".join(char for char in text or "" if char.isprintable())
    return shown[:MAX_BANNER_CHARS] or None


def _is_late_response(message: Message, cseq: int) -> bool:
    """Whether the CSeq is that of an earlier request. Other wrong CSeqs are accepted: some cameras send them."""
    text = message.header("cseq") or ""
    return text.isdecimal() and len(text) < 10 and int(text) < cseq and int(text) > 0


def may_send_credential(target: str, url: str) -> bool:
    """Whether a redirect from `url` to `target` may be followed with the camera's credential.

    False for another host, and from `rtsps` to unencrypted `rtsp`. Raises RtspError for a malformed URL.
    """
    try:
        target_parts, url_parts = urlsplit(target), urlsplit(url)
        is_same_host = target_parts.hostname == url_parts.hostname
    except ValueError:
        raise RtspError("malformed URL") from None
    return is_same_host and (target_parts.scheme == "rtsps" or url_parts.scheme != "rtsps")
