"""A simulated camera's sound beside its pictures: RTP and sender reports of its own, on the camera's clock."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from districam_devkit.simcam import rtp
from districam_devkit.simcam.tones import Tone
from districam_devkit.simcam.wire import Wire

REPORT_INTERVAL_S = 5.0
PAYLOAD_TYPES = {"aac": 97, "pcm_mulaw": 0, "pcm_alaw": 8}
_AU_INDEX_BITS = 3
_LATE_LIMIT_S = 1.0
_POLL_S = 0.02


@dataclass(slots=True)
class Listener:
    """One playing session's sound: its own SSRC, sequence numbers and timestamp origin."""

    wire: Wire
    rtp_channel: int
    rtcp_channel: int
    ssrc: int = field(default_factory=lambda: random.getrandbits(32))
    seq: int = field(default_factory=lambda: random.getrandbits(16))
    origin: int = field(default_factory=lambda: random.getrandbits(32))
    next_report_s: float = 0.0
    packets: int = 0
    octets: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearing:
    """How a camera sends its sound.

    Attributes:
        per_packet: access units in a packet.
        has_reports: whether there are sender reports for it.
    """

    tone: Tone
    per_packet: int = 1
    has_reports: bool = True


class Microphone:
    """Plays its loop for ever; sample 0 is taken at the camera's start. A packet leaves once its last sample is taken.

    Args:
        start_s: the camera's start, on the loop's clock.
        wall_us: the camera's wall clock so many seconds after it.
        is_silenced: whether nothing of the camera is sent just now.

    Attributes:
        is_refused: whether its SETUP is answered with 461.
        lag_s: packets leave so much later.
        loss: the share of packets that are lost.
    """

    def __init__(
        self,
        hearing: Hearing,
        start_s: float,
        *,
        wall_us: Callable[[float], int],
        is_silenced: Callable[[], bool],
    ) -> None:
        self.hearing = hearing
        self.is_refused = False
        self.lag_s = self.loss = 0.0
        self._tone = hearing.tone
        self._start_s, self._wall_us, self._is_silenced = start_s, wall_us, is_silenced
        self._length = hearing.per_packet * self._tone.unit
        self._muted_until_s = 0.0
        self._listeners: list[Listener] = []
        self._dice = random.Random(1)
        self._stopping = False

    def join(self, listener: Listener) -> None:
        self._listeners.append(listener)

    def leave(self, listener: Listener) -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)

    def mute(self, for_s: float) -> None:
        """No packet is sent for so long; timestamps go on."""
        self._muted_until_s = asyncio.get_running_loop().time() + for_s

    def stop(self) -> None:
        self._stopping = True

    async def run(self) -> None:
        """Until `stop`."""
        loop = asyncio.get_running_loop()
        number = 0
        while not self._stopping:
            due_s = self._start_s + (number + 1) * self._length / self._tone.rate + self.lag_s
            now_s = loop.time()
            if now_s < due_s:
                await asyncio.sleep(min(due_s - now_s, _POLL_S))
                continue
            if now_s - due_s < _LATE_LIMIT_S:
                self._send(number, now_s)
            number += 1

    def _send(self, number: int, now_s: float) -> None:
        payload = self._payload(number)
        for listener in self._listeners:
            if self._is_silenced() or listener.wire.is_closed:
                continue
            data = b""
            if self.hearing.has_reports and now_s >= listener.next_report_s:
                data, listener.next_report_s = self._report(listener, now_s), now_s + REPORT_INTERVAL_S
            if now_s >= self._muted_until_s:
                packet = self._packet(listener, payload, number * self._length)
                data += packet if self._dice.random() >= self.loss else b""
            if data:
                listener.wire.write(data)

    def _packet(self, listener: Listener, payload: bytes, sample: int) -> bytes:
        (packet,) = rtp.interleaved(
            [payload],
            channel=listener.rtp_channel,
            seq=listener.seq,
            timestamp=(listener.origin + sample) & 0xFFFFFFFF,
            ssrc=listener.ssrc,
            payload_type=PAYLOAD_TYPES[self._tone.encoding],
        )
        listener.seq = (listener.seq + 1) & 0xFFFF
        listener.packets += 1
        listener.octets += len(payload)
        return packet

    def _payload(self, number: int) -> bytes:
        first, units = number * self.hearing.per_packet, self._tone.units
        found = [units[(first + n) % len(units)] for n in range(self.hearing.per_packet)]
        if self._tone.encoding != "aac":
            return b"".join(found)
        headers = [(len(unit) << _AU_INDEX_BITS).to_bytes(2, "big") for unit in found]
        return (16 * len(headers)).to_bytes(2, "big") + b"".join(
            [*headers, *found]
        )  # RFC 3640, 3.2 and 3.3.6

    def _report(self, listener: Listener, now_s: float) -> bytes:
        elapsed_s = now_s - self._start_s
        return rtp.sender_report(
            channel=listener.rtcp_channel,
            ssrc=listener.ssrc,
            now_us=self._wall_us(elapsed_s),
            timestamp=(listener.origin + round(elapsed_s * self._tone.rate)) & 0xFFFFFFFF,
            packets=listener.packets,
            octets=listener.octets,
        )
