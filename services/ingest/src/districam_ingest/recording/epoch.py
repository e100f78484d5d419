"""Processes one epoch: pictures → timeline → fragments → send queue. It never awaits: each call is atomic."""

from dataclasses import replace
from typing import Final

from districam_common.contract.events import Camera, Cause
from districam_common.contract.media import Fragment, FragmentInfo
from districam_common.mp4.writer import AudioSample
from districam_ingest import metrics
from districam_ingest.output.sinks import Sinks
from districam_ingest.output.stills import StillRequest
from districam_ingest.readers.reader import SourceInfo
from districam_ingest.recording.audio_sync import AudioSync
from districam_ingest.recording.epoch_events import EpochEvents
from districam_ingest.recording.epoch_splitter import Append, Start
from districam_ingest.recording.fragmenter import Fragmenter, FragmentLimits
from districam_ingest.recording.rate_limits import CameraRateLimits
from districam_ingest.recording.shedder import MAX_FRAGMENT_PAYLOAD_BYTES, Shedder, ShedRange
from districam_ingest.recording.stream_stats import StreamStats
from districam_ingest.recording.timeline import Timeline
from districam_ingest.units import AccessUnit, Picture, UnmuxedFragment

REPUBLISH_INTERVAL_US: Final = 3_600_000_000
"""Interval of repeating `connected`; must be shorter than the retention of `streams`."""
OVERSIZE_DETAIL: Final = "pictures larger than 8 MiB arrive too often"
TOO_MANY_KEYFRAMES_DETAIL: Final = "more than 100 keyframes per second"


