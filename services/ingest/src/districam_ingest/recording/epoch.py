"""One epoch on its way out: pictures → time → fragments → Kafka, and what is said of it. No awaits: nothing can be torn."""

import secrets
from dataclasses import replace
from typing import Final

import structlog

from districam_common.contract.events import Camera, Cause, Connected, Lost, Shed
from districam_common.contract.media import Fragment, FragmentInfo
from districam_common.mp4.writer import AudioUnit
from districam_ingest import metrics
from districam_ingest.output.mux import decoder_config, init_of, value_of
from districam_ingest.output.outlets import Outlets
from districam_ingest.output.stills import Wanted
from districam_ingest.readers.reading import SourceInfo
from districam_ingest.recording.budget import Budget
from districam_ingest.recording.epoch_id import epoch_id
from districam_ingest.recording.fragmenter import Cuts, Fragmenter
from districam_ingest.recording.gate import Starts, Takes
from districam_ingest.recording.observing import Observer
from districam_ingest.recording.shedding import UNIT_MAX_BYTES, Shedder, ShedRange
from districam_ingest.recording.soundtrack import Soundtrack
from districam_ingest.recording.timeline import Timeline
from districam_ingest.units import AccessUnit, Cut, Picture

log = structlog.get_logger()

REPEAT_US: Final = 3_600_000_000
OVERSIZE: Final = "pictures of more than 8 MiB come too often"
KEYFRAMES: Final = "more than a hundred keyframes a second"


