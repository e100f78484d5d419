"""The RTSP client's side of a conversation (RFC 2326) without its transport: responses in, requests out.

OPTIONS, DESCRIBE, SETUP of the video, and of sound that is wanted, over the same connection (interleaved) or over UDP, PLAY; then a request at half the session's
timeout, until TEARDOWN. One request is under way at a time, so that a camera that numbers its responses wrongly is
understood. A 401 is answered once for each request, more often only if the camera calls the nonce stale.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from districam_common.contract.fields import BANNER_MOST
from districam_common.runtime.credentials import Credential
from districam_ingest.rtsp import auth, carriage, sdp
from districam_ingest.rtsp.message import CarrierError, Message, RefusedError, RtspError, answer, request

USER_AGENT = "districam"
TIMEOUT_S, TIMEOUT_LEAST_S, TIMEOUT_MOST_S = 60, 4, 3600
"""A session's when the server says none (RFC 2326 section 12.37), and what it may say."""
STALE_MOST = 3
UNSAID_MOST = 16 << 10
"""Answers that wait to be sent; who asks more than that at once means harm."""
_RTSP_URL = re.compile(r"rtsps?://[^\s/]", re.IGNORECASE)
_DOWNGRADE = "it asks for Basic, which tells the password in clear, and has asked for Digest before"
_TIMEOUT = re.compile(r"timeout\s*=\s*(\d{1,6})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The request under way.

    Attributes:
        answers: the challenge that it answers, if any.
        repeats: how often it was sent again because of a 401.
    """

    method: str
    uri: str
    headers: tuple[tuple[str, str], ...]
    cseq: int
    answers: auth.Challenge | None = None
    repeats: int = 0


class Client:
    """One connection's conversation.

    Args:
        url: of the camera; a user name and password in it are not used.
        cnonce: makes random text.
        knows_digest: whether the camera has asked for Digest before: then it is told no password by Basic any more, which
            whoever stands between could ask for in its place.
        hears: sound that is wanted, by its names in `sdp.Audio`. Without it, or without the camera's consent, all goes on.
        open_ports: opens two UDP ports of ours for a track, RTP's and RTCP's; None: UDP is out of the question.
        over_udp: whether media shall come so; else they do only if the camera refuses the connection.

    Attributes:
        out: bytes to send; whoever sends them clears it.
        redirect: where the camera sends us; the conversation goes on there, by another client.
        video: once described.
        audio: the sound that was described, wanted or not.
        hearing: which of `carried` is sound, if any.
        carried: how each track comes that was set up, in their order.
        scheme: of the authentication that the server asked for.
        knows_digest: whether it, or the same camera before it, has asked for Digest.
        server: what it calls itself, up to `BANNER_MOST` printable characters.

    Raises:
        RtspError: the URL is none.
    """

    def __init__(
        self,
        url: str,
        credential: Credential | None,
        *,
        cnonce: Callable[[], str],
        knows_digest: bool = False,
        hears: Collection[str] = (),
        open_ports: Callable[[], tuple[int, int]] | None = None,
        over_udp: bool = False,
    ) -> None:
        self.url = sdp.without_userinfo(url)
        self.out = bytearray()
        self.redirect: str | None = None
        self.video: sdp.Video | None = None
        self.audio: sdp.Audio | None = None
        self.hearing: int | None = None
        self._hears = hears
        self.carried: list[carriage.Channels | carriage.Ports] = []
        self._open_ports, self._over_udp = open_ports, over_udp
        self.server: str | None = None
        self.is_playing = False
        self._credential, self._cnonce = credential, cnonce
        self.knows_digest = knows_digest
        self._challenge: auth.Challenge | None = None
        self._nonce_count = 0
        self._cseq = 0
        self._asked: _Asked | None = None
        self._session: str | None = None
        self._timeout_s = TIMEOUT_S
        self._knows_parameters = False
        self._next_alive_us: int | None = None
        self._ask("OPTIONS", self.url)

    @property
    def scheme(self) -> str | None:
        return self._challenge.scheme if self._challenge is not None else None

    def take(self, message: Message) -> None:
        """A message of the server's.

        Raises:
            RefusedError: it refused what we cannot do without.
            UnsupportedError: what it offers is not for this client; CarrierError: it may be, over UDP.
            RtspError: it makes no sense.
        """
        if message.method:
            self.out += answer(message)
            if len(self.out) > UNSAID_MOST:
                raise RtspError("it asks without end")
            return
        asked = self._asked
        if asked is None or message.status < 200:
            return
        # An error is never taken for a late response: some cameras number errors as the request before
        # (a TP-Link Tapo C220, docs/cameras.md: late-cseq).
        if message.status < 400 and _is_late(message, asked.cseq):
            return
        self._asked = None
        self.server = self.server or _banner(message.first("server"))
        if asked.method == "SETUP" and self.carried and message.status >= 300:
            self._do_without_sound(asked, message)
        elif message.status == 401:
            self._authorize(asked, message)
        elif 300 <= message.status < 400 and not self.is_playing:
            self._follow(message)
        else:
            self._proceed(asked, message)

    def keep_alive(self, now_us: int) -> None:
        """Asks something if the session needs it; to be called more often than it does."""
        if not self.is_playing or self.video is None:
            return
        if self._next_alive_us is not None and now_us >= self._next_alive_us:
            method = "GET_PARAMETER" if self._knows_parameters else "OPTIONS"
            self._ask(method, self.video.aggregate_url)
            self._next_alive_us = None
        if self._next_alive_us is None:
            self._next_alive_us = now_us + self._timeout_s * 500_000

    def leave(self) -> None:
        """Says goodbye; the answer is of no interest."""
        if self._session is not None and self.video is not None:
            self._ask("TEARDOWN", self.video.aggregate_url)

    # ---- requests

    def _ask(self, method: str, uri: str, *headers: tuple[str, str]) -> None:
        self._send(_Asked(method, uri, headers, 0))

    def _send(self, asked: _Asked) -> None:
        self._cseq += 1
        self._asked = replace(asked, cseq=self._cseq)
        headers = [("CSeq", str(self._cseq)), *asked.headers, ("User-Agent", USER_AGENT)]
        if self._session is not None:
            headers.append(("Session", self._session))
        if self._challenge is not None and self._credential is not None:
            headers.append(("Authorization", self._authorization(self._challenge, self._credential, asked)))
        self.out += request(asked.method, asked.uri, headers)

    def _authorization(self, challenge: auth.Challenge, credential: Credential, asked: _Asked) -> str:
        if challenge.scheme == "basic":
            return auth.basic(credential)
        self._nonce_count += 1
        return auth.digest(
            challenge,
            credential,
            method=asked.method,
            uri=asked.uri,
            count=self._nonce_count,
            cnonce=self._cnonce(),
        )

    def _authorize(self, asked: _Asked, message: Message) -> None:
        if self._credential is None:
            raise RefusedError(asked.method, 401)
        offered = message.all("www-authenticate")
        self.knows_digest = self.knows_digest or auth.offers_digest(offered)
        challenge = auth.best(offered, digest_only=self.knows_digest)
        if challenge is None:
            raise RefusedError(asked.method, 401, _DOWNGRADE if auth.best(offered) else "")
        is_wrong = asked.answers is not None and not challenge.is_stale
        if is_wrong or asked.repeats >= STALE_MOST:
            if self.is_playing:  # a keep-alive: the stream goes on or it does not
                return
            raise RefusedError(asked.method, 401)
        self._challenge, self._nonce_count = challenge, 0
        self._send(replace(asked, answers=challenge, repeats=asked.repeats + 1))

    # ---- responses

    def _follow(self, message: Message) -> None:
        location = message.first("location") or ""
        if not _RTSP_URL.match(location):
            raise RtspError("a redirect to nowhere")
        self.redirect = sdp.without_userinfo(location)

    def _proceed(self, asked: _Asked, message: Message) -> None:
        if asked.method == "OPTIONS" and not self.is_playing:  # not all know it, none needs to
            self._knows_parameters = "GET_PARAMETER" in (message.first("public") or "").upper()
            self._ask("DESCRIBE", self.url, ("Accept", "application/sdp"))
            return
        if self.is_playing:
            if message.status >= 400:  # cameras that play on answer GET_PARAMETER so
                self._knows_parameters = False
            return
        if message.status >= 300:
            if message.status == 461 and not self._over_udp:
                self._turn_to_udp()
                return
            raise RefusedError(asked.method, message.status)
        {"DESCRIBE": self._described, "SETUP": self._set_up, "PLAY": self._played}[asked.method](message)

    def _described(self, message: Message) -> None:
        base = sdp.base_url(self.url, message.first("content-base"), message.first("content-location"))
        self.video = sdp.parse(message.body, base)
        self.audio = sdp.audio(message.body, base)
        self._set_up_next(self.video.url)

    def _turn_to_udp(self) -> None:
        """In the same conversation: a camera may take no second client while it still knows of the first."""
        if self._open_ports is None or self.video is None:
            raise CarrierError("the camera does not send over TCP")
        self._over_udp = True
        self._set_up_next(self.video.url)

    def _set_up_next(self, url: str) -> None:
        ports = self._open_ports() if self._over_udp and self._open_ports is not None else None
        self._ask("SETUP", url, ("Transport", carriage.wanted(2 * len(self.carried), ports)))

    def _set_up(self, message: Message) -> None:
        assert self.video is not None
        transport = message.first("transport") or ""
        is_udp = self._over_udp
        agreed = carriage.agreed(transport, 2 * len(self.carried), over_udp=is_udp)
        if self.carried:
            self.hearing = 1 if agreed else None
            self.carried += [agreed] if agreed else []
            self._play()
            return
        if agreed is None:
            raise (
                RtspError("asked for UDP, it says TCP")
                if is_udp
                else CarrierError("asked for TCP, it says UDP")
            )
        self.carried.append(agreed)
        self._join(message)
        if self.audio is not None and self.audio.name in self._hears:
            self._set_up_next(self.audio.url)
        else:
            self._play()

    def _join(self, message: Message) -> None:
        """Takes the session that a response names, and how long it lasts without a request (RFC 2326, 12.37)."""
        session, _, rest = (message.first("session") or "").partition(";")
        self._session = session.strip() or None
        said = _TIMEOUT.search(rest)
        if said:
            self._timeout_s = min(max(int(said[1]), TIMEOUT_LEAST_S), TIMEOUT_MOST_S)

    def _do_without_sound(self, asked: _Asked, message: Message) -> None:
        try:
            if message.status == 401:
                self._authorize(asked, message)
                return
        except RefusedError:
            pass
        self._play()

    def _play(self) -> None:
        assert self.video is not None
        self._ask("PLAY", self.video.aggregate_url, ("Range", "npt=0.000-"))

    def _played(self, message: Message) -> None:
        if self._session is None:  # some cameras name it here first (docs/cameras.md: late-session)
            self._join(message)
        self.is_playing = True


def _banner(text: str | None) -> str | None:
    """It travels in events, which are kept for as long as footage is, and stands in pages and logs."""
    shown = "".join(char for char in text or "" if char.isprintable())
    return shown[:BANNER_MOST] or None


def _is_late(message: Message, cseq: int) -> bool:
    """Whether it answers an earlier request; responses that are numbered otherwise wrongly are taken."""
    text = message.first("cseq") or ""
    return text.isdecimal() and len(text) < 10 and int(text) < cseq and int(text) > 0


def may_be_told(target: str, url: str) -> bool:
    """Whether a redirect from `url` to `target` may be followed with the camera's password.

    It may not to another host, nor from `rtsps` to `rtsp`, where everybody could read along. Raises RtspError for what is
    no URL.
    """
    try:
        there, here = urlsplit(target), urlsplit(url)
        is_same_host = there.hostname == here.hostname
    except ValueError:
        raise RtspError("no URL") from None
    return is_same_host and (there.scheme == "rtsps" or here.scheme != "rtsps")