class Epoch:
    """Takes an epoch's pictures until `close`, and drains their audio from `audio_sync`, which is reset for it.

    Args:
        epoch_id: the identifier of its fragments and events.

    Attributes:
        exceeded_limit: which of the camera's rate limits was exceeded, as an event's `detail`; None: none.

    Raises:
        BitstreamError: no init segment can be made of the parameter sets.
    """

    def __init__(
        self,
        camera: Camera,
        source_info: SourceInfo,
        start: Start,
        limits: FragmentLimits,
        sinks: Sinks,
        *,
        epoch_id: str,
        rate_limits: CameraRateLimits,
        audio_sync: AudioSync | None = None,
    ) -> None:
        self._camera, self._sinks, self._rate_limits = camera, sinks, rate_limits
        self.exceeded_limit: str | None = None
        self._video_parameters = start.video_parameters
        self._audio_sync = audio_sync
        self._first_dts: int | None = None
        if audio_sync is not None:
            self._video_parameters = replace(
                start.video_parameters, codecs=f"{start.video_parameters.codecs},{audio_sync.parameters.codecs}"
            )
        self._init = sinks.muxer.init(
            start.video_parameters, start.parameter_sets, audio_sync.parameters if audio_sync else None
        )
        self._decoder_config = sinks.muxer.decoder_config(start.video_parameters, start.parameter_sets)
        self.offset_us = sinks.host_clock.offset_us
        self.id = epoch_id
        self._events = EpochEvents(camera, epoch_id, sinks, source_info, self._video_parameters)
        self._timeline = Timeline(self.offset_us)
        self._pending_bytes = 0
        self._fragmenter = Fragmenter(camera.camera_id, limits)
        self._shedder = Shedder()
        self._stats = StreamStats(camera, self._video_parameters, sinks, source_info, rate_limits)
        self._last_still_us = 0
        self.last_arrival_us = 0

    @property
    def is_anchored(self) -> bool:
        """True once the wall-clock time of its pictures is determined: after its first second."""
        return self._timeline.is_anchored

    def compute_ahead_us(self, appended: Append) -> int:
        """See `Timeline.compute_ahead_us`."""
        return self._timeline.compute_ahead_us(appended.picture, appended.dts)

    @property
    def deviation_us(self) -> int | None:
        """See `Timeline.deviation_us`."""
        return self._timeline.deviation_us

    def feed(self, appended: Append) -> None:
        """Takes the next picture in decode order."""
        self.last_arrival_us = appended.picture.arrival_us
        self._stats.record_arrival(appended.picture, appended.dts)
        if self._audio_sync is not None:
            self._audio_sync.feed_picture(appended.picture)
        is_clock_uncertain = self._sinks.host_clock.is_uncertain
        units = self._timeline.feed(
            appended.picture, appended.dts, is_keyframe=appended.is_keyframe, is_clock_uncertain=is_clock_uncertain
        )
        if not self._report_pending_bytes() and (self._timeline.is_anchored or is_clock_uncertain):
            units += self._timeline.flush()  # store them as late by the network rather than lose them
            self._report_pending_bytes()
        self._feed_fragmenter(units)

    def _report_pending_bytes(self) -> bool:
        """Reports the bytes pending in the timeline to the send queue; False if the process's buffer budget is exceeded."""
        delta_bytes = self._timeline.pending_bytes - self._pending_bytes
        if not delta_bytes:
            return True
        self._pending_bytes += delta_bytes
        return self._sinks.send_queue.adjust_buffered_bytes(delta_bytes)

    def update_offset(self) -> None:
        """Adopts the host clock's current offset. Only before the epoch is anchored, when nothing was emitted yet."""
        self.offset_us = self._sinks.host_clock.offset_us
        self._timeline.set_offset(self.offset_us)

    def discard(self) -> list[Picture]:
        """Removes and returns the pictures still pending in the timeline."""
        pictures = self._timeline.discard()
        self._report_pending_bytes()
        return pictures

    def close(
        self, cause: Cause, detail: str, *, interval_us: int, next_retry_s: float = 0.0, interrupted: bool = True
    ) -> None:
        """Sends the pending pictures, then `lost`, which is the epoch's last record."""
        units = self._timeline.flush()
        self._report_pending_bytes()
        self._feed_fragmenter(units)
        last_fragment = self._fragmenter.close(interval_us)
        if last_fragment is not None:
            self._shed_or_put(last_fragment)
        self.abort(cause, detail, next_retry_s=next_retry_s, interrupted=interrupted)

    def abort(self, cause: Cause, detail: str, *, next_retry_s: float = 0.0, interrupted: bool = True) -> bool:
        """Discards the pending pictures and sends `lost`. False if nothing of this epoch had been sent: no `lost` then."""
        self.discard()
        self._stats.export()
        for shed_range in self._shedder.drain():
            self._put_shed(shed_range)
        return self._events.put_lost(cause, detail, next_retry_s=next_retry_s, interrupted=interrupted)

    def republish_connected(self) -> None:
        """See `EpochEvents.republish_connected`."""
        self._events.republish_connected()

    def _feed_fragmenter(self, units: list[AccessUnit]) -> None:
        for unit in units:
            self._stats.record(unit)
            fragment = self._fragmenter.feed(unit)
            if fragment is not None:
                self._shed_or_put(fragment)

    def _shed_or_put(self, fragment: UnmuxedFragment) -> None:
        audio = self._drain_audio(fragment)
        has_room = self._sinks.send_queue.has_room(fragment.size)
        for item in self._shedder.feed(fragment, has_room=has_room):
            if isinstance(item, ShedRange):
                self._put_shed(item)
            else:
                self._put_fragment(item, audio)
        self._events.put_connected(fragment)
        self._events.record_fragment(fragment)

    def _put_fragment(self, fragment: UnmuxedFragment, audio: tuple[AudioSample, ...]) -> None:
        muxed = Fragment(self._fragment_info(fragment), self._sinks.muxer.fragment(self._init, fragment, audio))
        self._events.put_connected(fragment)  # after muxing: if that fails, no event of this epoch has been sent
        self._sinks.send_queue.put_fragment(muxed)
        if not self._rate_limits.fragments.try_acquire(self.last_arrival_us):
            self.exceeded_limit = TOO_MANY_KEYFRAMES_DETAIL
        self._events.record_fragment(fragment)
        self._submit_still(fragment)

    def _drain_audio(self, fragment: UnmuxedFragment) -> tuple[AudioSample, ...]:
        """Returns the fragment's audio; that of a shed fragment is dropped with it."""
        audio_sync = self._audio_sync
        if audio_sync is None:
            return ()
        if self._first_dts is None:
            self._first_dts = fragment.units[0].dts
        dropped_before = audio_sync.dropped_units
        max_bytes = max(0, MAX_FRAGMENT_PAYLOAD_BYTES - fragment.size)
        shift_ticks = self._timeline.shift_ticks
        audio = audio_sync.drain(
            self._first_dts, fragment.end_dts, shift_ticks, max_bytes=max_bytes, is_last=fragment.ends == "epoch"
        )
        metrics.AUDIO_UNITS.labels(self._camera.camera_id).inc(len(audio))
        metrics.AUDIO_UNITS_DROPPED.labels(self._camera.camera_id).inc(audio_sync.dropped_units - dropped_before)
        return audio

    def _fragment_info(self, fragment: UnmuxedFragment) -> FragmentInfo:
        first = fragment.units[0]
        return FragmentInfo(
            camera_id=self._camera.camera_id,
            epoch=self.id,
            seq=fragment.seq,
            start_us=fragment.start_us,
            duration_us=fragment.duration_us,
            init_length=len(self._init),
            is_keyframe=first.is_keyframe,
            starts_segment=fragment.starts_segment,
            ends=fragment.ends,
            access_units=len(fragment.units),
            lost_packets=fragment.lost_packets,
            damaged=fragment.damaged,
            codecs=self._video_parameters.codecs,
            width=self._video_parameters.width,
            height=self._video_parameters.height,
            camera_start_us=first.camera_us,
        )

    def _put_shed(self, shed_range: ShedRange) -> None:
        self._events.put_shed(shed_range)
        if shed_range.cause == "stream_error" and not self._rate_limits.oversize.try_acquire(self.last_arrival_us):
            self.exceeded_limit = OVERSIZE_DETAIL

    def _submit_still(self, fragment: UnmuxedFragment) -> None:
        first = fragment.units[0]
        if not first.is_keyframe or first.start_us - self._last_still_us < self._camera.keyframe_interval_s * 1_000_000:
            return
        self._last_still_us = first.start_us
        self._sinks.stills.submit(
            StillRequest(
                camera_id=self._camera.camera_id,
                epoch=self.id,
                seq=fragment.seq,
                at_us=first.start_us,
                codec=self._video_parameters.codec,
                config=self._decoder_config,
                data=first.data,
            )
        )
