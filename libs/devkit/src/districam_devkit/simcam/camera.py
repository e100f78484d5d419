"""One simulated camera: a live picture on one clock, shared by all its clients.

Access unit n is due n / fps after the camera's start and carries running number n, whether or not a client is
connected.
A client joins at the next access unit, mid-GOP, as with a real camera.
"""

import asyncio
import random
import time
import zlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from districam_devkit.bitstream import RunningNumber
from districam_devkit.simcam import attacks, rtp, rtp_quirks
from districam_devkit.simcam.attacks import AttackStream
from districam_devkit.simcam.behavior import CameraBehavior
from districam_devkit.simcam.clips import Clip
from districam_devkit.simcam.faults import RateFault, TimedFault, random_bytes, random_payload
from districam_devkit.simcam.media_clock import MediaClock
from districam_devkit.simcam.media_transport import MediaTransport
from districam_devkit.simcam.microphone import AudioConfig, Microphone
from districam_devkit.simcam.network_impairment import NetworkImpairment
from districam_devkit.simcam.packetized_clip import PacketizedClip
from districam_devkit.simcam.send_log import Recipient, SendLog
from districam_devkit.simcam.wall_clock import WallClock

REPORT_INTERVAL_S = 5.0
BUFFER_LIMIT_BYTES = 8 << 20
ATTACK_BUFFER_BYTES = 1 << 20
_LATE_LIMIT_S = 1.0


@dataclass(slots=True)
class VideoSession:
    """One playing session, with random SSRC, sequence number and timestamp origin as RFC 3550 (5.1) requires."""

    transport: MediaTransport
    rtp_channel: int
    rtcp_channel: int
    is_ordered_transport: bool = True
    ssrc: int = field(default_factory=lambda: random.getrandbits(32))
    seq: int = field(default_factory=lambda: random.getrandbits(16))
    timestamp_origin: int = field(default_factory=lambda: random.getrandbits(32))
    awaits_keyframe: bool = True
    next_report_s: float = 0.0
    packets: int = 0
    octets: int = 0
    attack_stream: tuple[AttackStream, float] | None = None
    """The media of the current attack, and its start on the loop's clock."""


@dataclass(frozen=True, slots=True)
class _PendingUnit:
    """A sent access unit whose bytes may not all have left this process yet."""

    number: int
    sent_us: int
    is_keyframe: bool
    # For each connection: `written_bytes` after the unit, and whether the client had no keyframe yet.
    write_ends: tuple[tuple[MediaTransport, int, bool], ...]


