"""A simulated camera's audio: its own RTP stream and sender reports, on the camera's clock."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from districam_devkit.simcam import rtp
from districam_devkit.simcam.media_transport import MediaTransport
from districam_devkit.simcam.tones import Tone

REPORT_INTERVAL_S = 5.0
PAYLOAD_TYPES = {"aac": 97, "pcm_mulaw": 0, "pcm_alaw": 8}
_AU_INDEX_BITS = 3
_LATE_LIMIT_S = 1.0
_POLL_S = 0.02


@dataclass(slots=True)
class AudioSession:
    """One session's audio: its own SSRC, sequence numbers and timestamp origin."""

    transport: MediaTransport
    rtp_channel: int
    rtcp_channel: int
    ssrc: int = field(default_factory=lambda: random.getrandbits(32))
    seq: int = field(default_factory=lambda: random.getrandbits(16))
    origin: int = field(default_factory=lambda: random.getrandbits(32))
    next_report_s: float = 0.0
    packets: int = 0
    octets: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioConfig:
    """How a camera sends its audio.

    Attributes:
        units_per_packet: access units in a packet.
        has_reports: whether it sends sender reports for the audio.
    """

    tone: Tone
    units_per_packet: int = 1
    has_reports: bool = True


class Microphone:
    """Plays its loop for ever from the camera's start. A packet is sent once its last sample is captured.

    Args:
        start_s: the camera's start, on the loop's clock.
        wall_us: the camera's wall clock this many seconds after its start.
        is_silenced: whether the camera currently sends nothing.

    Attributes:
        is_setup_refused: whether its SETUP is answered with 461.
        delay_s: packets are sent this much later.
        loss_rate: the share of packets that are lost.
    """

    def __init__(
        self, config: AudioConfig, start_s: float, *, wall_us: Callable[[float], int], is_silenced: Callable[[], bool]
    ) -> None:
        self.config = config
        self.is_setup_refused = False
        self.delay_s = self.loss_rate = 0.0
        self._tone = config.tone
        self._start_s, self._wall_us, self._is_silenced = start_s, wall_us, is_silenced
        self._length = config.units_per_packet * self._tone.unit_samples
        self._muted_until_s = 0.0
        self._sessions: list[AudioSession] = []
        self._rng = random.Random(1)
        self._stopping = False

    def join(self, session: AudioSession) -> None:
        self._sessions.append(session)

    def leave(self, session: AudioSession) -> None:
        if session in self._sessions:
            self._sessions.remove(session)

    def mute(self, for_s: float) -> None:
        """Sends no packet for `for_s`; timestamps continue."""
        self._muted_until_s = asyncio.get_running_loop().time() + for_s

    def stop(self) -> None:
        self._stopping = True

    async def run(self) -> None:
        """Sends packets until `stop`."""
        loop = asyncio.get_running_loop()
        number = 0
        while not self._stopping:
            due_s = self._start_s + (number + 1) * self._length / self._tone.sample_rate + self.delay_s
            now_s = loop.time()
            if now_s < due_s:
                await asyncio.sleep(min(due_s - now_s, _POLL_S))
                continue
            if now_s - due_s < _LATE_LIMIT_S:
                self._send(number, now_s)
            number += 1

    def _send(self, number: int, now_s: float) -> None:
        payload = self._payload(number)
        for session in self._sessions:
            if self._is_silenced() or session.transport.is_closed:
                continue
            data = b""
            if self.config.has_reports and now_s >= session.next_report_s:
                data, session.next_report_s = self._report(session, now_s), now_s + REPORT_INTERVAL_S
            if now_s >= self._muted_until_s:
                packet = self._packet(session, payload, number * self._length)
                data += packet if self._rng.random() >= self.loss_rate else b""
            if data:
                session.transport.write(data)

    def _packet(self, session: AudioSession, payload: bytes, sample: int) -> bytes:
        (packet,) = rtp.interleaved(
            [payload],
            channel=session.rtp_channel,
            seq=session.seq,
            timestamp=(session.origin + sample) & 0xFFFFFFFF,
            ssrc=session.ssrc,
            payload_type=PAYLOAD_TYPES[self._tone.encoding],
        )
        session.seq = (session.seq + 1) & 0xFFFF
        session.packets += 1
        session.octets += len(payload)
        return packet

    def _payload(self, number: int) -> bytes:
        first, units = number * self.config.units_per_packet, self._tone.access_units
        found = [units[(first + n) % len(units)] for n in range(self.config.units_per_packet)]
        if self._tone.encoding != "aac":
            return b"".join(found)
        headers = [(len(unit) << _AU_INDEX_BITS).to_bytes(2, "big") for unit in found]
        # RFC 3640, 3.2.1 (AU header section) and 3.3.6 (AAC-hbr)
        return (16 * len(headers)).to_bytes(2, "big") + b"".join([*headers, *found])

    def _report(self, session: AudioSession, now_s: float) -> bytes:
        elapsed_s = now_s - self._start_s
        return rtp.sender_report(
            channel=session.rtcp_channel,
            ssrc=session.ssrc,
            now_us=self._wall_us(elapsed_s),
            timestamp=(session.origin + round(elapsed_s * self._tone.sample_rate)) & 0xFFFFFFFF,
            packets=session.packets,
            octets=session.octets,
        )