class Epoch:
    """Takes an epoch's pictures until `end`, and their sound out of `soundtrack`, which begins anew with it.

    Nothing is said of it until its first fragment is sent, or shed: so `connected` is never without `lost`.

    Attributes:
        excess: of what more has come than the camera's budget allows, in words.

    Raises:
        BitstreamError: the parameter sets make no init.
    """

    def __init__(
        self,
        camera: Camera,
        info: SourceInfo,
        start: Starts,
        cuts: Cuts,
        outlets: Outlets,
        *,
        budget: Budget,
        soundtrack: Soundtrack | None = None,
    ) -> None:
        self._camera, self._info, self._outlets, self._budget = camera, info, outlets, budget
        self.excess: str | None = None
        self._shape = start.shape
        self._soundtrack = soundtrack
        self._first_dts: int | None = None
        if soundtrack is not None:
            self._shape = replace(start.shape, codecs=f"{start.shape.codecs},{soundtrack.shape.codecs}")
        self._init = init_of(start.shape, start.sets, soundtrack.shape if soundtrack else None)
        self._config = decoder_config(start.shape, start.sets)
        self.offset_us = outlets.outbox.host_clock.offset_us
        self.id = epoch_id(outlets.now_us(), secrets.token_bytes(10))
        self._timeline = Timeline(self.offset_us)
        self._held_bytes = 0
        self._fragmenter = Fragmenter(camera.camera_id, cuts)
        self._shedder = Shedder()
        self._connected: Connected | None = None
        self._last: tuple[int, int] | None = None  # seq and end of the last that was offered or shed
        self._observer = Observer(camera, self._shape, outlets, info, budget)
        self._still_us = 0
        self.last_arrival_us = 0

    @property
    def is_anchored(self) -> bool:
        """Whether its pictures have their time; not in its first second."""
        return self._timeline.is_anchored

    def reaches_us(self, taken: Takes) -> int:
        """How far before its first arrival the epoch would begin with this picture, while that is open."""
        return self._timeline.ahead_us(taken.picture, taken.dts)

    @property
    def strays_us(self) -> int | None:
        """By how much the camera's media clock has left ours behind or ahead, if it is over a second."""
        return self._timeline.strays_us

    def take(self, taken: Takes) -> None:
        """The next picture, in decode order."""
        self.last_arrival_us = taken.picture.arrival_us
        self._observer.arrive(taken.picture, taken.dts)
        if self._soundtrack is not None:
            self._soundtrack.see(taken.picture)
        in_doubt = self._outlets.outbox.host_clock.in_doubt
        units = self._timeline.push(
            taken.picture, taken.dts, is_keyframe=taken.is_keyframe, in_doubt=in_doubt
        )
        if not self._has_room_to_hold() and (self._timeline.is_anchored or in_doubt):
            units += (
                self._timeline.release()
            )  # as if the network had been slow: what else could be stored of them?
            self._has_room_to_hold()
        self._pass_on(units)

    def _has_room_to_hold(self) -> bool:
        """Counts what the timeline holds now; False if there is more in the process than its budget allows."""
        more = self._timeline.held_bytes - self._held_bytes
        if not more:
            return True
        self._held_bytes += more
        return self._outlets.outbox.hold(more)

    def follow_clock(self) -> None:
        """Takes our clock as it is now for its own. Until it is anchored: nothing has left it yet."""
        self.offset_us = self._outlets.outbox.host_clock.offset_us
        self._timeline.move(self.offset_us)

    def withdraw(self) -> list[Picture]:
        """Takes back the pictures that no time was found for."""
        pictures = self._timeline.withdraw()
        self._has_room_to_hold()
        return pictures

    def end(
        self,
        cause: Cause,
        detail: str,
        *,
        interval_us: int,
        next_retry_s: float = 0.0,
        interrupted: bool = True,
    ) -> None:
        """Sends what is held, then `lost`; behind it nothing of this epoch comes."""
        units = self._timeline.release()
        self._has_room_to_hold()
        self._pass_on(units)
        rest = self._fragmenter.end(interval_us)
        if rest is not None:
            self._send(rest)
        self.abandon(cause, detail, next_retry_s=next_retry_s, interrupted=interrupted)

    def abandon(
        self, cause: Cause, detail: str, *, next_retry_s: float = 0.0, interrupted: bool = True
    ) -> bool:
        """Sends `lost` without what is held: it cannot be stored. False if nothing of this epoch was sent."""
        self.withdraw()
        self._observer.count()
        for told in self._shedder.tell():
            self._tell(told)
        if self._last is None:
            return False
        last_seq, end_us = self._last
        lost = Lost(
            camera_id=self._camera.camera_id,
            at_us=self._outlets.now_us(),
            instance=self._outlets.instance,
            epoch=self.id,
            last_seq=last_seq,
            end_us=end_us,
            cause=cause,
            detail=detail,
            next_retry_s=next_retry_s,
            interrupted=interrupted,
        )
        self._outlets.outbox.offer_event(self._camera.camera_id, lost)
        metrics.CONNECTED.labels(self._camera.camera_id).set(0)
        log.info("epoch ended", camera=self._camera.camera_id, epoch=self.id, cause=cause, detail=detail)
        return True

    def repeat(self) -> None:
        """Says `connected` again, so that it never ages out of the topic."""
        if self._connected is not None:
            again = replace(self._connected, repeated=True)
            self._outlets.outbox.offer_event(self._camera.camera_id, again)

    def _pass_on(self, units: list[AccessUnit]) -> None:
        for unit in units:
            self._observer.see(unit)
            cut = self._fragmenter.push(unit)
            if cut is not None:
                self._send(cut)

    def _begin(self, first: Cut) -> None:
        """Says `connected`, once, right before what it is the first of is sent or shed. From then on `lost` will follow."""
        if self._connected is not None:
            return
        shape = self._shape
        connected = Connected(
            camera_id=self._camera.camera_id,
            at_us=first.start_us,
            instance=self._outlets.instance,
            epoch=self.id,
            reader=self._info.reader,
            transport=self._info.transport or self._camera.transport,
            codecs=shape.codecs,
            width=shape.width,
            height=shape.height,
            server=self._info.server,
        )
        self._outlets.outbox.offer_event(self._camera.camera_id, connected)
        self._connected, self._last = connected, (first.seq, first.end_us)
        metrics.CONNECTED.labels(self._camera.camera_id).set(1)
        log.info(
            "epoch began",
            camera=self._camera.camera_id,
            epoch=self.id,
            codecs=shape.codecs,
            width=shape.width,
            height=shape.height,
        )

    def _send(self, cut: Cut) -> None:
        sound = self._sound_of(cut)
        has_room = self._outlets.outbox.has_room(cut.size)
        for item in self._shedder.offer(cut, has_room=has_room):
            if isinstance(item, ShedRange):
                self._tell(item)
            else:
                self._offer(item, sound)
        self._begin(cut)
        self._last = cut.seq, cut.end_us

    def _offer(self, cut: Cut, sound: tuple[AudioUnit, ...]) -> None:
        fragment = Fragment(self._fragment_info(cut), value_of(self._init, cut, sound))
        self._begin(cut)  # not before: what breaks up to here leaves an epoch of which nothing is said
        self._outlets.outbox.offer_fragment(fragment)
        if not self._budget.fragments.take(self.last_arrival_us):
            self.excess = KEYFRAMES
        self._last = cut.seq, cut.end_us
        self._offer_still(cut)

    def _sound_of(self, cut: Cut) -> tuple[AudioUnit, ...]:
        """What goes with the fragment. Of one that is shed it is left out, too."""
        track = self._soundtrack
        if track is None:
            return ()
        if self._first_dts is None:
            self._first_dts = cut.units[0].dts
        before = track.left_out
        room = max(0, UNIT_MAX_BYTES - cut.size)
        shift = self._timeline.shift_ticks
        sound = track.take(self._first_dts, cut.end_dts, shift, most_bytes=room, is_last=cut.ends == "epoch")
        metrics.SOUND_UNITS.labels(self._camera.camera_id).inc(len(sound))
        metrics.SOUND_LEFT_OUT.labels(self._camera.camera_id).inc(track.left_out - before)
        return sound

    def _fragment_info(self, cut: Cut) -> FragmentInfo:
        first = cut.units[0]
        return FragmentInfo(
            camera_id=self._camera.camera_id,
            epoch=self.id,
            seq=cut.seq,
            start_us=cut.start_us,
            duration_us=cut.duration_us,
            init_length=len(self._init),
            is_keyframe=first.is_keyframe,
            starts_segment=cut.starts_segment,
            ends=cut.ends,
            access_units=len(cut.units),
            lost_packets=cut.lost_packets,
            damaged=cut.damaged,
            codecs=self._shape.codecs,
            width=self._shape.width,
            height=self._shape.height,
            camera_start_us=first.camera_us,
        )

    def _tell(self, shed: ShedRange | Cut) -> None:
        assert isinstance(shed, ShedRange)
        event = Shed(
            camera_id=self._camera.camera_id,
            at_us=self._outlets.now_us(),
            instance=self._outlets.instance,
            epoch=self.id,
            first_seq=shed.first_seq,
            last_seq=shed.last_seq,
            start_us=shed.start_us,
            end_us=shed.end_us,
            access_units=shed.access_units,
            bytes=shed.bytes,
            cause=shed.cause,
        )
        self._outlets.outbox.offer_event(self._camera.camera_id, event)
        if shed.cause == "stream_error" and not self._budget.oversize.take(self.last_arrival_us):
            self.excess = OVERSIZE
        metrics.SHED.labels(shed.cause).inc(shed.access_units)
        log.warning(
            "shed", camera=event.camera_id, epoch=self.id, access_units=shed.access_units, cause=shed.cause
        )

    def _offer_still(self, cut: Cut) -> None:
        first = cut.units[0]
        if (
            not first.is_keyframe
            or first.start_us - self._still_us < self._camera.keyframe_interval_s * 1_000_000
        ):
            return
        self._still_us = first.start_us
        self._outlets.stills.offer(
            Wanted(
                camera_id=self._camera.camera_id,
                epoch=self.id,
                seq=cut.seq,
                at_us=first.start_us,
                codec=self._shape.codec,
                config=self._config,
                data=first.data,
            )
        )
