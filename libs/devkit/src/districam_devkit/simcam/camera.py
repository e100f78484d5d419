"""One simulated camera: a live picture on one clock, whoever watches.

Access unit n of the camera's life is due n / fps after its start and carries running number n, watched or not.
A viewer joins at the next access unit, mid-GOP, as with a real camera.
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
from districam_devkit.simcam.attacks import Assault
from districam_devkit.simcam.clips import Clip
from districam_devkit.simcam.faults import Ailment, Chance, babbled, garbled
from districam_devkit.simcam.manners import Manners
from districam_devkit.simcam.media_clock import MediaClock
from districam_devkit.simcam.microphone import Hearing, Microphone
from districam_devkit.simcam.mishaps import Mishaps
from districam_devkit.simcam.program import Program
from districam_devkit.simcam.sendlog import SendLog, SentTo
from districam_devkit.simcam.wall_clock import WallClock
from districam_devkit.simcam.wire import Wire

REPORT_INTERVAL_S = 5.0
BUFFER_LIMIT_BYTES = 8 << 20
ATTACK_BUFFER_BYTES = 1 << 20
_LATE_LIMIT_S = 1.0


@dataclass(slots=True)
class Viewer:
    """One playing session: its own SSRC, sequence numbers and timestamp origin, at random as RFC 3550 asks."""

    wire: Wire
    rtp_channel: int
    rtcp_channel: int
    in_order: bool = True
    ssrc: int = field(default_factory=lambda: random.getrandbits(32))
    seq: int = field(default_factory=lambda: random.getrandbits(16))
    origin: int = field(default_factory=lambda: random.getrandbits(32))
    awaits_keyframe: bool = True
    next_report_s: float = 0.0
    packets: int = 0
    octets: int = 0
    assault: tuple[Assault, float] | None = None
    """Under an attack: its media, and since when."""


@dataclass(frozen=True, slots=True)
class _Written:
    """An access unit whose way out of this process is still being watched."""

    number: int
    sent_us: int
    is_keyframe: bool
    # Where it ends in the connection's `written`, and whether that still waited for its first keyframe.
    ends: tuple[tuple[Wire, int, bool], ...]


class LiveCamera:
    """Plays its clip for ever. `run` is its life; the other methods may be called at any time on the same loop.

    Args:
        programs: what it plays, and what it can change to; all of one rate.
        first_unit: where in the first one it begins; by default the keyframes of many cameras do not fall together.
    """

    def __init__(
        self,
        camera_id: str,
        programs: Sequence[Program],
        log: SendLog,
        *,
        spread: float,
        writes: int,
        start_at_keyframe: bool,
        first_unit: int | None = None,
        manners: Manners,
        hearing: Hearing | None = None,
    ) -> None:
        self.camera_id, self.manners = camera_id, manners
        self._programs = deque(programs)
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
        self.mishaps = Mishaps(camera_id)
        self.microphone: Microphone | None = None
        if hearing is not None:
            silenced = lambda: self.ails("silence")  # noqa: E731  # used once, in the next line
            self.microphone = Microphone(hearing, self._start_s, wall_us=self._wall.us, is_silenced=silenced)
        self._next = 0
        self._viewers: list[Viewer] = []
        self._watched = asyncio.Event()
        self._written: deque[_Written] = deque()
        self._ails_until_s: dict[Ailment, float] = {}
        self._refusal = (0, 0.0)
        self._dice = random.Random(camera_id)
        self._stopping = False

    @property
    def clip(self) -> Clip:
        """What it plays now."""
        return self._programs[0].clip

    @property
    def can_change(self) -> bool:
        return len(self._programs) > 1

    @property
    def refusal(self) -> int | None:
        """The status that requests are answered with, if they are refused now."""
        status, until_s = self._refusal
        return status if asyncio.get_running_loop().time() < until_s else None

    @property
    def is_full(self) -> bool:
        """Whether as many watch as may."""
        return self.manners.clients_most is not None and len(self._viewers) >= self.manners.clients_most

    def join(self, viewer: Viewer) -> tuple[int, int]:
        """The viewer gets every access unit from the next one on; returns the first packet's seq and rtptime."""
        if not self._viewers:
            self._next = max(self._next, self._due_number())
        if viewer not in self._viewers:
            self._viewers.append(viewer)
        self._watched.set()
        return viewer.seq, self._timestamp(self._next, viewer)

    def leave(self, viewer: Viewer) -> None:
        if viewer in self._viewers:
            self._viewers.remove(viewer)
        self.settle()

    def suffer(self, ailment: Ailment, for_s: float) -> None:
        """From the next access unit on. Numbers of pictures that an ailment keeps back are never sent."""
        self._ails_until_s[ailment] = asyncio.get_running_loop().time() + for_s
        if ailment == "freeze":
            for viewer in self._viewers:
                viewer.next_report_s = 0.0

    def chance(self, kind: Chance, percent: float, for_s: float) -> None:
        """What `Fault` says of the kind, from now on."""
        now_s = asyncio.get_running_loop().time()
        if kind == "drift":
            elapsed_s = now_s - self._start_s
            self._wall.drift(percent / 100, elapsed_s, elapsed_s + for_s)
        else:
            self.mishaps.begin(kind, percent, now_s + for_s)

    def leap(self, by_s: float) -> None:
        """Timestamps of the next access unit and of all after it are so much later."""
        self._clock.leap(by_s)

    def step(self, by_s: float) -> None:
        """The wall clock shows so much more, and the next sender reports are due."""
        self._wall.step(by_s)
        for viewer in self._viewers:
            viewer.next_report_s = 0.0

    @property
    def spoken_attack(self) -> str | None:
        """The attack that its answers are, if one is going on."""
        return next((kind for kind in attacks.SPOKEN if self.ails(cast("Ailment", kind))), None)

    def change(self) -> None:
        """The next access unit is the first of the other clip."""
        self._programs.rotate(-1)
        self._clock.play(self.clip, self._next)

    def refuse(self, status: int, for_s: float) -> None:
        self._refusal = (status, asyncio.get_running_loop().time() + for_s)

    def stop(self) -> None:
        """`run` returns once the access unit in progress is written."""
        self._stopping = True
        self._watched.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            if not self._viewers:
                self._watched.clear()
                await self._watched.wait()
                continue
            await _sleep_until(self._due_s(self._next))
            now_s = loop.time()
            if now_s - self._due_s(self._next) > _LATE_LIMIT_S:
                self._next = self._due_number()  # the process stood still: a camera keeps no backlog
                continue
            number = self._next
            self._next += 1  # who joins while this one is being sent gets the next one
            if not self._stopping:
                await self._show(number, now_s)

    async def _show(self, number: int, now_s: float) -> None:
        if self.ails("stall", now_s):
            self._clock.pause(number)
            return
        self._clock.resume(number)
        if self.ails("stuck", now_s):
            self._clock.hold(number)
        else:
            self._clock.release()
        attack: attacks.MediaAttack | None = next(
            (kind for kind in attacks.MEDIA if self.ails(kind, now_s)), None
        )
        if attack is not None:
            self._attack(attack, now_s)
        elif self.ails("freeze", now_s):
            self._report_alone(now_s)
        elif not self.ails("silence", now_s):
            await self._send(number, now_s)

    def ails(self, ailment: Ailment, now_s: float | None = None) -> bool:
        """Whether it suffers so then; now by default."""
        now_s = asyncio.get_running_loop().time() if now_s is None else now_s
        return now_s < self._ails_until_s.get(ailment, 0.0)

    def _attack(self, kind: attacks.MediaAttack, now_s: float) -> None:
        """As fast as the other side reads, within what an attack sends in the time of a picture."""
        sets, keyframe = self.clip.parameter_sets, next(u for u in self.clip.access_units if u.is_keyframe)
        for viewer in self._viewers:
            if viewer.wire.written - viewer.wire.flushed > ATTACK_BUFFER_BYTES:
                continue
            if viewer.assault is None:
                viewer.assault = Assault(viewer.rtp_channel, viewer.rtcp_channel, sets, keyframe.nals), now_s
            assault, since_s = viewer.assault
            viewer.wire.write(assault.media(kind, now_s - since_s, 1 / self._fps))

    def _report_alone(self, now_s: float) -> None:
        for viewer in self._viewers:
            if now_s >= viewer.next_report_s:
                viewer.wire.write(self._report(viewer, now_s))
                viewer.next_report_s = now_s + REPORT_INTERVAL_S

    async def _send(self, number: int, now_s: float) -> None:
        program, index = self._programs[0], self._clock.unit(number)
        unit = program.units[index]
        sent_us = time.time_ns() // 1000
        running = RunningNumber(number, sent_us, self.camera_id)
        payloads = program.payloads(index, running, self.manners.quirks)
        sends = [
            (
                viewer,
                self._packets(viewer, number, payloads, now_s),
                self._still_awaits(viewer, number, is_keyframe=unit.is_keyframe),
            )
            for viewer in list(self._viewers)
            if self._is_ready(viewer, is_keyframe=unit.is_keyframe)
        ]
        count = max((len(writes) for _, writes, _ in sends), default=0)
        whole = [True] * len(sends)
        for step in range(count):
            await _sleep_until(now_s + step * self._spread_s / max(1, count - 1))
            for index, (viewer, writes, _) in enumerate(sends):
                if step < len(writes):
                    whole[index] = viewer.wire.write(writes[step]) and whole[index]
        ends = tuple(
            (viewer.wire, viewer.wire.written, early)
            for is_whole, (viewer, _, early) in zip(whole, sends, strict=True)
            if is_whole
        )
        self._written.append(_Written(number, sent_us, unit.is_keyframe, ends))
        await asyncio.sleep(0)  # the loop writes at the end of its turn
        self.settle()

    def _is_ready(self, viewer: Viewer, *, is_keyframe: bool) -> bool:
        wire = viewer.wire
        if wire.is_closed:
            return False
        if wire.written - wire.flushed > BUFFER_LIMIT_BYTES:  # it stopped reading
            wire.abort()
            return False
        return not (viewer.awaits_keyframe and self._start_at_keyframe and not is_keyframe)

    def _still_awaits(self, viewer: Viewer, number: int, *, is_keyframe: bool) -> bool:
        """Whether the viewer has been sent no keyframe yet. One of which packets were lost is none."""
        is_torn = self.mishaps.lost[-1:] == [(viewer.wire.number, number)]
        viewer.awaits_keyframe = viewer.awaits_keyframe and (is_torn or not is_keyframe)
        return viewer.awaits_keyframe

    def _packets(self, viewer: Viewer, number: int, payloads: list[bytes], now_s: float) -> list[bytes]:
        if self.ails("garbage", now_s):
            payloads = [garbled(payload, self._dice) for payload in payloads]
        packets: list[bytes] = []
        for _ in range(2 if self.ails("repeat", now_s) else 1):
            packets += rtp.interleaved(
                payloads,
                channel=viewer.rtp_channel,
                seq=(viewer.seq + len(packets)) & 0xFFFF,
                timestamp=self._timestamp(number, viewer),
                ssrc=viewer.ssrc,
                payload_type=rtp.payload_type(self.manners.quirks),
            )
        viewer.seq = (viewer.seq + len(packets)) & 0xFFFF
        viewer.packets += len(packets)
        viewer.octets += sum(map(len, payloads)) * len(packets) // len(payloads)
        if self.manners.quirks:
            before = self._timestamp(number - 1, viewer)
            quirks, codec = self.manners.quirks, self.clip.codec
            packets = rtp_quirks.packets(packets, quirks, codec=codec, previous_timestamp=before)
        packets = self.mishaps.befall(
            packets, now_s, connection=viewer.wire.number, number=number, in_order=viewer.in_order
        )
        if self.ails("babble", now_s):
            packets = [babbled(packet, self._dice) for packet in packets]
        writes = rtp.chunks(packets, self._writes)
        if now_s >= viewer.next_report_s and not self.ails("babble", now_s):
            writes[0] = self._report(viewer, now_s) + writes[0]
            viewer.next_report_s = now_s + REPORT_INTERVAL_S
        return writes

    def _report(self, viewer: Viewer, now_s: float) -> bytes:
        elapsed_s = now_s - self._start_s
        report = rtp.sender_report(
            channel=viewer.rtcp_channel,
            ssrc=viewer.ssrc,
            now_us=self._wall.us(elapsed_s),
            timestamp=(viewer.origin + self._clock.ticks_at(elapsed_s)) & 0xFFFFFFFF,
            packets=viewer.packets,
            octets=viewer.octets,
        )
        return rtp_quirks.report(report, self.manners.quirks)

    def settle(self) -> None:
        """Logs the access units whose bytes have left for every connection, or never will."""
        while self._written:
            first = self._written[0]
            if any(wire.flushed < end and not wire.is_closed for wire, end, _ in first.ends):
                return
            self._written.popleft()
            sent_to = [SentTo(wire.number, early) for wire, end, early in first.ends if wire.flushed >= end]
            if sent_to:
                self._log.write(
                    self.camera_id,
                    first.number,
                    first.sent_us,
                    is_keyframe=first.is_keyframe,
                    sent_to=sent_to,
                )

    def _timestamp(self, number: int, viewer: Viewer) -> int:
        return (viewer.origin + self._clock.ticks(number)) & 0xFFFFFFFF

    def _due_s(self, number: int) -> float:
        return self._start_s + number / self._fps

    def _due_number(self) -> int:
        """The first access unit that is not due yet."""
        elapsed_s = asyncio.get_running_loop().time() - self._start_s
        return int(elapsed_s * self._fps) + 1


async def _sleep_until(when_s: float) -> None:
    remaining_s = when_s - asyncio.get_running_loop().time()
    if remaining_s > 0:
        await asyncio.sleep(remaining_s)