class LiveCamera:
    """Plays its clip for ever in `run`; other methods may be called at any time on the same loop.

    Args:
        clips: what it plays, and the clips to switch to; all of one frame rate.
        first_unit: the clip's access unit to start with; by default derived from the id, so that cameras'
            keyframes differ.
    """

    def __init__(
        self,
        camera_id: str,
        clips: Sequence[PacketizedClip],
        log: SendLog,
        *,
        spread: float,
        writes: int,
        start_at_keyframe: bool,
        first_unit: int | None = None,
        behavior: CameraBehavior,
        audio: AudioConfig | None = None,
    ) -> None:
        self.camera_id, self.behavior = camera_id, behavior
        self._clips = deque(clips)
        self._fps = float(self.clip.fps)
        self._log = log
        self._spread_s = spread / self._fps
        self._writes = writes
        self._start_at_keyframe = start_at_keyframe
        if first_unit is None:
            first_unit = zlib.crc32(camera_id.encode())
        self._clock = MediaClock(self.clip, first_unit % len(self.clip.access_units))
        self._start_s = asyncio.get_running_loop().time()
        self._wall = WallClock(time.time_ns() // 1000)
        self.impairment = NetworkImpairment(camera_id)
        self.microphone: Microphone | None = None
        if audio is not None:
            silenced = lambda: self.has_fault("silence")  # noqa: E731  # used once, in the next line
            self.microphone = Microphone(audio, self._start_s, wall_us=self._wall.read_us, is_silenced=silenced)
        self._next = 0
        self._sessions: list[VideoSession] = []
        self._has_sessions = asyncio.Event()
        self._pending_units: deque[_PendingUnit] = deque()
        self._faulty_until_s: dict[TimedFault, float] = {}
        self._refusal = (0, 0.0)
        self._rng = random.Random(camera_id)
        self._stopping = False

    @property
    def clip(self) -> Clip:
        """The clip that it plays now."""
        return self._clips[0].clip

    @property
    def has_other_clip(self) -> bool:
        return len(self._clips) > 1

    @property
    def refusal_status(self) -> int | None:
        """The status that requests are answered with while they are refused, else None."""
        status, until_s = self._refusal
        return status if asyncio.get_running_loop().time() < until_s else None

    @property
    def is_client_limit_reached(self) -> bool:
        """Whether the maximum number of clients is connected."""
        return self.behavior.clients_most is not None and len(self._sessions) >= self.behavior.clients_most

    def join(self, session: VideoSession) -> tuple[int, int]:
        """Adds a client from the next access unit on; returns the first packet's seq and rtptime."""
        if not self._sessions:
            self._next = max(self._next, self._due_number())
        if session not in self._sessions:
            self._sessions.append(session)
        self._has_sessions.set()
        return session.seq, self._timestamp(self._next, session)

    def leave(self, session: VideoSession) -> None:
        if session in self._sessions:
            self._sessions.remove(session)
        self.log_flushed_units()

    def start_fault(self, fault: TimedFault, for_s: float) -> None:
        """Starts a fault at the next access unit. Running numbers that the fault suppresses are never sent."""
        self._faulty_until_s[fault] = asyncio.get_running_loop().time() + for_s
        if fault == "freeze":
            for session in self._sessions:
                session.next_report_s = 0.0

    def start_rate_fault(self, kind: RateFault, percent: float, for_s: float) -> None:
        """Starts a fault that has a rate (see `Fault`), now."""
        now_s = asyncio.get_running_loop().time()
        if kind == "drift":
            elapsed_s = now_s - self._start_s
            self._wall.drift(percent / 100, elapsed_s, elapsed_s + for_s)
        else:
            self.impairment.set_rate(kind, percent, now_s + for_s)

    def jump_timestamps(self, by_s: float) -> None:
        """Shifts the timestamps by `by_s` from the next access unit on."""
        self._clock.jump(by_s)

    def step_wall_clock(self, by_s: float) -> None:
        """Shifts the wall clock by `by_s`; the next sender reports are due at once."""
        self._wall.step(by_s)
        for session in self._sessions:
            session.next_report_s = 0.0

    @property
    def response_attack(self) -> str | None:
        """The current attack on responses, or None."""
        return next((kind for kind in attacks.RESPONSE_ATTACKS if self.has_fault(cast("TimedFault", kind))), None)

    def switch_clip(self) -> None:
        """Switches to the next clip at the next access unit."""
        self._clips.rotate(-1)
        self._clock.switch_clip(self.clip, self._next)

    def refuse_requests(self, status: int, for_s: float) -> None:
        self._refusal = (status, asyncio.get_running_loop().time() + for_s)

    def stop(self) -> None:
        """Makes `run` return after the access unit in progress."""
        self._stopping = True
        self._has_sessions.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            if not self._sessions:
                self._has_sessions.clear()
                await self._has_sessions.wait()
                continue
            await _sleep_until(self._due_s(self._next))
            now_s = loop.time()
            if now_s - self._due_s(self._next) > _LATE_LIMIT_S:
                self._next = self._due_number()  # the process was suspended: a camera keeps no backlog
                continue
            number = self._next
            self._next += 1  # a client that joins while this one is being sent gets the next one
            if not self._stopping:
                await self._show(number, now_s)

    async def _show(self, number: int, now_s: float) -> None:
        if self.has_fault("stall", now_s):
            self._clock.pause(number)
            return
        self._clock.resume(number)
        if self.has_fault("stuck", now_s):
            self._clock.freeze_timestamps(number)
        else:
            self._clock.resume_timestamps()
        attack: attacks.MediaAttack | None = next(
            (kind for kind in attacks.MEDIA_ATTACKS if self.has_fault(kind, now_s)), None
        )
        if attack is not None:
            self._attack(attack, now_s)
        elif self.has_fault("freeze", now_s):
            self._send_reports(now_s)
        elif not self.has_fault("silence", now_s):
            await self._send(number, now_s)

    def has_fault(self, fault: TimedFault, now_s: float | None = None) -> bool:
        """Whether the fault is active at `now_s`; now by default."""
        now_s = asyncio.get_running_loop().time() if now_s is None else now_s
        return now_s < self._faulty_until_s.get(fault, 0.0)

    def _attack(self, kind: attacks.MediaAttack, now_s: float) -> None:
        """Sends as fast as the client reads, up to the attack's amount for the time of one picture."""
        sets, keyframe = self.clip.parameter_sets, next(u for u in self.clip.access_units if u.is_keyframe)
        for session in self._sessions:
            if session.transport.written_bytes - session.transport.flushed_bytes > ATTACK_BUFFER_BYTES:
                continue
            if session.attack_stream is None:
                session.attack_stream = (
                    AttackStream(session.rtp_channel, session.rtcp_channel, sets, keyframe.nals),
                    now_s,
                )
            attack, since_s = session.attack_stream
            session.transport.write(attack.next_interval(kind, now_s - since_s, 1 / self._fps))

    def _send_reports(self, now_s: float) -> None:
        for session in self._sessions:
            if now_s >= session.next_report_s:
                session.transport.write(self._report(session, now_s))
                session.next_report_s = now_s + REPORT_INTERVAL_S

    async def _send(self, number: int, now_s: float) -> None:
        program, index = self._clips[0], self._clock.unit_index(number)
        unit = program.units[index]
        sent_us = time.time_ns() // 1000
        running = RunningNumber(number, sent_us, self.camera_id)
        payloads = program.payloads(index, running, self.behavior.quirks)
        sends = [
            (
                viewer,
                self._packets(viewer, number, payloads, now_s),
                self._update_awaits_keyframe(viewer, number, is_keyframe=unit.is_keyframe),
            )
            for viewer in list(self._sessions)
            if self._is_ready(viewer, is_keyframe=unit.is_keyframe)
        ]
        count = max((len(writes) for _, writes, _ in sends), default=0)
        whole = [True] * len(sends)
        for step in range(count):
            await _sleep_until(now_s + step * self._spread_s / max(1, count - 1))
            for index, (viewer, writes, _) in enumerate(sends):
                if step < len(writes):
                    whole[index] = viewer.transport.write(writes[step]) and whole[index]
        ends = tuple(
            (viewer.transport, viewer.transport.written_bytes, early)
            for is_whole, (viewer, _, early) in zip(whole, sends, strict=True)
            if is_whole
        )
        self._pending_units.append(_PendingUnit(number, sent_us, unit.is_keyframe, ends))
        await asyncio.sleep(0)  # lets the loop write, which it does at the end of its iteration
        self.log_flushed_units()

    def _is_ready(self, session: VideoSession, *, is_keyframe: bool) -> bool:
        transport = session.transport
        if transport.is_closed:
            return False
        if transport.written_bytes - transport.flushed_bytes > BUFFER_LIMIT_BYTES:  # the client has stopped reading
            transport.abort()
            return False
        return not (session.awaits_keyframe and self._start_at_keyframe and not is_keyframe)

    def _update_awaits_keyframe(self, session: VideoSession, number: int, *, is_keyframe: bool) -> bool:
        """Whether the client has not been sent a complete keyframe yet."""
        is_incomplete = self.impairment.lost_packets[-1:] == [(session.transport.number, number)]
        session.awaits_keyframe = session.awaits_keyframe and (is_incomplete or not is_keyframe)
        return session.awaits_keyframe

    def _packets(self, session: VideoSession, number: int, payloads: list[bytes], now_s: float) -> list[bytes]:
        if self.has_fault("garbage", now_s):
            payloads = [random_payload(payload, self._rng) for payload in payloads]
        packets: list[bytes] = []
        for _ in range(2 if self.has_fault("repeat", now_s) else 1):
            packets += rtp.interleaved(
                payloads,
                channel=session.rtp_channel,
                seq=(session.seq + len(packets)) & 0xFFFF,
                timestamp=self._timestamp(number, session),
                ssrc=session.ssrc,
                payload_type=rtp.payload_type(self.behavior.quirks),
            )
        session.seq = (session.seq + len(packets)) & 0xFFFF
        session.packets += len(packets)
        session.octets += sum(map(len, payloads)) * len(packets) // len(payloads)
        if self.behavior.quirks:
            before = self._timestamp(number - 1, session)
            quirks, codec = self.behavior.quirks, self.clip.codec
            packets = rtp_quirks.packets(packets, quirks, codec=codec, previous_timestamp=before)
        packets = self.impairment.apply(
            packets, now_s, connection=session.transport.number, number=number, in_order=session.is_ordered_transport
        )
        if self.has_fault("babble", now_s):
            packets = [random_bytes(packet, self._rng) for packet in packets]
        writes = rtp.chunks(packets, self._writes)
        if now_s >= session.next_report_s and not self.has_fault("babble", now_s):
            writes[0] = self._report(session, now_s) + writes[0]
            session.next_report_s = now_s + REPORT_INTERVAL_S
        return writes

    def _report(self, session: VideoSession, now_s: float) -> bytes:
        elapsed_s = now_s - self._start_s
        report = rtp.sender_report(
            channel=session.rtcp_channel,
            ssrc=session.ssrc,
            now_us=self._wall.read_us(elapsed_s),
            timestamp=(session.timestamp_origin + self._clock.ticks_at(elapsed_s)) & 0xFFFFFFFF,
            packets=session.packets,
            octets=session.octets,
        )
        return rtp_quirks.report(report, self.behavior.quirks)

    def log_flushed_units(self) -> None:
        """Logs the access units whose bytes have left this process for every connection, or never will."""
        while self._pending_units:
            first = self._pending_units[0]
            if any(wire.flushed_bytes < end and not wire.is_closed for wire, end, _ in first.write_ends):
                return
            self._pending_units.popleft()
            sent_to = [
                Recipient(wire.number, early) for wire, end, early in first.write_ends if wire.flushed_bytes >= end
            ]
            if sent_to:
                self._log.write(
                    self.camera_id, first.number, first.sent_us, is_keyframe=first.is_keyframe, sent_to=sent_to
                )

    def _timestamp(self, number: int, session: VideoSession) -> int:
        return (session.timestamp_origin + self._clock.ticks(number)) & 0xFFFFFFFF

    def _due_s(self, number: int) -> float:
        return self._start_s + number / self._fps

    def _due_number(self) -> int:
        """The number of the first access unit that is not due yet."""
        elapsed_s = asyncio.get_running_loop().time() - self._start_s
        return int(elapsed_s * self._fps) + 1


async def _sleep_until(when_s: float) -> None:
    remaining_s = when_s - asyncio.get_running_loop().time()
    if remaining_s > 0:
        await asyncio.sleep(remaining_s)
